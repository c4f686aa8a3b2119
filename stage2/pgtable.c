// SPDX-License-Identifier: Apache-2.0
#include "descriptor.h"
#include <stage2/pgtable.h>
#include <stage2/primitives.h>

// Every operation has two parts. Prepare looks at the whole range, counts the table pages that the
// change takes, and may refuse; it writes nothing. Commit then cannot fail.
//
// Invariants between operations: no table but the root is empty, where a reserved entry counts as
// much as a leaf. So an absent range has no tables to be replaced by blocks, and a tree without
// leaves and reserved entries holds no page of the pool. Reserved entries stand at the last level
// only, and every other entry that is not valid is 0.

// An entry of a table, found by a walk.
struct slot {
    uint64_t *entry;
    uint64_t desc;
    unsigned level;
};

static uint64_t read_entry(const uint64_t *entry)
{
    return *(const volatile uint64_t *)entry;
}

// Walk from the root towards `ia`; stop at the first entry that is no table, or at level `deepest`.
static struct slot find(const struct pgt *pgt, uint64_t ia, unsigned deepest)
{
    // Only the root's index may exceed 9 bits: concatenated root tables are adjacent pages.
    uint64_t index = ia >> level_shift(pgt->start_level);
    uint64_t table = pa_value(pgt->root) + index / TABLE_ENTRIES * PAGE_SIZE;
    struct slot slot = {.level = pgt->start_level};
    for (;;) {
        slot.entry = pgt_prim_table(pa_of(table)) + index % TABLE_ENTRIES;
        slot.desc = read_entry(slot.entry);
        if (slot.level >= deepest || !desc_is_table(slot.desc, slot.level)) {
            return slot;
        }
        table = desc_oa(slot.desc);
        slot.level++;
        index = ia >> level_shift(slot.level);
    }
}

static uint64_t input_end(const struct pgt *pgt)
{
    return UINT64_C(1) << pgt->config.ia_bits;
}

// Pool of table pages

enum pgt_status pgt_pool_init(struct pgt_pool *pool, pa_t base, uint32_t pages)
{
    uint64_t first = pa_value(base);
    uint64_t end = UINT64_C(1) << PGT_IA_BITS_MAX;
    if ((first & PAGE_MASK) != 0) {
        return PGT_UNALIGNED;
    }
    if (pages == 0 || first >= end || pages > (end - first) / PAGE_SIZE) {
        return PGT_RANGE;
    }
    *pool = (struct pgt_pool){.base = first, .head = first, .total_pages = pages};
    for (; pool->free_pages < pages; pool->free_pages++) {
        uint64_t page = first + pool->free_pages * PAGE_SIZE;
        pgt_prim_write(pgt_prim_table(pa_of(page)), page + PAGE_SIZE);
    }
    return PGT_OK;
}

// The caller has made sure that the pool is not empty. The page comes cleared.
static uint64_t pool_take(struct pgt_pool *pool)
{
    uint64_t page = pool->head;
    pool->head = read_entry(pgt_prim_table(pa_of(page)));
    pool->free_pages--;
    pgt_prim_zero(pa_of(page));
    return page;
}

// No walker can reach the page any more, and no TLB holds anything read from it.
static void pool_give(struct pgt_pool *pool, uint64_t page)
{
    // The link is 4 KiB-aligned, so bit 0 is clear: even here no free page holds a valid entry.
    pgt_prim_write(pgt_prim_table(pa_of(page)), pool->head);
    pool->head = page;
    pool->free_pages++;
}

// Changes of live tables

// Remove all that any TLB holds for `ia`, and wait until every PE has done so.
static void invalidate(const struct pgt *pgt, uint64_t ia)
{
    if (pgt->config.regime == PGT_EL2) {
        pgt_prim_tlbi_vae2is(va_of(ia));
        pgt_prim_dsb_ish(); // the TLBI has finished on every PE
        return;
    }
    uint64_t running = pgt_prim_set_vttbr(pgt_vttbr_el2(pgt));
    pgt_prim_tlbi_ipas2e1is(ipa_of(ia));
    // Stage-2 entries must be gone first: stage 1 could else refill combined entries from them.
    pgt_prim_dsb_ish();
    // Combined entries are tagged by VA, which nobody knows here: so all of the VMID.
    pgt_prim_tlbi_vmalle1is();
    pgt_prim_dsb_ish(); // finished on every PE, before VTTBR_EL2 names another VMID
    (void)pgt_prim_set_vttbr(running);
}

// The only place where an entry of a live table changes. A valid entry goes by break-before-make
// (Arm ARM D8, "Using break-before-make when updating translation table entries"), always: also
// where the architecture would let a mere change of permissions pass without.
static void replace(const struct pgt *pgt, uint64_t ia, struct slot slot, uint64_t desc)
{
    bool live = desc_valid(slot.desc);
    if (live) {
        pgt_prim_write(slot.entry, desc_valid(desc) ? 0 : desc);
    }
    if (live || desc_is_table(desc, slot.level)) {
        // The break is visible to all walkers before the TLBI; and the contents of a new table are
        // before the entry that leads to it.
        pgt_prim_dsb_ishst();
    }
    if (live) {
        invalidate(pgt, ia); // ends with DSB ISH: no old translation is left when the new one comes
    }
    if (!live || desc_valid(desc)) {
        pgt_prim_write(slot.entry, desc);
    }
}

// All new entries are visible to all walkers, and to this PE's next instruction.
static void publish(void)
{
    pgt_prim_dsb_ishst();
    pgt_prim_isb();
}

// Prepare

static enum pgt_status check_input(const struct pgt *pgt, uint64_t ia, uint64_t size)
{
    if (((ia | size) & PAGE_MASK) != 0) {
        return PGT_UNALIGNED;
    }
    // Written so that ia + size cannot wrap.
    if (size == 0 || ia >= input_end(pgt) || size > input_end(pgt) - ia) {
        return PGT_RANGE;
    }
    return PGT_OK;
}

// What a mapping needs apart from the state of its range.
static enum pgt_status check_mapping(const struct pgt *pgt, uint64_t ia, uint64_t pa, uint64_t size,
                                     struct pgt_attr attr)
{
    uint64_t pa_end = UINT64_C(1) << pgt->config.pa_bits;
    if ((pa & PAGE_MASK) != 0) {
        return PGT_UNALIGNED;
    }
    enum pgt_status status = check_input(pgt, ia, size);
    if (status != PGT_OK) {
        return status;
    }
    if (pa >= pa_end || size > pa_end - pa) {
        return PGT_RANGE;
    }
    return attr_allowed(&pgt->config, attr) ? PGT_OK : PGT_BAD_ATTR;
}

// PGT_EXISTS when any page of the range is mapped or reserved.
static enum pgt_status check_absent(const struct pgt *pgt, uint64_t ia, uint64_t size)
{
    uint64_t end = ia + size;
    while (ia < end) {
        struct slot slot = find(pgt, ia, PGT_LAST_LEVEL);
        if (slot.desc != 0) {
            return PGT_EXISTS;
        }
        ia = (ia | (pgt_level_size(slot.level) - 1)) + 1; // to the next entry of this level
    }
    return PGT_OK;
}

// PGT_ABSENT when any page of the range is not mapped; else PGT_BAD_ATTR when `perm`, if given, is
// not allowed for the memory type of one of them.
static enum pgt_status check_mapped(const struct pgt *pgt, uint64_t ia, uint64_t size,
                                    const struct pgt_perm *perm)
{
    enum pgt_status status = PGT_OK;
    uint64_t end = ia + size;
    while (ia < end) {
        struct slot slot = find(pgt, ia, PGT_LAST_LEVEL);
        if (!desc_valid(slot.desc)) {
            return PGT_ABSENT;
        }
        struct pgt_attr attr = attr_of_desc(pgt->config.regime, slot.desc);
        if (perm != NULL && !attr_allowed(&pgt->config, (struct pgt_attr){*perm, attr.type})) {
            status = PGT_BAD_ATTR;
        }
        ia = (ia | (pgt_level_size(slot.level) - 1)) + 1;
    }
    return status;
}

// PGT_ABSENT unless an entry of the last level stands for each page of the range, all of them
// valid or all of them reserved. *last: of the last page, which is most often the only one.
static enum pgt_status check_pages(const struct pgt *pgt, uint64_t ia, uint64_t size, bool valid,
                                   struct slot *last)
{
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        *last = find(pgt, ia + done, PGT_LAST_LEVEL);
        bool good = valid ? desc_valid(last->desc) : last->desc == DESC_RESERVED;
        if (!good || last->level != PGT_LAST_LEVEL) {
            return PGT_ABSENT;
        }
    }
    return PGT_OK;
}

// Level of the largest block or page that can map `ia` to `pa` within `size` bytes.
static unsigned leaf_level(const struct pgt *pgt, uint64_t ia, uint64_t pa, uint64_t size)
{
    unsigned level = pgt->config.pages_only ? PGT_LAST_LEVEL : pgt->start_level;
    while (level < PGT_LAST_LEVEL && (!level_has_leaf(level) || !level_aligned(ia | pa, level) ||
                                      size < pgt_level_size(level))) {
        level++;
    }
    return level;
}

// Whether the pool holds the tables that mapping an absent range takes, or reserving it. Gives up
// as soon as it does not, so the work is bounded by the size of the pool.
static bool enough_to_map(const struct pgt *pgt, uint64_t ia, uint64_t pa, uint64_t size,
                          bool reserve)
{
    uint64_t needed = 0;
    uint64_t step;
    for (uint64_t done = 0; done < size; done += step) {
        unsigned leaf =
            reserve ? PGT_LAST_LEVEL : leaf_level(pgt, ia + done, pa + done, size - done);
        unsigned level = find(pgt, ia + done, leaf).level;
        // A missing table is counted where the range enters the entry that will lead to it.
        for (; level < leaf; level++) {
            if (done == 0 || level_aligned(ia + done, level)) {
                needed++;
            }
        }
        if (needed > pgt->pool->free_pages) {
            return false;
        }
        step = pgt_level_size(leaf);
    }
    return true;
}

// Whether the pool holds the tables that cutting blocks at both ends of a mapped range takes.
static bool enough_to_split(const struct pgt *pgt, uint64_t ia, uint64_t size)
{
    uint64_t end = ia + size;
    unsigned needed = 0;
    for (unsigned level = find(pgt, ia, PGT_LAST_LEVEL).level; !level_aligned(ia, level); level++) {
        needed++;
    }
    // The last page of the range is in the block, if any, that goes on beyond the end.
    for (unsigned level = find(pgt, end - 1, PGT_LAST_LEVEL).level; !level_aligned(end, level);
         level++) {
        // Where the start is inside the same entry, it has been counted.
        bool shared = (ia >> level_shift(level)) == (end >> level_shift(level));
        if (!shared || level_aligned(ia, level)) {
            needed++;
        }
    }
    return needed <= pgt->pool->free_pages;
}

// Commit

// Put `desc` into an absent entry of `level`, with the tables that lead there.
static void put(struct pgt *pgt, uint64_t ia, unsigned level, uint64_t desc)
{
    struct slot slot = find(pgt, ia, level);
    while (slot.level < level) {
        replace(pgt, ia, slot, desc_table(pool_take(pgt->pool)));
        slot = find(pgt, ia, level);
    }
    replace(pgt, ia, slot, desc);
}

// Make `edge` the boundary of two entries: replace the block around it, if any, by a table of
// smaller ones with the same attributes, until there is none. At most one turn per level.
static void split(struct pgt *pgt, uint64_t edge)
{
    while (edge < input_end(pgt)) {
        struct slot slot = find(pgt, edge, PGT_LAST_LEVEL);
        if (!desc_valid(slot.desc) || level_aligned(edge, slot.level)) {
            return;
        }
        unsigned below = slot.level + 1;
        uint64_t table = pool_take(pgt->pool);
        uint64_t *entries = pgt_prim_table(pa_of(table));
        for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
            uint64_t oa = desc_oa(slot.desc) + i * pgt_level_size(below);
            pgt_prim_write(&entries[i], desc_leaf(oa, slot.desc, below));
        }
        replace(pgt, edge, slot, desc_table(table));
    }
}

static bool table_empty(uint64_t table)
{
    const uint64_t *entries = pgt_prim_table(pa_of(table));
    for (unsigned i = 0; i < TABLE_ENTRIES; i++) {
        if (read_entry(&entries[i]) != 0) {
            return false;
        }
    }
    return true;
}

// Give back the table that holds the entries of `level` around `ia`, if it is empty; then the one
// above, and so on up to the root, which stays. Only tables that the range leaves at `next` are
// looked at, so each is looked at once.
static void reclaim(struct pgt *pgt, uint64_t ia, unsigned level, uint64_t next, uint64_t end)
{
    for (; level > pgt->start_level; level--) {
        if (next != end && !level_aligned(next, level - 1)) {
            return;
        }
        struct slot parent = find(pgt, ia, level - 1);
        uint64_t table = desc_oa(parent.desc);
        if (!table_empty(table)) {
            return;
        }
        replace(pgt, ia, parent, 0);
        pool_give(pgt->pool, table);
    }
}

// Remove every leaf and reservation in a range; no block may stick out of it.
static void remove_range(struct pgt *pgt, uint64_t ia, uint64_t end)
{
    while (ia < end) {
        struct slot slot = find(pgt, ia, PGT_LAST_LEVEL);
        uint64_t next = ia + pgt_level_size(slot.level);
        if (slot.desc != 0) {
            replace(pgt, ia, slot, 0);
        }
        reclaim(pgt, ia, slot.level, next, end);
        ia = next;
    }
}

// Operations

enum pgt_status pgt_init(struct pgt *pgt, const struct pgt_config *config, pa_t root,
                         struct pgt_pool *pool)
{
    size_t size = pgt_root_size(config);
    if (size == 0) {
        return PGT_RANGE;
    }
    uint64_t reach = UINT64_C(1) << config->pa_bits;
    if (pa_value(root) >= reach || pool->base + pool->total_pages * PAGE_SIZE > reach) {
        return PGT_RANGE;
    }
    if ((pa_value(root) & (size - 1)) != 0) {
        return PGT_UNALIGNED;
    }
    *pgt = (struct pgt){
        .config = *config, .root = root, .start_level = start_level_of(config), .pool = pool};
    for (uint64_t page = 0; page < size; page += PAGE_SIZE) {
        pgt_prim_zero(pa_of(pa_value(root) + page));
    }
    pgt_prim_dsb_ishst(); // the walkers see the cleared root before VTTBR_EL2 leads them to it
    if (config->regime == PGT_STAGE2) {
        // The VMID may have served another address space.
        uint64_t running = pgt_prim_set_vttbr(pgt_vttbr_el2(pgt));
        pgt_prim_tlbi_vmalls12e1is();
        pgt_prim_dsb_ish(); // finished on every PE
        (void)pgt_prim_set_vttbr(running);
    }
    pgt_prim_isb();
    return PGT_OK;
}

enum pgt_status pgt_map(struct pgt *pgt, ia_t input, pa_t output, uint64_t size,
                        struct pgt_attr attr)
{
    uint64_t ia = ia_value(input);
    uint64_t pa = pa_value(output);
    enum pgt_status status = check_mapping(pgt, ia, pa, size, attr);
    if (status == PGT_OK) {
        status = check_absent(pgt, ia, size);
    }
    if (status != PGT_OK) {
        return status;
    }
    if (!enough_to_map(pgt, ia, pa, size, false)) {
        return PGT_NO_MEMORY;
    }
    uint64_t attributes = desc_of_attr(pgt->config.regime, attr);
    uint64_t step;
    for (uint64_t done = 0; done < size; done += step) {
        unsigned leaf = leaf_level(pgt, ia + done, pa + done, size - done);
        put(pgt, ia + done, leaf, desc_leaf(pa + done, attributes, leaf));
        step = pgt_level_size(leaf);
    }
    publish();
    return PGT_OK;
}

// What pgt_unmap and pgt_protect have in common: check, then make both ends boundaries of entries.
static enum pgt_status isolate(struct pgt *pgt, uint64_t ia, uint64_t size,
                               const struct pgt_perm *perm)
{
    enum pgt_status status = check_input(pgt, ia, size);
    if (status == PGT_OK) {
        status = check_mapped(pgt, ia, size, perm);
    }
    if (status == PGT_OK && !enough_to_split(pgt, ia, size)) {
        status = PGT_NO_MEMORY;
    }
    if (status == PGT_OK) {
        split(pgt, ia);
        split(pgt, ia + size);
    }
    return status;
}

enum pgt_status pgt_unmap(struct pgt *pgt, ia_t input, uint64_t size)
{
    uint64_t ia = ia_value(input);
    enum pgt_status status = isolate(pgt, ia, size, NULL);
    if (status == PGT_OK) {
        remove_range(pgt, ia, ia + size);
        publish();
    }
    return status;
}

enum pgt_status pgt_protect(struct pgt *pgt, ia_t input, uint64_t size, struct pgt_perm perm)
{
    uint64_t ia = ia_value(input);
    enum pgt_status status = isolate(pgt, ia, size, &perm);
    if (status != PGT_OK) {
        return status;
    }
    uint64_t step;
    for (uint64_t done = 0; done < size; done += step) {
        struct slot slot = find(pgt, ia + done, PGT_LAST_LEVEL);
        replace(pgt, ia + done, slot, desc_with_perm(pgt->config.regime, slot.desc, perm));
        step = pgt_level_size(slot.level);
    }
    publish();
    return PGT_OK;
}

enum pgt_status pgt_reserve(struct pgt *pgt, ia_t input, uint64_t size)
{
    uint64_t ia = ia_value(input);
    enum pgt_status status = check_input(pgt, ia, size);
    if (status == PGT_OK) {
        status = check_absent(pgt, ia, size);
    }
    if (status != PGT_OK) {
        return status;
    }
    if (!enough_to_map(pgt, ia, 0, size, true)) {
        return PGT_NO_MEMORY;
    }
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        put(pgt, ia + done, PGT_LAST_LEVEL, DESC_RESERVED);
    }
    publish();
    return PGT_OK;
}

enum pgt_status pgt_fill(struct pgt *pgt, ia_t input, pa_t output, uint64_t size,
                         struct pgt_attr attr)
{
    uint64_t ia = ia_value(input);
    uint64_t pa = pa_value(output);
    struct slot last;
    enum pgt_status status = check_mapping(pgt, ia, pa, size, attr);
    if (status == PGT_OK) {
        status = check_pages(pgt, ia, size, false, &last);
    }
    if (status != PGT_OK) {
        return status;
    }
    uint64_t attributes = desc_of_attr(pgt->config.regime, attr);
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        struct slot slot = size - done > PAGE_SIZE ? find(pgt, ia + done, PGT_LAST_LEVEL) : last;
        replace(pgt, ia + done, slot, desc_leaf(pa + done, attributes, PGT_LAST_LEVEL));
    }
    publish();
    return PGT_OK;
}

enum pgt_status pgt_hold(struct pgt *pgt, ia_t input, uint64_t size)
{
    uint64_t ia = ia_value(input);
    struct slot last;
    enum pgt_status status = check_input(pgt, ia, size);
    if (status == PGT_OK) {
        status = check_pages(pgt, ia, size, true, &last);
    }
    if (status != PGT_OK) {
        return status;
    }
    for (uint64_t done = 0; done < size; done += PAGE_SIZE) {
        struct slot slot = size - done > PAGE_SIZE ? find(pgt, ia + done, PGT_LAST_LEVEL) : last;
        replace(pgt, ia + done, slot, DESC_RESERVED);
    }
    publish();
    return PGT_OK;
}

void pgt_clear(struct pgt *pgt)
{
    remove_range(pgt, 0, input_end(pgt));
    publish();
}

enum pgt_status pgt_walk(const struct pgt *pgt, ia_t input, struct pgt_walk *out)
{
    uint64_t ia = ia_value(input);
    if (ia >= input_end(pgt)) {
        return PGT_RANGE;
    }
    struct slot slot = find(pgt, ia, PGT_LAST_LEVEL);
    uint64_t size = pgt_level_size(slot.level);
    *out = (struct pgt_walk){.descriptor = slot.desc, .level = slot.level, .size = size};
    if (!desc_valid(slot.desc)) {
        return PGT_ABSENT;
    }
    out->pa = pa_of(desc_oa(slot.desc) + (ia & (size - 1)));
    out->attr = attr_of_desc(pgt->config.regime, slot.desc);
    return PGT_OK;
}
