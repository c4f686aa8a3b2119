// SPDX-License-Identifier: Apache-2.0
// The first instructions of a secondary vCPU, and registers under watch.
#include "frame.h"
#include "smp.h"

    .arch_extension fp
    .arch_extension simd

    .text
    .global smp_entry_address
smp_entry_address:
    adr     x0, smp_entry
    ret

smp_entry:
    mov     x19, x0
    msr     spsel, #1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    isb
    mrs     x1, mpidr_el1
    and     x1, x1, #7
    mov     x2, #SMP_STACK_SIZE
    adrp    x0, smp_stacks
    add     x0, x0, :lo12:smp_stacks
    madd    x0, x1, x2, x0
    add     sp, x0, x2
    mov     x0, x19
    bl      smp_secondary
    b       .

// A value for register number `n`: the seed in every byte, and n.
.macro value to, n
    add     \to, x0, #\n
.endm

// Registers that hold any value while nothing uses them, with those of their bits that stay.
.macro for_each_register operation
    \operation ttbr0_el1, 1, 0x0000fffffffffffe
    \operation ttbr1_el1, 2, 0x0000fffffffffffe
    \operation mair_el1, 3, 0xffffffffffffffff
    \operation contextidr_el1, 4, 0x00000000ffffffff
    \operation far_el1, 5, 0xffffffffffffffff
    \operation elr_el1, 6, 0xffffffffffffffff
    \operation sp_el0, 7, 0xffffffffffffffff
    \operation tpidr_el0, 8, 0xffffffffffffffff
    \operation tpidrro_el0, 9, 0xffffffffffffffff
    \operation tpidr_el1, 10, 0xffffffffffffffff
    \operation cntv_cval_el0, 11, 0xffffffffffffffff
.endm

.macro set_register name, n, mask
    value   x1, \n
    msr     \name, x1
.endm

// X29 counts what is wrong.
.macro check_register name, n, mask
    value   x1, \n
    mrs     x18, \name
    eor     x1, x1, x18
    tst     x1, #\mask
    cinc    x29, x29, ne
.endm

.macro check_whole name, n, mask
    value   x1, \n
    mrs     x18, \name
    cmp     x1, x18
    cinc    x29, x29, ne
.endm

.macro check_any name, n, mask
    .if \mask == 0xffffffffffffffff
    check_whole \name, \n, \mask
    .else
    check_register \name, \n, \mask
    .endif
.endm

    .global smp_check_state
smp_check_state:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x2, #50
    cmp     x1, #0
    csel    x1, x2, x1, eq
    mrs     x2, cntfrq_el0
    mov     x3, #1000
    udiv    x2, x2, x3
    mul     x1, x1, x2
    mrs     x2, cntvct_el0
    add     x28, x1, x2                     // when it is enough
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb
    mov     x1, #0x0101
    movk    x1, #0x0101, lsl #16
    movk    x1, #0x0101, lsl #32
    movk    x1, #0x0101, lsl #48
    mul     x0, x0, x1
    mov     x29, #0
    .irp n,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,19,20,21,22,23,24,25,26,27,30
    value   x\n, \n
    .endr
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    value   x1, (64 + \n)
    dup     v\n\().2d, x1
    .endr
    and     x1, x0, #0x1f
    msr     fpsr, x1
    and     x1, x0, #3
    lsl     x1, x1, #22                     // the rounding mode
    msr     fpcr, x1
    for_each_register set_register

look:
    .irp n,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,19,20,21,22,23,24,25,26,27,30
    value   x1, \n
    cmp     x1, x\n
    cinc    x29, x29, ne
    .endr
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    value   x1, (64 + \n)
    mov     x18, v\n\().d[0]
    cmp     x1, x18
    cinc    x29, x29, ne
    mov     x18, v\n\().d[1]
    cmp     x1, x18
    cinc    x29, x29, ne
    .endr
    mrs     x1, fpsr
    and     x18, x0, #0x1f
    cmp     x1, x18
    cinc    x29, x29, ne
    mrs     x1, fpcr
    and     x18, x0, #3
    cmp     x18, x1, lsr #22
    cinc    x29, x29, ne
    for_each_register check_any
    mrs     x1, cntvct_el0
    cmp     x1, x28
    b.lo    look

    mov     x0, x29
    msr     fpcr, xzr
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret

    .section .bss.smp_stacks, "aw", %nobits
    .balign 16
smp_stacks:
    .zero   8 * SMP_STACK_SIZE
