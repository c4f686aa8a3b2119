// SPDX-License-Identifier: Apache-2.0
// FP and SIMD: trapped by CPACR_EL1, and given to the guest otherwise.
#include "runtime/probe_macros.h"

    .arch_extension fp
    .arch_extension simd

    table fp_trapped_probes
    try     "fp-trapped-fmov", "fmov d0, x1"
    try     "fp-trapped-ldr-q", "ldr q0, [x1]"
    try     "fp-trapped-mrs-fpcr", "mrs x0, fpcr"
    try_el0 "el0-fp-trapped-fmov", "fmov d0, x1"
    endtable

    table fp_el0_trapped_probes
    try     "fp-el1-only-fmov", "fmov d0, x2", "fmov x0, d0"
    try_el0 "el0-fp-el1-only-fmov", "fmov d0, x1"
    endtable

    table fp_probes
    try     "fp-round-trip", "fmov d31, x2", "fmov x0, d31"
    try_el0 "el0-fp-round-trip", "fmov d7, x2", "fmov x0, d7"
    probe "fp-add"
    fmov    d0, #1.5
    fmov    d1, #2.25
    fadd    d0, d0, d1
    fmov    x0, d0
    endprobe
    probe "simd-add"
    dup     v0.8b, w3
    dup     v1.8b, w2
    add     v0.8b, v0.8b, v1.8b
    fmov    x0, d0
    endprobe
    probe "fpcr-fpsr"
    mov     x0, #0x03000000
    msr     fpcr, x0
    msr     fpsr, xzr
    mrs     x0, fpcr
    msr     fpcr, xzr
    mrs     x2, fpsr
    endprobe
    // Every vector register holds its own number over a hypercall and a trapped store; x0 gets a
    // bit for each one that changed.
    probe "fp-kept-over-exits", arg=0x09000024
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    mov     w0, #(0x4100 + \n)
    dup     v\n\().2d, x0
    .endr
    movz    w0, #0x8600, lsl #16
    hvc     #0
    str     w2, [x1]
    movz    w0, #0x8600, lsl #16
    smc     #0
    mov     w0, #0
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    mov     w2, #(0x4100 + \n)
    fmov    x3, d\n
    cmp     x2, x3
    mov     x3, v\n\().d[1]
    ccmp    x2, x3, #0, eq
    cset    w3, ne
    orr     w0, w0, w3, lsl #\n
    .endr
    endprobe
    endtable
