// SPDX-License-Identifier: Apache-2.0
// SMCCC by HVC.
    .text
    .global hvc_call
hvc_call:                           // void hvc_call(struct smccc *): x0-x7 in and out
    stp     x29, x30, [sp, #-32]!
    str     x0, [sp, #16]
    mov     x9, x0
    ldp     x0, x1, [x9]
    ldp     x2, x3, [x9, #16]
    ldp     x4, x5, [x9, #32]
    ldp     x6, x7, [x9, #48]
    hvc     #0
    ldr     x9, [sp, #16]
    stp     x0, x1, [x9]
    stp     x2, x3, [x9, #16]
    stp     x4, x5, [x9, #32]
    stp     x6, x7, [x9, #48]
    ldp     x29, x30, [sp], #32
    ret
