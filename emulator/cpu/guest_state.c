// SPDX-License-Identifier: Apache-2.0
// Where registers of one guest turn up in another. A value is the guest's own if the guest itself
// has changed the register to it; what EL2 puts into a register of another guest and is the first's
// own, is a leak. Values that programs share by chance are left out.
#include "guest_state.h"

#include <stddef.h>

#define HCR_VM 1u
#define CPTR_TFP (1u << 10)
#define HOST_VMID 0x10000u // without stage 2
#define EC_HVC 0x16u
#define EC_SMC 0x17u
#define EC_SYSREG 0x18u
#define EC_DATA_ABORT 0x24u
#define ISS_RT(iss, shift) ((uint32_t)((iss) >> (shift)) & 31u)
#define SMCCC_RESULTS 0x3ffffu // X0-X17
#define COMMON_BITS 16
#define FIRST_V (GUEST_X + GUEST_SYSTEM)
#define VBAR_EL1 (GUEST_X + 4u) // behind ESR, FAR, ELR and SPSR

static uint64_t read_el2(void *uc, const struct hook_state *s, uint32_t crn, uint32_t crm,
                         uint32_t op2)
{
    struct uc_cp_reg reg = {.crn = crn, .crm = crm, .op0 = 3, .op1 = 4, .op2 = op2, .value = 0};
    s->reg_read(uc, (int)s->reg_cp, &reg);
    return reg.value;
}

static int has_v(void *uc, const struct hook_state *s)
{
    return !(read_el2(uc, s, 1, 1, 2) & CPTR_TFP); // CPTR_EL2
}

// What a guest sees of its registers; those of FP and SIMD only where they do not trap.
static void read_values(void *uc, const struct hook_state *s, uint64_t *values, int with_v)
{
    struct guest_watch *w = s->guests;
    for (uint32_t n = 0; n < GUEST_X; n++) {
        s->reg_read(uc, n < 29 ? s->reg_x0 + (int)n : s->reg_x29 + (int)n - 29, &values[n]);
    }
    for (uint32_t n = 0; n < GUEST_SYSTEM; n++) {
        s->reg_read(uc, (int)s->reg_cp, &w->system[n]);
        values[GUEST_X + n] = w->system[n].value;
    }
    for (uint32_t n = 0; with_v && n < GUEST_V; n += 2) {
        s->reg_read(uc, w->reg_q0 + (int)(n / 2), &values[FIRST_V + n]);
    }
}

static uint64_t key_of_guest(void *uc, const struct hook_state *s)
{
    uint64_t vmid = HOST_VMID, affinity = read_el2(uc, s, 0, 0, 5); // VMPIDR_EL2
    if (read_el2(uc, s, 1, 1, 0) & HCR_VM) {
        vmid = read_el2(uc, s, 2, 1, 0) >> 48; // VTTBR_EL2
    }
    return vmid << 32 | (affinity & 0xffffffffu);
}

// The number of the guest in the registers; NO_GUEST if there are too many.
static uint32_t find_guest(void *uc, const struct hook_state *s)
{
    struct guests *all = s->guests->guests;
    uint64_t key = key_of_guest(uc, s);
    for (uint32_t n = 0; n < all->count; n++) {
        if (all->guests[n].key == key) {
            return n;
        }
    }
    if (all->count == GUEST_MOST) {
        return NO_GUEST;
    }
    all->guests[all->count].key = key;
    return all->count++;
}

// The X registers that the answer to an exit may change.
static uint32_t results_of(uint32_t kind, uint64_t esr)
{
    switch (kind) {
    case EC_HVC:
    case EC_SMC:
        return SMCCC_RESULTS;
    case EC_SYSREG:
        return 1u << ISS_RT(esr, 5);
    case EC_DATA_ABORT:
        return 1u << ISS_RT(esr, 16);
    default:
        return 0;
    }
}

static void look_at_stack(void *uc, const struct hook_state *s)
{
    struct guest_watch *w = s->guests;
    uint64_t sp = 0;
    s->reg_read(uc, s->reg_sp, &sp);
    for (uint32_t n = 0; n < w->stacks; n++) {
        if (w->stack[n] == sp) {
            return;
        }
    }
    w->stack[w->next_stack] = sp;
    w->next_stack = (w->next_stack + 1) % GUEST_STACKS;
    w->stacks += w->stacks < GUEST_STACKS;
    w->tell(GUEST_STACK, sp, 0, 0);
}

void aether_guest_left(void *uc, struct hook_state *s, uint32_t kind)
{
    struct guest_watch *w = s->guests;
    uint32_t number = find_guest(uc, s), with_v = (uint32_t)has_v(uc, s);
    uint64_t values[GUEST_VALUES], esr = 0;
    w->stay++;
    w->last = number;
    look_at_stack(uc, s);
    if (number == NO_GUEST) {
        return;
    }
    struct guest *g = &w->guests->guests[number];
    read_values(uc, s, values, (int)with_v);
    s->reg_read(uc, s->reg_esr_el0 + 2, &esr);
    g->results = results_of(kind, esr);
    for (uint32_t n = 0; n < (with_v ? GUEST_VALUES : FIRST_V); n++) {
        int is_known = n < FIRST_V ? (int)g->has_values : (int)g->has_v;
        g->is_own[n] = is_known && (g->is_own[n] || g->values[n] != values[n]);
        g->values[n] = values[n];
    }
    g->has_values = 1;
    g->has_v |= with_v;
}

// Small numbers of either sign, and what is zero in one half, are anybody's.
static int is_telling(uint64_t value)
{
    uint64_t magnitude = value >> 63 ? ~value : value;
    return magnitude >> COMMON_BITS != 0;
}

// EL2 has put a value into a register of a guest: whose is it?
static uint32_t owner_of(const struct guests *all, uint32_t guest, uint32_t n, uint64_t value)
{
    for (uint32_t other = 0; other < all->count; other++) {
        const struct guest *g = &all->guests[other];
        if (g->key >> 32 != all->guests[guest].key >> 32 && g->is_own[n] && g->values[n] == value) {
            return other;
        }
    }
    return NO_GUEST;
}

// Whether EL2 has given the guest an exception: it goes on at one of its vectors.
static int is_at_vector(void *uc, const struct hook_state *s, const uint64_t *values)
{
    uint64_t pc = 0;
    s->reg_read(uc, s->reg_pc, &pc);
    return (pc & 0x7fu) == 0 && ((pc ^ values[VBAR_EL1]) & ~0x7ffull) == 0;
}

static void look_at_values(void *uc, struct hook_state *s, uint32_t number)
{
    struct guest_watch *w = s->guests;
    struct guest *g = &w->guests->guests[number];
    uint64_t values[GUEST_VALUES];
    uint32_t with_v = (uint32_t)has_v(uc, s);
    read_values(uc, s, values, (int)with_v);
    int has_exception = is_at_vector(uc, s, values);
    for (uint32_t n = 0; n < (with_v ? GUEST_VALUES : FIRST_V); n++) {
        int is_known = n < FIRST_V ? (int)g->has_values : (int)g->has_v;
        if (is_known && g->values[n] == values[n]) {
            continue;
        }
        int is_answer = n < GUEST_X ? (int)(g->results >> n & 1u) : n < VBAR_EL1 && has_exception;
        g->values[n] = values[n];
        g->is_own[n] = 0;
        uint32_t owner = NO_GUEST;
        if (!is_answer && is_telling(values[n])) {
            owner = owner_of(w->guests, number, n, values[n]);
        }
        if (owner != NO_GUEST) {
            w->tell(GUEST_LEAK, n, owner, values[n]);
        }
    }
    g->has_values = 1;
    g->has_v |= with_v;
}

static uint32_t key_of(const struct uc_cp_reg *reg)
{
    return (reg->op0 & 3u) << 14 | reg->op1 << 11 | reg->crn << 7 | reg->crm << 3 | reg->op2;
}

// What EL2 sets for a guest, and left as another guest had it.
static void look_at_controls(void *uc, struct hook_state *s, uint32_t number)
{
    struct guest_watch *w = s->guests;
    struct guest *g = &w->guests->guests[number];
    int is_switch = w->last != NO_GUEST && g->has_values &&
                    w->guests->guests[w->last].key >> 32 != g->key >> 32;
    for (uint32_t n = 0; n < w->control_count; n++) {
        s->reg_read(uc, (int)s->reg_cp, &w->controls[n]);
        uint64_t value = w->controls[n].value;
        if (is_switch && value != g->controls[n] &&
            value == w->guests->guests[w->last].controls[n] &&
            w->written[key_of(&w->controls[n])] != w->stay) {
            w->tell(GUEST_CARRIED, n, w->last, value);
        }
        g->controls[n] = value;
    }
}

void aether_guest_entered(void *uc, struct hook_state *s)
{
    struct guest_watch *w = s->guests;
    uint32_t number = find_guest(uc, s);
    uint64_t vbar = 0;
    s->reg_read(uc, s->reg_vbar_el0 + 2, &vbar);
    if (!w->has_entered) {
        w->has_entered = 1;
        w->tell(GUEST_FIRST, number, 0, 0);
        w->vbar = ~vbar;
    }
    if (vbar != w->vbar) {
        w->vbar = vbar;
        w->tell(GUEST_VECTORS, vbar, 0, 0);
    }
    if (number == NO_GUEST) {
        return;
    }
    look_at_controls(uc, s, number);
    look_at_values(uc, s, number);
    w->last = number;
}

uint64_t aether_guest_layout(uint32_t field)
{
    static const uint64_t sizes[] = {
        sizeof(struct guest),
        sizeof(struct guests),
        sizeof(struct guest_watch),
        offsetof(struct guest, is_own),
        offsetof(struct guest_watch, system),
    };
    return field < sizeof(sizes) / sizeof(sizes[0]) ? sizes[field] : 0;
}
