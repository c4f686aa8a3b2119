// SPDX-License-Identifier: Apache-2.0
// Calls by either conduit, and the end of a vCPU.
#define OTHER 0x2a
#define STACK_REACH 2048

    .text
// X0 = struct smccc, x0 to x7 in and out; X1 = enum conduit. X8 to X17 must be kept.
    .global call_by
call_by:
    stp     x29, x30, [sp, #-32]!
    str     x0, [sp, #16]
    mov     x9, x0
    mov     x10, x1
    ldp     x0, x1, [x9]
    ldp     x2, x3, [x9, #16]
    ldp     x4, x5, [x9, #32]
    ldp     x6, x7, [x9, #48]
    cmp     x10, #2
    b.hi    3f
    b.eq    2f
    cbnz    x10, 1f
    hvc     #0
    b       4f
1:  smc     #0
    b       4f
2:  hvc     #OTHER
    b       4f
3:  smc     #OTHER                  // undefined: the vector comes back behind it
4:  ldr     x9, [sp, #16]
    stp     x0, x1, [x9]
    stp     x2, x3, [x9, #16]
    stp     x4, x5, [x9, #32]
    stp     x6, x7, [x9, #48]
    ldp     x29, x30, [sp], #32
    ret

// When the vCPU comes back it uses its stack past the caches first.
    .global leave_cpu
leave_cpu:
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4
    mov     x2, #4
    lsl     x2, x2, x1              // bytes of a line
    sub     x0, sp, #STACK_REACH
    add     x3, sp, #STACK_REACH
1:  dc      civac, x0
    add     x0, x0, x2
    cmp     x0, x3
    b.lo    1b
    dsb     sy                      // in memory before the vCPU is off
    movz    w0, #0x8400, lsl #16
    movk    w0, #2                  // CPU_OFF
    hvc     #0
    b       .
