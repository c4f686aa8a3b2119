// SPDX-License-Identifier: Apache-2.0
// System registers a Cortex-A72 has, from EL1.
#include "runtime/probe_macros.h"

    // A probe that leaves a timer or a debug facility as it was: writes are of zero.
    table timer_probes
    mrs_each cntp_ctl_el0, cntp_cval_el0, cntp_tval_el0
    msr_each cntp_ctl_el0, cntp_cval_el0, cntp_tval_el0
    mrs_each cntv_ctl_el0, cntv_cval_el0, cntv_tval_el0
    msr_each cntv_ctl_el0, cntv_cval_el0, cntv_tval_el0
    mrs_each cntfrq_el0, cntpct_el0, cntvct_el0, cntkctl_el1
    msr_each cntfrq_el0, cntkctl_el1
    mrs_each cntps_ctl_el1
    endtable

    table debug_probes
    mrs_each mdscr_el1, dbgbcr0_el1, dbgbvr0_el1, dbgwcr0_el1, dbgwvr0_el1
    msr_each mdscr_el1, dbgbcr0_el1, dbgbvr0_el1, dbgwcr0_el1, dbgwvr0_el1
    mrs_each dbgbcr5_el1, dbgwcr3_el1
    msr_each oslar_el1, osdlr_el1
    mrs_each oslsr_el1, osdlr_el1, dbgprcr_el1, mdrar_el1
    mrs_each mdccint_el1, mdccsr_el0, dbgauthstatus_el1, dbgclaimset_el1
    endtable

    table pmu_probes
    mrs_each pmcr_el0, pmcntenset_el0, pmcntenclr_el0, pmovsclr_el0, pmselr_el0
    mrs_each pmceid0_el0, pmccntr_el0, pmxevtyper_el0, pmuserenr_el0, pmintenset_el1
    mrs_each pmevcntr0_el0, pmevtyper0_el0, pmccfiltr_el0
    msr_each pmcr_el0, pmcntenclr_el0, pmuserenr_el0, pmccfiltr_el0, pmswinc_el0
    endtable

    table identification_probes
    mrs_each midr_el1, mpidr_el1, revidr_el1, aidr_el1, ctr_el0, dczid_el0
    mrs_each clidr_el1, ccsidr_el1, csselr_el1
    mrs_each id_aa64pfr0_el1, id_aa64pfr1_el1, id_aa64dfr0_el1, id_aa64dfr1_el1
    mrs_each id_aa64afr0_el1, id_aa64afr1_el1, id_aa64isar0_el1, id_aa64isar1_el1
    mrs_each id_aa64mmfr0_el1, id_aa64mmfr1_el1
    mrs_each id_pfr0_el1, id_pfr1_el1, id_dfr0_el1, id_afr0_el1, id_mmfr0_el1
    mrs_each id_isar0_el1, id_isar5_el1, mvfr0_el1, mvfr1_el1, mvfr2_el1
    mrs_named id_reserved_0_3_7, S3_0_C0_C3_7
    mrs_named id_reserved_0_4_3, S3_0_C0_C4_3
    mrs_named id_reserved_0_7_7, S3_0_C0_C7_7
    msr_named midr_el1, S3_0_C0_C0_0
    msr_named id_aa64pfr0_el1, S3_0_C0_C4_0
    msr_each csselr_el1
    endtable

    table el1_state_probes
    mrs_each sctlr_el1, actlr_el1, cpacr_el1, ttbr0_el1, ttbr1_el1, tcr_el1, mair_el1, amair_el1
    mrs_each afsr0_el1, afsr1_el1, par_el1, contextidr_el1, vbar_el1, isr_el1
    mrs_each tpidr_el0, tpidrro_el0, tpidr_el1, sp_el0, currentel, spsel, daif, nzcv
    msr_each actlr_el1, contextidr_el1, afsr0_el1, afsr1_el1, amair_el1, tpidr_el0, tpidrro_el0
    endtable

    // Implementation defined space: Cortex-A72's own registers, and any other.
    table implementation_probes
    mrs_named cpuactlr_el1, S3_1_C15_C2_0
    mrs_named cpuectlr_el1, S3_1_C15_C2_1
    mrs_named cpumerrsr_el1, S3_1_C15_C2_2
    mrs_named l2ctlr_el1, S3_1_C11_C0_2
    mrs_named l2ectlr_el1, S3_1_C11_C0_3
    mrs_named s3_0_c15_c0_0, S3_0_C15_C0_0
    msr_named cpuactlr_el1, S3_1_C15_C2_0
    msr_named cpuectlr_el1, S3_1_C15_C2_1
    msr_named l2ctlr_el1, S3_1_C11_C0_2
    try     "sys-imp-def", "sys #0, c15, c0, #0, xzr"
    try     "sysl-imp-def", "sysl x0, #0, c11, c0, #0"
    endtable
