// SPDX-License-Identifier: Apache-2.0
// A program at EL2: from its header to drill(), and what a fault comes to.
#include <el2/sysregs.h>

    .section .head, "ax"
    .global image_head
image_head:
    b       boot
    .long   0
    .quad   0                               // text_offset
    .quad   image_end - image_head
    .quad   0xa                             // little-endian, 4 KiB pages, any 2 MiB boundary
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

    .text
boot:
    msr     daifset, #0xf
    mov     x1, #(SCTLR_EL2_BOOT & 0xffff)
    movk    x1, #(SCTLR_EL2_BOOT >> 16), lsl #16
    msr     sctlr_el2, x1
    mov     x1, #HCR_RW
    msr     hcr_el2, x1
    msr     vttbr_el2, xzr
    mov     x1, #(SCTLR_EL1_RESET & 0xffff)
    movk    x1, #(SCTLR_EL1_RESET >> 16), lsl #16
    msr     sctlr_el1, x1
    adr     x1, vectors
    msr     vbar_el2, x1
    msr     spsel, #1
    isb                                     // MMU off before anything is written
    bl      invalidate
    adr     x0, bss_start
    adr     x1, image_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    adr     x0, stack_end
    mov     sp, x0
    mov     x29, xzr
    bl      drill_build
    bl      invalidate
    ic      iallu
    tlbi    alle2
    tlbi    alle1
    dsb     nsh                             // nothing stale before translation is on
    adr     x0, drill_registers
    ldp     x1, x2, [x0]
    ldr     x3, [x0, #16]
    msr     ttbr0_el2, x1
    msr     tcr_el2, x2
    msr     mair_el2, x3
    isb
    mov     x1, #(SCTLR_EL2_RUN & 0xffff)
    movk    x1, #(SCTLR_EL2_RUN >> 16), lsl #16
    msr     sctlr_el2, x1
    isb
    bl      drill
    mov     x0, #8                          // PSCI SYSTEM_OFF
    movk    x0, #0x8400, lsl #16
    smc     #0
    b       .

// Lines of data and stack, to the point of coherency. Uses x0-x3.
invalidate:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2
    adr     x0, text_end
    adr     x1, image_end
1:  dc      ivac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy                              // lines gone before the next access
    ret

// X0 = a VA. The value there, or FAULTED.
    .global drill_load
drill_load:
    mov     x1, x0
    adr     x2, faulted
    ldr     x0, [x2]
    ldr     x0, [x1]
    ret

// X0 = a VA, X1 = value. 0, or FAULTED.
    .global drill_store
drill_store:
    mov     x2, x0
    mov     x0, #0
    str     x1, [x2]
    ret

// X0 = a VA. 0 when what is there returns; FAULTED.
    .global drill_call
drill_call:
    mov     x9, x30
    mov     x1, x0
    mov     x0, #0
    blr     x1
    mov     x30, x9
    ret

// X0 = an IPA. EL1 begins there; the class of the exception with which it comes back.
    .global drill_run
drill_run:
    mov     x9, x30
    msr     elr_el2, x0
    mov     x1, #(SPSR_DAIF | SPSR_EL1H)
    msr     spsr_el2, x1
    eret
from_el1:
    mrs     x0, esr_el2
    lsr     x0, x0, #26
    ret     x9

    .balign 8
faulted:
    .quad   0xfa0000000000fa11

    .section .text.vectors, "ax"
    .balign 2048
vectors:
    .irp    offset, 0, 1, 2, 3
    .balign 128
    b       stray
    .endr
    .balign 128
    b       synchronous
    .irp    offset, 5, 6, 7
    .balign 128
    b       stray
    .endr
    .balign 128
    b       from_el1                        // in drill_run: its X9 is as it was
    .irp    offset, 9, 10, 11, 12, 13, 14, 15
    .balign 128
    b       stray
    .endr

// A load, store or call of the three above is over, and has FAULTED.
synchronous:
    mrs     x2, esr_el2
    lsr     x2, x2, #26
    cmp     x2, #0x25                       // data abort at EL2
    b.eq    data
    cmp     x2, #0x21                       // fetch at EL2
    b.ne    stray
    msr     elr_el2, x30
    adr     x2, faulted
    ldr     x0, [x2]
    eret
data:
    mrs     x2, elr_el2
    add     x2, x2, #4
    msr     elr_el2, x2
    adr     x2, faulted
    ldr     x0, [x2]
    eret

stray:
    mrs     x0, esr_el2
    mrs     x1, elr_el2
    bl      drill_panic
    b       .
