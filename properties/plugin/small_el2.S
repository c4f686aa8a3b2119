// SPDX-License-Identifier: Apache-2.0
// An EL2 program with one guest, for the tests of the plugin. EL2's MMU stays off. Stage 2 maps one
// page, the guest's code, read-only at its own address. The guest calls with what the test has put
// into x0, and loads from there when the call is over.
//
//     0    EL2 puts another page there without break-before-make
//     1    EL2 answers 42
//     else EL2 returns at once

    .set    ENTRY, 0x77f                // page, read-only, Normal WB, inner shareable, AF
    .set    VTCR, 0x80003561            // 31-bit IPA from level 1, 4 KiB, WB, inner shareable

    .global _start
_start:
    b       start
    .long   0
    .quad   0, 0x7000, 0xa, 0, 0, 0     // arm64 Image header
    .ascii  "ARM\x64"
    .long   0

start:
    adr     x1, vectors
    msr     vbar_el2, x1
    adr     x0, guest
    mov     x1, #ENTRY
    orr     x0, x0, x1
    adr     x1, level3
    str     x0, [x1, #8]
    orr     x1, x1, #3
    adr     x2, level2
    str     x1, [x2, #8]
    orr     x2, x2, #3
    adr     x3, level1
    str     x2, [x3, #8]
    dsb     ish
    movk    x3, #1, lsl #48             // VMID 1
    msr     vttbr_el2, x3
    ldr     x4, =VTCR
    msr     vtcr_el2, x4
    ldr     x4, =0x80000001             // HCR_EL2: RW, VM
    msr     hcr_el2, x4
    isb
    tlbi    vmalls12e1
    dsb     ish
    isb
    mov     x4, #0x3c5                  // EL1h, all masked
    msr     spsr_el2, x4
    adr     x4, guest
    msr     elr_el2, x4
    eret

handle:
    mrs     x1, esr_el2
    lsr     x1, x1, #26
    cmp     x1, #0x16                   // HVC
    b.ne    stuck
    cbz     x0, replace
    cmp     x0, #1
    b.ne    1f
    mov     x0, #42
1:  eret

replace:
    adr     x1, level3
    adr     x2, other
    mov     x3, #ENTRY
    orr     x2, x2, x3
    str     x2, [x1, #8]                // valid to valid
    dsb     ish
    eret

stuck:
    b       stuck

    .global secret
    .balign 8
secret:
    .quad   0x5ec2e7

    .balign 2048
vectors:
    .skip   0x400
    b       handle

    .balign 4096
guest:
    hvc     #0
    ldr     x5, [x0]
    b       .

    .balign 4096
level1:
    .skip   4096
level2:
    .skip   4096
level3:
    .skip   4096
other:
    .skip   4096
