// SPDX-License-Identifier: Apache-2.0
// Makes as many calls as its parameter says, as the parameter's seed says, and looks at its memory
// meanwhile. The parameter: 100,000 times the seed, and thousands of calls.
//
// With a peer the two hand each other pages all the time. With two vCPUs the second is switched on
// and off again and again, and makes calls of its own.
#include "caller.h"
#include "../exceptions.h"
#include "../smp.h"

#define DEFAULT_THOUSANDS 4
#define SEED_UNIT 100000
#define THOUSAND 1000
#define VCPUS 2
#define CALLS_OF_A_LIFE 300
#define FNV_PRIME 0x100000001b3UL
#define GOLDEN 0x9e3779b97f4a7c15UL
#define PSCI_CPU_ON_64 0xC4000003UL
#define PSCI_AFFINITY_INFO 0x84000004UL
#define LENDING_STEPS 2 // of 64
#define MANY_LENDING_STEPS 34
#define MOST_TOLD 8                         // of what is wrong
#define NOBODY UINT64_C(0xfffffffffffffffe) // -2

enum caller_case { CALLS, LENDING };

struct world world;
static struct caller callers[VCPUS];

uint64_t pick(struct caller *by, uint64_t count)
{
    uint64_t x = by->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    by->random = x;
    return (x >> 24) % count;
}

uint64_t odd_value(struct caller *by)
{
    static const uint64_t values[] = {
        0,
        1,
        2,
        8,
        0xff,
        0x1000,
        0xffff,
        0x40200000,
        UINT64_C(1) << 31,
        0xffffffff,
        UINT64_C(1) << 32,
        UINT64_C(1) << 63,
        UINT64_MAX,
    };
    const uint64_t which = pick(by, sizeof(values) / sizeof(values[0]) + 1);
    return which == sizeof(values) / sizeof(values[0]) ? by->random : values[which];
}

static void count(struct caller *by, struct smccc *args, enum conduit how)
{
    call_by(args, how);
    by->calls++;
    for (unsigned i = 0; i < 4; i++) {
        by->hash = (by->hash ^ args->x[i]) * FNV_PRIME;
    }
}

int64_t make(struct caller *by, struct smccc *args)
{
    count(by, args, pick(by, 4) == 0 ? SMC : HVC);
    return (uint32_t)args->x[0] == FFA_ERROR ? (int32_t)args->x[2] : (int64_t)args->x[0];
}

void make_oddly(struct caller *by, struct smccc *args)
{
    count(by, args, pick(by, 2) == 0 ? OTHER_SMC : OTHER_HVC);
}

void expect(struct caller *by, const char *what, bool good, uint64_t value)
{
    if (good || ++by->wrong > MOST_TOLD) {
        return;
    }
    put_string("caller: ");
    put_string(what);
    put_string(": WRONG ");
    put_hex(value);
    put_string(" at call ");
    put_decimal(by->calls);
    put_char('\n');
}

static void begin(struct caller *by, uint64_t seed)
{
    exceptions_take();
    mmu_on(false);
    by->random = (seed + 1) * GOLDEN; // cached from here on
}

void smp_secondary(uint64_t seed)
{
    struct caller *by = &callers[1];
    begin(by, seed);
    for (uint64_t end = by->calls + CALLS_OF_A_LIFE; by->calls < end;) {
        simple_call(by);
    }
    by->calls++;
    leave_cpu();
}

static void another_vcpu(struct caller *by)
{
    struct smccc args = {{PSCI_CPU_ON_64, 1, smp_entry_address(), by->random}};
    const int64_t result = make(by, &args);
    expect(by, "CPU_ON", result == 0 || result == -4 || result == -5, (uint64_t)result);
}

static void look_around(struct caller *by)
{
    struct smccc args = {{0x84000069}}; // FFA_ID_GET; -1 for a VM that is no partition
    world.self = make(by, &args) < 0 ? 0 : args.x[2];
    for (world.vcpus = 0; world.vcpus < VCPUS; world.vcpus++) {
        if (hvc(PSCI_AFFINITY_INFO, world.vcpus, 0, 0) == NOBODY) {
            return;
        }
    }
}

static void step(struct caller *by)
{
    const uint64_t what = pick(by, 64);
    const uint64_t lending = stub_case == LENDING ? MANY_LENDING_STEPS : LENDING_STEPS;
    if (what < 62 - lending) {
        simple_call(by);
    } else if (what < 62) {
        lending_step(by);
    } else if (what == 62 && world.vcpus > 1) {
        another_vcpu(by);
    } else if (pick(by, 2) == 0) {
        messages_step(by);
    }
}

void stub_main(void)
{
    struct caller *by = &callers[0];
    const uint64_t thousands = stub_parameter != 0 ? stub_parameter % SEED_UNIT : DEFAULT_THOUSANDS;
    const uint64_t wanted = thousands * THOUSAND;
    begin(by, stub_parameter / SEED_UNIT);
    look_around(by);
    by->random += world.self * GOLDEN;
    messages_begin();
    lending_begin(by);
    while (!lending_over(by->calls >= wanted)) {
        step(by);
    }
    const struct caller *const other = &callers[1];
    put_string("caller: ");
    put_decimal(by->calls);
    put_string(" and ");
    put_decimal(other->calls);
    put_string(" calls; ");
    put_decimal(counts.offered);
    put_string(" offers, ");
    put_decimal(counts.retrieved);
    put_string(" retrieved, ");
    put_decimal(counts.relinquished);
    put_string(" relinquished, ");
    put_decimal(counts.reclaimed);
    put_string(" reclaimed\ncaller: hash ");
    put_hex(by->hash);
    put_string(" and ");
    put_hex(other->hash);
    put_string(by->wrong + other->wrong == 0 ? ", as it should be\n" : ", WRONG\n");
}
