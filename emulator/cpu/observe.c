// SPDX-License-Identifier: Apache-2.0
// Where EL2's stores to watched pages, its barriers and its system instructions are seen. A watched
// page is written through an alias that answers as a device does; the alias is given up after each
// store, so that the fill for the next one tells its PC.
#include "observe.h"
#include "views.h"

#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u
#define PAGE_SHIFT 12
#define LINE_SHIFT 6
#define LINE_WORDS 8u
#define PAGE_WORDS 512u

#define A64_BARRIER_MASK 0xfffff0ffu // without CRm
#define A64_DSB 0xd503309fu
#define A64_ISB 0xd50330dfu
#define A64_DMB 0xd50330bfu
#define A64_ERET 0xd69f03e0u
// DSB and DMB CRm: [3:2] domain (1 is non-shareable), [1:0] accesses (2 stores, 3 all).
#define DSB_DOMAIN(word) ((word) >> 10 & 3u)
#define DSB_ACCESSES(word) ((word) >> 8 & 3u)

#define KEY(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define KEY_OP0(key) ((key) >> 14)
#define KEY_CRN(key) (((key) >> 7) & 15u)
#define CRN_CACHES 7u
#define CRN_TLBI 8u

static void keep_page(const struct hook_state *s, uint8_t *copy, uint64_t page)
{
    const volatile uint64_t *from = (const uint64_t *)(const void *)(s->ram + (page << PAGE_SHIFT));
    uint64_t *to = (uint64_t *)(void *)(copy + (page << PAGE_SHIFT));
    for (uint64_t i = 0; i < PAGE_WORDS; i++) {
        to[i] = from[i]; // volatile: no call of memcpy, which nobody provides
    }
}

void aether_observe_fill(void *uc, struct hook_state *s, struct uc_tlb_entry *out, uint32_t el,
                         uint32_t access)
{
    struct observer *o = s->observer;
    uint64_t pa = out->paddr & ~(VIEW_INSTRUCTIONS | VIEW_MEMORY | VIEW_LINES);
    uint64_t offset = pa - s->ram_base, page = offset >> PAGE_SHIFT;
    if (offset >= s->ram_size) {
        return;
    }
    if (access == UC_MEM_FETCH) {
        if (el == 2 && !o->code[page]) {
            o->code[page] = 1;
            o->observe(OBSERVED_CODE, pa, 0, 0);
        }
        return;
    }
    if (access != UC_MEM_WRITE) {
        if (el == 2 || o->watched[page]) {
            out->perms &= ~(int32_t)UC_PROT_WRITE; // a store has to ask
        }
        return;
    }
    if (el == 2) {
        if (o->before && o->stored_at[page] != o->clock->now) {
            keep_page(s, o->before, page);
        }
        o->stored_at[page] = o->clock->now;
        o->stored = 1;
    }
    if (o->watched[page]) {
        s->reg_read(uc, s->reg_pc, &o->store_pc);
        out->paddr = o->alias + offset;
    }
}

static int is_dsb(uint32_t word)
{
    return (word & A64_BARRIER_MASK) == A64_DSB;
}

// A DSB in a block is taken to act where the block, or what is left of it, begins.
static void find_lower_dsbs(void *uc, struct hook_state *s, uint64_t pc, uint64_t end)
{
    uint32_t word = 0;
    for (; pc < end && s->observer->wanted & WANT_LOWER_DSB; pc += sizeof(word)) {
        if (s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) == 0 && is_dsb(word)) {
            s->observer->observe(OBSERVED_LOWER_DSB, word, 0, 0);
        }
    }
    if (s->observer->wanted & WANT_LOWER_DSB) {
        s->attention |= ATTENTION_BARRIERS;
    } else {
        s->attention &= ~ATTENTION_BARRIERS;
    }
}

void aether_observe_lower_block(void *uc, struct hook_state *s, uint64_t pc, uint64_t size)
{
    if (s->el < 2) {
        find_lower_dsbs(uc, s, pc, pc + size);
    }
}

static void observe_lower_tlbi(void *uc, struct hook_state *s, uint32_t key, uint64_t value)
{
    uint64_t pc = 0;
    s->observer->observe(OBSERVED_LOWER_TLBI, key, value, 0);
    s->reg_read(uc, s->reg_pc, &pc);
    find_lower_dsbs(uc, s, pc + sizeof(uint32_t),
                    s->block_pc + s->block_instructions * sizeof(uint32_t));
}

void aether_observe_sysreg(void *uc, struct hook_state *s, uint32_t key, uint64_t value)
{
    struct observer *o = s->observer;
    if (s->el != 2) {
        if (s->el == 1 && o->wanted & WANT_LOWER && KEY_OP0(key) == 1 && KEY_CRN(key) == CRN_TLBI) {
            observe_lower_tlbi(uc, s, key, value);
        }
        return;
    }
    switch (key) {
    case KEY(3u, 4u, 1u, 0u, 0u):  // SCTLR_EL2
    case KEY(3u, 4u, 1u, 1u, 0u):  // HCR_EL2
    case KEY(3u, 4u, 2u, 0u, 0u):  // TTBR0_EL2
    case KEY(3u, 4u, 2u, 0u, 2u):  // TCR_EL2
    case KEY(3u, 4u, 2u, 1u, 0u):  // VTTBR_EL2
    case KEY(3u, 4u, 2u, 1u, 2u):  // VTCR_EL2
    case KEY(3u, 4u, 10u, 2u, 0u): // MAIR_EL2
        break;
    default:
        if (KEY_OP0(key) != 1 || (KEY_CRN(key) != CRN_TLBI &&
                                  !(KEY_CRN(key) == CRN_CACHES && o->wanted & WANT_CACHES))) {
            return;
        }
    }
    o->observe(OBSERVED_SYSREG, key, value, 0);
}

static void report_store(struct hook_state *s, uint64_t offset, uint64_t new)
{
    struct observer *o = s->observer;
    uint8_t *bytes = s->views ? aether_view_bytes(s, offset >> LINE_SHIFT) : s->ram;
    volatile uint64_t *word = (uint64_t *)(void *)(bytes + (offset & ~7ull));
    uint64_t old = *word;
    *word = new;
    if (o->watched[offset >> PAGE_SHIFT]) {
        o->observe(OBSERVED_STORE, s->ram_base + (offset & ~7ull), old, new);
    }
}

uint32_t aether_observe_zero(void *uc, struct hook_state *s, uint64_t line)
{
    uint64_t offset = line << LINE_SHIFT;
    if (!s->observer->watched[offset >> PAGE_SHIFT]) {
        return 0;
    }
    s->reg_read(uc, s->reg_pc, &s->observer->store_pc);
    for (uint64_t i = 0; i < LINE_WORDS; i++) {
        report_store(s, offset + i * sizeof(uint64_t), 0);
    }
    s->ctl(uc, s->ctl_flush_tlb);
    return 1;
}

void aether_observe_level(struct hook_state *s, enum observed_kind kind, uint64_t a)
{
    struct observer *o = s->observer;
    uint32_t wanted = kind == OBSERVED_CONTEXT ? WANT_BARRIERS : WANT_ALL;
    if (o->wanted & (wanted | (kind == OBSERVED_ERET ? WANT_ERET : 0))) {
        o->observe(kind, a, 0, 0);
    }
}

static int is_dmb(uint32_t word)
{
    return (word & A64_BARRIER_MASK) == A64_DMB;
}

// STLR, STLXR, STLXP.
static int is_release(uint32_t word)
{
    return (word & 0x3f408000u) == 0x08008000u;
}

static int is_barrier(uint32_t word)
{
    return (word & A64_BARRIER_MASK) == A64_ISB || is_dsb(word) || is_dmb(word) ||
           is_release(word) || word == A64_ERET;
}

static void note_order(void *uc, struct hook_state *s, uint32_t word)
{
    struct observer *o = s->observer;
    uint32_t is_for_all = is_release(word) || DSB_DOMAIN(word) != 1 || !s->peer_count;
    if (!is_release(word) && (DSB_ACCESSES(word) < 2 || (is_dmb(word) && !is_for_all))) {
        return;
    }
    uint32_t now = ++o->clock->now;
    if (is_dsb(word)) {
        o->seen = now;
        o->clock->published = is_for_all ? now : o->clock->published;
    }
    if (o->stored) {
        o->stored = 0;
        s->ctl(uc, s->ctl_flush_tlb); // the next store to each page comes back with a fill
    }
    if (!is_for_all) {
        return;
    }
    o->ordered = now;
    for (uint32_t i = 0; i < s->peer_count; i++) {
        struct observer *peer = s->peers[i]->observer;
        if (peer && peer->stored) {
            peer->stored = 0;
            s->peers[i]->tlb_flush_due = 1;
        }
    }
}

uint32_t aether_observe_block(struct hook_state *s, const uint32_t *words, uint64_t pc,
                              uint64_t count)
{
    if (s->el != 2) {
        return 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (is_barrier(words[i]) && !s->observer->is_hooked(pc + (i << 2))) {
            return 1;
        }
    }
    return 0;
}

// Installed over single instructions.
void aether_on_barrier(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    struct observer *o = s->observer;
    uint32_t word = 0;
    (void)size;
    if (!o || s->el != 2 || s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) != 0 ||
        !is_barrier(word)) {
        return;
    }
    if (is_dsb(word) || is_dmb(word) || is_release(word)) {
        note_order(uc, s, word);
    }
    if (word == A64_ERET) {
        aether_observe_level(s, OBSERVED_CONTEXT, 0);
    } else if (!is_dmb(word) && !is_release(word) && o->wanted & (WANT_ALL | WANT_BARRIERS)) {
        o->observe(OBSERVED_BARRIER, word, 0, 0);
    }
}

static volatile uint8_t *seen(const struct hook_state *s, uint64_t offset)
{
    return s->views ? aether_view_seen(s, offset >> LINE_SHIFT) : s->ram;
}

// The alias of RAM: Unicorn's callbacks of a device.
uint64_t aether_on_alias_read(void *uc, uint64_t offset, uint32_t size, void *user)
{
    const struct hook_state *s = user;
    uint64_t value = 0;
    (void)uc;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint64_t)seen(s, offset)[offset + i] << 8 * i;
    }
    return value;
}

// Whether a store writes 64 bits at a time, or twice that.
static int stores_64(uint32_t word)
{
    uint32_t size = word >> 30, is_vector = word >> 26 & 1u;
    if ((word & 0x3a000000u) == 0x28000000u) {
        return is_vector ? size != 0 : size >= 2; // STP
    }
    return size == 3 || (word & 0xfec00000u) == 0x3c800000u; // 3c8: STR of a Q register
}

void aether_on_alias_write(void *uc, uint64_t offset, uint32_t size, uint64_t value, void *user)
{
    struct hook_state *s = user;
    struct observer *o = s->observer;
    uint32_t word = 0;
    uint64_t shift = 8 * (offset & 7u), mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;
    // Unicorn hands 64 bits to a device in two halves, the lower first. The store is one.
    if (size == 4 && shift == 0 &&
        s->vmem_read(uc, o->store_pc, UC_PROT_EXEC, &word, sizeof(word)) == 0 && stores_64(word)) {
        o->lower = value & mask;
        o->has_lower = 1;
        return;
    }
    uint64_t old = *(volatile uint64_t *)(volatile void *)(seen(s, offset) + (offset & ~7ull));
    uint64_t new = (old & ~(mask << shift)) | (value & mask) << shift;
    if (o->has_lower) {
        new = (value & mask) << 32 | o->lower;
        o->has_lower = 0;
    }
    report_store(s, offset, new);
    s->ctl(uc, s->ctl_flush_tlb);
}
