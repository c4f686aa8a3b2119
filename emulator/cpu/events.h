// SPDX-License-Identifier: Apache-2.0
// What a recording is told of a run, in the order in which it happens. Nothing here changes a run.
#ifndef AETHER_EVENTS_H
#define AETHER_EVENTS_H

#include "hooks.h"

// `a`, `b`, `c` by kind; others are noted by Python.
enum event_kind {
    EVENT_EXCEPTION = 0,    // ESR, preferred return address, levels | kind << 8
    EVENT_ERET = 1,         // the EL it went to, PC there, the EL it came from
    EVENT_HYPERCALL = 3,    // X0, preferred return address, the immediate
    EVENT_TLBI = 5,         // key, argument, PC
    EVENT_SYSREG_WRITE = 7, // key, value, PC
    EVENT_INTERRUPT = 9,    // 0, preferred return address, levels | kind << 8
};
#define EVENT_LEVELS(from, to) ((from) | (to) << 4)

struct event {
    uint64_t position; // instructions that all CPUs had retired
    uint64_t a, b, c;
    uint8_t kind, cpu, vm;
    uint8_t unused[5];
};

// Shared by all CPUs. `drain` takes over what is there and sets `count` to 0; it is called when the
// buffer is full.
struct event_buffer {
    uint32_t count;
    uint32_t capacity;
    struct event *events;
    void (*drain)(void);
};

// One for each CPU.
struct event_log {
    struct event_buffer *buffer;
    uint32_t cpu;
    uint32_t vm; // VMID in VTTBR_EL2
};

// `retired` is this CPU's count.
void aether_log(const struct hook_state *s, enum event_kind kind, uint64_t retired, uint64_t a,
                uint64_t b, uint64_t c);
// An exception as run.c takes it;
void aether_log_exception(void *uc, const struct hook_state *s, uint32_t levels, uint32_t kind,
                          uint64_t esr, uint64_t elr);
// MSR or SYS, before it executes.
void aether_log_sysreg(void *uc, const struct hook_state *s, uint32_t key, uint64_t value);

#endif
