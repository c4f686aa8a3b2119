// SPDX-License-Identifier: Apache-2.0
// Switch points: instructions at EL2 before which another CPU may be given the turn. They are
// counted as they are reached; at the number that the interleaving names, the slice ends.
#ifndef AETHER_INTERLEAVE_H
#define AETHER_INTERLEAVE_H

#include "hooks.h"

// What an instruction is. The bit beside it: it reaches memory that several CPUs use.
enum point_kind {
    POINT_UNKNOWN = 0, // not looked at yet
    POINT_NONE = 1,
    POINT_LOAD = 2,     // a plain load or store: a switch point with POINT_SHARED
    POINT_STORE = 3,    // only
    POINT_SYNC = 4,     // DSB, DMB, TLBI, SMC, and what stores atomically, exclusively, or releases
    POINT_SYNC_LOAD = 5 // a load that acquires, or is exclusive
};
#define POINT_SHARED 0x80u

// Why a slice ended at a switch point.
enum switch_reason {
    SWITCH_NAMED = 1, // the interleaving names the point
    SWITCH_SPIN = 2,  // the CPU loads the same word again and again
};

// A word that EL2 accesses, while it is learnt which are shared. Bit n: CPU n.
struct accessed_word {
    uint64_t va; // of 8 bytes; 0 if the entry is free
    uint32_t readers;
    uint32_t writers;
};
#define ACCESSED_WORDS (1u << 16)
#define ACCESSED_PROBES 16u

// One for all CPUs, of which one runs at a time.
struct switch_points {
    uint64_t base; // VA at EL2 of the code that has them, `count` instructions
    uint64_t count;
    uint8_t *kinds;              // one for each instruction
    uint64_t reached;            // switch points so far
    uint64_t stop_at;            // the number, from 1, of the one at which the slice ends
    uint32_t is_on;              // count, and stop
    uint32_t is_alone;           // no other CPU has anything to do: nothing is counted
    uint32_t is_learning;        // which words are shared
    uint32_t spins;              // slices ended by SWITCH_SPIN since the last switch point
    uint32_t switch_reason;      // of the stop
    uint32_t most_repeats;       // of a load, before SWITCH_SPIN
    struct accessed_word *words; // ACCESSED_WORDS entries, while it is learnt
};

// One for each CPU.
struct switching_cpu {
    struct hook_state *state;
    struct switch_points *points;
    uint32_t number;
    uint32_t repeats;     // of the switch point reached last
    uint64_t last_pc;     // where that is
    uint64_t last_number; // its instruction's number on this CPU, plus 1
};

#endif
