// SPDX-License-Identifier: Apache-2.0
// Searches through a run. Pages of RAM that are watched are accessed through an alias that answers
// as a device does; code is hooked where it is watched.
#include "watch.h"

#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u
#define PAGE_SHIFT 12

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

void aether_watch_fill(void *uc, struct hook_state *s, struct uc_tlb_entry *out, uint32_t access)
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
    if (w->is_exact) {
        w->pc = read_pc(uc, s);
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

// The alias of RAM: Unicorn's callbacks of a device.
uint64_t aether_on_watched_read(void *uc, uint64_t offset, uint32_t size, void *user)
{
    struct hook_state *s = user;
    uint64_t value = 0;
    for (uint32_t i = 0; i < size; i++) {
        value |= (uint64_t)((volatile uint8_t *)s->ram)[offset + i] << 8 * i;
    }
    note_access(s, offset, size, value, WATCH_READS);
    if (s->watch->is_exact) {
        s->ctl(uc, s->ctl_flush_tlb); // the next access comes back with a fill
    }
    return value;
}

void aether_on_watched_write(void *uc, uint64_t offset, uint32_t size, uint64_t value, void *user)
{
    struct hook_state *s = user;
    note_access(s, offset, size, value, WATCH_WRITES);
    for (uint32_t i = 0; i < size; i++) {
        ((volatile uint8_t *)s->ram)[offset + i] = (uint8_t)(value >> 8 * i);
    }
    if (s->watch->is_exact) {
        s->ctl(uc, s->ctl_flush_tlb);
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
