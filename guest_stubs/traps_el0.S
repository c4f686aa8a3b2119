// SPDX-License-Identifier: Apache-2.0
// The same from EL0 (stage 1 off, so that EL0 may fetch and access everything that EL1 may).
#include "runtime/probe_macros.h"

#define OPEN_CACHE (SCTLR_EL1_DZE | SCTLR_EL1_UCT | SCTLR_EL1_UCI)
#define OPEN (OPEN_CACHE | SCTLR_EL1_UMA | SCTLR_EL1_nTWI | SCTLR_EL1_nTWE)

    .macro mrs_el0 regs:vararg
    .irp    reg, \regs
    try_el0 "el0-mrs-\reg", "mrs x0, \reg"
    .endr
    .endm

    // Whatever EL1 sets, these stay as they are.
    table el0_always_probes
    try_el0 "el0-svc-0", "svc #0"
    try_el0 "el0-svc-1234", "svc #0x1234"
    try_el0 "el0-brk-7", "brk #7"
    try_el0 "el0-hlt-0", "hlt #0"
    try_el0 "el0-udf-0", ".inst 0"
    try_el0 "el0-hvc-0", "mov w0, #0x84000000", "hvc #0"
    try_el0 "el0-smc-0", "mov w0, #0x84000000", "smc #0"
    try_el0 "el0-eret", "eret"
    mrs_el0 sctlr_el1, vbar_el1, hcr_el2, midr_el1, id_aa64pfr0_el1, actlr_el1, currentel
    mrs_el0 mdscr_el1, cntkctl_el1, oslsr_el1, dczid_el0, tpidr_el0, tpidrro_el0
    try_el0 "el0-msr-tpidr_el0", "msr tpidr_el0, xzr"
    try_el0 "el0-msr-tpidrro_el0", "msr tpidrro_el0, xzr"
    try_el0 "el0-mrs-nzcv", "mrs x0, nzcv"
    try_el0 "el0-mrs-cpuectlr_el1", "mrs x0, S3_1_C15_C2_1"
    try_el0 "el0-mrs-imp-def", "mrs x0, S3_3_C15_C0_0"
    try_el0 "el0-tlbi-vmalle1", "tlbi vmalle1"
    try_el0 "el0-ic-iallu", "ic iallu"
    try_el0 "el0-dc-isw", "dc isw, xzr"
    try_el0 "el0-dc-ivac", "dc ivac, x1"
    try_el0 "el0-at-s1e0r", "at s1e0r, x1"
    try_el0 "el0-msr-spsel", "msr spsel, #1"
    probe   "el0-sp-alignment", pstate=EL0T, sctlr=SCTLR_EL1_SA0
    add     sp, sp, #8
    ldr     x0, [sp]
    endprobe
    probe   "el0-sp-alignment-off", pstate=EL0T, sctlr=SCTLR_EL1_SA
    add     sp, sp, #8
    str     xzr, [sp]
    endprobe
    probe   "el0-pc-alignment", pstate=EL0T, arg=0x300002, from=FROM_BASE
    br      x1
    endtable

    // SCTLR_EL1 and CNTKCTL_EL1 keep EL0 out.
    table el0_closed_probes
    try_el0 "el0-closed-wfi", "wfi"
    // The ERET to here set the event register: the first WFE clears it, the second would wait.
    try_el0 "el0-closed-wfe", "wfe", "wfe"
    try_el0 "el0-closed-mrs-daif", "mrs x0, daif"
    try_el0 "el0-closed-msr-daif", "msr daif, x1"
    try_el0 "el0-closed-daifset", "msr daifset, #3"
    try_el0 "el0-closed-daifclr", "msr daifclr, #0xf"
    try_el0 "el0-closed-mrs-ctr_el0", "mrs x0, ctr_el0"
    try_el0 "el0-closed-mrs-cntfrq_el0", "mrs x0, cntfrq_el0"
    try_el0 "el0-closed-mrs-cntpct_el0", "mrs x0, cntpct_el0"
    try_el0 "el0-closed-mrs-cntvct_el0", "mrs x0, cntvct_el0"
    try_el0 "el0-closed-mrs-cntv_ctl_el0", "mrs x0, cntv_ctl_el0"
    try_el0 "el0-closed-msr-cntv_cval_el0", "msr cntv_cval_el0, xzr"
    try_el0 "el0-closed-mrs-cntp_ctl_el0", "mrs x0, cntp_ctl_el0"
    try_el0 "el0-closed-msr-cntp_tval_el0", "msr cntp_tval_el0, xzr"
    try_el0 "el0-closed-mrs-mdccsr_el0", "mrs x0, mdccsr_el0"
    try_el0 "el0-closed-mrs-pmccntr_el0", "mrs x0, pmccntr_el0"
    .irp op, cvac, cvau, civac, zva
    probe   "el0-closed-dc-\op", pstate=EL0T, arg=0x300000, from=FROM_BASE
    dc      \op, x1
    endprobe
    .endr
    probe   "el0-closed-ic-ivau", pstate=EL0T, arg=0x300000, from=FROM_BASE
    ic      ivau, x1
    endprobe
    endtable

    .macro open_el0 name:req, a:req, b, c
    probe   "el0-open-\name", pstate=EL0T, arg=0x300000, from=FROM_BASE, sctlr=OPEN
    \a
    \b
    \c
    endprobe
    .endm

    // SCTLR_EL1 and CNTKCTL_EL1 let EL0 in.
    table el0_open_probes
    open_el0"wfe", "sevl", "wfe"
    open_el0"daif", "msr daifset, #0xf", "mrs x0, daif", "msr daifclr, #0xf"
    open_el0"mrs-ctr_el0", "mrs x0, ctr_el0"
    open_el0"mrs-cntvct_el0", "mrs x0, cntvct_el0"
    open_el0"mrs-cntpct_el0", "mrs x0, cntpct_el0"
    open_el0"mrs-cntv_ctl_el0", "mrs x0, cntv_ctl_el0"
    open_el0"mrs-cntp_ctl_el0", "mrs x0, cntp_ctl_el0"
    open_el0"msr-cntp_cval_el0", "msr cntp_cval_el0, xzr"
    open_el0"dc-cvac", "dc cvac, x1"
    open_el0"dc-cvau", "dc cvau, x1"
    open_el0"dc-civac", "dc civac, x1"
    open_el0"ic-ivau", "ic ivau, x1"
    endtable
