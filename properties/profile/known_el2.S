// SPDX-License-Identifier: Apache-2.0
// An EL2 program whose every exit costs a number of instructions that can be counted here. Its
// guest, at EL1, leaves it in each way once or more, and says in x9 how often EL2 is to go round
// before it does anything else. EL2's MMU stays off.

    .set    BLOCK, 0x7fd                // 2 MiB, read-write, Normal WB, inner shareable, AF
    .set    VTCR, 0x80003561            // 31-bit IPA from level 1, 4 KiB, WB, inner shareable
    .set    HCR, 0x840c2011             // RW, TVM, TSC, TID3, TWI, IMO, VM
    .set    UART, 0x09000000
    .set    UNMAPPED, 0x41000000        // RAM that stage 2 does not map

    .macro  exit rounds, instruction:vararg
    mov     x9, #\rounds
    \instruction
    .endm

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
    adr     x1, level2
    orr     x1, x1, #3
    adr     x2, level1
    str     x1, [x2, #8]
    dsb     ish
    msr     vttbr_el2, x2
    ldr     x1, =VTCR
    msr     vtcr_el2, x1
    ldr     x1, =0x08000000             // GIC: PPI 26, priority 0, to CPU 0
    mov     w2, #1
    str     w2, [x1]
    lsl     w3, w2, #26
    str     w3, [x1, #0x100]
    ldr     x1, =0x08010000
    mov     w3, #0xff
    str     w3, [x1, #4]
    str     w2, [x1]
    ldr     x1, =HCR
    msr     hcr_el2, x1
    isb
    tlbi    vmalls12e1
    dsb     ish
    isb
    mov     x1, #0x3c5                  // EL1h, all masked
    msr     spsr_el2, x1
    adr     x1, guest
    msr     elr_el2, x1
    eret
start_end:

// An exit that goes round n times comes here with 1 + 2n instructions: the vector, and these.
synchronous:
    subs    x9, x9, #1
    b.ne    synchronous
    mrs     x10, esr_el2
    lsr     x11, x10, #26
    cmp     x11, #0x16                  // HVC
    b.eq    call
    cmp     x11, #0x20                  // instruction abort
    b.eq    come_back
skip:
    mrs     x10, elr_el2
    add     x10, x10, #4
    msr     elr_el2, x10
leave:                                  // a block that begins in another function
    eret

come_back:
    msr     elr_el2, x30
    eret

call:
    and     w10, w10, #0xffff
    cmp     w10, #0x10
    b.eq    interrupted
    cmp     w10, #0x20
    b.eq    set_timer
    cmp     w10, #0xff
    b.eq    off
    eret

interrupted:
    mrs     x14, elr_el2
    mrs     x15, spsr_el2
    hvc     #1
    hvc     #2
    msr     elr_el2, x14
    msr     spsr_el2, x15
    eret

set_timer:                              // to go off after x3 ticks
    msr     cnthp_tval_el2, x3
    mov     x10, #1
    msr     cnthp_ctl_el2, x10
    eret

at_el2:
    mrs     x16, elr_el2
    mrs     x17, spsr_el2
    mrs     x18, esr_el2
    tbnz    x18, #1, 1f                 // HVC #2
    msr     elr_el2, x16
    eret
1:  brk     #0                          // at_el2 once more, further in
    msr     elr_el2, x16
    msr     spsr_el2, x17
    eret

further_in:
    mrs     x18, elr_el2
    add     x18, x18, #4
    msr     elr_el2, x18
    eret

interrupt:
    msr     cnthp_ctl_el2, xzr
    mov     x13, #1
    eret

off:
    ldr     x0, =0x84000008             // SYSTEM_OFF
    smc     #0
    b       .

    .balign 2048
vectors:
    .org    vectors + 0x200
    mrs     x18, esr_el2                // from EL2
    lsr     x18, x18, #26
    cmp     x18, #0x3c                  // BRK
    b.eq    further_in
    b       at_el2
    .org    vectors + 0x400
    b       synchronous                 // from EL1
    .org    vectors + 0x480
    b       interrupt

guest:
    ldr     x0, =0x84000000             // PSCI_VERSION
    exit    3, hvc #0
    exit    1, hvc #0
    ldr     x0, =0xc4000003             // CPU_ON
    exit    2, hvc #0
    exit    5, hvc #7
    ldr     x0, =0x80000000             // SMCCC_VERSION
    exit    2, smc #0
    exit    4, mrs x1, id_aa64pfr0_el1
    exit    9, mrs x1, id_aa64pfr0_el1
    exit    4, mrs x1, id_aa64mmfr0_el1
    exit    6, msr contextidr_el1, x1
    ldr     x2, =UART
    exit    7, ldr w1, [x2, #0x18]
    exit    8, str w1, [x2]
    exit    300, str w1, [x2]
    exit    8, str w1, [x2, #0x30]
    ldr     x2, =UNMAPPED
    exit    9, str w1, [x2, #8]
    exit    10, ldr w1, [x2, #8]
    exit    11, blr x2
    exit    1, wfi
    exit    3, hvc #0x10
    mov     x3, #40
    mov     x13, #0
    exit    2, hvc #0x20
1:  cbz     x13, 1b
    mov     x3, #0                      // no instruction of the guest's before the interrupt
    exit    4, hvc #0x20
    exit    6, hvc #0xff
    b       .

    .ltorg
    .balign 4096
level1:
    .quad   0, 0
    .balign 4096
level2:
    .quad   0, 0x40200000 + BLOCK
    .fill   510, 8, 0
    .balign 4096
