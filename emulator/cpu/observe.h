// SPDX-License-Identifier: Apache-2.0
// What a monitor is told of while EL2 runs. Nothing here changes a run.
#ifndef AETHER_OBSERVE_H
#define AETHER_OBSERVE_H

#include "hooks.h"

// What happened. `a`, `b`, `c` by kind.
enum observed_kind {
    OBSERVED_STORE = 0,   // word of a watched page: PA, old value, new value
    OBSERVED_SYSREG = 1,  // MSR, TLBI or cache maintenance at EL2, before it executes: key, value
    OBSERVED_BARRIER = 2, // DSB or ISB at EL2, before it executes: the instruction
    OBSERVED_CODE = 3,    // EL2 executes from a page for the first time: its PA
    OBSERVED_ENTRY = 4,   // an exception to EL2 from below: its kind
    OBSERVED_ERET = 5,    // EL2 has been left by an ERET: EL below
    OBSERVED_LOWER_TLBI = 6, // TLBI at EL1, before it executes: key, value
    OBSERVED_LOWER_DSB = 7,  // a DSB that follows one in the same block or begins the next: it
    OBSERVED_CONTEXT = 8,    // EL2 has synchronised: ERET, SMC, exception to itself
};

// Which of them are wanted now; the others always are.
#define WANT_BARRIERS 1u // DSB and ISB, OBSERVED_CONTEXT
#define WANT_ERET 2u
#define WANT_ALL 4u        // these, and exceptions to EL2
#define WANT_CACHES 8u     // DC, IC and AT
#define WANT_LOWER 16u     // TLBI at EL1
#define WANT_LOWER_DSB 32u // and DSB, found in the blocks to come: with ATTENTION_BARRIERS

typedef void (*observe_fn)(uint32_t kind, uint64_t a, uint64_t b, uint64_t c);
// Whether the DSB or ISB at `pc` has its hook.
typedef uint32_t (*is_hooked_fn)(uint64_t pc);

// When stores were made: counts what orders stores at EL2, of all CPUs, from 1. A store comes after
// all that were made before in the run, since barriers are cumulative.
struct store_clock {
    uint32_t now;
    uint32_t published; // after the last DSB that shows stores to the walkers of all CPUs
};

// One for each CPU; `clock`, `watched` and `code` are shared.
struct observer {
    uint32_t wanted;    // WANT_*
    uint32_t stored;    // EL2 has stored to some page since the last barrier
    uint32_t seen;      // `now` after the last DSB that shows stores to the walker of this CPU
    uint32_t ordered;   // after its last DSB, DMB or release: its stores before come before others
    uint32_t has_lower; // the lower half of a 64-bit store has come: `lower`
    uint64_t store_pc;  // of the last store to a watched page
    uint64_t lower;
    uint64_t alias; // PA of a window over RAM, through which watched pages are written
    struct store_clock *clock;
    uint8_t *watched;    // one for each page of RAM: its stores are reported
    uint8_t *code;       // one for each page of RAM: EL2 has executed from it
    uint32_t *stored_at; // one for each page of RAM: `now` at EL2's last store
    uint8_t *before;     // NULL, or as RAM: pages as they were before EL2's first store of `now`
    observe_fn observe;
    is_hooked_fn is_hooked;
};

// A TLB fill is about to be answered with `out`, for an access from `el`.
void aether_observe_fill(void *uc, struct hook_state *s, struct uc_tlb_entry *out, uint32_t el,
                         uint32_t access);
// MSR or SYS.
void aether_observe_sysreg(void *uc, struct hook_state *s, uint32_t key, uint64_t value);
// A block that is about to run while `attention` has ATTENTION_BARRIERS.
void aether_observe_lower_block(void *uc, struct hook_state *s, uint64_t pc, uint64_t size);
// DC ZVA on a line of RAM. Returns 1 if it was done here.
uint32_t aether_observe_zero(void *uc, struct hook_state *s, uint64_t line);
// An exception to EL2, or an ERET from it.
void aether_observe_level(struct hook_state *s, enum observed_kind kind, uint64_t a);
// Code translated anew. Returns 1 if its barriers are to be hooked first.
uint32_t aether_observe_block(struct hook_state *s, const uint32_t *words, uint64_t pc,
                              uint64_t count);

#endif
