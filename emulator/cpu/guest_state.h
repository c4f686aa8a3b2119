// SPDX-License-Identifier: Apache-2.0
// Registers of guests as they leave them and as they find them again, and the registers of EL2 that
// a guest depends on. Nothing here changes a run.
#ifndef AETHER_GUEST_STATE_H
#define AETHER_GUEST_STATE_H

#include "hooks.h"

// What is told; `a`, `b`, `c` by kind. Guests are vCPUs, by their number in `struct guests`.
enum guest_event {
    GUEST_FIRST = 0,   // this CPU enters a guest for the first time since reset: its number
    GUEST_LEAK = 1,    // number of the value, of the guest that it comes from, the value
    GUEST_CARRIED = 2, // number of the control, of the guest that it comes from, the value
    GUEST_STACK = 3,   // an exception from below finds an SP_EL2 not seen before: its value
    GUEST_VECTORS = 4, // a guest is entered with a VBAR_EL2 not seen before: its value
};

#define GUEST_X 31u
#define GUEST_SYSTEM 20u // all of them
#define GUEST_V 64u      // halves of V0-V31
#define GUEST_VALUES (GUEST_X + GUEST_SYSTEM + GUEST_V)
#define GUEST_CONTROLS 8u
#define GUEST_MOST 64u
#define GUEST_STACKS 16u
#define NO_GUEST (~0u)

struct guest {
    uint64_t key;               // VMID << 32 | VMPIDR_EL2[31:0]
    uint32_t results;           // X registers in which EL2 may answer the last exit
    uint32_t has_values, has_v; // seen; V0-V31 too
    uint32_t unused;
    uint64_t values[GUEST_VALUES];     // X, system registers, V: as last seen
    uint8_t is_own[GUEST_VALUES];      // the guest itself has made that value, not EL2
    uint64_t controls[GUEST_CONTROLS]; // at its last entry
};

// Shared by all CPUs.
struct guests {
    uint32_t count, unused;
    struct guest guests[GUEST_MOST];
};

typedef void (*guest_fn)(uint32_t kind, uint64_t a, uint64_t b, uint64_t c);

// One for each CPU.
struct guest_watch {
    struct guests *guests;
    guest_fn tell;
    uint32_t *written; // SYSREG_KEYS entries: `stay` of the last MSR at EL2, 0 for none
    uint32_t stay;     // counts the stays at EL2, from 1
    uint32_t last;     // the guest that ran last, or NO_GUEST
    uint32_t has_entered;
    int32_t reg_q0;
    uint32_t stacks, next_stack;
    uint64_t stack[GUEST_STACKS];
    uint64_t vbar;
    uint64_t eret; // PC of the last ERET
    uint32_t control_count;
    struct uc_cp_reg system[GUEST_SYSTEM];
    struct uc_cp_reg controls[GUEST_CONTROLS];
};

// An exception of `kind` has been taken to EL2 from below.
void aether_guest_left(void *uc, struct hook_state *s, uint32_t kind);
// EL2 has been left; the guest's first instruction is next.
void aether_guest_entered(void *uc, struct hook_state *s);

#endif
