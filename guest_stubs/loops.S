// SPDX-License-Identifier: Apache-2.0
// The loops of the benchmarks: x0 = count, x1 = what to call or touch.
    .text
    .global loop_hvc
loop_hvc:
    mov     x9, x0
    mov     x10, x1
1:  mov     x0, x10
    hvc     #0
    subs    x9, x9, #1
    b.ne    1b
    ret

    .global loop_load
loop_load:
    ldr     w2, [x1]
    subs    x0, x0, #1
    b.ne    loop_load
    ret

    .global loop_store
loop_store:
    str     w0, [x1]
    subs    x0, x0, #1
    b.ne    loop_store
    ret
