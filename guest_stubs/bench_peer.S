// SPDX-License-Identifier: Apache-2.0
// vCPU 1 of bench-irq: takes interrupts and counts them, for ever.
#define GICC_BASE_HIGH 0x0801
#define GICC_PMR 0x4
#define GICC_IAR 0xc
#define GICC_EOIR 0x10
#define SPURIOUS 1023

    .text
    .global bench_peer
bench_peer:
    mov     x1, #0
    movk    x1, #GICC_BASE_HIGH, lsl #16
    mov     w2, #0xff
    str     w2, [x1, #GICC_PMR]
    mov     w2, #1
    str     w2, [x1]                // GICC_CTLR
    adrp    x3, bench_pings
    add     x3, x3, :lo12:bench_pings
    mov     x4, #0
1:  add     x4, x4, #1
    str     x4, [x3]
2:  wfi
    ldr     w2, [x1, #GICC_IAR]
    and     w5, w2, #SPURIOUS
    cmp     w5, #SPURIOUS
    b.eq    2b
    str     w2, [x1, #GICC_EOIR]
    b       1b

    .section .data, "aw", %progbits
    .balign 8
    .global bench_pings
bench_pings:
    .quad   0
