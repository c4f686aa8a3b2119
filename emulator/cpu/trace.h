// SPDX-License-Identifier: Apache-2.0
// Full traces: every retired instruction with the registers that it wrote and its access to memory,
// put into columns. trace.c watches the CPUs, trace_columns.c fills the columns. Nothing here
// changes a run. `emulator/trace/columns.py` mirrors the structs.
#ifndef AETHER_TRACE_H
#define AETHER_TRACE_H

#include "hooks.h"

// Registers by number. Of X0-X30, SP and V0-V31 (two halves each) it is what the trace tells; the
// last is no register, but the memory that an instruction read or wrote, 8 bytes at a time.
#define TRACE_SP 31u
#define TRACE_PSTATE 32u // rotated by 4, so that the flags are in the low bits
#define TRACE_V 33u
#define TRACE_MEMORY 97u
#define TRACE_REGISTERS 98u
#define TRACE_CPUS 8u

#define TRACE_NO_REGISTER 255u
#define TRACE_PC 32u // as a base register

// What an instruction may change, worked out from its encoding by Python.
struct trace_op {
    uint32_t word;
    uint32_t x; // bit n: Xn; bit 31: SP
    uint32_t v; // bit n: Vn
    int32_t offset;
    uint8_t flags;  // TRACE_OP_*
    uint8_t base;   // register number, or TRACE_PC
    uint8_t index;  // register number
    uint8_t extend; // of the index register: 2 UXTW, 6 SXTW, else none
    uint8_t shift;
    uint8_t size;   // of the access, bytes; 0 if there is none
    uint8_t words;  // of memory that are told: 8 bytes each
    uint8_t status; // of a store exclusive: 0 in this register if it stored
    uint32_t id;    // in this chunk
    uint32_t chunk; // in which `id` holds; 0 if in none
};
#define TRACE_OP_PSTATE 1u       // writes PSTATE
#define TRACE_OP_STORE 2u        // its access writes memory
#define TRACE_OP_LINE 4u         // its access is of the 64 bytes around the address
#define TRACE_OP_UNPRIVILEGED 8u // LDTR, STTR
#define TRACE_OP_ERET 16u

// The instructions of a block; `code` counts from the start of the `code` array.
struct trace_block {
    uint64_t pc;
    uint64_t pa; // of the first instruction
    uint32_t code;
    uint32_t count;
    uint32_t id;    // in this chunk
    uint32_t chunk; // in which `id` holds; 0 if in none
    // Blocks that Unicorn translates while it calls back at each instruction may end before those
    // of an untraced run do: instructions of the untraced one, if `measured` is up to date.
    uint32_t whole;
    uint32_t measured;
};

struct trace_code {
    uint32_t word;
    uint32_t op; // number of its trace_op
};

enum trace_event_kind {
    TRACE_STATE = 0,     // from here on: position, CPU, EL, VMID as in the event
    TRACE_EXCEPTION = 1, // a: kind | from EL << 8 | to EL << 12, b: ESR, c: FAR, d: ELR
    TRACE_REGISTER = 2,  // not by an instruction: a: number, b: what is added, c: the new value
    TRACE_ERET = 3,      // a: from EL | to EL << 4, d: where to
};

struct trace_event {
    uint64_t position;
    uint64_t a, b, c, d;
    uint32_t index; // of the next instruction in this chunk
    uint8_t kind, cpu, el, vm;
};

struct trace_partial {
    uint32_t execution; // number of the block's execution in this chunk
    uint16_t start, count;
};

struct trace_page {
    uint32_t access; // number of the access in this chunk
    uint32_t slot;
    uint64_t page; // PA >> 12, or TRACE_NO_PAGE
};
#define TRACE_NO_PAGE ((uint64_t)1 << 52)
#define TRACE_SLOTS 4096u

// What the translation of a page was when it was last told, and since when that is known to hold.
struct trace_slot {
    uint64_t page; // VA >> 12; ~0 if free
    uint64_t physical;
    uint64_t epoch;
    uint32_t el, cpu;
};

#define TRACE_BLOCKS (1u << 18)
#define TRACE_CODES (1u << 21)
#define TRACE_OPS (1u << 18)

#define TRACE_MOST_BLOCK 1024u // instructions

typedef void (*trace_describe_fn)(struct trace_op *op);
typedef void (*trace_flush_fn)(void);

// What all CPUs share. Columns: `blocks` and what follows.
struct trace_columns {
    uint32_t chunk; // number of this chunk, from 1
    uint32_t instructions;
    uint32_t executions; // of blocks
    uint32_t accesses;
    uint32_t lengths;
    uint32_t payload;
    uint32_t partials;
    uint32_t pages;
    uint32_t events;
    uint32_t used_blocks; // that have an `id` in this chunk
    uint32_t used_ops;

    // A chunk ends with a block, at the first of these limits.
    uint32_t most_instructions;
    uint32_t most_executions;
    uint32_t most_lengths;
    uint32_t most_payload;
    uint32_t most_events;

    uint16_t *execution_ids; // which block, by its `id`
    uint8_t *value_lengths;  // of each value: its bytes in `payload_bytes`
    uint8_t *payload_bytes;
    struct trace_partial *partial;
    struct trace_page *page;
    struct trace_event *event;
    uint32_t *block_numbers; // by `id`
    uint32_t *op_numbers;
    struct trace_slot *slots;
    uint64_t (*shadow)[TRACE_REGISTERS]; // by CPU: registers as they have been told

    // Tables that stay from chunk to chunk.
    uint32_t block_count, code_count, op_count;
    struct trace_block *block_table; // TRACE_BLOCKS
    struct trace_code *code;         // TRACE_CODES
    struct trace_op *ops;            // TRACE_OPS, hashed by word

    // What the events said last.
    uint64_t next_position;
    uint32_t cpu, el, vm;

    // Which instructions are wanted.
    uint64_t from, to;
    uint32_t els; // bit n: at ELn
    uint32_t vms; // 1: only of VM `only_vm`
    uint32_t only_vm;
    uint32_t generation; // counts what may change where untraced blocks end

    struct tracer *last; // the CPU whose last instruction may not have been told yet
    trace_describe_fn describe;
    trace_flush_fn flush;
};

// The instruction that begins: told when it is known to have retired.
struct trace_pending {
    const struct trace_op *op; // NULL: none
    uint64_t pc;
    uint64_t position; // of the CPU
    uint64_t next_pc;  // of an ERET
    uint64_t values[TRACE_REGISTERS];
};

// One CPU.
struct tracer {
    struct trace_columns *columns;
    void *uc;
    struct hook_state *state;
    uint32_t cpu;
    int32_t reg_q0;
    uint32_t stopped; // the engine has stopped since the last block
    uint32_t synced;  // the shadow is what the registers are
    uint32_t el, vm;
    uint64_t exceptions; // that have been seen
    uint64_t base;       // instructions of the other CPUs
    uint64_t block_pc;
    uint64_t block_position; // of the CPU
    uint32_t first, span;    // instructions of the block that are wanted
    uint32_t open;           // the block's execution is in the columns
    uint32_t begun, done;    // its first instruction told, and how many
    struct trace_block *block;
    uint64_t vm_epoch; // when `vm` was read
    uint64_t code_page, code_physical, code_epoch;
    uint32_t code_el;
    // A block of the untraced run that is several here: up to `whole_end`.
    uint64_t whole_end; // 0: none
    uint64_t whole_next;
    uint64_t stop_pc; // where to stop because an untraced block ends
    struct trace_pending pending;
};

// At the start of a block, before it is accounted for. Returns the size, in bytes, of the block as
// an untraced run has it; 0 if nothing is to be done here.
uint32_t aether_trace_block(struct hook_state *s, uint64_t pc, uint32_t size);
// Whether the block at `pc` is the rest of one of the untraced run.
int aether_trace_is_inside(const struct hook_state *s, uint64_t pc);
// The engine has stopped; exceptions have not been taken yet.
void aether_trace_stop(struct hook_state *s);
// Tell the last instruction of a CPU that has stopped, if it has retired.
void aether_trace_settle(struct tracer *t);

void aether_trace_value(struct trace_columns *c, uint32_t cpu, uint32_t reg, uint64_t value);
void aether_trace_event(struct trace_columns *c, enum trace_event_kind kind, uint64_t a, uint64_t b,
                        uint64_t value, uint64_t d);
void aether_trace_execution(struct trace_columns *c, struct trace_block *block);
void aether_trace_leave(struct trace_columns *c, const struct trace_block *block, uint32_t begun,
                        uint32_t done);
// Whether the translation of this page has not been told yet, or may have changed since: then it is
// to be looked up and given to `aether_trace_page`.
int aether_trace_is_new_page(const struct trace_columns *c, uint64_t page, uint64_t epoch,
                             uint32_t cpu, uint32_t el);
void aether_trace_page(struct trace_columns *c, uint64_t page, uint64_t physical, uint64_t epoch,
                       uint32_t cpu, uint32_t el);
void aether_trace_begin_chunk(struct trace_columns *c);
int aether_trace_is_full(const struct trace_columns *c);
// The kept translation of a page (tlb.c), or NULL.
const struct tlb_entry *aether_tlb_find(struct hook_state *s, uint64_t va, uint32_t el);

#endif
