// SPDX-License-Identifier: Apache-2.0
// The one function of EL2 that touches FP and SIMD registers. The build exempts it by name.

    .arch_extension fp
    .arch_extension simd

    .text
    .global fpsimd_reset
    .type   fpsimd_reset, %function
fpsimd_reset:
    .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\n\().2d, #0
    .endr
    msr     fpcr, xzr
    msr     fpsr, xzr
    ret
    .size   fpsimd_reset, . - fpsimd_reset
