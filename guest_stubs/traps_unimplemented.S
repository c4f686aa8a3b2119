// SPDX-License-Identifier: Apache-2.0
// What EL1 has not: registers of higher levels, and features later than a Cortex-A72.
#include "runtime/probe_macros.h"

    table higher_level_probes
    mrs_each hcr_el2, vttbr_el2, vtcr_el2, sctlr_el2, actlr_el2, esr_el2, elr_el2, spsr_el2
    mrs_each far_el2, hpfar_el2, vbar_el2, tcr_el2, ttbr0_el2, mair_el2, tpidr_el2, hstr_el2
    mrs_each vpidr_el2, vmpidr_el2, cptr_el2, mdcr_el2, cnthctl_el2, cntvoff_el2
    mrs_each cnthp_ctl_el2, sp_el1, hacr_el2, dacr32_el2, fpexc32_el2
    msr_each hcr_el2, vttbr_el2, vtcr_el2, vbar_el2, sctlr_el2, cnthctl_el2, cntvoff_el2
    msr_each mdcr_el2, cptr_el2, tpidr_el2, vmpidr_el2, elr_el2, spsr_el2
    mrs_each scr_el3, sctlr_el3, vbar_el3, elr_el3
    msr_each scr_el3
    mrs_named sctlr_el12, S3_5_C1_C0_0
    mrs_named cntv_ctl_el02, S3_5_C14_C3_1
    mrs_named rvbar_el1, S3_0_C12_C0_1
    mrs_named rmr_el1, S3_0_C12_C0_2
    try     "tlbi-alle1", "tlbi alle1"
    try     "tlbi-alle2", "tlbi alle2"
    try     "tlbi-alle3", "tlbi alle3"
    try     "tlbi-vae2", "tlbi vae2, xzr"
    try     "tlbi-ipas2e1is", "tlbi ipas2e1is, xzr"
    try     "tlbi-vmalls12e1is", "tlbi vmalls12e1is"
    try     "at-s1e2r", "at s1e2r, xzr"
    try     "at-s12e1r", "at s12e1r, xzr"
    try     "at-s1e3r", "at s1e3r, xzr"
    endtable

    table absent_probes
    mrs_named trblimitr_el1, S3_0_C9_C11_0
    mrs_named pmscr_el1, S3_0_C9_C9_0
    mrs_named zcr_el1, S3_0_C1_C2_0
    mrs_named lorc_el1, S3_0_C10_C4_3
    mrs_named trcidr0, S2_1_C0_C8_7
    mrs_named trcprgctlr, S2_1_C0_C1_0
    mrs_named trfcr_el1, S3_0_C1_C2_1
    mrs_named erridr_el1, S3_0_C5_C3_0
    mrs_named disr_el1, S3_0_C12_C1_1
    mrs_named apiakeylo_el1, S3_0_C2_C1_0
    mrs_named pan, S3_0_C4_C2_3
    mrs_named uao, S3_0_C4_C2_4
    mrs_named ssbs, S3_3_C4_C2_6
    mrs_named dit, S3_3_C4_C2_5
    mrs_named tco, S3_3_C4_C2_7
    mrs_named rndr, S3_3_C2_C4_0
    mrs_named gcr_el1, S3_0_C1_C0_6
    mrs_named mpam1_el1, S3_0_C10_C5_0
    mrs_named amcr_el0, S3_3_C13_C2_0
    mrs_named scxtnum_el1, S3_0_C13_C0_7
    mrs_named cntpctss_el0, S3_3_C14_C0_5
    mrs_named icc_sre_el1, S3_0_C12_C12_5
    mrs_named icc_pmr_el1, S3_0_C4_C6_0
    mrs_named icc_iar1_el1, S3_0_C12_C12_0
    msr_named icc_sgi1r_el1, S3_0_C12_C11_5
    msr_named icc_eoir1_el1, S3_0_C12_C12_1
    mrs_named unallocated, S3_0_C1_C0_7
    try     "msr-pan-immediate", ".inst 0xd500419f"
    try     "tlbi-vmalle1os", "sys #0, c8, c1, #0, xzr"
    try     "tlbi-rvae1", "sys #0, c8, c6, #1, xzr"
    try     "dc-cvap", "sys #3, c7, c12, #1, x1"
    try     "at-s1e1rp", "sys #0, c7, c9, #0, x1"
    try     "ldadd", ".inst 0xf8220020"
    try     "cas", ".inst 0xc8a27c20"
    try     "ldapr", ".inst 0xf8bfc020"
    try     "ldlar", ".inst 0xc8df7c20"
    try     "irg", ".inst 0x9ac01020"
    try     "braa", ".inst 0xd71f0821"
    try     "sve-rdvl", ".inst 0x04bf5020"
    try     "dcps1", "dcps1"
    try     "dcps2", "dcps2"
    try     "dcps3", "dcps3"
    try     "drps", "drps"
    endtable
