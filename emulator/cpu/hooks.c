// SPDX-License-Identifier: Apache-2.0
// The hot paths of the CPU wrapper: counting, interrupt poll, code bookkeeping. Mechanism only;
// every policy is in Python. Uses Unicorn's public API through pointers, links to nothing.
#include "events.h"
#include "guest_state.h"
#include "hooks.h"
#include "observe.h"
#include "trace.h"
#include "views.h"
#include "watch.h"

#include <stddef.h>

#define PSTATE_EL(pstate) (((pstate) >> 2) & 3u)
#define PSTATE_DAIF 0x3c0u
#define PSTATE_IL (1u << 20)

#define A64_ERET 0xd69f03e0u
#define A64_WFE 0xd503205fu
#define A64_SEVL 0xd50320bfu
#define A64_MRS_CNTPCT 0xd53be020u
#define LINE_SHIFT 6
#define PAGE_SHIFT 12
#define NO_PC (~(uint64_t)0)
#define NO_MONITOR (~(uint64_t)0)
// Blocks from a load exclusive to its store exclusive, at most: code that obeys the architecture's
// rules for such loops has two or three.
#define MOST_EXTENDED 16

#define unlikely(x) __builtin_expect(!!(x), 0)

static void stop(void *uc, struct hook_state *s, enum stop_reason reason)
{
    s->reason = (uint32_t)reason;
    // The block announced to us will not run now; it is announced again on resumption.
    s->block_instructions = 0;
    s->emu_stop(uc);
}

uint32_t aether_settle_el(void *uc, struct hook_state *s)
{
    uint32_t pstate = 0;
    uint64_t pc = 0;
    s->after_eret = 0;
    s->reg_read(uc, s->reg_pstate, &pstate);
    uint32_t el = PSTATE_EL(pstate);
    if (el != s->el) {
        s->el_retired[s->el] += s->retired - s->el_mark;
        s->el_mark = s->retired;
        if (s->el == 2) {
            s->reg_read(uc, s->reg_pc, &pc);
            aether_fold(uc, s, pc);
            if (s->observer) {
                aether_observe_level(s, OBSERVED_ERET, el);
            }
            if (s->views && s->views->turns) {
                s->views->look(LOOK_TURN, 0, 0);
            }
            if (s->guests) {
                aether_guest_entered(uc, s);
            }
        }
        if (s->events) {
            s->reg_read(uc, s->reg_pc, &pc);
            aether_log(s, EVENT_ERET, s->retired, el, pc, s->el);
        }
        if (s->el == 2 && s->exit_open) {
            aether_note_exit(s, EXIT_ENDS, s->retired - s->exit_start);
            s->exit_open = 0;
        }
        s->el = el;
    }
    s->sp_suspect = 1;
    return pstate;
}

// The only way down from EL2 or EL1 is an ERET, and it ends its block: look at PSTATE only after
// one. Returns why the CPU cannot go on, if it cannot.
static enum stop_reason look_after_eret(void *uc, struct hook_state *s, uint64_t block_pc)
{
    uint64_t pc = 0;
    s->reg_read(uc, s->reg_pc, &pc);
    if (pc != block_pc) {
        s->after_eret = 0;
        return STOP_AARCH32; // Unicorn stops keeping the AArch64 PC
    }
    return aether_settle_el(uc, s) & PSTATE_IL ? STOP_ILLEGAL : STOP_NONE;
}

static int is_watched(const struct hook_state *s, uint64_t pc, uint64_t size)
{
    const struct watched_block *block = &s->watched[BLOCK_SLOT(pc)];
    return block->pc == pc && pc + size <= block->end;
}

static int needs_watch(void *uc, struct hook_state *s, uint64_t pc, uint32_t size, uint32_t flags)
{
    uint32_t el_bit = 1u << s->el;
    uint32_t trapped = s->fp_trapped | s->wfe_trapped | s->pct_trapped;
    int wanted = (flags & BLOCK_MAY_TRAP) && (trapped & el_bit);
    if (s->sp_suspect) {
        uint64_t sp = 0;
        s->reg_read(uc, s->reg_sp, &sp);
        s->sp_suspect = (sp & 15) != 0;
        wanted |= s->sp_suspect && (s->sp_checked & el_bit);
    }
    s->watch_pc = pc;
    s->watch_size = size;
    return wanted && !is_watched(s, pc, size);
}

static int is_monitor_set(void *uc, const struct hook_state *s)
{
    const uint8_t *at = (const uint8_t *)s->context + s->exclusive_offset;
    s->context_save(uc, s->context);
    return *(const uint64_t *)(const void *)at != NO_MONITOR;
}

// At a deadline. The end of a slice waits for the store exclusive that belongs to a load exclusive:
// Unicorn compares values only, and other CPUs' stores would go unnoticed.
static int is_slice_extended(void *uc, struct hook_state *s)
{
    s->exclusive_open = 0;
    if (!s->guard_exclusive || !is_monitor_set(uc, s)) {
        return 0;
    }
    s->exclusive_open = ++s->extended > MOST_EXTENDED;
    return !s->exclusive_open;
}

// Whether code ends with a WFE that waits; after SEVL it does not.
static int ends_with_wfe(const uint32_t *words, size_t count)
{
    return words[count - 1] == A64_WFE && (count == 1 || words[count - 2] != A64_SEVL);
}

// Another block may have set the flag: what a run does must not depend on what was translated once.
static int waits_at_end(void *uc, const struct hook_state *s, uint64_t pc, uint32_t size)
{
    uint32_t words[2] = {0}, last = size < sizeof(words) ? size : (uint32_t)sizeof(words);
    return s->vmem_read(uc, pc + size - last, UC_PROT_EXEC, words, last) == 0 &&
           ends_with_wfe(words, last >> 2);
}

static int reaches_peek(const struct hook_state *s)
{
    return s->retired + s->block_instructions > s->peek_at;
}

// A block at which something may be due.
static void on_busy_block(void *uc, struct hook_state *s, uint64_t pc, uint32_t size,
                          uint32_t flags)
{
    if (s->after_eret) {
        enum stop_reason problem = look_after_eret(uc, s, pc);
        if (problem != STOP_NONE) {
            // PC alignment is checked before PSTATE.IL.
            stop(uc, s, problem == STOP_ILLEGAL && (pc & 3) ? STOP_PC_ALIGN : problem);
            return;
        }
    }
    if (pc & 3) {
        stop(uc, s, STOP_PC_ALIGN);
        return;
    }
    if (needs_watch(uc, s, pc, size, flags)) {
        stop(uc, s, STOP_WATCH);
        return;
    }
    if (s->code_changed) {
        stop(uc, s, STOP_CODE);
        return;
    }
    if (s->attention & ~(ATTENTION_BARRIERS | ATTENTION_CACHES)) {
        stop(uc, s, STOP_ATTENTION);
        return;
    }
    if (s->retired >= s->deadline && !is_slice_extended(uc, s)) {
        stop(uc, s, STOP_DEADLINE);
        return;
    }
    if (s->lines) {
        uint32_t el = s->el, pstate = PSTATE_DAIF;
        if (s->take_unmasked[el] != 0) {
            s->reg_read(uc, s->reg_pstate, &pstate);
        }
        if (s->take_always[el] || (s->take_unmasked[el] & ~pstate)) {
            s->after_wfe = 0; // the interrupt ends the wait
            stop(uc, s, STOP_INTERRUPT);
            return;
        }
    }
    if (s->after_wfe) {
        s->after_wfe = 0;
        stop(uc, s, STOP_YIELD);
        return;
    }
    if (s->attention & ATTENTION_CACHES && s->views) {
        aether_view_block(uc, s, pc, size);
        if (s->code_changed) {
            stop(uc, s, STOP_CODE);
            return;
        }
    }
    // Last: what is due at this boundary comes first.
    if (reaches_peek(s) && !s->peek_pass) {
        stop(uc, s, STOP_PEEK);
        return;
    }
    s->peek_pass = 0;
    if (s->attention & ATTENTION_BARRIERS && s->observer) {
        aether_observe_lower_block(uc, s, pc, size);
    }
    s->after_eret = flags & BLOCK_ERET;
    if (s->guests && s->after_eret) {
        s->guests->eret = pc + size - 4;
    }
    s->after_wfe = s->peer_count && (flags & BLOCK_WFE) && waits_at_end(uc, s, pc, size);
    s->sp_suspect |= flags & BLOCK_MOVES_SP;
}

void aether_on_block(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    uint32_t flags = s->block_flags[BLOCK_SLOT(pc)];
    if (unlikely(s->tracer != NULL)) {
        size = aether_trace_block(s, pc, size);
        if (size == 0) {
            return;
        }
    }
    s->retired += s->block_instructions;
    s->block_instructions = size >> 2;
    s->block_pc = pc;
    s->blocks++;
    if (s->pass_pc != pc) {
        s->pass_pc = NO_PC;
    }
    uint32_t busy = flags | (uint32_t)(pc & 3) | s->after_eret | s->sp_suspect | s->code_changed |
                    s->attention | s->lines | s->after_wfe;
    if (unlikely(busy) || unlikely(s->retired >= s->deadline) || unlikely(reaches_peek(s))) {
        on_busy_block(uc, s, pc, size, flags);
    }
}

// An instruction that can leave SP without 16-byte alignment, judged from its encoding alone.
static int may_misalign_sp(uint32_t word)
{
    uint32_t rd = word & 31u, rn = (word >> 5) & 31u, is_64 = word >> 31;
    if ((word & 0x3f800000u) == 0x11000000u) {
        // ADD, SUB (immediate) to SP or WSP
        uint32_t shifted = (word >> 22) & 1u, imm = (word >> 10) & 0xfffu;
        return rd == 31 && !(is_64 && rn == 31 && (shifted || (imm & 15u) == 0));
    }
    if ((word & 0x3fe00000u) == 0x0b200000u) {
        return rd == 31; // ADD, SUB (extended register)
    }
    if ((word & 0x1f800000u) == 0x12000000u) {
        return rd == 31 && (word & 0x60000000u) != 0x60000000u; // AND, ORR, EOR, but not ANDS
    }
    if (rn == 31 && (word & 0x3b200400u) == 0x38000400u) {
        return ((word >> 12) & 15u) != 0; // LDR, STR with a pre- or post-index of imm9
    }
    if (rn == 31 && (word & 0x3a800000u) == 0x28800000u) {
        // LDP, STP with writeback: imm7 scaled by the register size
        uint32_t scale = (word & (1u << 26)) ? 2 + (word >> 30) : 2 + (word >> 31);
        return ((((word >> 15) & 127u) << scale) & 15u) != 0;
    }
    if (rn == 31 && (word & 0xbe800000u) == 0x0c800000u) {
        return 1; // LD1-LD4, ST1-ST4 with post-index
    }
    // MSR SP_EL0, which is in use after an ERET or with SPSel only; MSR SPSel
    return (word & 0xfffff0ffu) == 0xd50040bfu;
}

// A load or store with SP as its base.
static int has_sp_base(uint32_t word)
{
    return (word & 0x0a000000u) == 0x08000000u && (word & 0x3b000000u) != 0x18000000u &&
           ((word >> 5) & 31u) == 31;
}

#define A64_MRS_MSR_MASK 0xffd00000u
#define A64_MRS_MSR 0xd5100000u
#define SYSREG_KEY_OF(word) (((word) >> 5) & 0xffffu)

static int is_guarded(const struct hook_state *s, uint32_t word)
{
    return (word & A64_MRS_MSR_MASK) == A64_MRS_MSR &&
           s->sysreg_actions[SYSREG_KEY_OF(word)] == SYSREG_GUARDED;
}

// Loads, stores and data processing of FP and SIMD; also crypto, which shares their space; and MRS
// and MSR of FPCR and FPSR.
static int uses_fp(uint32_t word)
{
    int loads_stores = (word & 0x0a000000u) == 0x08000000u && (word & (1u << 26));
    return loads_stores || (word & 0x0e000000u) == 0x0e000000u ||
           (word & 0xffdfffc0u) == 0xd51b4400u;
}

// LDTR, STTR and their kin: at EL1 they access memory as EL0 does.
int aether_is_unprivileged(uint32_t word)
{
    return (word & 0x3f200c00u) == 0x38000800u;
}

static int reads_cntpct(uint32_t word)
{
    return (word & ~31u) == A64_MRS_CNTPCT;
}

int aether_find_ram(void *uc, const struct hook_state *s, uint64_t va, uint32_t access,
                    uint64_t *offset)
{
    uint64_t pa = 0;
    if (s->vmem_translate(uc, va, access, &pa) != 0) {
        return 0;
    }
    if (s->views) {
        pa &= ~(VIEW_INSTRUCTIONS | VIEW_MEMORY | VIEW_LINES);
    }
    *offset = pa - s->ram_base;
    if (s->observer && *offset >= s->ram_size) {
        *offset = pa - s->observer->alias;
    }
    if (s->watch && *offset >= s->ram_size) {
        *offset = pa - s->watch->alias;
    }
    return *offset < s->ram_size;
}

int aether_probe_ram(void *uc, const struct hook_state *s, uint64_t va, uint64_t *offset)
{
    if (s->views) {
        s->views->probes++;
    }
    int found = aether_find_ram(uc, s, va, UC_PROT_READ, offset);
    if (s->views) {
        s->views->probes--;
    }
    return found;
}

static void note_executed(void *uc, struct hook_state *s, uint64_t offset, uint64_t size)
{
    uint32_t is_new = 0;
    for (uint64_t at = offset; at < offset + size && at < s->ram_size; at += 4) {
        s->executed_lines[at >> LINE_SHIFT] = 1;
        is_new |= !s->code_pages[at >> PAGE_SHIFT];
        s->code_pages[at >> PAGE_SHIFT] = 1;
    }
    if (is_new && !s->is_native) {
        s->ctl(uc, s->ctl_flush_tlb); // a store to the page has to ask first
    }
}

void aether_on_new_block(void *uc, struct uc_block *block, struct uc_block *previous, void *user)
{
    struct hook_state *s = user;
    uint32_t words[1024];
    uint64_t pc = block->pc, size = block->size, offset = 0;
    (void)previous;
    if ((pc & 3) || size < 4 || size > sizeof(words) ||
        s->vmem_read(uc, pc, UC_PROT_EXEC, words, size) != 0) {
        return;
    }
    size_t count = (size_t)(size >> 2);
    uint8_t *flags = &s->block_flags[BLOCK_SLOT(pc)];
    uint32_t found = words[count - 1] == A64_ERET ? BLOCK_ERET : 0;
    if (ends_with_wfe(words, count)) {
        found |= BLOCK_WFE;
    }
    if (aether_find_ram(uc, s, pc, UC_PROT_EXEC, &offset)) {
        note_executed(uc, s, offset, size);
    }
    int watch = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t word = words[i];
        if (uses_fp(word) || word == A64_WFE || reads_cntpct(word)) {
            found |= BLOCK_MAY_TRAP;
        }
        if (aether_is_unprivileged(word)) {
            found |= BLOCK_UNPRIVILEGED;
        }
        // SP is looked at before the next block; an access in this one cannot wait for that.
        watch |= is_guarded(s, word) || ((found & BLOCK_MOVES_SP) && has_sp_base(word));
        if (may_misalign_sp(word)) {
            found |= BLOCK_MOVES_SP;
        }
    }
    *flags |= (uint8_t)found;
    if (s->tracer && aether_trace_is_inside(s, pc)) {
        return; // all of the block has been looked at when it was measured
    }
    watch = watch && !is_watched(s, pc, size);
    if (watch || (s->observer && aether_observe_block(s, words, pc, count))) {
        s->watch_pc = pc;
        s->watch_size = size;
        s->retired += s->block_instructions;
        stop(uc, s, watch ? STOP_WATCH : STOP_OBSERVE);
    }
}

void aether_on_exception(void *uc, uint32_t number, void *user)
{
    struct hook_state *s = user;
    s->reason = STOP_EXCEPTION;
    s->exception = number;
    s->emu_stop(uc);
}

uint32_t aether_on_undefined(void *uc, void *user)
{
    aether_on_exception(uc, 1, user);
    return 1;
}

// Installed over watched blocks only: stops in front of an instruction for which Unicorn lacks an
// exception that may be due. Python decides; `pass_pc` lets the instruction through afterwards.
void aether_on_watched(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    uint32_t word = 0, el_bit = 1u << s->el;
    uint64_t sp = 0;
    (void)size;
    s->sp_suspect = 1;
    if (pc == s->pass_pc) {
        return; // several watched ranges may hold this instruction: each asks once
    }
    if (s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) != 0) {
        return;
    }
    int due = ((s->fp_trapped & el_bit) && uses_fp(word)) ||
              ((s->wfe_trapped & el_bit) && word == A64_WFE) ||
              ((s->pct_trapped & el_bit) && reads_cntpct(word)) || is_guarded(s, word);
    if ((s->sp_checked & el_bit) && has_sp_base(word)) {
        s->reg_read(uc, s->reg_sp, &sp);
        due |= (sp & 15) != 0;
    }
    if (due) {
        s->reason = STOP_WATCHED;
        s->emu_stop(uc);
    }
}

// Installed over the instruction to stop at.
void aether_on_peeked(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct hook_state *s = user;
    (void)size;
    if (s->retired + ((pc - s->block_pc) >> 2) == s->peek_inside) {
        s->reason = STOP_PEEK;
        s->emu_stop(uc);
    }
}

uint64_t aether_hooks_layout(uint32_t field)
{
    static const uint64_t offsets[] = {
        sizeof(struct hook_state),
        offsetof(struct hook_state, el_retired),
        offsetof(struct hook_state, exit_start),
        offsetof(struct hook_state, lines),
        offsetof(struct hook_state, reason),
        offsetof(struct hook_state, ram_base),
        offsetof(struct hook_state, sysreg_actions),
        offsetof(struct hook_state, reg_pstate),
    };
    return field < sizeof(offsets) / sizeof(offsets[0]) ? offsets[field] : 0;
}
