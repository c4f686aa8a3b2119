// SPDX-License-Identifier: Apache-2.0
// A physical CPU of the schedule. TPIDR_EL2 points to it.
#ifndef EL2_CPU_H
#define EL2_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/manifest.h>
#include <el2/panic.h>
#include <el2/sysregs.h>
#include <el2/telemetry.h>

struct vcpu;

// A part of the major frame, in ticks of the system counter.
struct slot {
    struct vcpu *vcpu;   // NULL: idle
    uint64_t start, end; // from the start of the frame
};

// The vectors use current, panic and the stack tops through offsets.h.
struct cpu {
    struct vcpu *current; // whose registers are loaded and whose guest runs; NULL: none
    uint64_t stack_top;
    uint64_t panic_stack_top;
    struct panic_record panic;
    uint32_t index;  // in the board's list of CPUs; 0 is the one that booted, and owns the UART
    uint32_t online; // set by itself, read by CPU 0
    uint64_t mpidr;  // affinity fields only
    uint32_t slot;   // the current one
    uint32_t slot_count;
    uint64_t frame_start; // of the current frame
    uint64_t slot_end;
    struct cpu_telemetry *telemetry;
    struct slot slots[SLOT_MAX];
};

__attribute__((visibility("hidden"))) extern struct cpu cpus[CPU_MAX];
__attribute__((visibility("hidden"))) extern uint32_t cpu_count;

// Not volatile: it never changes under a caller.
static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__("mrs %0, tpidr_el2" : "=r"(cpu));
    return cpu;
}

// The system counter, common to all CPUs. Not read before what comes before it is done.
static inline uint64_t counter(void)
{
    isb(); // the read is not hoisted above
    return READ_SYSREG(cntpct_el0);
}

#endif
