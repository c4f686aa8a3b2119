// SPDX-License-Identifier: Apache-2.0
// The first instructions of every stub, and the words a test may patch.
#include "frame.h"

    .section .text.head, "ax", %progbits
    .global _start
_start:
    b       entry
    .ascii  "STUB"                  // offset 4: says that the two words below are there
    .global stub_case
stub_case:                          // offset 8: which case of a stub with cases runs
    .quad   0
    .global stub_parameter
stub_parameter:                     // offset 16: a count, where the stub has one; 0 = its default
    .quad   0

    // What the vCPU was given, kept before anything is overwritten.
entry:
    msr     tpidr_el1, x0
    adrp    x0, boot_record
    add     x0, x0, :lo12:boot_record
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    mrs     x2, tpidr_el1
    stp     x2, x1, [x0]
    mov     x1, sp
    stp     x30, x1, [x0, #240]
    mrs     x1, sctlr_el1
    str     x1, [x0, #256]
    mrs     x1, daif
    mrs     x2, currentel
    orr     x1, x1, x2
    mrs     x2, spsel
    orr     x1, x1, x2
    str     x1, [x0, #264]

    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    mov     x1, #(SCTLR_EL1_RES1 & 0xffff)
    movk    x1, #(SCTLR_EL1_RES1 >> 16), lsl #16
    msr     sctlr_el1, x1
    msr     cpacr_el1, xzr          // the runtime itself uses no FP
    isb                             // the new SCTLR and VBAR hold from here on
    adrp    x1, stack_top
    add     x1, x1, :lo12:stack_top
    mov     sp, x1

    adrp    x1, bss_start
    add     x1, x1, :lo12:bss_start
    adrp    x2, bss_end
    add     x2, x2, :lo12:bss_end
1:  cmp     x1, x2
    b.hs    2f
    stp     xzr, xzr, [x1], #16
    b       1b
2:  bl      stub_main
    b       power_off

    .section .data, "aw", %progbits
    .balign 16
    .global boot_record
boot_record:                        // struct boot_record; in .data because .bss is cleared after
    .zero   272

    .section .bss.stack, "aw", %nobits
    .balign 16
    .zero   8192
    .global stack_top
stack_top:
    .zero   2048
    .global probe_stack
probe_stack:
    .zero   64
