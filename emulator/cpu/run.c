// SPDX-License-Identifier: Apache-2.0
// The run loop, and the exceptions that are frequent and simple enough to be taken here: SVC, HVC,
// aborts of plain loads, stores and fetches, interrupts. What it does is what cpu.py and
// synchronous.py do, which take all others, and these too where this loop is left out.
#include "events.h"
#include "guest_state.h"
#include "hooks.h"
#include "observe.h"
#include "trace.h"

#include <stddef.h>

#define UC_OK 0
#define UC_EXCEPTION 21
#define UC_MEM_READ 16u
#define UC_MEM_WRITE 17u
#define UC_MEM_FETCH 18u
#define UC_SVC 2u
#define UC_PREFETCH_ABORT 3u
#define UC_DATA_ABORT 4u
#define UC_HVC 11u

#define PSTATE_SP 1u
#define PSTATE_SAVED 0xf07003cdu // NZCV, PAN, SS, IL, DAIF, EL, SP
#define PSTATE_KEPT 0xf0400000u  // of the above, what an exception does not change: NZCV, PAN

#define HCR_TGE (1ull << 27)

#define EC_SVC 0x15u
#define EC_HVC 0x16u
#define EC_INSTRUCTION_ABORT 0x20u // from a lower EL; 1 more from the same
#define EC_DATA_ABORT 0x24u
#define ESR_EC(ec) ((uint64_t)(ec) << 26)
#define ESR_IL (1u << 25)
#define ISS_ISV (1u << 24)
#define ISS_SSE (1u << 21)
#define ISS_SF (1u << 15)
#define ISS_S1PTW (1u << 7)
#define ISS_WNR (1u << 6)

#define PAGE_MASK 0xfffull
#define FNV_BASIS 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

// An exception to take; `target` is an EL, `vector` the offset in a group of four vectors.
struct entry {
    uint32_t vector, target, kind;
    int has_syndrome, has_far, has_hpfar;
    uint64_t elr, esr, far, hpfar;
};

static uint64_t read_register(void *uc, const struct hook_state *s, int id)
{
    uint64_t value = 0;
    s->reg_read(uc, id, &value);
    return value;
}

uint64_t aether_read_x(void *uc, const struct hook_state *s, uint32_t n)
{
    if (n == 31) {
        return read_register(uc, s, s->reg_sp);
    }
    return read_register(uc, s, n < 29 ? s->reg_x0 + (int)n : s->reg_x29 + (int)n - 29);
}

static void write_el2(void *uc, const struct hook_state *s, uint32_t op1, uint32_t crn,
                      uint32_t op2, uint64_t value)
{
    struct uc_cp_reg reg = {.crn = crn, .crm = 0, .op0 = 3, .op1 = op1, .op2 = op2, .value = value};
    s->reg_write(uc, (int)s->reg_cp, &reg);
}

void aether_fold(void *uc, struct hook_state *s, uint64_t pc)
{
    struct uc_cp_reg vttbr = {.crn = 2, .crm = 1, .op0 = 3, .op1 = 4, .op2 = 0};
    s->reg_read(uc, (int)s->reg_cp, &vttbr);
    uint32_t vmid = (uint32_t)(vttbr.value >> 48) & 0xffu;
    uint64_t counter = s->counter_skipped + s->retired / s->instructions_per_tick;
    uint64_t hash = s->timeline_events[vmid]++ ? s->timeline[vmid] : FNV_BASIS;
    for (uint32_t shift = 0; shift < 64; shift += 8) {
        hash = (hash ^ (pc >> shift & 0xffu)) * FNV_PRIME;
    }
    for (uint32_t shift = 0; shift < 64; shift += 8) {
        hash = (hash ^ (counter >> shift & 0xffu)) * FNV_PRIME;
    }
    s->timeline[vmid] = hash;
    if (s->on_crossing) {
        s->on_crossing(pc);
    }
}

void aether_note_exit(struct hook_state *s, uint32_t kind, uint64_t instructions)
{
    struct exit_record *record = &s->exits[s->exit_count++];
    record->kind = kind;
    record->instructions = instructions;
}

// AArch64.TakeException. Unicorn banks SP only on entries of its own.
static void take(void *uc, struct hook_state *s, const struct entry *e)
{
    uint64_t pstate = read_register(uc, s, s->reg_pstate);
    uint64_t sp = read_register(uc, s, s->reg_sp);
    uint32_t from = (uint32_t)(pstate >> 2) & 3u;
    uint32_t bank = pstate & PSTATE_SP ? from : 0;
    uint64_t changed = (pstate & PSTATE_KEPT) | 0x3c0u | e->target << 2 | PSTATE_SP;
    uint64_t vbar = read_register(uc, s, s->reg_vbar_el0 + (int)e->target);
    uint32_t group = e->target > from ? 0x400u : pstate & PSTATE_SP ? 0x200u : 0;

    s->reg_write(uc, s->reg_sp_el0 + (int)bank, &sp);
    if (e->has_syndrome) {
        s->reg_write(uc, s->reg_esr_el0 + (int)e->target, &e->esr);
    }
    if (e->has_far) {
        s->reg_write(uc, s->reg_far_el0 + (int)e->target, &e->far);
    }
    if (e->has_hpfar) {
        write_el2(uc, s, 4, 6, 4, e->hpfar);
    }
    s->reg_write(uc, s->reg_elr_el0 + (int)e->target, &e->elr);
    sp = read_register(uc, s, s->reg_sp_el0 + (int)e->target);
    s->reg_write(uc, s->reg_pstate, &changed);
    s->reg_write(uc, s->reg_sp, &sp);
    // Last: a system-register write makes Unicorn see the new PSTATE.
    write_el2(uc, s, e->target == 2 ? 4 : 0, 4, 0, pstate & PSTATE_SAVED);
    s->stop_pc = (vbar & ~0x7ffull) + group + e->vector;

    if (s->events) {
        aether_log_exception(uc, s, EVENT_LEVELS(from, e->target), e->kind, e->esr, e->elr);
    }
    s->exceptions_in_c++;
    s->exceptions++;
    s->last_exception = e->kind | from << 8 | e->target << 12;
    s->exception_counts[(from * 3 + e->target) * EXCEPTION_KINDS + e->kind]++;
    s->el_retired[from] += s->retired - s->el_mark;
    s->el_mark = s->retired;
    s->el = e->target;
    s->after_eret = 0;
    s->sp_suspect = (sp & 15) != 0;
    if (s->observer && e->target == 2 && from == 2) {
        aether_observe_level(s, OBSERVED_CONTEXT, 0);
    }
    if (e->target == 2 && from < 2) {
        if (s->observer) {
            aether_observe_level(s, OBSERVED_ENTRY, e->kind);
        }
        if (s->guests) {
            aether_guest_left(uc, s, e->kind);
        }
        aether_fold(uc, s, e->elr);
        aether_note_exit(s, e->kind, 0);
        s->exit_start = s->retired;
        s->exit_open = 1;
    }
}

// Where an exception goes that no control sends to EL2 by itself.
static uint32_t general_target(const struct hook_state *s)
{
    if (s->el == 2 || (s->el == 0 && (s->hcr_el2 & HCR_TGE))) {
        return 2;
    }
    return 1;
}

// Account for the block that was left, up to `pc`; as Engine._settle.
static void settle(void *uc, struct hook_state *s, uint64_t pc, int is_whole_block)
{
    uint64_t offset = (pc - s->block_pc) >> 2;
    if (is_whole_block) {
        s->retired += s->block_instructions;
        if (s->after_eret) {
            aether_settle_el(uc, s); // the ERET's target could not be fetched
        }
    } else if (offset <= s->block_instructions) {
        s->retired += offset;
    }
    s->block_instructions = 0;
}

// Take a synchronous exception, unless too many of them follow one another.
static int take_synchronous(void *uc, struct hook_state *s, const struct entry *e)
{
    s->same_count = s->retired == s->same_place ? s->same_count + 1 : 0;
    s->same_place = s->retired;
    if (s->same_count > s->lockup_limit) {
        s->reason = STOP_LOCKUP;
        return 0;
    }
    take(uc, s, e);
    return 1;
}

static int take_call(void *uc, struct hook_state *s, uint64_t pc)
{
    uint32_t word = 0, is_hvc = s->exception == UC_HVC;
    if (s->vmem_read(uc, pc - 4, UC_PROT_EXEC, &word, sizeof(word)) != UC_OK) {
        return 0;
    }
    settle(uc, s, pc, 0);
    struct entry e = {.target = is_hvc ? 2 : general_target(s), .has_syndrome = 1, .elr = pc};
    e.kind = is_hvc ? EC_HVC : EC_SVC;
    e.esr = ESR_EC(e.kind) | ESR_IL | (word >> 5 & 0xffffu);
    return take_synchronous(uc, s, &e);
}

static uint64_t extended(uint64_t value, uint32_t option)
{
    switch (option) {
    case 2: // UXTW
        return value & 0xffffffffu;
    case 6: // SXTW
        return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
    default: // UXTX, SXTX; others are unallocated
        return value;
    }
}

// LDR, STR (immediate, register) and LDP, STP of general-purpose registers. 0 for all others.
int aether_decode_access(void *uc, const struct hook_state *s, uint32_t word, struct access *a)
{
    uint32_t rn = word >> 5 & 31u, rt = word & 31u, size = word >> 30, opc = word >> 22 & 3u;
    uint64_t base = 0;
    if ((word & 0x3e000000u) == 0x28000000u) {
        // LDP, STP, LDPSW, LDNP, STNP
        uint32_t mode = word >> 23 & 3u, scale = word >> 31 ? 3 : 2;
        int64_t imm7 = (int64_t)((uint64_t)word << 42) >> 57;
        if (size == 3) {
            return 0;
        }
        base = aether_read_x(uc, s, rn);
        a->va = mode == 1 ? base : base + ((uint64_t)imm7 << scale);
        a->bytes = 2u << scale;
        a->is_store = !(word >> 22 & 1u);
        a->iss = 0;
        return 1;
    }
    if ((word & 0x3e000000u) != 0x38000000u || (size == 3 && opc >= 2) || (size == 2 && opc == 3)) {
        return 0;
    }
    a->bytes = 1u << size;
    a->is_store = opc == 0;
    a->iss = ISS_ISV | size << 22 | rt << 16;
    if (opc >= 2) {
        a->iss |= ISS_SSE | (opc == 2 ? ISS_SF : 0);
    } else {
        a->iss |= size == 3 ? ISS_SF : 0;
    }
    if (word & (1u << 24)) {
        a->va = aether_read_x(uc, s, rn) + ((uint64_t)(word >> 10 & 0xfffu) << size);
        return 1;
    }
    if (word & (1u << 21)) {
        uint32_t rm = word >> 16 & 31u, option = word >> 13 & 7u;
        if ((word >> 10 & 3u) != 2 || !(option & 2u)) {
            return 0;
        }
        uint64_t index = rm == 31 ? 0 : extended(aether_read_x(uc, s, rm), option);
        a->va = aether_read_x(uc, s, rn) + (word >> 12 & 1u ? index << size : index);
        return 1;
    }
    int64_t imm9 = (int64_t)((uint64_t)word << 43) >> 55;
    base = aether_read_x(uc, s, rn);
    switch (word >> 10 & 3u) {
    case 0: // unscaled
        a->va = base + (uint64_t)imm9;
        return 1;
    case 1: // post-index
        a->va = base;
        a->iss = 0;
        return 1;
    case 3: // pre-index
        a->va = base + (uint64_t)imm9;
        a->iss = 0;
        return 1;
    default: // unprivileged
        return 0;
    }
}

// With the model, the fault is known from the fill. Unicorn's own walker does not see all that the
// architecture checks, so in native mode the model is asked what the fault is.
static int take_abort(void *uc, struct hook_state *s, uint64_t pc, int is_fetch)
{
    struct entry e = {.has_syndrome = 1, .has_far = 1, .elr = pc, .far = pc};
    struct access a = {.iss = 0};
    uint32_t word = 0;
    if (is_fetch) {
        if (pc & 3) {
            return 0;
        }
        settle(uc, s, pc, 1); // the EL may be that of an ERET's target
    } else {
        if (s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) != UC_OK ||
            !aether_decode_access(uc, s, word, &a) ||
            ((a.va ^ (a.va + a.bytes - 1)) & ~PAGE_MASK)) {
            return 0;
        }
        e.far = a.va;
    }
    uint32_t access = is_fetch ? UC_MEM_FETCH : a.is_store ? UC_MEM_WRITE : UC_MEM_READ;
    if (s->is_native) {
        if (!aether_find_fault(s, e.far, s->el, access) && !s->fault_model(e.far, access)) {
            return 0;
        }
    } else if (s->fault_access != access) {
        return 0;
    }
    if (s->el == 2) {
        return 0; // what EL2 does wrong itself is noted in Python
    }
    uint32_t iss = s->fault_fsc | (s->fault_s1ptw ? ISS_S1PTW : 0) | (a.is_store ? ISS_WNR : 0);
    iss |= s->fault_stage2 && !s->fault_s1ptw ? a.iss : 0;
    settle(uc, s, pc, 0); // nothing more to do after a fetch
    e.target = s->fault_stage2 ? 2 : general_target(s);
    e.kind = (is_fetch ? EC_INSTRUCTION_ABORT : EC_DATA_ABORT) + (e.target == s->el ? 1u : 0);
    e.esr = ESR_EC(e.kind) | ESR_IL | iss;
    e.has_hpfar = (int)s->fault_stage2;
    e.hpfar = s->fault_hpfar;
    return take_synchronous(uc, s, &e);
}

static int take_interrupt(void *uc, struct hook_state *s, uint64_t pc)
{
    uint64_t pstate = read_register(uc, s, s->reg_pstate);
    for (uint32_t i = 0; i < CANDIDATES && s->el < 3; i++) {
        uint32_t c = s->candidates[s->el * CANDIDATES + i];
        if (!(c & CANDIDATE_VALID)) {
            break;
        }
        if (CANDIDATE_MASK(c) & pstate) {
            continue;
        }
        if (CANDIDATE_KIND(c) == 2) {
            return 0; // SError has a syndrome
        }
        struct entry e = {.target = CANDIDATE_EL(c), .elr = pc};
        e.vector = 0x80u + 0x80u * CANDIDATE_KIND(c);
        e.kind = INTERRUPT_KIND(CANDIDATE_KIND(c), c & CANDIDATE_VIRTUAL);
        take(uc, s, &e);
        return 1;
    }
    return 0;
}

static int is_handled(void *uc, struct hook_state *s, int32_t status)
{
    if (s->is_deferred || s->exit_count > EXIT_RECORDS - 8) {
        return 0;
    }
    if (status == UC_EXCEPTION && !s->is_native && s->fault_known) {
        return take_abort(uc, s, s->stop_pc, s->fault_access == UC_MEM_FETCH);
    }
    if (status != UC_OK) {
        return 0;
    }
    if (s->reason == STOP_SPLIT) {
        return 1;
    }
    if (s->reason == STOP_INTERRUPT) {
        return take_interrupt(uc, s, s->stop_pc);
    }
    if (s->reason != STOP_EXCEPTION) {
        return 0;
    }
    switch (s->exception) {
    case UC_SVC:
    case UC_HVC:
        return take_call(uc, s, s->stop_pc);
    case UC_PREFETCH_ABORT:
    case UC_DATA_ABORT:
        return s->is_native && take_abort(uc, s, s->stop_pc, s->exception == UC_PREFETCH_ABORT);
    default:
        return 0;
    }
}

int32_t aether_run(void *uc, struct hook_state *s, uint64_t pc)
{
    for (;;) {
        s->reason = STOP_NONE;
        s->fault_known = 0;
        int32_t status = s->emu_start(uc, pc, 0, 0, 0);
        s->stop_pc = read_register(uc, s, s->reg_pc);
        if (s->tracer) {
            aether_trace_stop(s);
        }
        // Probes of memory on the way may miss in the TLB too.
        uint32_t access = s->fault_access;
        if (!is_handled(uc, s, status)) {
            s->fault_access = access;
            return s->reason == STOP_LOCKUP ? UC_OK : status;
        }
        pc = s->stop_pc;
    }
}
