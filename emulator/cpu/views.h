// SPDX-License-Identifier: Apache-2.0
// Caches that do not agree with memory: where a TLB fill leads, and what cache maintenance does to
// the lines. A page's bytes lie in RAM; only while cache and memory differ they are split, and then
// RAM holds what the cache shows and a window what memory does. Python decides; see
// adversary/caches.py.
#ifndef AETHER_VIEWS_H
#define AETHER_VIEWS_H

#include "hooks.h"

// Bits of `pages`. A page is open in one view at a time; the first access of the other type asks.
#define PAGE_CACHED 1u    // open for accesses of a cacheable type
#define PAGE_MEMORY 2u    // open for the others
#define PAGE_SPLIT 4u     // what memory holds is in `memory`
#define PAGE_LINES 8u     // stores through the cache are seen one by one: which lines are dirty
#define PAGE_WRITTEN 16u  // written since reset, or loaded by firmware
#define PAGE_READ 32u     // EL2 has read it, and nobody had written it
#define PAGE_EXECUTED 64u // fetched since it was last opened for a store
#define PAGE_HELD 128u    // fetches see old instructions: those in the window for them

// Bits of `tlb_entry.view`: what is not cacheable.
#define VIEW_DATA_PAST 1u
#define VIEW_FETCH_PAST 2u

#define LEVELS 2u
#define SWEEP_SLOTS (512u + 16384u) // sets by ways of both levels

// What Python is asked or told. `page` is a number from the start of RAM.
enum look_kind {
    LOOK_OPEN = 0,       // the first access by the view `a` (PAGE_CACHED, PAGE_MEMORY)
    LOOK_EXECUTE = 1,    // the first fetch since a store; a: not cacheable
    LOOK_REWRITE = 2,    // the first store since a fetch
    LOOK_UNWRITTEN = 3,  // EL2 reads what nobody has written; a: VA of the page
    LOOK_MAINTAIN = 4,   // DC by VA takes effect; a: line in the page << 2 | MAINTAIN_*
    LOOK_SWEEP = 5,      // DC by set and way has gone over all of the cache; a: MAINTAIN_*
    LOOK_INVALIDATE = 6, // IC of everything
    LOOK_ALLOWED = 7,    // whether DC of the encoding `a` executes at the current EL
    LOOK_AGREED = 9,     // `agreed` has to have the page
    LOOK_TURN = 8,       // EL2 is left, and there are dirty lines over memory in use
    LOOK_DEFER = 10,     // whether a DC takes effect later than now
    LOOK_COMPLETE = 11,  // a DSB: what Python has deferred takes effect
};
#define MAINTAIN_INVALIDATE 1u
#define MAINTAIN_CLEAN 2u
#define SWEEP_DEFERRED 4u

// Cache maintenance that has been executed and is not complete, by page: bit n is line n. Shared by
// all CPUs; `owner` is the one that executed it, counted from 1, 0 if there is nothing.
struct deferred {
    uint64_t clean;
    uint64_t invalidate;
    uint64_t code;
    uint64_t owner;
};
#define DEFERRED_PAGES 4096u // of one CPU; with more, all of it takes effect

typedef uint32_t (*look_fn)(uint32_t kind, uint64_t page, uint64_t a);

// One for each CPU; what it points at is shared.
// Whose translated code an IC of everything drops: that of the CPU that executes it, or of all.
#define IC_OWN 1u
#define IC_EVERYONE 2u

struct views {
    uint8_t *pages;      // PAGE_*
    uint8_t *has_agreed; // of each page: whether `agreed` holds it
    uint8_t *agreed;     // RAM as cache and memory last agreed on it: a line that differs is dirty
    uint8_t *memory;     // of pages that are split
    uint64_t *stored;    // of each page with PAGE_LINES: lines stored to (bit n)
    uint64_t *held;      // of each page: lines that instruction caches may hold
    uint8_t *swept;      // SWEEP_SLOTS: sets and ways that DC has named since the last sweep
    look_fn look;
    uint32_t probes; // a translation is asked for maintenance: nothing is read
    uint32_t turns;  // LOOK_TURN is wanted
    uint32_t swept_count;
    uint32_t swept_as; // MAINTAIN_* of all of them
    // What waits for the next DSB of this CPU.
    struct deferred *deferred; // one for each page of RAM, shared
    uint32_t *queue;           // numbers of the pages that this CPU owns, in order
    uint32_t queue_count;
    uint32_t number;        // of this CPU, from 1
    uint32_t code_deferred; // IC of everything: IC_OWN or IC_EVERYONE
    uint32_t sweep_waits;   // LOOK_COMPLETE is wanted
    uint32_t probed;        // Unicorn's TLB has a translation of a page with something deferred
};

// A TLB fill is about to be answered with `out`, from `e`.
void aether_view_fill(void *uc, struct hook_state *s, struct uc_tlb_entry *out,
                      const struct tlb_entry *e, uint32_t access);
// Where the bytes are that a store to this line of RAM changes.
uint8_t *aether_view_bytes(struct hook_state *s, uint64_t line);
// Where the bytes are that an access to this line sees, of the type that its page is open for.
uint8_t *aether_view_seen(const struct hook_state *s, uint64_t line);
// A store through the cache, at an offset into RAM.
void aether_view_stored(struct hook_state *s, uint64_t offset);
// Whether a descriptor at an offset into RAM is the one that RAM shows.
int aether_view_is_plain(const struct hook_state *s, uint64_t offset);
// DC. `offset`: of its VA in RAM, if `is_ram`.
void aether_view_maintain(void *uc, struct hook_state *s, const struct uc_cp_reg *reg, uint32_t key,
                          int is_ram, uint64_t offset);
// A block that is about to run while `attention` has ATTENTION_CACHES.
void aether_view_block(void *uc, struct hook_state *s, uint64_t pc, uint64_t size);
// What a DSB of this CPU does.
void aether_view_complete(void *uc, struct hook_state *s);
// No access finds the translations that probes have left.
void aether_view_drop_probed(void *uc, const struct hook_state *s);
// Whether a DC needs its VA translated.
int aether_view_by_va(const struct uc_cp_reg *reg);
// IC of a line of RAM.
void aether_view_invalidate(void *uc, struct hook_state *s, uint64_t line);
// IC of everything, IC_OWN or IC_EVERYONE.
void aether_view_invalidate_all(void *uc, struct hook_state *s, uint32_t whose);
// A line of RAM: a DC of it takes effect; an IC of it.
void aether_view_complete_line(struct hook_state *s, uint64_t line, uint32_t effect);
void aether_view_invalidate_line(void *uc, struct hook_state *s, uint64_t line);
// What the CPUs were granted no longer holds.
void aether_view_flush(void *uc, struct hook_state *s);

// deferred.c. DC of a line, MAINTAIN_*; IC of a line: it waits for the next DSB.
void aether_defer_data(void *uc, struct hook_state *s, uint64_t line, uint32_t effect);
void aether_defer_code(void *uc, struct hook_state *s, uint64_t line);
// DC, or IC, of lines of a page takes effect.
void aether_complete_data(struct hook_state *s, uint64_t number);
void aether_complete_code(void *uc, struct hook_state *s, uint64_t number);
// Whether an access through the cache to a page has to wait for what is deferred.
int aether_has_to_ask(const struct views *v, uint64_t number);
// What lies ahead of the instruction that runs, in its straight line of code.
#define AHEAD_BARRIER 1u // a DSB or DMB of all accesses
#define AHEAD_ACCESS 2u  // a load or store, before that
uint32_t aether_ahead_of_this(void *uc, struct hook_state *s);

#endif
