// SPDX-License-Identifier: Apache-2.0
// The translations of the MMU model, kept from their first use until TLB maintenance covers them.
// This table and nothing else decides how long a translation lives: Unicorn's TLB in front of it
// holds fewer entries, and how many depends on the host's clock. Python walks and inserts.
#include "hooks.h"
#include "observe.h"
#include "trace.h"
#include "views.h"
#include "watch.h"

#include <stddef.h>

#define UC_MEM_READ 16u
#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u

#define ENTRIES TLB_ENTRIES
#define BUCKETS (2u * ENTRIES)
#define PAGE_SHIFT 12
#define HIGH_VA(va) ((va) >> 55 & 1u)

// Named by their encoding: CRm without the bit that says inner shareable, and op2.
#define TLBI_BY_VA(op2) ((op2) == 1 || (op2) == 3 || (op2) == 5 || (op2) == 7)

static uint32_t bucket_of(uint64_t page)
{
    uint64_t hash = (page >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(hash >> 32) % BUCKETS;
}

// All entries of a page, of whatever EL and register set, lie in one run of buckets.
static struct tlb_entry *find(struct tlb *tlb, uint64_t page, uint32_t el, uint32_t set,
                              uint32_t *bucket)
{
    for (*bucket = bucket_of(page); tlb->buckets[*bucket]; *bucket = (*bucket + 1) % BUCKETS) {
        struct tlb_entry *e = &tlb->entries[tlb->buckets[*bucket] - 1];
        if (e->page == page && e->el == el && e->set == set) {
            return e;
        }
    }
    return NULL;
}

// The kept translation of a page, or NULL; its permissions may be 0.
static struct tlb_entry *look_up(struct hook_state *s, uint64_t va, uint32_t el)
{
    uint64_t page = va >> PAGE_SHIFT << PAGE_SHIFT;
    uint32_t bucket = 0;
    if (el == 2) {
        return find(s->tlb, page, el, s->set_el2, &bucket);
    }
    if (!HIGH_VA(va)) {
        return find(s->tlb, page, el, s->set_low, &bucket);
    }
    struct tlb_entry *e = find(s->tlb, page, el, s->set_high, &bucket);
    return e && e->permissions ? e : find(s->tlb, page, el, s->set_high_asid, &bucket);
}

const struct tlb_entry *aether_tlb_find(struct hook_state *s, uint64_t va, uint32_t el)
{
    return look_up(s, va, el);
}

void aether_tlb_clear(struct hook_state *s)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        s->tlb->buckets[i] = 0;
    }
    for (uint32_t i = 0; i < sizeof(s->tlb->large_seen); i++) {
        s->tlb->large_seen[i] = 0;
    }
    s->tlb->count = 0;
    s->tlb->large_count = 0;
    s->tlb->large_sizes = 0;
}

static uint8_t *large_slot(struct tlb *tlb, uint64_t va, uint32_t size_log2)
{
    uint64_t block = (va & ((1ull << 56) - 1)) >> size_log2;
    return &tlb->large_seen[((block * 0x9e3779b97f4a7c15ull) >> 32) % sizeof(tlb->large_seen)];
}

// Returns 1 if the table was full, and all other translations are gone.
static uint32_t insert(struct hook_state *s, const struct tlb_entry *new)
{
    struct tlb *tlb = s->tlb;
    uint32_t bucket = 0, was_cleared = 0;
    struct tlb_entry *e = find(tlb, new->page, new->el, new->set, &bucket);
    if (!e) {
        if (tlb->count == ENTRIES) {
            aether_tlb_clear(s);
            was_cleared = 1;
            bucket = bucket_of(new->page);
        }
        e = &tlb->entries[tlb->count++];
        tlb->buckets[bucket] = tlb->count;
        e->is_listed = 0;
    }
    uint8_t is_listed = e->is_listed;
    *e = *new;
    e->is_listed = is_listed;
    if (e->size_log2 > PAGE_SHIFT) {
        tlb->large_sizes |= 1ull << e->size_log2;
        *large_slot(tlb, e->page, e->size_log2) = 1;
        if (!is_listed) {
            e->is_listed = 1;
            tlb->large[tlb->large_count++] = (uint32_t)(e - tlb->entries);
        }
    }
    return was_cleared;
}

void aether_tlb_restore(struct hook_state *s, const struct tlb_entry *entries, uint32_t count,
                        const uint32_t *large, uint32_t large_count)
{
    struct tlb *tlb = s->tlb;
    aether_tlb_clear(s);
    for (uint32_t i = 0; i < count; i++) {
        const struct tlb_entry *e = &entries[i];
        uint32_t bucket = bucket_of(e->page);
        while (tlb->buckets[bucket]) {
            bucket = (bucket + 1) % BUCKETS;
        }
        tlb->entries[i] = *e;
        tlb->buckets[bucket] = i + 1;
    }
    for (uint32_t i = 0; i < large_count; i++) {
        const struct tlb_entry *e = &entries[large[i]];
        tlb->large[i] = large[i];
        tlb->large_sizes |= 1ull << e->size_log2;
        *large_slot(tlb, e->page, e->size_log2) = 1;
    }
    tlb->count = count;
    tlb->large_count = large_count;
}

static int covers(const struct tlb_entry *e, uint64_t va)
{
    return ((e->page ^ va) & ((1ull << 56) - 1)) >> e->size_log2 == 0;
}

static int may_be_large(struct tlb *tlb, uint64_t va)
{
    for (uint64_t sizes = tlb->large_sizes; sizes; sizes &= sizes - 1) {
        if (*large_slot(tlb, va, (uint32_t)__builtin_ctzll(sizes))) {
            return 1;
        }
    }
    return 0;
}

// Forget what translates `va` at EL2, or below. Whether an entry of more than a page was among it:
// Unicorn holds the rest of that one as pages.
static uint32_t forget_va(struct tlb *tlb, uint64_t va, int is_el2)
{
    uint32_t found = 0;
    uint64_t page = va >> PAGE_SHIFT << PAGE_SHIFT;
    for (uint32_t b = bucket_of(page); tlb->buckets[b]; b = (b + 1) % BUCKETS) {
        struct tlb_entry *e = &tlb->entries[tlb->buckets[b] - 1];
        if (e->page == page && (e->el == 2) == is_el2) {
            e->permissions = 0;
        }
    }
    uint32_t large_count = may_be_large(tlb, va) ? tlb->large_count : 0;
    for (uint32_t i = 0; i < large_count; i++) {
        struct tlb_entry *e = &tlb->entries[tlb->large[i]];
        if (e->size_log2 > PAGE_SHIFT && (e->el == 2) == is_el2 && covers(e, va)) {
            e->permissions = 0;
            found = 1;
        }
    }
    return found;
}

static void forget_below_el2(struct tlb *tlb)
{
    for (uint32_t i = 0; i < tlb->count; i++) {
        if (tlb->entries[i].el != 2) {
            tlb->entries[i].permissions = 0;
        }
    }
}

static void forget_asid(struct tlb *tlb, uint32_t asid)
{
    for (uint32_t i = 0; i < tlb->count; i++) {
        struct tlb_entry *e = &tlb->entries[i];
        if (e->el != 2 && !e->is_global && (e->asid == asid || e->asid == (asid & 0xffu))) {
            e->permissions = 0;
        }
    }
}

// More may go than is named (VMID and, by VA, ASID are not looked at), never less.
uint32_t aether_tlb_invalidate(struct hook_state *s, const struct uc_cp_reg *reg)
{
    struct tlb *tlb = s->tlb;
    uint64_t va = (uint64_t)((int64_t)(reg->value << 20) >> 8);
    int is_stage2 = (reg->crm & 3u) == 0; // CRm 0, 4: by IPA
    if (reg->op1 == 0 && TLBI_BY_VA(reg->op2)) {
        return forget_va(tlb, va, 0);
    }
    if (reg->op1 == 0 && reg->op2 == 2) {
        forget_asid(tlb, (uint32_t)(reg->value >> 48));
        return 1;
    }
    if (reg->op1 == 4 && !is_stage2 && (reg->op2 == 1 || reg->op2 == 5)) {
        return forget_va(tlb, va, 1);
    }
    if (reg->op1 == 4 && !is_stage2 && reg->op2 == 0) {
        aether_tlb_clear(s); // ALLE2
    } else {
        forget_below_el2(tlb);
    }
    return 1;
}

uint32_t aether_find_fault(struct hook_state *s, uint64_t va, uint32_t el, uint32_t access)
{
    uint64_t page = va >> PAGE_SHIFT << PAGE_SHIFT;
    const struct kept_fault *f = &s->kept_faults[KEPT_FAULT_SLOT(page, access)];
    uint64_t offset = f->descriptor_pa - s->ram_base;
    if (!f->is_valid || f->page != page || f->epoch != s->epoch || f->el != el ||
        f->access != access || offset >= s->ram_size ||
        (s->views && !aether_view_is_plain(s, offset)) ||
        *(const uint64_t *)(const void *)(s->ram + offset) != f->descriptor) {
        return 0;
    }
    s->fault_known = 1;
    s->fault_access = access;
    s->fault_fsc = f->fsc;
    s->fault_stage2 = 1;
    s->fault_s1ptw = 0;
    s->fault_hpfar = f->hpfar;
    return 1;
}

// Whether the access that misses is that of an LDTR or STTR. Other blocks may have set the flag.
static int is_unprivileged_access(void *uc, const struct hook_state *s)
{
    uint32_t word = 0;
    uint64_t pc = 0;
    if (!(s->block_flags[BLOCK_SLOT(s->block_pc)] & BLOCK_UNPRIVILEGED)) {
        return 0;
    }
    s->reg_read(uc, s->reg_pc, &pc);
    return s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) == 0 &&
           aether_is_unprivileged(word);
}

// Where in RAM's pages `pa` lies, if that page has translated code.
static uint8_t *code_page(const struct hook_state *s, uint64_t pa)
{
    uint64_t offset = pa - s->ram_base;
    uint8_t *page = offset < s->ram_size ? &s->code_pages[offset >> PAGE_SHIFT] : NULL;
    return page && *page ? page : NULL;
}

// Before a page of code is written its code goes, all of it: Unicorn sends the first store to a
// page past its check for code, and later ones only as long as the host's clock lets it.
static void drop_code(void *uc, struct hook_state *s, uint64_t pa)
{
    uint8_t *page = code_page(s, pa);
    if (page) {
        *page = 0;
        s->is_identity = 1;
        s->ctl(uc, s->ctl_flush_tlb);
        s->ctl(uc, s->ctl_drop_code, pa, pa + (1u << PAGE_SHIFT));
        if (s->views) {
            pa += VIEW_INSTRUCTIONS;
            s->ctl(uc, s->ctl_drop_code, pa, pa + (1u << PAGE_SHIFT));
        }
        s->is_identity = 0;
        s->ctl(uc, s->ctl_flush_tlb);
    }
}

// Whether a page may be written without a look at it: the next snapshot has to copy it anyway.
// The first store since the last snapshot comes back with a fill of its own.
static int is_dirty(const struct hook_state *s, uint64_t pa)
{
    uint64_t offset = pa - s->ram_base;
    return offset >= s->ram_size || s->dirty_pages[offset >> PAGE_SHIFT];
}

static void note_dirty(struct hook_state *s, uint64_t pa)
{
    uint64_t offset = pa - s->ram_base;
    if (offset < s->ram_size) {
        s->dirty_pages[offset >> PAGE_SHIFT] = 1;
    }
}

// A data access is granted no execution and a fetch no store: a page that is both written and
// executed would keep every store on Unicorn's slow path.
static uint32_t grant(void *uc, struct hook_state *s, struct uc_tlb_entry *out,
                      const struct tlb_entry *e, uint32_t access)
{
    uint32_t granted = e->permissions & UC_PROT_READ;
    if (access == UC_MEM_FETCH) {
        granted |= UC_PROT_EXEC;
    } else if (access == UC_MEM_WRITE) {
        drop_code(uc, s, e->pa);
        note_dirty(s, e->pa);
        granted |= UC_PROT_WRITE;
    } else if (!code_page(s, e->pa) && is_dirty(s, e->pa)) {
        granted |= e->permissions & UC_PROT_WRITE;
    }
    out->paddr = e->pa;
    out->perms = (int32_t)granted;
    if (s->views) {
        aether_view_fill(uc, s, out, e, access);
    }
    if (s->observer) {
        aether_observe_fill(uc, s, out, e->el, access);
    }
    if (s->watch) {
        aether_watch_fill(s, out, access);
    }
    return 1;
}

uint32_t aether_on_fill(void *uc, uint64_t va, uint32_t access, struct uc_tlb_entry *out,
                        void *user)
{
    struct hook_state *s = user;
    uint32_t pstate = 0, needed = UC_PROT_READ;
    int is_fetch = access == UC_MEM_FETCH;
    if (s->is_identity) {
        out->paddr = va;
        out->perms = (int32_t)(UC_PROT_READ | UC_PROT_EXEC);
        return 1;
    }
    if (access != UC_MEM_READ) {
        needed = is_fetch ? UC_PROT_EXEC : UC_PROT_WRITE;
    }
    s->reg_read(uc, s->reg_pstate, &pstate);
    uint32_t el = pstate >> 2 & 3u;
    // An LDTR or STTR translates as EL0 does, and a fill does not say what misses.
    uint32_t as = el == 1 && !is_fetch && is_unprivileged_access(uc, s) ? 0 : el;
    if (!(el == 2 ? s->el2_changed : s->translation_changed)) {
        const struct tlb_entry *e = look_up(s, va, as);
        // A permission that a kept entry lacks may have been granted since: walk again.
        if (e && (e->permissions & needed)) {
            return grant(uc, s, out, e, access);
        }
        if (aether_find_fault(s, va, as, access)) {
            return 0;
        }
    }
    if (!s->fill_model(va, access, el)) {
        return 0;
    }
    if (insert(s, s->filled)) {
        s->ctl(uc, s->ctl_flush_tlb);
    }
    return grant(uc, s, out, s->filled, access);
}
