// SPDX-License-Identifier: Apache-2.0
#include "profile.h"

#include <stddef.h>

#define A64_ERET 0xd69f03e0u
#define EC_SYSREG 0x18u
#define EC_DATA_ABORT 0x24u
#define ISS_IS_READ 1u // EC_SYSREG
#define ISS_WNR (1u << 6)
#define FSC_CLASS(esr) ((esr) & 0x3cu)
#define FSC_TRANSLATION 0x04u
#define FSC_ACCESS_FLAG 0x08u
#define FSC_PERMISSION 0x0cu
#define HPFAR_PAGE(hpfar) (((hpfar) & 0xfffffffff0ull) << 8)

#define KIND(last) ((last) & 0xffu)
#define FROM_EL(last) ((last) >> 8 & 3u)

static uint64_t read_register(void *uc, const struct hook_state *s, int id)
{
    uint64_t value = 0;
    s->reg_read(uc, id, &value);
    return value;
}

static uint64_t read_el2(void *uc, const struct hook_state *s, uint32_t crn, uint32_t crm,
                         uint32_t op2)
{
    struct uc_cp_reg reg = {.crn = crn, .crm = crm, .op0 = 3, .op1 = 4, .op2 = op2};
    s->reg_read(uc, (int)s->reg_cp, &reg);
    return reg.value;
}

static uint8_t read_vm(void *uc, const struct hook_state *s)
{
    return (uint8_t)(read_el2(uc, s, 2, 1, 0) >> 48);
}

static struct profiled_code *find_code(struct profile *p, uint64_t pc, uint32_t instructions,
                                       uint32_t tag, uint32_t is_inside)
{
    uint64_t hash = (pc >> 2 ^ (uint64_t)instructions << 7 ^ (uint64_t)tag << 20 ^ is_inside) *
                    0x9e3779b97f4a7c15ull;
    for (uint32_t i = 0; i < PROFILE_PROBES; i++) {
        struct profiled_code *c = &p->buffers->code[((hash >> 40) + i) % PROFILE_CODE_SLOTS];
        if (!c->runs) {
            c->pc = pc;
            c->instructions = instructions;
            c->tag = (uint16_t)tag;
            c->is_inside = (uint16_t)is_inside;
            return c;
        }
        if (c->pc == pc && c->instructions == instructions && c->tag == tag &&
            c->is_inside == is_inside) {
            return c;
        }
    }
    return NULL;
}

// The last block has run, as far as it did. Returns how far.
static uint64_t settle(struct profile *p)
{
    uint64_t instructions = p->state->retired - p->retired;
    p->retired = p->state->retired;
    if (!instructions || p->el != 2 || !p->depth) {
        return instructions;
    }
    struct profiled_stay *stay = &p->open[p->depth - 1];
    uint32_t is_inside = p->depth > 1;
    stay->instructions += instructions;
    struct profiled_code *c = find_code(p, p->pc, (uint32_t)instructions, stay->tag, is_inside);
    if (!c) {
        p->buffers->drain();
        c = find_code(p, p->pc, (uint32_t)instructions, stay->tag, is_inside);
    }
    c->runs++;
    return instructions;
}

// The innermost open stay ends.
static void leave(void *uc, struct profile *p, int is_over)
{
    struct profile_buffers *b = p->buffers;
    struct profiled_stay *stay = &p->open[--p->depth];
    stay->end = p->others + p->state->retired;
    stay->vm_after = read_vm(uc, p->state);
    stay->is_over = (uint8_t)is_over;
    if (p->depth) {
        p->open[p->depth - 1].inside += stay->instructions + stay->inside;
    }
    b->stays[b->stay_count++] = *stay;
    if (b->stay_count == b->stay_capacity) {
        b->drain();
    }
}

static void leave_all(void *uc, struct profile *p, int is_over)
{
    p->deeper = 0;
    while (p->depth) {
        leave(uc, p, is_over);
    }
}

static struct profiled_stay *push(struct profile *p, uint32_t tag, uint64_t position)
{
    p->open[p->depth] = (struct profiled_stay){
        .begin = position,
        .tag = (uint16_t)tag,
        .cpu = (uint8_t)p->cpu,
        .depth = (uint8_t)p->depth,
    };
    return &p->open[p->depth++];
}

static uint32_t tag_of(const struct hook_state *s, uint32_t kind, const struct profiled_stay *e)
{
    uint32_t fault = FSC_CLASS(e->esr), tag = kind;
    uint64_t ipa = HPFAR_PAGE(e->hpfar);
    if (kind == EC_SYSREG) {
        return e->esr & ISS_IS_READ ? tag : tag | PROFILE_WRITE;
    }
    if (kind != EC_DATA_ABORT) {
        return tag;
    }
    // Of other faults HPFAR_EL2 does not tell.
    int has_ipa = fault == FSC_TRANSLATION || fault == FSC_ACCESS_FLAG || fault == FSC_PERMISSION;
    if (has_ipa && ipa - s->ram_base >= s->ram_size) {
        tag |= PROFILE_MMIO;
    }
    return e->esr & ISS_WNR ? tag | PROFILE_WRITE : tag;
}

// An exception has been taken to EL2.
static void enter(void *uc, struct profile *p)
{
    const struct hook_state *s = p->state;
    uint32_t kind = KIND(s->last_exception);
    if (p->depth == PROFILE_DEPTH) {
        p->deeper++;
        return;
    }
    struct profiled_stay *stay = push(p, kind, s->others_retired + s->retired);
    stay->esr = kind < INTERRUPT_KIND(0u, 0) ? read_register(uc, s, s->reg_esr_el0 + 2) : 0;
    stay->far = read_register(uc, s, s->reg_far_el0 + 2);
    stay->hpfar = read_el2(uc, s, 6, 0, 4);
    stay->elr = read_register(uc, s, s->reg_elr_el0 + 2);
    stay->x0 = read_register(uc, s, s->reg_x0);
    stay->x16 = read_register(uc, s, s->reg_x0 + 16);
    stay->vm = read_vm(uc, s);
    stay->tag = (uint16_t)tag_of(s, kind, stay);
}

static int ends_with_eret(void *uc, const struct hook_state *s)
{
    uint32_t word = 0;
    uint64_t last = s->block_pc + 4 * (s->block_instructions - 1);
    return s->block_flags[BLOCK_SLOT(s->block_pc)] & BLOCK_ERET &&
           s->vmem_read(uc, last, UC_PROT_EXEC, &word, sizeof(word)) == 0 && word == A64_ERET;
}

// Called after aether_on_block, and only for a block that runs. Between two blocks there may be an
// ERET, and after that exceptions, all but the last of which have led to no instruction.
void aether_on_profiled_block(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct profile *p = user;
    const struct hook_state *s = p->state;
    uint64_t ran = settle(p);
    int is_taken = s->exceptions != p->exceptions;
    int was_below = p->el < 2 || (is_taken && FROM_EL(s->last_exception) < 2);
    (void)pc;
    (void)size;
    if (p->el == 2 && (s->el < 2 || was_below)) {
        leave_all(uc, p, 1);
    } else if (p->eret && ran == p->eret) {
        if (p->deeper) {
            p->deeper--;
        } else {
            leave(uc, p, 1);
        }
    }
    if (is_taken && s->el == 2 && (was_below || p->depth)) {
        enter(uc, p);
    }
    p->el = s->el;
    p->exceptions = s->exceptions;
    p->others = s->others_retired;
    p->pc = s->block_pc;
    p->eret = p->depth > 1 && ends_with_eret(uc, s) ? s->block_instructions : 0;
}

void aether_profile_end(struct profile *p)
{
    settle(p);
    leave_all((void *)(uintptr_t)p->uc, p, 0);
}

void aether_profile_begin(struct profile *p, uint32_t tag, uint64_t position)
{
    const struct hook_state *s = p->state;
    aether_profile_end(p);
    p->el = s->el;
    p->exceptions = s->exceptions;
    p->others = position - s->retired;
    p->eret = 0;
    if (s->el == 2) {
        push(p, tag, position)->vm = read_vm((void *)(uintptr_t)p->uc, s);
    }
}

uint64_t aether_profile_layout(uint32_t field)
{
    static const uint64_t sizes[] = {
        sizeof(struct profiled_stay),        sizeof(struct profiled_code),
        sizeof(struct profile_buffers),      sizeof(struct profile),
        offsetof(struct profiled_stay, tag), offsetof(struct profile_buffers, drain),
        offsetof(struct profile, open),
    };
    return field < sizeof(sizes) / sizeof(sizes[0]) ? sizes[field] : 0;
}
