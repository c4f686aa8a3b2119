// SPDX-License-Identifier: Apache-2.0
// The part of a recording's events that is too frequent for Python.
#include "events.h"

#define EC_HVC 0x16u
#define FIRST_INTERRUPT INTERRUPT_KIND(0u, 0)
#define KEY(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define KEY_VTTBR_EL2 KEY(3u, 4u, 2u, 1u, 0u)
#define KEY_OP1(key) ((key) >> 11 & 7u)
#define KEY_IS_REGISTER(key) ((key) >> 14 >= 2)

void aether_log(const struct hook_state *s, enum event_kind kind, uint64_t retired, uint64_t a,
                uint64_t b, uint64_t c)
{
    const struct event_log *log = s->events;
    struct event_buffer *buffer = log->buffer;
    struct event *e = &buffer->events[buffer->count];
    e->position = s->others_retired + retired;
    e->a = a;
    e->b = b;
    e->c = c;
    e->kind = (uint8_t)kind;
    e->cpu = (uint8_t)log->cpu;
    e->vm = (uint8_t)log->vm;
    if (++buffer->count == buffer->capacity) {
        buffer->drain();
    }
}

void aether_log_exception(void *uc, const struct hook_state *s, uint32_t levels, uint32_t kind,
                          uint64_t esr, uint64_t elr)
{
    uint64_t x0 = 0;
    if (kind >= FIRST_INTERRUPT) {
        aether_log(s, EVENT_INTERRUPT, s->retired, 0, elr, levels | kind << 8);
    } else if (kind == EC_HVC && levels >> 4 == 2) {
        s->reg_read(uc, s->reg_x0, &x0);
        aether_log(s, EVENT_HYPERCALL, s->retired, x0, elr, esr & 0xffffu);
    } else {
        aether_log(s, EVENT_EXCEPTION, s->retired, esr, elr, levels | kind << 8);
    }
}

// Below this EL an encoding is UNDEFINED.
static uint32_t lowest_el(uint32_t key)
{
    switch (KEY_OP1(key)) {
    case 3:
        return 0;
    case 4:
    case 5:
        return 2;
    case 6:
        return 3;
    default:
        return 1;
    }
}

// All writes at EL2, and at EL1 of what translation and traps depend on; all TLB maintenance.
void aether_log_sysreg(void *uc, const struct hook_state *s, uint32_t key, uint64_t value)
{
    enum sysreg_action action = (enum sysreg_action)s->sysreg_actions[key];
    uint64_t pc = 0;
    int is_kept = s->el == 2 || action == SYSREG_TRANSLATION || action == SYSREG_CONTROL;
    if ((action != SYSREG_TLBI && !(KEY_IS_REGISTER(key) && is_kept)) || s->el < lowest_el(key)) {
        return;
    }
    s->reg_read(uc, s->reg_pc, &pc);
    if (key == KEY_VTTBR_EL2 && s->el == 2) {
        s->events->vm = (uint32_t)(value >> 48) & 0xffu;
    }
    aether_log(s, action == SYSREG_TLBI ? EVENT_TLBI : EVENT_SYSREG_WRITE,
               s->retired + ((pc - s->block_pc) >> 2), key, value, pc);
}
