// SPDX-License-Identifier: Apache-2.0
// Every register full of a secret.

    .arch_extension fp
    .arch_extension simd

    .text
    .global keeper_fill
keeper_fill:                            // X0 = word
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb                                 // FP is there from here on
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    dup     v\n\().2d, x0
    .endr
    and     x1, x0, #0x1f
    msr     fpsr, x1
    and     x1, x0, #(3 << 22)          // the rounding mode
    msr     fpcr, x1
    .irp name,tpidr_el0,tpidrro_el0,tpidr_el1,mair_el1,ttbr0_el1,ttbr1_el1,contextidr_el1,far_el1
    msr     \name, x0
    .endr
    and     x1, x0, #0xf
    msr     csselr_el1, x1
    and     x1, x0, #0x3ff
    msr     cntkctl_el1, x1
    msr     cntv_cval_el0, x0
    .irp n,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28
    mov     x\n, x0
    .endr
    mov     x1, #2000
1:  subs    x1, x1, #1
    b.ne    1b
    msr     fpcr, xzr
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
