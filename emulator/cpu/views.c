// SPDX-License-Identifier: Apache-2.0
#include "views.h"
#include "observe.h"

#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u
#define PAGE_SHIFT 12
#define LINE_SHIFT 6
#define LINES_SHIFT (PAGE_SHIFT - LINE_SHIFT)
#define LINE_WORDS 8u
#define LINE_IN_PAGE(line) ((line) & ((1u << LINES_SHIFT) - 1))

// CRm of DC, and op2 of the forms by set and way.
#define DC_INVALIDATE 6u
#define DC_CLEAN 10u
#define DC_CLEAN_UNIFICATION 11u
#define DC_BOTH 14u
#define DC_SET_WAY 2u

#define HCR_VM (1ull << 0)
#define HCR_SWIO (1ull << 1)
#define HCR_DC (1ull << 12)
#define HCR_TSW (1ull << 22)
#define HCR_TPC (1ull << 23)

static int is_watched(const struct hook_state *s, uint64_t page)
{
    return s->observer && s->observer->watched[page];
}

static void fetch(struct hook_state *s, struct uc_tlb_entry *out, uint8_t *page, uint64_t number,
                  uint32_t is_past)
{
    if (!(*page & PAGE_EXECUTED)) {
        s->views->look(LOOK_EXECUTE, number, is_past);
    }
    // Data may lie elsewhere: a load of the page has to ask.
    out->perms = (int32_t)UC_PROT_EXEC;
    if (*page & PAGE_HELD) {
        out->paddr += VIEW_INSTRUCTIONS;
    }
}

void aether_view_flush(void *uc, struct hook_state *s)
{
    s->ctl(uc, s->ctl_flush_tlb);
    for (uint32_t i = 0; i < s->peer_count; i++) {
        s->peers[i]->tlb_flush_due = 1;
    }
}

void aether_view_invalidate_line(void *uc, struct hook_state *s, uint64_t line)
{
    struct views *v = s->views;
    uint64_t number = line >> LINES_SHIFT;
    v->held[number] &= ~(1ull << LINE_IN_PAGE(line));
    if (v->pages[number] & PAGE_HELD) {
        v->pages[number] &= (uint8_t)~PAGE_EXECUTED; // look again, on all CPUs
        aether_view_flush(uc, s);
    }
}

void aether_view_fill(void *uc, struct hook_state *s, struct uc_tlb_entry *out,
                      const struct tlb_entry *e, uint32_t access)
{
    struct views *v = s->views;
    uint64_t offset = e->pa - s->ram_base, number = offset >> PAGE_SHIFT;
    if (offset >= s->ram_size) {
        return;
    }
    uint8_t *page = &v->pages[number];
    if (access == UC_MEM_FETCH) {
        fetch(s, out, page, number, e->view & VIEW_FETCH_PAST);
        return;
    }
    uint8_t wanted = e->view & VIEW_DATA_PAST ? PAGE_MEMORY : PAGE_CACHED;
    if (wanted == PAGE_CACHED && aether_has_to_ask(v, number)) {
        if (v->probes) {
            v->probed = 1;
            s->attention |= ATTENTION_CACHES;
        } else {
            aether_complete_data(s, number);
        }
    }
    if (!(*page & wanted)) {
        v->look(LOOK_OPEN, number, wanted);
    }
    if (access == UC_MEM_WRITE) {
        if (*page & PAGE_EXECUTED) {
            aether_complete_code(uc, s, number);
        }
        if (*page & PAGE_EXECUTED) { // still: else the next fetch looks again
            v->look(LOOK_REWRITE, number, 0);
        }
        *page |= PAGE_WRITTEN;
    } else {
        if (!(*page & PAGE_WRITTEN) || (*page & PAGE_EXECUTED)) {
            out->perms &= ~(int32_t)UC_PROT_WRITE; // the first store has to ask
        }
        if (e->el == 2 && !(*page & (PAGE_WRITTEN | PAGE_READ)) && !v->probes) {
            *page |= PAGE_READ;
            v->look(LOOK_UNWRITTEN, number, e->page);
        }
    }
    if (wanted == PAGE_MEMORY) {
        out->paddr += *page & PAGE_SPLIT ? VIEW_MEMORY : 0;
    } else if ((*page & PAGE_LINES) && !is_watched(s, number)) {
        if (access == UC_MEM_WRITE) {
            out->paddr += VIEW_LINES;
        } else {
            out->perms &= ~(int32_t)UC_PROT_WRITE;
        }
    }
}

void aether_view_stored(struct hook_state *s, uint64_t offset)
{
    // Elsewhere a store that changes nothing makes no difference.
    if (s->views->pages[offset >> PAGE_SHIFT] & PAGE_LINES) {
        s->views->stored[offset >> PAGE_SHIFT] |= 1ull << LINE_IN_PAGE(offset >> LINE_SHIFT);
    }
}

uint8_t *aether_view_seen(const struct hook_state *s, uint64_t line)
{
    uint8_t page = s->views->pages[line >> LINES_SHIFT];
    return (page & PAGE_MEMORY) && (page & PAGE_SPLIT) ? s->views->memory : s->ram;
}

uint8_t *aether_view_bytes(struct hook_state *s, uint64_t line)
{
    uint8_t *bytes = aether_view_seen(s, line);
    if (bytes == s->ram) {
        aether_view_stored(s, line << LINE_SHIFT);
    }
    return bytes;
}

int aether_view_is_plain(const struct hook_state *s, uint64_t offset)
{
    return !(s->views->pages[offset >> PAGE_SHIFT] & PAGE_SPLIT);
}

// The window over RAM for stores to pages with PAGE_LINES: Unicorn's callbacks of a device.
uint64_t aether_on_line_read(void *uc, uint64_t offset, uint32_t size, void *user)
{
    const struct hook_state *s = user;
    uint64_t value = 0;
    (void)uc;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint64_t)((volatile uint8_t *)s->ram)[offset + i] << 8 * i;
    }
    return value;
}

void aether_on_line_write(void *uc, uint64_t offset, uint32_t size, uint64_t value, void *user)
{
    struct hook_state *s = user;
    (void)uc;
    for (uint32_t i = 0; i < size; i++) {
        ((volatile uint8_t *)s->ram)[offset + i] = (uint8_t)(value >> 8 * i);
        aether_view_stored(s, offset + i);
    }
}

static int is_allowed(struct hook_state *s, uint32_t key, uint64_t trap)
{
    return s->el == 2 || (s->el == 1 && !(s->hcr_el2 & trap)) ||
           s->views->look(LOOK_ALLOWED, 0, key);
}

static uint32_t effect_of(const struct hook_state *s, uint32_t crm, uint64_t also_cleans)
{
    uint32_t effect = crm == DC_INVALIDATE ? MAINTAIN_INVALIDATE : MAINTAIN_CLEAN;
    if (crm == DC_BOTH || (s->el < 2 && (s->hcr_el2 & (HCR_VM | HCR_DC | also_cleans)))) {
        effect |= crm == DC_CLEAN ? 0 : MAINTAIN_CLEAN | MAINTAIN_INVALIDATE;
    }
    return effect;
}

static void sweep(void *uc, struct hook_state *s, uint32_t effect)
{
    struct views *v = s->views;
    if (!(aether_ahead_of_this(uc, s) & AHEAD_BARRIER) && v->look(LOOK_DEFER, 0, 0)) {
        effect |= SWEEP_DEFERRED;
        s->attention |= ATTENTION_CACHES;
        v->sweep_waits = 1;
    }
    v->look(LOOK_SWEEP, 0, effect);
}

// A line may be in any way of the caches. So the operations count once each set and way of both
// levels has been named: what a loop that leaves some out has cleaned is never the line in
// question.
static void by_set_way(void *uc, struct hook_state *s, uint64_t operand, uint32_t effect)
{
    static const struct {
        uint32_t first, set_bits, way_bits;
    } levels[LEVELS] = {{0, 8, 1}, {512, 10, 4}};
    struct views *v = s->views;
    uint32_t level = (uint32_t)(operand >> 1) & 7u;
    if (level >= LEVELS) {
        return;
    }
    uint32_t set = (uint32_t)(operand >> LINE_SHIFT) & ((1u << levels[level].set_bits) - 1);
    uint32_t way = (uint32_t)(operand & 0xffffffffu) >> (32 - levels[level].way_bits);
    uint8_t *slot = &v->swept[levels[level].first + (set << levels[level].way_bits | way)];
    v->swept_as &= effect;
    if (*slot) {
        return;
    }
    *slot = 1;
    if (++v->swept_count == SWEEP_SLOTS) {
        uint32_t swept_as = v->swept_as;
        for (uint32_t i = 0; i < SWEEP_SLOTS; i++) {
            ((volatile uint8_t *)v->swept)[i] = 0;
        }
        v->swept_count = 0;
        v->swept_as = MAINTAIN_CLEAN | MAINTAIN_INVALIDATE;
        sweep(uc, s, swept_as);
    }
}

static void agree(struct hook_state *s, uint64_t line)
{
    const volatile uint64_t *from = (const uint64_t *)(const void *)(s->ram + (line << LINE_SHIFT));
    uint64_t *to = (uint64_t *)(void *)(s->views->agreed + (line << LINE_SHIFT));
    for (uint32_t i = 0; i < LINE_WORDS; i++) {
        to[i] = from[i];
    }
}

static int agrees(const struct hook_state *s, uint64_t line)
{
    const uint64_t *now = (const uint64_t *)(const void *)(s->ram + (line << LINE_SHIFT));
    const uint64_t *then =
        (const uint64_t *)(const void *)(s->views->agreed + (line << LINE_SHIFT));
    uint64_t differ = 0;
    for (uint32_t i = 0; i < LINE_WORDS; i++) {
        differ |= now[i] ^ then[i];
    }
    return differ == 0;
}

int aether_view_by_va(const struct uc_cp_reg *reg)
{
    return reg->op2 != DC_SET_WAY;
}

// Short for what Python does with pages that are not split, where it takes no choice.
void aether_view_complete_line(struct hook_state *s, uint64_t line, uint32_t effect)
{
    struct views *v = s->views;
    uint64_t number = line >> LINES_SHIFT, mark = 1ull << LINE_IN_PAGE(line);
    uint8_t page = v->pages[number];
    int is_single = !(page & PAGE_SPLIT);
    if (is_single && agrees(s, line)) {
        v->stored[number] &= ~mark;
        return;
    }
    if (is_single && !(v->stored[number] & mark)) {
        if (page & PAGE_CACHED ? effect & MAINTAIN_CLEAN : effect & MAINTAIN_INVALIDATE) {
            agree(s, line);
            return;
        }
        if (page & PAGE_MEMORY) {
            return; // the cache has nothing of its own to give
        }
    }
    v->look(LOOK_MAINTAIN, number, LINE_IN_PAGE(line) << 2 | effect);
}

// Whether a DC may wait for the DSB. While a page is open for accesses through the cache, or has
// stale lines alone, who sees the difference chooses; else it is chosen now.
static int is_deferred(void *uc, struct hook_state *s, uint64_t line, uint32_t effect)
{
    struct views *v = s->views;
    uint64_t number = line >> LINES_SHIFT;
    uint8_t page = v->pages[number];
    if (aether_ahead_of_this(uc, s) & AHEAD_BARRIER) {
        return 0;
    }
    if (!(page & PAGE_SPLIT) && !(v->stored[number] >> LINE_IN_PAGE(line) & 1)) {
        if (page & PAGE_MEMORY) {
            return (effect & MAINTAIN_INVALIDATE) != 0; // there is a stale line, no more
        }
        if (effect & MAINTAIN_CLEAN) {
            return 1;
        }
    }
    return v->look(LOOK_DEFER, 0, 0) != 0;
}

// A probe may have left a translation that an access of this block must not find. What comes behind
// a barrier is not looked at.
static void drop_probed(void *uc, struct hook_state *s)
{
    if (s->views->probed && aether_ahead_of_this(uc, s)) {
        aether_view_drop_probed(uc, s);
    }
}

static void maintain(void *uc, struct hook_state *s, const struct uc_cp_reg *reg, uint32_t key,
                     int is_ram, uint64_t offset)
{
    struct views *v = s->views;
    if (reg->crm == DC_CLEAN_UNIFICATION) {
        return; // memory need not have it
    }
    if (!aether_view_by_va(reg)) {
        if (is_allowed(s, key, HCR_TSW)) {
            by_set_way(uc, s, reg->value, effect_of(s, reg->crm, HCR_SWIO));
        }
        return;
    }
    if (!is_ram || !is_allowed(s, key, HCR_TPC)) {
        return;
    }
    uint64_t line = offset >> LINE_SHIFT, number = offset >> PAGE_SHIFT;
    uint64_t mark = 1ull << LINE_IN_PAGE(line);
    uint32_t effect = effect_of(s, reg->crm, 0);
    if ((v->deferred[number].clean | v->deferred[number].invalidate) & mark) {
        aether_complete_data(s, number); // of one line in program order
    }
    int is_single = !(v->pages[number] & PAGE_SPLIT);
    if (is_single && !v->has_agreed[number]) {
        v->look(LOOK_AGREED, number, 0);
    }
    if (is_single && !(v->stored[number] & mark) && agrees(s, line)) {
        return;
    }
    if (is_deferred(uc, s, line, effect)) {
        aether_defer_data(uc, s, line, effect);
    } else {
        aether_view_complete_line(s, line, effect);
    }
}

void aether_view_maintain(void *uc, struct hook_state *s, const struct uc_cp_reg *reg, uint32_t key,
                          int is_ram, uint64_t offset)
{
    maintain(uc, s, reg, key, is_ram, offset);
    drop_probed(uc, s);
}

void aether_view_invalidate_all(void *uc, struct hook_state *s, uint32_t whose)
{
    struct views *v = s->views;
    if (aether_ahead_of_this(uc, s) & AHEAD_BARRIER) {
        v->look(LOOK_INVALIDATE, 0, 0);
        return;
    }
    v->code_deferred = whose > v->code_deferred ? whose : v->code_deferred;
    s->attention |= ATTENTION_CACHES;
}

void aether_view_invalidate(void *uc, struct hook_state *s, uint64_t line)
{
    struct views *v = s->views;
    uint64_t number = line >> LINES_SHIFT, mark = 1ull << LINE_IN_PAGE(line);
    drop_probed(uc, s);
    if (aether_ahead_of_this(uc, s) & AHEAD_BARRIER) {
        aether_view_invalidate_line(uc, s, line);
    } else if (v->held[number] & mark || v->pages[number] & PAGE_HELD) {
        aether_defer_code(uc, s, line);
    }
}
