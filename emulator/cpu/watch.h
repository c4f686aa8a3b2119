// SPDX-License-Identifier: Apache-2.0
// What a search through a run is told: executions of instructions, accesses to bytes of RAM,
// writes of system registers, changes of a register. Nothing here changes a run.
#ifndef AETHER_WATCH_H
#define AETHER_WATCH_H

#include "hooks.h"

// Bits of `watch.pages` and `watched_range.accesses`.
#define WATCH_READS 1u
#define WATCH_WRITES 2u

struct watched_range {
    uint64_t start, end; // offsets into RAM
    uint32_t accesses;
    uint32_t id;
};

struct watched_code {
    uint64_t va;
    uint64_t sp_least, sp_most;
    uint32_t levels; // bit n: at ELn
    uint32_t vmid;   // ANY_VMID: of any
    uint32_t id;
};
#define ANY_VMID (~0u)

// `ahead`: how many instructions before hook_state.peek_at. Of an access it is that of the start of
// the block that it is in, unless `watch.is_exact`; and of a load that is not aligned to its size
// it is then the two aligned pieces around it that count.
struct hit {
    int64_t ahead;
    uint64_t pc;
    uint64_t address; // PA; encoding of a system register
    uint64_t value;
    uint32_t id;
    uint16_t size;
    uint16_t is_store;
};

// One for each CPU. `pages` is shared: a byte for each page of RAM.
struct watch {
    uint64_t alias; // PA of a window over RAM, through which watched pages are accessed
    uint8_t *pages;
    struct watched_range *ranges;
    struct watched_code *codes;
    struct watched_range *sysregs; // `start` is the encoding
    struct hit *hits;              // a ring if the last are kept
    uint64_t count;                // of all that were found
    uint64_t pc;                   // of the access that is on its way, if `is_exact`
    uint64_t access_pa;            // its first byte, and how many there are
    uint64_t access_size;
    uint64_t value;    // of the register, at the last instruction
    uint64_t value_pc; // that instruction's
    int64_t value_ahead;
    int64_t nearest; // hits outside [nearest, farthest] ahead are left out
    int64_t farthest;
    uint32_t capacity;
    uint32_t keeps_last;
    uint32_t is_exact;
    uint32_t range_count, code_count, sysreg_count;
    uint32_t has_value;
    int32_t reg; // Unicorn's number of the register
    uint32_t reg_id;
};

// A TLB fill is about to be answered with `out`.
void aether_watch_fill(struct hook_state *s, struct uc_tlb_entry *out, uint32_t access);
// DC ZVA on a line of RAM, before it is done.
void aether_watch_zero(void *uc, struct hook_state *s, uint64_t offset, uint64_t size);
// MSR or SYS, before it executes.
void aether_watch_sysreg(void *uc, struct hook_state *s, uint32_t key, uint64_t value);

#endif
