// SPDX-License-Identifier: Apache-2.0
// From the exception class of a guest's exception to its handler. The entries are offsets from the
// table, not pointers: an image that runs anywhere without relocations can hold no pointers.

#include <el2/sysregs.h>

.macro trap class, handler
    .org    trap_table + 4 * \class
    .word   \handler - trap_table
.endm

    .section .rodata.trap_table, "a"
    .balign 4
    .global trap_table
trap_table:                                 // in order of class; the gaps are 0: unexpected
    trap    EC_PAUTH, trap_undefined
    trap    EC_LS64, trap_undefined
    trap    EC_HVC64, trap_hvc
    trap    EC_SMC64, trap_smc
    trap    EC_SYSREG, trap_sysreg
    trap    EC_SVE, trap_undefined
    trap    EC_SME, trap_undefined
    trap    EC_IABT_LOWER, trap_instruction_abort
    trap    EC_DABT_LOWER, trap_data_abort
    .org    trap_table + 4 * 64
