// SPDX-License-Identifier: Apache-2.0
// Cache maintenance that has been executed and is not complete: it takes effect at the next DSB of
// its CPU at the latest. When it is completed before that, nobody can tell.
#include "views.h"

#include <stddef.h>

#define PAGE_SHIFT 12
#define LINE_SHIFT 6
#define LINES_SHIFT (PAGE_SHIFT - LINE_SHIFT)
#define LINE_IN_PAGE(line) ((line) & ((1u << LINES_SHIFT) - 1))

// IC of lines of a page takes effect, and what was translated since it was executed goes.
void aether_complete_code(void *uc, struct hook_state *s, uint64_t number)
{
    struct deferred *d = &s->views->deferred[number];
    uint64_t lines = d->code;
    d->code = 0;
    for (uint64_t n = 0; lines >> n; n++) {
        uint64_t line = number << LINES_SHIFT | n;
        if (!(lines >> n & 1)) {
            continue;
        }
        if (s->views->pages[number] & PAGE_HELD) {
            aether_note_code(s, 1, line);
            for (uint32_t i = 0; i < s->peer_count; i++) {
                aether_note_code(s->peers[i], 1, line);
            }
        }
        aether_view_invalidate_line(uc, s, line);
        if (n == LINE_IN_PAGE(~0ull)) {
            break;
        }
    }
}

// DC of lines of a page takes effect.
void aether_complete_data(struct hook_state *s, uint64_t number)
{
    struct deferred *d = &s->views->deferred[number];
    uint64_t clean = d->clean, invalidate = d->invalidate;
    d->clean = d->invalidate = 0;
    for (uint64_t n = 0; n <= LINE_IN_PAGE(~0ull) && (clean | invalidate) >> n; n++) {
        uint32_t effect =
            (clean >> n & 1 ? MAINTAIN_CLEAN : 0) | (invalidate >> n & 1 ? MAINTAIN_INVALIDATE : 0);
        if (effect) {
            aether_view_complete_line(s, number << LINES_SHIFT | n, effect);
        }
    }
}

// Whether an access through the cache finds another thing before and after a deferred DC of its
// line: those come in program order. It does not if the line is dirty, and cleaned too.
int aether_has_to_ask(const struct views *v, uint64_t number)
{
    const struct deferred *d = &v->deferred[number];
    int is_dirty_only = (v->pages[number] & (PAGE_CACHED | PAGE_SPLIT)) == PAGE_CACHED;
    return is_dirty_only ? (d->invalidate & ~d->clean) != 0 : (d->invalidate | d->clean) != 0;
}

// What comes next in the straight line of code at `pc`, which goes on at least to `end`. Not less
// than what runs before the next block is announced, and the same wherever blocks are cut.
#define AHEAD_WORDS 16u

static int is_full_barrier(uint32_t word)
{
    // CRm [1:0]: 3 all accesses; 0 is reserved, and then all
    return ((word & 0xfffff0dfu) == 0xd503309fu) &&
           ((word >> 8 & 3u) == 3 || (word >> 8 & 3u) == 0);
}

static int is_branch(uint32_t word)
{
    return (word & 0x1c000000u) == 0x14000000u && word >> 24 != 0xd5u; // or an exception
}

static int is_access(uint32_t word)
{
    return (word & 0x0a000000u) == 0x08000000u || (word & 0xffffffe0u) == 0xd50b7420u; // DC ZVA
}

static uint32_t look_ahead(void *uc, struct hook_state *s, uint64_t pc, uint64_t end)
{
    uint32_t words[AHEAD_WORDS], ahead = 0;
    uint64_t page_end = (pc >> PAGE_SHIFT << PAGE_SHIFT) + (1u << PAGE_SHIFT);
    uint64_t last = end > page_end ? end : page_end;
    while (pc < last) {
        uint64_t part = (pc >> PAGE_SHIFT << PAGE_SHIFT) + (1u << PAGE_SHIFT) - pc;
        part = part > sizeof(words) ? sizeof(words) : part;
        part = part > last - pc ? last - pc : part;
        if (s->vmem_read(uc, pc, UC_PROT_EXEC, words, part) != 0) {
            return AHEAD_BARRIER; // cannot tell: take effect at once
        }
        for (uint32_t i = 0; i < part / sizeof(*words); i++) {
            if (is_full_barrier(words[i])) {
                return ahead | AHEAD_BARRIER;
            }
            if (is_branch(words[i])) {
                return ahead;
            }
            ahead |= is_access(words[i]) ? AHEAD_ACCESS : 0;
        }
        pc += part;
    }
    return ahead;
}

// What lies ahead of the instruction that runs.
uint32_t aether_ahead_of_this(void *uc, struct hook_state *s)
{
    uint64_t pc = 0;
    s->reg_read(uc, s->reg_pc, &pc);
    return look_ahead(uc, s, pc + sizeof(uint32_t),
                      s->block_pc + s->block_instructions * sizeof(uint32_t));
}

void aether_view_drop_probed(void *uc, const struct hook_state *s)
{
    if (s->views && s->views->probed) {
        s->views->probed = 0;
        s->ctl(uc, s->ctl_flush_tlb);
    }
}

void aether_view_complete(void *uc, struct hook_state *s)
{
    struct views *v = s->views;
    uint32_t count = v->queue_count;
    s->attention &= ~ATTENTION_CACHES;
    v->queue_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        v->deferred[v->queue[i]].owner = 0;
        aether_complete_data(s, v->queue[i]);
        aether_complete_code(uc, s, v->queue[i]);
    }
    if (v->code_deferred) {
        uint32_t peers = v->code_deferred == IC_EVERYONE ? s->peer_count : 0;
        v->code_deferred = 0;
        v->look(LOOK_INVALIDATE, 0, 0);
        aether_note_code(s, 0, 0);
        for (uint32_t i = 0; i < peers; i++) {
            aether_note_code(s->peers[i], 0, 0);
        }
    }
    if (v->sweep_waits) {
        v->look(LOOK_COMPLETE, 0, 0);
    }
    aether_view_drop_probed(uc, s);
}

// Another CPU has the page from now on: `queue` holds what is its CPU's, and no page twice.
static void leave_queue(struct hook_state *s, uint64_t number)
{
    uint32_t kept = 0;
    struct views *v = NULL;
    for (uint32_t i = 0; i < s->peer_count; i++) {
        if (s->peers[i]->views->number == s->views->deferred[number].owner) {
            v = s->peers[i]->views;
        }
    }
    for (uint32_t i = 0; v && i < v->queue_count; i++) {
        if (v->queue[i] != number) {
            v->queue[kept++] = v->queue[i];
        }
    }
    if (v) {
        v->queue_count = kept;
    }
}

static struct deferred *defer(void *uc, struct hook_state *s, uint64_t number)
{
    struct views *v = s->views;
    struct deferred *d = &v->deferred[number];
    if (d->owner != v->number) {
        if (v->queue_count == DEFERRED_PAGES) {
            aether_view_complete(uc, s);
        }
        leave_queue(s, number);
        aether_complete_data(s, number); // another CPU's
        aether_complete_code(uc, s, number);
        d->owner = v->number;
        v->queue[v->queue_count++] = (uint32_t)number;
    }
    s->attention |= ATTENTION_CACHES;
    return d;
}

void aether_defer_data(void *uc, struct hook_state *s, uint64_t line, uint32_t effect)
{
    uint64_t number = line >> LINES_SHIFT, mark = 1ull << LINE_IN_PAGE(line);
    struct deferred *d = defer(uc, s, number);
    int had_to_ask = aether_has_to_ask(s->views, number);
    d->clean |= effect & MAINTAIN_CLEAN ? mark : 0;
    d->invalidate |= effect & MAINTAIN_INVALIDATE ? mark : 0;
    if (!had_to_ask && aether_has_to_ask(s->views, number)) {
        aether_view_flush(uc, s);
    }
}

void aether_defer_code(void *uc, struct hook_state *s, uint64_t line)
{
    defer(uc, s, line >> LINES_SHIFT)->code |= 1ull << LINE_IN_PAGE(line);
}

void aether_view_block(void *uc, struct hook_state *s, uint64_t pc, uint64_t size)
{
    uint32_t ahead = look_ahead(uc, s, pc, pc + size);
    if (ahead & AHEAD_BARRIER) {
        aether_view_complete(uc, s);
    } else if (ahead & AHEAD_ACCESS) {
        aether_view_drop_probed(uc, s);
    }
}
