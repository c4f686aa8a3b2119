// SPDX-License-Identifier: Apache-2.0
// Runs a table of probes and prints one line for each:
//
//   probe NAME: taken=0|1 [vector= ec= il= iss= elr= far= entry=] spsr= changed= [x0=..x3=] arg=
//
// elr is +offset from the probe's first instruction when it lies in the probe, else an address.
// changed has bit n set when xn differs from what it was at the start, bit 31 for SP.
#include "stub.h"

#define ESR_EC_SHIFT 26
#define ESR_IL (1UL << 25)
#define ESR_ISS 0x1ffffffUL
#define EC_SVC64 0x15
#define SPSR_M 0x1f
#define PROBE_MAX_BYTES 256
#define EL0_STACK_OFFSET 0x3f0000UL // in every stub's memory, and outside its image

struct frame probe_frame;
uint64_t probe_sctlr;
uint64_t el0_offset;

uint64_t memory_base(void)
{
    return ((uint64_t)_start & ~0x1fffffUL) - 0x200000UL;
}

static uint64_t pattern(unsigned n)
{
    return 0xa500000000005a00UL + n * 0x0001000100010001UL;
}

static bool ended_by_itself(const struct frame *f)
{
    return (f->esr >> ESR_EC_SHIFT) == EC_SVC64 && (f->esr & 0xffff) == PROBE_END_SVC;
}

static void report(const struct probe *p, uint64_t start, uint64_t argument)
{
    const struct frame *const f = &probe_frame;
    uint32_t changed = f->sp == (uint64_t)probe_stack ? 0 : 1U << 31;
    for (unsigned n = 0; n < 31; n++) {
        if (f->x[n] != (n == 1 ? argument : pattern(n))) {
            changed |= 1U << n;
        }
    }
    put_string("probe ");
    put_string(p->name);
    if (ended_by_itself(f)) {
        put_string(": taken=0");
    } else {
        put_string(": taken=1");
        put_key("vector", f->vector);
        put_key("ec", f->esr >> ESR_EC_SHIFT);
        put_key("il", (f->esr & ESR_IL) != 0);
        put_key("iss", f->esr & ESR_ISS);
        put_string(" elr=");
        if (f->elr - start < PROBE_MAX_BYTES) {
            put_char('+');
            put_hex(f->elr - start);
        } else {
            put_hex(f->elr);
        }
        put_key("far", f->far);
        put_key("entry", f->entry_pstate);
    }
    put_key("spsr", f->spsr);
    put_key("changed", changed);
    for (unsigned n = 0; n < 4; n++) {
        if ((changed & (1U << n)) != 0) {
            const char name[3] = {'x', (char)('0' + n), '\0'};
            put_key(name, f->x[n]);
        }
    }
    put_key("arg", argument);
    put_char('\n');
}

void run_probe(const struct probe *p)
{
    uint64_t start = (uint64_t)p + (uint64_t)(int64_t)p->code;
    const uint64_t argument = p->argument + (p->from == FROM_BASE ? memory_base() : 0);
    if ((p->pstate & SPSR_M) == 0) {
        start += el0_offset;
    }
    for (unsigned n = 0; n < 31; n++) {
        probe_frame.x[n] = pattern(n);
    }
    probe_frame.x[1] = argument;
    probe_frame.sp = (uint64_t)probe_stack;
    probe_frame.sp_el0 = memory_base() + EL0_STACK_OFFSET;
    probe_frame.elr = start;
    probe_frame.spsr = p->pstate;
    probe_frame.sctlr = SCTLR_EL1_RES1 | probe_sctlr | p->sctlr;
    probe_enter();
    report(p, start, argument);
}

void run_probes(const struct probe *table)
{
    for (const struct probe *p = table; p->code != 0; p++) {
        run_probe(p);
    }
}

_Noreturn void stub_panic(void)
{
    static bool panicking;
    if (!panicking) {
        panicking = true;
        put_string("panic: unexpected exception");
        put_key("vector", probe_frame.vector);
        put_key("esr", probe_frame.esr);
        put_key("elr", probe_frame.elr);
        put_key("far", probe_frame.far);
        put_key("x30", probe_frame.x[30]);
        put_char('\n');
    }
    power_off();
}
