// SPDX-License-Identifier: Apache-2.0
    .text
    .global spin_branch
spin_branch:
    b       .

    .global spin_wfi
spin_wfi:
    wfi
    b       spin_wfi

// UDF whose vector is another UDF: the CPU takes exceptions for ever and never leaves EL1.
    .global spin_vector_storm
spin_vector_storm:
    adrp    x0, storm_vectors
    add     x0, x0, :lo12:storm_vectors
    msr     vbar_el1, x0
    isb                             // the new vectors hold for the next instruction
    .inst   0

    .section .text.storm_vectors, "ax", %progbits
    .balign 2048
storm_vectors:
    .rept   16
    .inst   0
    .balign 128
    .endr
