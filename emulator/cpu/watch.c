// SPDX-License-Identifier: Apache-2.0
// Searches through a run. Pages of RAM that are watched are accessed through an alias that answers
// as a device does; code is hooked where it is watched.
#include "watch.h"

#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u
#define PAGE_SHIFT 12
#define PAGE_SIZE (1ull << PAGE_SHIFT)
#define PAGE_MASK (PAGE_SIZE - 1)

static uint64_t read_pc(void *uc, const struct hook_state *s)
{
    uint64_t pc = 0;
    s->reg_read(uc, s->reg_pc, &pc);
    return pc;
}

static int64_t ahead_of(const struct hook_state *s, uint64_t pc)
{
    return (int64_t)(s->peek_at - s->retired - ((pc - s->block_pc) >> 2));
}

static void note(struct watch *w, const struct hit *hit)
{
    if (hit->ahead < w->nearest || hit->ahead > w->farthest) {
        return;
    }
    uint64_t number = w->count++;
    if (w->keeps_last || number < w->capacity) {
        w->hits[number % w->capacity] = *hit;
    }
}

static void note_access(struct hook_state *s, uint64_t offset, uint64_t size, uint64_t value,
                        uint32_t access)
{
    struct watch *w = s->watch;
    uint64_t pc = w->is_exact ? w->pc : s->block_pc;
    for (uint32_t i = 0; i < w->range_count; i++) {
        const struct watched_range *range = &w->ranges[i];
        if (!(range->accesses & access) || offset >= range->end || offset + size <= range->start) {
            continue;
        }
        struct hit hit = {.ahead = ahead_of(s, pc),
                          .pc = pc,
                          .address = s->ram_base + offset,
                          .value = value,
                          .id = range->id,
                          .size = (uint16_t)size,
                          .is_store = access == WATCH_WRITES};
        note(w, &hit);
    }
}

void aether_watch_fill(struct hook_state *s, struct uc_tlb_entry *out, uint32_t access)
{
    struct watch *w = s->watch;
    uint64_t offset = out->paddr - s->ram_base;
    uint32_t watched = offset < s->ram_size ? w->pages[offset >> PAGE_SHIFT] : 0;
    if (!watched) {
        return;
    }
    if (access == UC_MEM_FETCH) {
        // What is read of the page has to ask again.
        out->perms &= (int32_t)(watched & WATCH_READS ? UC_PROT_EXEC : UC_PROT_EXEC | UC_PROT_READ);
        return;
    }
    if (access != UC_MEM_WRITE && !(watched & WATCH_READS)) {
        out->perms &= ~(int32_t)UC_PROT_WRITE; // a store has to ask
        return;
    }
    out->paddr = w->alias + offset;
}

void aether_watch_zero(void *uc, struct hook_state *s, uint64_t offset, uint64_t size)
{
    if (s->watch->pages[offset >> PAGE_SHIFT] & WATCH_WRITES) {
        s->watch->pc = read_pc(uc, s);
        note_access(s, offset, size, 0, WATCH_WRITES);
    }
}

void aether_watch_sysreg(void *uc, struct hook_state *s, uint32_t key, uint64_t value)
{
    struct watch *w = s->watch;
    for (uint32_t i = 0; i < w->sysreg_count; i++) {
        if (w->sysregs[i].start == key) {
            uint64_t pc = read_pc(uc, s);
            struct hit hit = {.ahead = ahead_of(s, pc),
                              .pc = pc,
                              .address = key,
                              .value = value,
                              .id = w->sysregs[i].id,
                              .size = 8,
                              .is_store = 1};
            note(w, &hit);
        }
    }
}

// Installed over all memory while `is_exact`: an access, as the instruction makes it.
void aether_on_access(void *uc, uint32_t type, uint64_t pa, int32_t size, int64_t value, void *user)
{
    struct hook_state *s = user;
    (void)type;
    (void)value;
    s->watch->pc = read_pc(uc, s);
    s->watch->access_pa = pa;
    s->watch->access_size = (uint64_t)size;
}

// Where a device answers, Unicorn makes of a load that is not aligned two aligned ones: leave of
// such a piece what is loaded, of its first page or of the next.
static void note_load(struct hook_state *s, uint64_t offset, uint64_t size, uint64_t value)
{
    const struct watch *w = s->watch;
    uint64_t start = offset, end = offset + size, page = offset & ~PAGE_MASK;
    if (w->is_exact) {
        uint64_t first = w->access_pa - w->alias; // if its page is watched
        int is_next = (first & ~PAGE_MASK) != page || end <= first;
        uint64_t rest = (first & PAGE_MASK) + w->access_size - PAGE_SIZE;
        uint64_t loaded = is_next ? page : first;
        uint64_t loaded_end = is_next ? page + rest : first + w->access_size;
        start = start > loaded ? start : loaded;
        end = end < loaded_end ? end : loaded_end;
    }
    if (start < end) {
        note_access(s, start, end - start, value >> 8 * (start - offset), WATCH_READS);
    }
}

// The alias of RAM: Unicorn's callbacks of a device.
uint64_t aether_on_watched_read(void *uc, uint64_t offset, uint32_t size, void *user)
{
    struct hook_state *s = user;
    uint64_t value = 0;
    (void)uc;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint64_t)((volatile uint8_t *)s->ram)[offset + i] << 8 * i;
    }
    note_load(s, offset, size, value);
    return value;
}

void aether_on_watched_write(void *uc, uint64_t offset, uint32_t size, uint64_t value, void *user)
{
    struct hook_state *s = user;
    (void)uc;
    note_access(s, offset, size, value, WATCH_WRITES);
    for (uint32_t i = 0; i < size; i++) {
        ((volatile uint8_t *)s->ram)[offset + i] = (uint8_t)(value >> 8 * i);
    }
}

// Installed over single instructions.
void aether_on_sought(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    struct watch *w = s->watch;
    struct uc_cp_reg vttbr = {.crn = 2, .crm = 1, .op0 = 3, .op1 = 4, .op2 = 0};
    uint64_t sp = 0;
    (void)size;
    for (uint32_t i = 0; i < w->code_count; i++) {
        const struct watched_code *code = &w->codes[i];
        if (code->va != pc || !(code->levels >> s->el & 1u)) {
            continue;
        }
        if (code->vmid != ANY_VMID) {
            s->reg_read(uc, (int)s->reg_cp, &vttbr);
            if ((vttbr.value >> 48 & 0xffu) != code->vmid) {
                continue;
            }
        }
        s->reg_read(uc, s->reg_sp, &sp);
        if (sp < code->sp_least || sp > code->sp_most) {
            continue;
        }
        struct hit hit = {.ahead = ahead_of(s, pc), .pc = pc, .address = pc, .id = code->id};
        note(w, &hit);
    }
}

// Installed over everything: the instruction before this one may have changed the register.
void aether_on_any(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    struct watch *w = s->watch;
    uint64_t value = 0;
    (void)size;
    s->reg_read(uc, w->reg, &value);
    if (w->has_value && value != w->value) {
        struct hit hit = {.ahead = w->value_ahead,
                          .pc = w->value_pc,
                          .value = value,
                          .id = w->reg_id,
                          .size = 8,
                          .is_store = 1};
        note(w, &hit);
    }
    w->has_value = 1;
    w->value = value;
    w->value_pc = pc;
    w->value_ahead = ahead_of(s, pc);
}
