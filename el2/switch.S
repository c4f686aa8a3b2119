// SPDX-License-Identifier: Apache-2.0
// EL1's system registers of a vCPU, to and from struct el1_state. Between save and load the EL1
// regime is parked: translation on, but every walk disabled, so that no speculative walk pairs the
// tables of one VM with the VMID of another (Cortex-A57 1319537, A72 1319367).

#include <el2/sysregs.h>
#include <offsets.h>

.macro for_each_pair operation
    \operation 0, ttbr0_el1, ttbr1_el1
    \operation 1, mair_el1, amair_el1
    \operation 2, vbar_el1, cpacr_el1
    \operation 3, contextidr_el1, csselr_el1
    \operation 4, esr_el1, far_el1
    \operation 5, afsr0_el1, afsr1_el1
    \operation 6, elr_el1, spsr_el1
    \operation 7, sp_el0, sp_el1
    \operation 8, tpidr_el0, tpidrro_el0
    \operation 9, tpidr_el1, par_el1
    \operation 10, cntkctl_el1, cntv_cval_el0
    \operation 11, cntv_ctl_el0, sctlr_el1
.endm

.macro save index, first, second
    mrs     x2, \first
    mrs     x3, \second
    stp     x2, x3, [x0, #(16 * \index)]
.endm

.macro load index, first, second
    ldp     x4, x5, [x0, #(16 * \index)]
    msr     \first, x4
    .ifnc   \second, sctlr_el1
    msr     \second, x5
    .endif
.endm

    .text
// X0 = struct el1_state
    .global el1_save
    .type   el1_save, %function
el1_save:
    for_each_pair save
    mrs     x2, tcr_el1
    str     x2, [x0, #EL1_TCR]
    msr     cntv_ctl_el0, xzr               // the timer belongs to a loaded vCPU
    clrex
    .global el1_park
el1_park:
    mov     x2, #TCR_EL1_EPD0
    orr     x2, x2, #TCR_EL1_EPD1
    msr     tcr_el1, x2
    isb                                     // no new walk before the rest changes
    mov     x2, #(SCTLR_EL1_PARKED & 0xffff)
    movk    x2, #(SCTLR_EL1_PARKED >> 16), lsl #16
    msr     sctlr_el1, x2
    ret
    .size   el1_save, . - el1_save

// X0 = struct el1_state, X1 = VTTBR_EL2, X2 = CNTVOFF_EL2, X3 = VMPIDR_EL2
    .global el1_load
    .type   el1_load, %function
el1_load:
    msr     vttbr_el2, x1
    msr     cntvoff_el2, x2                 // before the timer it moves
    msr     vmpidr_el2, x3
    for_each_pair load
    isb                                     // tables and VMID in force before walks are possible
    msr     sctlr_el1, x5
    isb                                     // the MMU as the guest has it before its walks
    ldr     x2, [x0, #EL1_TCR]
    msr     tcr_el1, x2
    ret
    .size   el1_load, . - el1_load
