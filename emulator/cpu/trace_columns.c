// SPDX-License-Identifier: Apache-2.0
// The columns of a full trace. docs/trace.md says what they mean; the same in Python is
// properties/trace/columns_twin.py.
#include "trace.h"

#define SIGN(value) ((uint64_t)((int64_t)(value) >> 63))

void aether_trace_value(struct trace_columns *c, uint32_t cpu, uint32_t reg, uint64_t value)
{
    uint64_t difference = value - c->shadow[cpu][reg];
    uint64_t magnitude = (difference ^ SIGN(difference)) | 1u;
    // The fewest bytes that hold it with its sign.
    uint32_t length = difference ? (72u - (uint32_t)__builtin_clzll(magnitude)) >> 3 : 0;
    c->shadow[cpu][reg] = value;
    __builtin_memcpy(c->payload_bytes + c->payload, &difference, sizeof(difference));
    c->payload += length;
    c->value_lengths[c->lengths++] = (uint8_t)length;
}

void aether_trace_event(struct trace_columns *c, enum trace_event_kind kind, uint64_t a, uint64_t b,
                        uint64_t value, uint64_t d)
{
    struct trace_event *e = &c->event[c->events++];
    e->position = c->next_position;
    e->index = c->instructions;
    e->kind = (uint8_t)kind;
    e->cpu = (uint8_t)c->cpu;
    e->el = (uint8_t)c->el;
    e->vm = (uint8_t)c->vm;
    e->a = a;
    e->b = b;
    e->c = value;
    e->d = d;
}

void aether_trace_execution(struct trace_columns *c, struct trace_block *block)
{
    if (block->chunk != c->chunk) {
        block->chunk = c->chunk;
        block->id = c->used_blocks++;
        c->block_numbers[block->id] = (uint32_t)(block - c->block_table);
        for (uint32_t i = 0; i < block->count; i++) {
            struct trace_op *op = &c->ops[c->code[block->code + i].op];
            if (op->chunk != c->chunk) {
                op->chunk = c->chunk;
                op->id = c->used_ops++;
                c->op_numbers[op->id] = (uint32_t)(op - c->ops);
            }
        }
    }
    c->execution_ids[c->executions++] = (uint16_t)block->id;
}

void aether_trace_leave(struct trace_columns *c, const struct trace_block *block, uint32_t begun,
                        uint32_t done)
{
    if (done == 0) {
        c->executions--;
    } else if (done != block->count) {
        struct trace_partial *p = &c->partial[c->partials++];
        p->execution = c->executions - 1;
        p->start = (uint16_t)begun;
        p->count = (uint16_t)done;
    }
}

static struct trace_slot *slot_of(const struct trace_columns *c, uint64_t page)
{
    return &c->slots[(page ^ page >> 12) % TRACE_SLOTS];
}

int aether_trace_is_new_page(const struct trace_columns *c, uint64_t page, uint64_t epoch,
                             uint32_t cpu, uint32_t el)
{
    const struct trace_slot *slot = slot_of(c, page);
    return slot->page != page || slot->epoch != epoch || slot->el != el || slot->cpu != cpu;
}

void aether_trace_page(struct trace_columns *c, uint64_t page, uint64_t physical, uint64_t epoch,
                       uint32_t cpu, uint32_t el)
{
    struct trace_slot *slot = slot_of(c, page);
    if (slot->page != page || slot->physical != physical) {
        struct trace_page *p = &c->page[c->pages++];
        p->access = c->accesses;
        p->slot = (uint32_t)(slot - c->slots);
        p->page = physical;
    }
    slot->page = page;
    slot->physical = physical;
    slot->epoch = epoch;
    slot->el = el;
    slot->cpu = cpu;
}

void aether_trace_begin_chunk(struct trace_columns *c)
{
    c->chunk++;
    c->instructions = c->executions = c->accesses = c->lengths = c->payload = 0;
    c->partials = c->pages = c->events = c->used_blocks = c->used_ops = 0;
    for (uint32_t i = 0; i < TRACE_SLOTS; i++) {
        c->slots[i].page = ~0ull;
    }
}

int aether_trace_is_full(const struct trace_columns *c)
{
    return c->instructions >= c->most_instructions || c->executions >= c->most_executions ||
           c->lengths >= c->most_lengths || c->payload >= c->most_payload ||
           c->events >= c->most_events || c->used_blocks >= 0xffffu;
}
