// SPDX-License-Identifier: Apache-2.0
// Accesses to system registers, and system instructions: counters, maintenance of caches and TLBs,
// DC ZVA. What is done here, and what is left to Unicorn or to Python, stands in `sysreg_actions`.
#include "events.h"
#include "guest_state.h"
#include "hooks.h"
#include "observe.h"
#include "views.h"
#include "watch.h"

#include <stddef.h>

#define LINE_SHIFT 6
#define PAGE_SHIFT 12

static int is_broadcast(const struct hook_state *s, int inner_shareable)
{
    return inner_shareable || (s->broadcast_forced && s->el < 2);
}

void aether_note_code(struct hook_state *s, int by_va, uint64_t line)
{
    if (!by_va) {
        s->code_line_count = CODE_LINES + 1;
    } else if (!s->executed_lines[line]) {
        return;
    } else if (s->code_line_count < CODE_LINES) {
        s->code_lines[s->code_line_count++] = (uint32_t)line;
    } else {
        s->code_line_count = CODE_LINES + 1;
    }
    s->code_changed = 1;
}

static void invalidate_code(void *uc, struct hook_state *s, const struct uc_cp_reg *reg)
{
    uint64_t offset = 0;
    int by_va = reg->crm == 5 && reg->op2 == 1; // IC IVAU; IALLU and IALLUIS drop everything
    by_va = by_va && aether_probe_ram(uc, s, reg->value, &offset);
    uint64_t line = offset >> LINE_SHIFT;
    int is_everyones = by_va || is_broadcast(s, reg->crm == 1);
    if (s->views && by_va) {
        aether_view_invalidate(uc, s, line);
    } else if (s->views) {
        aether_view_invalidate_all(uc, s, is_everyones ? IC_EVERYONE : IC_OWN);
    }
    aether_note_code(s, by_va, line);
    if (is_everyones) {
        for (uint32_t i = 0; i < s->peer_count; i++) {
            aether_note_code(s->peers[i], by_va, line);
        }
    }
}

// All of it goes, whatever is named: how many entries Unicorn still holds depends on the host's
// clock, and a block that it holds as pages it would drop in part.
static void invalidate_tlb(void *uc, struct hook_state *s, const struct uc_cp_reg *reg)
{
    s->tlb_generation++;
    s->epoch++;
    s->stage2_changed |= reg->op1 == 4;
    if (s->is_native || aether_tlb_invalidate(s, reg)) {
        s->ctl(uc, s->ctl_flush_tlb);
    }
    // CRm 3: the forms for the inner shareable domain; CRm 0: those by IPA.
    if (is_broadcast(s, reg->crm == 3 || reg->crm == 0)) {
        for (uint32_t i = 0; i < s->peer_count; i++) {
            s->peers[i]->tlb_flush_due = 1;
            s->peers[i]->epoch++;
            s->peers[i]->stage2_changed |= reg->op1 == 4;
            if (!s->is_native) {
                aether_tlb_invalidate(s->peers[i], reg);
            }
        }
    }
}

// Unicorn zeroes byte by byte, each through its slow path. A line it has translated code from is
// left to it, so that it drops the code.
static uint32_t zero_line(void *uc, struct hook_state *s, uint64_t va)
{
    uint64_t offset = 0;
    if (!(s->zva_allowed >> s->el & 1u) || !aether_find_ram(uc, s, va, UC_PROT_WRITE, &offset)) {
        return 0;
    }
    uint64_t line = offset >> LINE_SHIFT;
    if (s->executed_lines[line]) {
        return 0;
    }
    s->dirty_pages[offset >> PAGE_SHIFT] = 1;
    if (s->observer && aether_observe_zero(uc, s, line)) {
        return 1;
    }
    if (s->watch) {
        aether_watch_zero(uc, s, line << LINE_SHIFT, 1u << LINE_SHIFT);
    }
    uint8_t *bytes = s->views ? aether_view_bytes(s, line) : s->ram;
    uint64_t *words = (uint64_t *)(void *)(bytes + (line << LINE_SHIFT));
    for (size_t i = 0; i < (1u << LINE_SHIFT) / sizeof(*words); i++) {
        ((volatile uint64_t *)words)[i] = 0; // volatile: no call of memset, which nobody provides
    }
    return 1;
}

static void maintain_cache(void *uc, struct hook_state *s, const struct uc_cp_reg *reg,
                           uint32_t key)
{
    uint64_t offset = 0;
    int is_ram = aether_view_by_va(reg) && aether_probe_ram(uc, s, reg->value, &offset);
    aether_view_maintain(uc, s, reg, key, is_ram, offset);
}

static uint32_t read_counter(void *uc, struct hook_state *s, int rt, uint32_t key)
{
    uint32_t is_virtual = key & 1u ? 0 : 1; // op2: 1 CNTPCT_EL0, 2 CNTVCT_EL0
    uint32_t allowed = is_virtual ? s->cntvct_allowed : s->cntpct_allowed;
    uint64_t pc = 0;
    if (!(allowed >> s->el & 1u)) {
        return s->sysreg_model(key, rt, 1, 0);
    }
    s->reg_read(uc, s->reg_pc, &pc);
    uint64_t retired = s->retired + ((pc - s->block_pc) >> 2);
    uint64_t value = s->counter_skipped + retired / s->instructions_per_tick;
    value -= is_virtual ? s->virtual_offset : 0;
    s->reg_write(uc, rt, &value);
    return 1;
}

static uint32_t on_sysreg(void *uc, int rt, const struct uc_cp_reg *reg, struct hook_state *s,
                          uint32_t is_read)
{
    uint32_t key =
        (reg->op0 & 3u) << 14 | reg->op1 << 11 | reg->crn << 7 | reg->crm << 3 | reg->op2;
    s->sysreg_hooks++;
    if (s->events && !is_read) {
        aether_log_sysreg(uc, s, key, reg->value);
    }
    if (s->observer && !is_read) {
        aether_observe_sysreg(uc, s, key, reg->value);
    }
    if (s->watch && !is_read) {
        aether_watch_sysreg(uc, s, key, reg->value);
    }
    if (s->guests && !is_read && s->el == 2) {
        s->guests->written[key] = s->guests->stay;
    }
    enum sysreg_action action = (enum sysreg_action)s->sysreg_actions[key];
    switch (action) {
    case SYSREG_NATIVE:
        break;
    case SYSREG_COUNTER:
        return read_counter(uc, s, rt, key);
    case SYSREG_ZVA:
        return zero_line(uc, s, reg->value);
    case SYSREG_MODEL:
        if (is_read && s->kept[key % KEPT_ANSWERS].tag == KEPT_TAG(key, s->el)) {
            s->reg_write(uc, rt, &s->kept[key % KEPT_ANSWERS].value);
            return 1;
        }
        return s->sysreg_model(key, rt, is_read, reg->value);
    case SYSREG_GUARDED:
        return s->sysreg_model(key, rt, is_read, reg->value);
    case SYSREG_TRANSLATION:
    case SYSREG_CONTROL:
        if (!is_read) {
            s->translation_changed = 1;
            // SCTLR, TTBR0, TCR, MAIR; with CRm 1 are VTTBR, VTCR and those that trap.
            s->el2_changed |= reg->op1 == 4 && reg->crm != 1;
            s->epoch++;
            s->attention |= action == SYSREG_CONTROL ? ATTENTION_CONTROLS : 0;
            s->ctl(uc, s->ctl_flush_tlb);
        }
        break;
    case SYSREG_IC:
        invalidate_code(uc, s, reg);
        break;
    case SYSREG_TLBI:
        invalidate_tlb(uc, s, reg);
        break;
    case SYSREG_CACHE:
        maintain_cache(uc, s, reg, key);
        break;
    }
    return 0;
}

uint32_t aether_on_mrs(void *uc, int rt, const struct uc_cp_reg *reg, void *user)
{
    return on_sysreg(uc, rt, reg, user, 1);
}

uint32_t aether_on_msr(void *uc, int rt, const struct uc_cp_reg *reg, void *user)
{
    return on_sysreg(uc, rt, reg, user, 0);
}
