// SPDX-License-Identifier: Apache-2.0
// Finds switch points, counts them, and ends slices there. The stop comes before the instruction.
#include "interleave.h"
#include "observe.h"
#include "views.h"

#define A64_BARRIER_MASK 0xfffff0ffu // without CRm
#define A64_DSB 0xd503309fu
#define A64_DMB 0xd50330bfu
#define A64_SMC_MASK 0xffe0001fu
#define A64_SMC 0xd4000003u
#define A64_SYS_CRN_MASK 0xfff8f000u // SYS with its CRn
#define A64_SYS_TLBI 0xd5088000u
#define A64_LDAPR_MASK 0x3ffffc00u
#define A64_LDAPR 0x38bfc000u

#define RN(word) ((word) >> 5 & 31u)
#define SP 31u
#define PAGE_SHIFT 12
// Two visits of a load that are further apart are not of one loop that waits.
#define LOOP_MOST 64u

static int is_ordered_or_exclusive(uint32_t word)
{
    return (word & 0x3f000000u) == 0x08000000u; // LDXR, STXR, LDAR, STLR, CAS and their kin
}

static int is_atomic(uint32_t word)
{
    return (word & 0x3b200c00u) == 0x38200000u; // LDADD, SWP and their kin; LDAPR
}

static uint8_t classify(uint32_t word)
{
    uint32_t barrier = word & A64_BARRIER_MASK;
    if (barrier == A64_DSB || barrier == A64_DMB || (word & A64_SMC_MASK) == A64_SMC ||
        (word & A64_SYS_CRN_MASK) == A64_SYS_TLBI) {
        return POINT_SYNC;
    }
    if (is_ordered_or_exclusive(word)) {
        int is_cas = (word & 0x00a00000u) == 0x00a00000u || (word & 0xbfa07c00u) == 0x08207c00u;
        return word & (1u << 22) && !is_cas ? POINT_SYNC_LOAD : POINT_SYNC;
    }
    if (is_atomic(word)) {
        return (word & A64_LDAPR_MASK) == A64_LDAPR ? POINT_SYNC_LOAD : POINT_SYNC;
    }
    if ((word & 0x0a000000u) != 0x08000000u || (word & 0x3b000000u) == 0x18000000u ||
        RN(word) == SP) {
        return POINT_NONE; // no load or store; a literal; the CPU's own stack
    }
    if ((word & 0x3a000000u) == 0x28000000u) {
        return word & (1u << 22) ? POINT_LOAD : POINT_STORE; // LDP, STP
    }
    return word & (3u << 22) ? POINT_LOAD : POINT_STORE;
}

static uint8_t kind_of(void *uc, const struct hook_state *s, struct switch_points *p, uint64_t pc)
{
    uint8_t *kind = &p->kinds[(pc - p->base) >> 2];
    uint32_t word = 0;
    if ((*kind & ~POINT_SHARED) == POINT_UNKNOWN &&
        s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) == 0) {
        *kind |= classify(word);
    }
    return *kind;
}

// Whether the word is one that several CPUs access and one of them stores to, as far as is known.
static int note_word(struct switch_points *p, uint64_t va, uint32_t cpu, int is_store)
{
    uint64_t slot = (va >> 3) * 0x9e3779b97f4a7c15ull >> 48;
    for (uint32_t i = 0; i < ACCESSED_PROBES; i++) {
        struct accessed_word *w = &p->words[(slot + i) % ACCESSED_WORDS];
        if (w->va == 0) {
            w->va = va;
        }
        if (w->va == va) {
            *(is_store ? &w->writers : &w->readers) |= 1u << cpu;
            uint32_t users = w->readers | w->writers;
            return w->writers != 0 && (users & (users - 1)) != 0;
        }
    }
    return 1; // the table is full: at worst there is a switch point more
}

static uint8_t learn(void *uc, const struct switching_cpu *c, uint64_t pc, uint8_t kind)
{
    const struct hook_state *s = c->state;
    struct switch_points *p = c->points;
    struct access a = {.bytes = 8};
    uint64_t offset = 0;
    uint32_t word = 0;
    if (s->vmem_read(uc, pc, UC_PROT_EXEC, &word, sizeof(word)) != 0) {
        return kind;
    }
    if (is_ordered_or_exclusive(word) || is_atomic(word)) {
        a.va = aether_read_x(uc, s, RN(word));
        a.is_store = kind == POINT_SYNC;
    } else if (!aether_decode_access(uc, s, word, &a)) {
        return kind;
    }
    int is_ram = aether_probe_ram(uc, s, a.va, &offset);
    aether_view_drop_probed(uc, s); // the access comes next
    if (!is_ram) {
        return kind; // a device orders its accesses by itself
    }
    if (a.is_store && s->observer && s->observer->watched[offset >> PAGE_SHIFT]) {
        kind |= POINT_SHARED; // a table: other CPUs' walkers read it
    }
    for (uint64_t va = a.va & ~7ull; va < a.va + a.bytes; va += 8) {
        if (note_word(p, va, c->number, (int)a.is_store)) {
            kind |= POINT_SHARED;
        }
    }
    return kind;
}

static void end_slice(struct hook_state *s, struct switch_points *p, enum switch_reason reason)
{
    p->switch_reason = (uint32_t)reason;
    s->reason = STOP_SWITCH;
}

// Installed over the code that has switch points, before each of its instructions.
void aether_on_switch_point(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct switching_cpu *c = user;
    struct hook_state *s = c->state;
    struct switch_points *p = c->points;
    uint64_t number = s->retired + ((pc - s->block_pc) >> 2) + 1;
    (void)size;
    if (!p->is_on || s->el != 2 || (pc - p->base) >> 2 >= p->count) {
        return;
    }
    uint8_t kind = kind_of(uc, s, p, pc);
    if (kind == POINT_NONE) {
        return;
    }
    if (p->is_learning) {
        p->kinds[(pc - p->base) >> 2] = learn(uc, c, pc, kind);
    }
    if (kind < POINT_SYNC || number == c->last_number) {
        return; // none; or one at which the CPU has stopped, for whatever reason
    }
    uint32_t access = kind & ~POINT_SHARED;
    int is_load = access == POINT_LOAD || access == POINT_SYNC_LOAD;
    int repeats = pc == c->last_pc && number - c->last_number <= LOOP_MOST;
    c->last_pc = pc;
    c->last_number = number;
    if (repeats) {
        if (is_load && ++c->repeats >= p->most_repeats) {
            c->repeats = 0;
            p->spins++;
            end_slice(s, p, SWITCH_SPIN);
            s->emu_stop(uc);
        }
        return;
    }
    c->repeats = 0;
    p->spins = 0;
    if (!p->is_alone && ++p->reached == p->stop_at) {
        end_slice(s, p, SWITCH_NAMED);
        s->emu_stop(uc);
    }
}
