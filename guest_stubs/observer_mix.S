// SPDX-License-Identifier: Apache-2.0
// Every register a sum of others and of the time.

    .arch_extension fp
    .arch_extension simd

// A register that holds any value while nothing uses it: read into X2's sum, changed, written.
.macro stir name
    mrs     x1, \name
    eor     x2, x2, x1, ror #11
    add     x1, x1, x2
    msr     \name, x1
.endm

.macro next from, to
    eor     x\to, x\to, x\from, ror #\to
    add     x\to, x\to, x\from
.endm

.macro next_vector from, to
    eor     v\to\().16b, v\to\().16b, v\from\().16b
    add     v\to\().2d, v\to\().2d, v\from\().2d
.endm

// `operation` on each two neighbours of the list.
.macro chain operation, from, to, rest:vararg
    \operation \from, \to
    .ifnb \rest
    chain   \operation, \to, \rest
    .endif
.endm

    .text
    .global observer_mix
observer_mix:                       // X0 = seed, then not used; X1 = rounds
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mov     x29, x1
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    isb                             // FP is there from here on
    mov     x28, x0
    .irp n,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,30
    add     x\n, x0, #\n
    .endr
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    dup     v\n\().2d, x\n
    .endr
    dup     v31.2d, xzr

1:  mrs     x1, cntvct_el0
    add     x2, x2, x1
    chain   next, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    chain   next, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28
    eor     x30, x30, x28
    eor     x2, x2, x30, ror #9
    ins     v0.d[0], x30
    ins     v17.d[1], x1
    chain   next_vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
    chain   next_vector, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    mov     x1, v31.d[0]
    eor     x2, x2, x1
    mov     x1, v31.d[1]
    add     x2, x2, x1
    and     x1, x2, #0x1f
    mrs     x0, fpsr
    add     x2, x2, x0
    msr     fpsr, x1
    stir    tpidr_el0
    stir    tpidrro_el0
    stir    tpidr_el1
    stir    sp_el0
    stir    far_el1
    stir    mair_el1
    stir    contextidr_el1
    stir    ttbr1_el1
    subs    x29, x29, #1
    b.ne    1b

    eor     x0, x2, x28, ror #17
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #112
    ret
