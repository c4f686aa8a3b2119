// SPDX-License-Identifier: Apache-2.0
// The exception vectors of EL2. TPIDR_EL2 points to the struct cpu, whose first member to the struct
// vcpu of the guest that runs, and SP_EL2 to the top of the CPU's stack: an exit fills the struct vcpu
// and calls its handler, and the struct cpu says afterwards what runs next.

#include <el2/sysregs.h>
#include <offsets.h>

// X2 to X29 to or from the array `start` bytes behind X0.
.macro x2_to_x29 operation, start
    \operation x2, x3, [x0, #(\start + 8 * 2)]
    \operation x4, x5, [x0, #(\start + 8 * 4)]
    \operation x6, x7, [x0, #(\start + 8 * 6)]
    \operation x8, x9, [x0, #(\start + 8 * 8)]
    \operation x10, x11, [x0, #(\start + 8 * 10)]
    \operation x12, x13, [x0, #(\start + 8 * 12)]
    \operation x14, x15, [x0, #(\start + 8 * 14)]
    \operation x16, x17, [x0, #(\start + 8 * 16)]
    \operation x18, x19, [x0, #(\start + 8 * 18)]
    \operation x20, x21, [x0, #(\start + 8 * 20)]
    \operation x22, x23, [x0, #(\start + 8 * 22)]
    \operation x24, x25, [x0, #(\start + 8 * 24)]
    \operation x26, x27, [x0, #(\start + 8 * 26)]
    \operation x28, x29, [x0, #(\start + 8 * 28)]
.endm

// An exception of EL2 itself is a bug. SP may be what is wrong, so nothing is pushed.
.macro from_el2 kind
    .balign 0x80
    msr     sp_el0, x0                      // the panic record takes x0 back from here
    mrs     x0, tpidr_el2
    str     x1, [x0, #(CPU_PANIC_X + 8 * 1)]
    mov     x1, #\kind
    b       panic_entry
.endm

.macro from_guest handler
    .balign 0x80
    stp     x0, x1, [sp, #-16]!
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #CPU_CURRENT]
    x2_to_x29 stp, VCPU_X
    str     x30, [x0, #(VCPU_X + 8 * 30)]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0, #VCPU_X]
    mrs     x1, elr_el2
    mrs     x2, spsr_el2
    stp     x1, x2, [x0, #VCPU_PC]
    mov     x29, xzr                        // a backtrace ends here
    bl      \handler
    b       guest_resume
.endm

    .section .text.vectors, "ax"
    .balign 0x800
    .global vectors
vectors:
    from_el2 0                              // SP_EL0: EL2 never uses it
    from_el2 1
    from_el2 2
    from_el2 3
    from_el2 4                              // SP_EL2
    from_el2 5
    from_el2 6
    from_el2 7
    from_guest trap_synchronous             // AArch64 guest
    from_guest trap_interrupt
    from_guest trap_interrupt
    from_guest trap_serror
    from_guest trap_aarch32                 // AArch32 guest: refused
    from_guest trap_aarch32
    from_guest trap_aarch32
    from_guest trap_aarch32

// Enter the guest that the CPU has loaded, or wait until it can go on. The caller's stack is given up.
    .global guest_wait
guest_wait:
    mrs     x0, tpidr_el2
    ldr     x1, [x0, #CPU_STACK_TOP]
    mov     sp, x1
    b       sched_wait

    .global guest_enter
guest_enter:
    mrs     x0, tpidr_el2
    ldr     x1, [x0, #CPU_STACK_TOP]
    mov     sp, x1

guest_resume:
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #CPU_CURRENT]
    ldp     x1, x2, [x0, #VCPU_PC]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    x2_to_x29 ldp, VCPU_X
    ldr     x30, [x0, #(VCPU_X + 8 * 30)]
    ldp     x0, x1, [x0, #VCPU_X]
    eret
    dsb     nsh                             // no speculation past ERET
    isb

// X0 = struct cpu, X1 = the vector's number; x0 is in SP_EL0, x1 in the record.
panic_entry:
    x2_to_x29 stp, CPU_PANIC_X
    str     x30, [x0, #(CPU_PANIC_X + 8 * 30)]
    mrs     x2, sp_el0
    str     x2, [x0, #CPU_PANIC_X]
    mov     x2, sp
    str     x2, [x0, #CPU_PANIC_SP]
    ldr     x2, [x0, #CPU_PANIC_STACK_TOP]
    mov     sp, x2
    add     x0, x0, #CPU_PANIC_X            // the record begins with them
    mov     x29, xzr
    b       panic_exception
