// SPDX-License-Identifier: Apache-2.0
// Enters a probe by ERET with every register chosen, and leaves it at its first exception.
#include "frame.h"

// Every exception leads back to the caller of probe_enter, with all that was seen in the frame.
// The frame is found PC-relatively, not through SP: a probe may have lost its SP.
    .macro vector offset
    .balign 128
    msr     tpidr_el1, x0
    adrp    x0, probe_frame
    add     x0, x0, :lo12:probe_frame
    str     x1, [x0, #(FRAME_X + 8)]
    mov     x1, #\offset
    b       exception
    .endm

    .section .text.vectors, "ax", %progbits
    .balign 2048
    .global vectors
vectors:
    .irp    offset, 0x000, 0x080, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380
    vector  \offset
    .endr
    .irp    offset, 0x400, 0x480, 0x500, 0x580, 0x600, 0x680, 0x700, 0x780
    vector  \offset
    .endr
    .balign 128

exception:                          // x0 = frame, x1 = vector offset; flags still the probe's
    stp     x2, x3, [x0, #(FRAME_X + 16)]
    mrs     x2, daif
    mrs     x3, currentel
    orr     x2, x2, x3
    mrs     x3, spsel
    orr     x2, x2, x3
    str     x2, [x0, #FRAME_ENTRY_PSTATE]
    str     x1, [x0, #FRAME_VECTOR]
    mrs     x2, tpidr_el1
    str     x2, [x0, #FRAME_X]
    stp     x4, x5, [x0, #(FRAME_X + 32)]
    stp     x6, x7, [x0, #(FRAME_X + 48)]
    stp     x8, x9, [x0, #(FRAME_X + 64)]
    stp     x10, x11, [x0, #(FRAME_X + 80)]
    stp     x12, x13, [x0, #(FRAME_X + 96)]
    stp     x14, x15, [x0, #(FRAME_X + 112)]
    stp     x16, x17, [x0, #(FRAME_X + 128)]
    stp     x18, x19, [x0, #(FRAME_X + 144)]
    stp     x20, x21, [x0, #(FRAME_X + 160)]
    stp     x22, x23, [x0, #(FRAME_X + 176)]
    stp     x24, x25, [x0, #(FRAME_X + 192)]
    stp     x26, x27, [x0, #(FRAME_X + 208)]
    stp     x28, x29, [x0, #(FRAME_X + 224)]
    mov     x2, sp
    stp     x30, x2, [x0, #(FRAME_X + 240)]
    mrs     x2, sp_el0
    str     x2, [x0, #FRAME_SP_EL0]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [x0, #FRAME_ELR]
    mrs     x2, esr_el1
    mrs     x3, far_el1
    stp     x2, x3, [x0, #FRAME_ESR]

    mov     x1, #(SCTLR_EL1_RES1 & 0xffff)
    movk    x1, #(SCTLR_EL1_RES1 >> 16), lsl #16
    msr     sctlr_el1, x1
    isb                             // the probe's SCTLR, and so stage 1, is off before the runtime goes on
    ldr     x1, [x0, #FRAME_ACTIVE]
    str     xzr, [x0, #FRAME_ACTIVE]
    adrp    x2, stack_top
    add     x2, x2, :lo12:stack_top
    mov     sp, x2
    cbz     x1, stub_panic
    ldr     x1, [x0, #FRAME_RUNTIME_SP]
    mov     sp, x1
    ldp     x19, x20, [sp, #0]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #96
    ret

// void probe_enter(void): runs what probe_frame describes.
    .global probe_enter
probe_enter:
    sub     sp, sp, #96
    stp     x19, x20, [sp, #0]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    adrp    x0, probe_frame
    add     x0, x0, :lo12:probe_frame
    mov     x1, sp
    str     x1, [x0, #FRAME_RUNTIME_SP]
    mov     x1, #1
    str     x1, [x0, #FRAME_ACTIVE]
    ldp     x1, x2, [x0, #FRAME_ELR]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldr     x1, [x0, #FRAME_SP_EL0]
    msr     sp_el0, x1
    ldr     x1, [x0, #FRAME_SP]
    mov     sp, x1
    msr     esr_el1, xzr            // so that a register the exception left alone shows as 0
    msr     far_el1, xzr
    ldr     x1, [x0, #FRAME_SCTLR]
    msr     sctlr_el1, x1
    isb                             // the probe's SCTLR holds before its first instruction
    ldp     x2, x3, [x0, #(FRAME_X + 16)]
    ldp     x4, x5, [x0, #(FRAME_X + 32)]
    ldp     x6, x7, [x0, #(FRAME_X + 48)]
    ldp     x8, x9, [x0, #(FRAME_X + 64)]
    ldp     x10, x11, [x0, #(FRAME_X + 80)]
    ldp     x12, x13, [x0, #(FRAME_X + 96)]
    ldp     x14, x15, [x0, #(FRAME_X + 112)]
    ldp     x16, x17, [x0, #(FRAME_X + 128)]
    ldp     x18, x19, [x0, #(FRAME_X + 144)]
    ldp     x20, x21, [x0, #(FRAME_X + 160)]
    ldp     x22, x23, [x0, #(FRAME_X + 176)]
    ldp     x24, x25, [x0, #(FRAME_X + 192)]
    ldp     x26, x27, [x0, #(FRAME_X + 208)]
    ldp     x28, x29, [x0, #(FRAME_X + 224)]
    ldr     x30, [x0, #(FRAME_X + 240)]
    ldp     x0, x1, [x0]
    eret
