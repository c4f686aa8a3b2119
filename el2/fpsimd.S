// SPDX-License-Identifier: Apache-2.0
// The two functions of EL2 that touch FP and SIMD registers. The build exempts them by name.

#include <offsets.h>

    .arch_extension fp
    .arch_extension simd

.macro q_registers operation
    .irp n,0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30
    q_pair \operation, \n, %(\n + 1)
    .endr
.endm

    .altmacro
.macro q_pair operation, first, second
    \operation q\first, q\second, [x0, #(16 * \first)]
.endm

    .text
// X0 = struct fp_state
    .global fpsimd_save
    .type   fpsimd_save, %function
fpsimd_save:
    q_registers stp
    mrs     x1, fpcr
    mrs     x2, fpsr
    str     x1, [x0, #FP_FPCR]
    str     x2, [x0, #(FP_FPCR + 8)]
    ret
    .size   fpsimd_save, . - fpsimd_save

    .global fpsimd_load
    .type   fpsimd_load, %function
fpsimd_load:
    q_registers ldp
    ldr     x1, [x0, #FP_FPCR]
    ldr     x2, [x0, #(FP_FPCR + 8)]
    msr     fpcr, x1
    msr     fpsr, x2
    ret
    .size   fpsimd_load, . - fpsimd_load
