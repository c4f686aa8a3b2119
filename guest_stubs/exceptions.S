// SPDX-License-Identifier: Apache-2.0
// Vectors that lead to exception_taken() and back, with every general register kept.

    .text
    .global exceptions_take
exceptions_take:
    adrp    x0, returning_vectors
    add     x0, x0, :lo12:returning_vectors
    msr     vbar_el1, x0
    isb                             // before the next exception
    ret

.macro pairs operation
    \operation x2, x3, [sp, #16]
    \operation x4, x5, [sp, #32]
    \operation x6, x7, [sp, #48]
    \operation x8, x9, [sp, #64]
    \operation x10, x11, [sp, #80]
    \operation x12, x13, [sp, #96]
    \operation x14, x15, [sp, #112]
    \operation x16, x17, [sp, #128]
    \operation x18, x19, [sp, #144]
    \operation x20, x21, [sp, #160]
    \operation x22, x23, [sp, #176]
    \operation x24, x25, [sp, #192]
    \operation x26, x27, [sp, #208]
    \operation x28, x29, [sp, #224]
.endm

.macro returning offset
    .balign 128
    stp     x0, x1, [sp, #-256]!
    mov     x0, #\offset
    b       returning
.endm

    .section .text.returning, "ax", %progbits
    .balign 2048
returning_vectors:
    .irp    offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380
    returning \offset
    .endr
    .irp    offset, 0x400, 0x480, 0x500, 0x580, 0x600, 0x680, 0x700, 0x780
    returning \offset
    .endr
    .balign 128

returning:
    pairs   stp
    str     x30, [sp, #240]
    bl      exception_taken
    pairs   ldp
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp], #256
    eret
