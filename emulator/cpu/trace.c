// SPDX-License-Identifier: Apache-2.0
// Watches one CPU instruction by instruction, for a full trace. At each instruction the one before
// it is told: the registers that its encoding says it may write are read, its address is worked out
// from the registers as they were, and its page looked up among the translations that are kept
// already. Unicorn's own callbacks for memory would cost a search for the PC each.
#include "trace.h"

#include <stddef.h>

#define PAGE_SHIFT 12
#define PAGE_MASK 0xfffull
#define LINE_MASK 63ull
#define NO_PC (~0ull)
#define EL_OF_ROTATED(pstate) ((uint32_t)((pstate) >> 6) & 3u)
#define A64_BRANCHES_MASK 0x1c000000u
#define A64_BRANCHES 0x14000000u // branches, exception generating and system instructions

#define unlikely(x) __builtin_expect(!!(x), 0)

static uint64_t read_id(const struct tracer *t, int id)
{
    uint64_t value[2] = {0, 0};
    t->state->reg_read(t->uc, id, value);
    return value[0];
}

static uint64_t read_x(const struct tracer *t, uint32_t n)
{
    const struct hook_state *s = t->state;
    return read_id(t, n < 29 ? s->reg_x0 + (int)n : s->reg_x29 + (int)n - 29);
}

static uint64_t read_pstate(const struct tracer *t)
{
    uint32_t pstate = (uint32_t)read_id(t, t->state->reg_pstate);
    return pstate << 4 | pstate >> 28;
}

static uint32_t read_vm(const struct tracer *t)
{
    struct uc_cp_reg vttbr = {.crn = 2, .crm = 1, .op0 = 3, .op1 = 4, .op2 = 0};
    t->state->reg_read(t->uc, (int)t->state->reg_cp, &vttbr);
    return (uint32_t)(vttbr.value >> 48) & 0xffu;
}

// The registers that the pending instruction may have written, as they are now: X first.
static void gather(struct tracer *t)
{
    struct trace_pending *p = &t->pending;
    uint32_t n = 0;
    for (uint32_t x = p->op->x & 0x7fffffffu; x; x &= x - 1) {
        p->values[n++] = read_x(t, (uint32_t)__builtin_ctz(x));
    }
    if (p->op->x >> TRACE_SP) {
        p->values[n++] = read_id(t, t->state->reg_sp);
    }
    if (p->op->flags & TRACE_OP_PSTATE) {
        p->values[n++] = read_pstate(t);
    }
    for (uint32_t v = p->op->v; v; v &= v - 1) {
        t->state->reg_read(t->uc, t->reg_q0 + __builtin_ctz(v), &p->values[n]);
        n += 2;
    }
    if (unlikely(p->op->flags & TRACE_OP_ERET)) {
        p->next_pc = read_id(t, t->state->reg_pc);
    }
}

static uint64_t extended(uint64_t value, uint32_t option)
{
    switch (option) {
    case 2: // UXTW
        return value & 0xffffffffu;
    case 6: // SXTW
        return (uint64_t)(int64_t)(int32_t)(uint32_t)value;
    default:
        return value;
    }
}

static uint64_t address_of(const struct trace_op *op, const uint64_t *shadow, uint64_t pc)
{
    uint64_t va = op->base == TRACE_PC ? pc : shadow[op->base];
    va += (uint64_t)(int64_t)op->offset;
    if (op->index != TRACE_NO_REGISTER) {
        va += extended(shadow[op->index], op->extend) << op->shift;
    }
    return op->flags & TRACE_OP_LINE ? va & ~LINE_MASK : va;
}

static uint64_t physical_page(struct tracer *t, uint64_t va, uint32_t el)
{
    const struct tlb_entry *e = aether_tlb_find(t->state, va, el);
    return e && e->permissions ? e->pa >> PAGE_SHIFT : TRACE_NO_PAGE;
}

// What is in RAM where an instruction has accessed it. A device is not read again: 0.
static uint64_t memory_word(struct tracer *t, uint64_t va, uint32_t bytes, uint32_t el)
{
    const struct hook_state *s = t->state;
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        uint64_t pa = physical_page(t, va + i, el) << PAGE_SHIFT | ((va + i) & PAGE_MASK);
        if (pa - s->ram_base < s->ram_size) {
            value |= (uint64_t)((volatile uint8_t *)s->ram)[pa - s->ram_base] << 8 * i;
        }
    }
    return value;
}

static void tell_access(struct tracer *t, const struct trace_op *op, uint64_t va, uint32_t el)
{
    struct trace_columns *c = t->columns;
    uint64_t epoch = t->state->epoch;
    if (el == 1 && op->flags & TRACE_OP_UNPRIVILEGED) {
        el = 0;
    }
    if (aether_trace_is_new_page(c, va >> PAGE_SHIFT, epoch, t->cpu, el)) {
        aether_trace_page(c, va >> PAGE_SHIFT, physical_page(t, va, el), epoch, t->cpu, el);
    }
    c->accesses++;
    for (uint32_t i = 0; i < op->words; i++) {
        uint32_t left = op->size - 8 * i;
        aether_trace_value(c, t->cpu, TRACE_MEMORY,
                           memory_word(t, va + 8 * (uint64_t)i, left < 8 ? left : 8, el));
    }
}

// The pending instruction has retired.
static void tell(struct tracer *t)
{
    struct trace_columns *c = t->columns;
    struct trace_pending *p = &t->pending;
    const struct trace_op *op = p->op;
    const uint64_t *values = p->values;
    uint64_t *shadow = c->shadow[t->cpu];
    uint32_t el = EL_OF_ROTATED(shadow[TRACE_PSTATE]);
    p->op = NULL;
    if (op->size) {
        // A store exclusive that failed accesses nothing. It writes no other register.
        if (op->status == TRACE_NO_REGISTER || (uint32_t)values[0] == 0) {
            tell_access(t, op, address_of(op, shadow, p->pc), el);
        }
    }
    for (uint32_t x = op->x; x; x &= x - 1) {
        aether_trace_value(c, t->cpu, (uint32_t)__builtin_ctz(x), *values++);
    }
    if (op->flags & TRACE_OP_PSTATE) {
        aether_trace_value(c, t->cpu, TRACE_PSTATE, *values++);
    }
    for (uint32_t v = op->v; v; v &= v - 1) {
        uint32_t n = TRACE_V + 2 * (uint32_t)__builtin_ctz(v);
        aether_trace_value(c, t->cpu, n, *values++);
        aether_trace_value(c, t->cpu, n + 1, *values++);
    }
    c->instructions++;
    c->next_position = t->base + p->position + 1;
    t->done++;
    if (unlikely(op->flags & TRACE_OP_ERET)) {
        aether_trace_event(c, TRACE_ERET, el | EL_OF_ROTATED(shadow[TRACE_PSTATE]) << 4, 0, 0,
                           p->next_pc);
    }
}

static void leave(struct tracer *t)
{
    if (t->open) {
        aether_trace_leave(t->columns, t->block, t->begun, t->done);
        t->open = 0;
    }
}

void aether_trace_stop(struct hook_state *s)
{
    struct tracer *t = s->tracer;
    t->stopped = 1;
    if (t->pending.op) {
        gather(t);
    }
    t->columns->last = t;
}

void aether_trace_settle(struct tracer *t)
{
    struct hook_state *s = t->state;
    struct trace_pending *p = &t->pending;
    if (p->op && s->retired + s->block_instructions > p->position) {
        // Python may have executed it, or firmware have answered it, since.
        uint32_t n = 0;
        for (uint32_t x = p->op->x & 0x7fffffffu; x; x &= x - 1) {
            p->values[n++] = read_x(t, (uint32_t)__builtin_ctz(x));
        }
        tell(t);
    }
    p->op = NULL;
    leave(t);
    if (t->columns->last == t) {
        t->columns->last = NULL;
    }
}

static void tell_register(struct tracer *t, uint32_t n, uint64_t value)
{
    uint64_t *told = &t->columns->shadow[t->cpu][n];
    if (*told != value) {
        aether_trace_event(t->columns, TRACE_REGISTER, n, value - *told, value, 0);
        *told = value;
    }
}

// What has changed, and not by an instruction that was told.
static void synchronise(struct tracer *t)
{
    for (uint32_t n = 0; n < TRACE_SP; n++) {
        tell_register(t, n, read_x(t, n));
    }
    tell_register(t, TRACE_SP, read_id(t, t->state->reg_sp));
    tell_register(t, TRACE_PSTATE, read_pstate(t));
    for (uint32_t n = 0; n < 32; n++) {
        uint64_t halves[2] = {0, 0};
        t->state->reg_read(t->uc, t->reg_q0 + (int)n, halves);
        tell_register(t, TRACE_V + 2 * n, halves[0]);
        tell_register(t, TRACE_V + 2 * n + 1, halves[1]);
    }
    t->synced = 1;
}

// The first instruction of the block that is wanted begins.
static void open_block(struct tracer *t, uint32_t k)
{
    struct trace_columns *c = t->columns;
    uint64_t position = t->base + t->block_position + k;
    if (c->next_position != position || c->cpu != t->cpu || c->el != t->el || c->vm != t->vm) {
        c->next_position = position;
        c->cpu = t->cpu;
        c->el = t->el;
        c->vm = t->vm;
        aether_trace_event(c, TRACE_STATE, 0, 0, 0, 0);
    }
    if (!t->synced) {
        synchronise(t);
    }
    aether_trace_execution(c, t->block);
    t->open = 1;
    t->begun = k;
    t->done = 0;
}

void aether_on_traced(void *uc, uint64_t pc, uint32_t size, void *user)
{
    struct tracer *t = user;
    (void)uc;
    (void)size;
    if (t->pending.op) {
        gather(t);
        tell(t);
    }
    if (unlikely(pc == t->stop_pc)) {
        t->stop_pc = NO_PC;
        t->state->reason = STOP_SPLIT;
        t->state->emu_stop(t->uc);
        return;
    }
    uint32_t k = (uint32_t)((pc - t->block_pc) >> 2);
    if (unlikely(k - t->first >= t->span)) {
        return;
    }
    if (unlikely(!t->open)) {
        open_block(t, k);
    }
    struct trace_columns *c = t->columns;
    t->pending.op = &c->ops[c->code[t->block->code + k].op];
    t->pending.pc = pc;
    t->pending.position = t->block_position + k;
}

static uint32_t find_op(struct trace_columns *c, uint32_t word)
{
    uint32_t i = (uint32_t)((word * 0x9e3779b97f4a7c15ull) >> 40) % TRACE_OPS;
    while (c->ops[i].size != 0xffu) {
        if (c->ops[i].word == word) {
            return i;
        }
        i = (i + 1) % TRACE_OPS;
    }
    c->ops[i].word = word;
    c->ops[i].chunk = 0;
    c->describe(&c->ops[i]);
    c->op_count++;
    return i;
}

// The words of the code at `pc`: in RAM, or copied to `buffer`; NULL if they cannot be read.
static const uint32_t *words_at(struct tracer *t, uint64_t pc, uint32_t size, uint64_t *pa,
                                uint32_t *buffer)
{
    struct hook_state *s = t->state;
    if (t->code_page != pc >> PAGE_SHIFT || t->code_epoch != s->epoch || t->code_el != t->el) {
        t->code_page = pc >> PAGE_SHIFT;
        t->code_epoch = s->epoch;
        t->code_el = t->el;
        t->code_physical = physical_page(t, pc, t->el);
    }
    *pa = t->code_physical << PAGE_SHIFT | (pc & PAGE_MASK);
    uint64_t offset = *pa - s->ram_base;
    if (offset < s->ram_size && size <= s->ram_size - offset) {
        return (const uint32_t *)(const void *)(s->ram + offset);
    }
    t->code_page = NO_PC;
    return s->vmem_read(t->uc, pc, UC_PROT_EXEC, buffer, size) == 0 ? buffer : NULL;
}

static int is_same(const struct trace_columns *c, const struct trace_block *b,
                   const uint32_t *words, uint32_t count)
{
    const struct trace_code *code = &c->code[b->code];
    if (b->count != count) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (code[i].word != words[i]) {
            return 0;
        }
    }
    return 1;
}

static struct trace_block *find_block(struct tracer *t, uint64_t pc, uint32_t count)
{
    struct trace_columns *c = t->columns;
    uint32_t buffer[TRACE_MOST_BLOCK];
    uint64_t pa = 0;
    const uint32_t *words = words_at(t, pc, count << 2, &pa, buffer);
    uint64_t hash = ((pc >> 2) ^ (pa << 20)) * 0x9e3779b97f4a7c15ull;
    uint32_t i = (uint32_t)(hash >> 40) % TRACE_BLOCKS;
    if (!words) {
        return NULL;
    }
    while (c->block_table[i].count && (c->block_table[i].pc != pc || c->block_table[i].pa != pa)) {
        i = (i + 1) % TRACE_BLOCKS;
    }
    struct trace_block *b = &c->block_table[i];
    if (is_same(c, b, words, count)) {
        return b;
    }
    c->block_count += b->count == 0;
    b->pc = pc;
    b->pa = pa;
    b->count = count;
    b->code = c->code_count;
    b->chunk = b->measured = 0;
    for (uint32_t k = 0; k < count; k++) {
        c->code[b->code + k].word = words[k];
        c->code[b->code + k].op = find_op(c, words[k]);
    }
    c->code_count += count;
    return b;
}

// What makes room, while no block is open.
static void make_room(struct trace_columns *c)
{
    int is_crowded = c->block_count > TRACE_BLOCKS / 2 || c->op_count > TRACE_OPS / 2 ||
                     c->code_count > TRACE_CODES - TRACE_MOST_BLOCK;
    if (is_crowded || aether_trace_is_full(c)) {
        c->flush();
        aether_trace_begin_chunk(c);
    }
    if (is_crowded) {
        for (uint32_t i = 0; i < TRACE_BLOCKS; i++) {
            c->block_table[i].count = 0;
        }
        for (uint32_t i = 0; i < TRACE_OPS; i++) {
            c->ops[i].size = 0xffu; // free
        }
        c->block_count = c->code_count = c->op_count = 0;
    }
}

// Which instructions of a block are wanted: `first`, `span`.
static void choose(struct tracer *t, uint32_t count)
{
    const struct trace_columns *c = t->columns;
    uint64_t begin = t->base + t->block_position, end = begin + count;
    uint64_t from = c->from > begin ? c->from : begin, to = c->to < end ? c->to : end;
    t->first = t->span = 0;
    if (from < to && (c->els >> t->el & 1u) && (!c->vms || c->only_vm == t->vm)) {
        t->first = (uint32_t)(from - begin);
        t->span = (uint32_t)(to - from);
    } else {
        t->synced = 0;
    }
}

static void tell_exception(struct tracer *t)
{
    struct hook_state *s = t->state;
    struct trace_columns *c = t->columns;
    int el = (int)t->el;
    t->exceptions = s->exceptions;
    if (t->span == 0) {
        return;
    }
    c->next_position = t->base + t->block_position;
    c->cpu = t->cpu;
    c->el = t->el;
    c->vm = t->vm;
    aether_trace_event(c, TRACE_STATE, 0, 0, 0, 0);
    aether_trace_event(c, TRACE_EXCEPTION, s->last_exception, read_id(t, s->reg_esr_el0 + el),
                       read_id(t, s->reg_far_el0 + el), read_id(t, s->reg_elr_el0 + el));
}

// Here a block of the untraced run may go on: Unicorn ends blocks that have become too long.
static int may_be_part(const struct trace_columns *c, const struct trace_block *b)
{
    uint32_t last = c->code[b->code + b->count - 1].word;
    return (last & A64_BRANCHES_MASK) != A64_BRANCHES && ((b->pc + 4 * b->count) & PAGE_MASK) != 0;
}

static uint32_t whole_size(struct tracer *t, struct trace_block *b, uint64_t pc, uint32_t size)
{
    struct hook_state *s = t->state;
    if (!may_be_part(t->columns, b)) {
        return size;
    }
    if (b->measured != t->columns->generation) {
        s->watch_pc = pc;
        s->watch_size = size;
        s->retired += s->block_instructions;
        s->block_instructions = 0;
        s->reason = STOP_MEASURE;
        s->emu_stop(t->uc);
        return 0;
    }
    if (b->whole > b->count) {
        t->whole_end = pc + 4 * (uint64_t)b->whole;
        t->whole_next = pc + size;
        size = 4 * b->whole;
    }
    return size;
}

void aether_trace_measured(struct tracer *t, uint64_t pc, uint32_t traced, uint32_t whole)
{
    struct trace_block *b = find_block(t, pc, traced);
    if (b) {
        b->whole = whole;
        b->measured = t->columns->generation;
    }
}

int aether_trace_is_inside(const struct hook_state *s, uint64_t pc)
{
    const struct tracer *t = s->tracer;
    return t->whole_end && pc == t->whole_next && s->block_instructions;
}

uint32_t aether_trace_block(struct hook_state *s, uint64_t pc, uint32_t size)
{
    struct tracer *t = s->tracer;
    struct trace_columns *c = t->columns;
    uint32_t count = size >> 2, was_stopped = t->stopped, el = t->el;
    if (c->last) {
        aether_trace_settle(c->last);
    }
    if (t->pending.op) {
        gather(t);
        tell(t);
    }
    leave(t);
    int is_inside = aether_trace_is_inside(s, pc);
    t->block_pc = pc;
    t->block_position = s->retired + (is_inside ? (pc - s->block_pc) >> 2 : s->block_instructions);
    if (was_stopped) {
        t->stopped = t->synced = 0;
        t->base = 0;
        for (uint32_t i = 0; i < s->peer_count; i++) {
            t->base += s->peers[i]->retired;
        }
    }
    if (was_stopped || s->after_eret) {
        t->el = EL_OF_ROTATED(read_pstate(t));
    }
    if (was_stopped || t->el != el || t->vm_epoch != s->epoch) {
        t->vm = read_vm(t);
        t->vm_epoch = s->epoch;
    }
    make_room(c);
    struct trace_block *b = (pc & 3) || !count ? NULL : find_block(t, pc, count);
    t->block = b;
    choose(t, b ? count : 0);
    if (t->exceptions != s->exceptions) {
        tell_exception(t);
    }
    t->stop_pc = NO_PC;
    if (is_inside) {
        t->whole_next = pc + size;
        if (t->whole_next >= t->whole_end) {
            t->stop_pc = t->whole_next > t->whole_end ? t->whole_end : NO_PC;
            t->whole_end = 0;
        }
        return 0;
    }
    t->whole_end = 0;
    return b ? whole_size(t, b, pc, size) : size;
}

uint64_t aether_trace_layout(uint32_t field)
{
    static const uint64_t sizes[] = {
        sizeof(struct trace_op),
        sizeof(struct trace_block),
        sizeof(struct trace_code),
        sizeof(struct trace_event),
        sizeof(struct trace_partial),
        sizeof(struct trace_page),
        sizeof(struct trace_slot),
        sizeof(struct trace_columns),
        sizeof(struct tracer),
        offsetof(struct trace_columns, execution_ids),
        offsetof(struct trace_columns, shadow),
        offsetof(struct trace_columns, next_position),
        offsetof(struct trace_columns, describe),
    };
    return field < sizeof(sizes) / sizeof(sizes[0]) ? sizes[field] : 0;
}
