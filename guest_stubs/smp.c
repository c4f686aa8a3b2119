// SPDX-License-Identifier: Apache-2.0
// Several vCPUs: switched on and off by PSCI, and each with registers of its own across switches.
#include "smp.h"
#include "runtime/stub.h"

#define PSCI_CPU_ON_32 0x84000003UL
#define PSCI_CPU_ON_64 0xC4000003UL
#define PSCI_AFFINITY_INFO_64 0xC4000004UL
#define AFFINITY_ON 0
#define AFFINITY_OFF 1
#define INVALID_PARAMETERS (-2)
#define VCPUS_MAX 8
#define DEFAULT_ROUNDS 2

enum smp_case { BRING_UP, STATE, LEFT_RUNNING };

// Written by each vCPU for itself. MMU and caches are off: every access goes to memory, in order.
static volatile uint64_t started[VCPUS_MAX];
static volatile uint64_t mismatches[VCPUS_MAX];

static uint64_t affinity(uint64_t vcpu)
{
    return hvc(PSCI_AFFINITY_INFO_64, vcpu, 0, 0);
}

static uint64_t count_vcpus(void)
{
    uint64_t count = 0;
    while (affinity(count) == AFFINITY_ON || affinity(count) == AFFINITY_OFF) {
        count++;
    }
    return count;
}

static void put_result(const char *what, uint64_t vcpu, uint64_t result)
{
    put_string("smp: ");
    put_string(what);
    put_char(' ');
    put_decimal(vcpu);
    put_string(": ");
    if ((int64_t)result < 0) {
        put_char('-');
        result = 0 - result;
    }
    put_decimal(result);
    put_char('\n');
}

// Where a secondary vCPU comes to, on its stack: `argument` is CPU_ON's context.
void smp_secondary(uint64_t argument)
{
    const uint64_t self = READ_SYSREG(mpidr_el1) & 0xffffff;
    if (stub_case == STATE) {
        mismatches[self] = smp_check_state(argument, stub_parameter);
    }
    __asm__ volatile("dmb sy" : : : "memory"); // the result is there before it is announced
    started[self] = argument;
    while (stub_case == LEFT_RUNNING) { // until vCPU 0 ends the machine
    }
    (void)hvc(PSCI_CPU_OFF, 0, 0, 0);
}

static void bring_up(uint64_t round, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        const uint64_t context = (round + 1) << 8 | i;
        put_result("CPU_ON", i, hvc(PSCI_CPU_ON_64, i, smp_entry_address(), context));
        while (started[i] != context) {
        }
    }
    for (uint64_t i = 1; i < count && stub_case != LEFT_RUNNING; i++) {
        while (affinity(i) != AFFINITY_OFF) {
        }
        put_result("off", i, started[i]);
    }
}

static void refusals(uint64_t count)
{
    const uint64_t entry = smp_entry_address();
    put_result("CPU_ON of itself", 0, hvc(PSCI_CPU_ON_64, 0, entry, 0));
    put_result("CPU_ON of nobody", count, hvc(PSCI_CPU_ON_64, count, entry, 0));
    put_result("CPU_ON of another cluster", 0, hvc(PSCI_CPU_ON_64, 0x100, entry, 0));
    put_result("CPU_ON by SMC32 of nobody", count, hvc(PSCI_CPU_ON_32, count, entry, 0));
    if (count > 1) {
        put_result("CPU_ON to nowhere", 1, hvc(PSCI_CPU_ON_64, 1, 0x1000, 0));
        put_result("CPU_ON to an odd address", 1, hvc(PSCI_CPU_ON_64, 1, entry + 2, 0));
        put_result("still off", 1, affinity(1));
    }
    put_result("AFFINITY_INFO of level 1", 0, hvc(PSCI_AFFINITY_INFO_64, 0, 1, 0));
}

void stub_main(void)
{
    const uint64_t count = count_vcpus();
    put_result("vCPUs", 0, count);
    if (stub_case == STATE) {
        for (uint64_t i = 1; i < count; i++) {
            (void)hvc(PSCI_CPU_ON_64, i, smp_entry_address(), i + 1);
        }
        mismatches[0] = smp_check_state(1, stub_parameter);
        for (uint64_t i = 0; i < count; i++) {
            while (i != 0 && started[i] == 0) {
            }
            put_result("registers lost by", i, mismatches[i]);
        }
        return;
    }
    refusals(count);
    const uint64_t rounds = stub_parameter != 0 ? stub_parameter : DEFAULT_ROUNDS;
    for (uint64_t round = 0; round < rounds; round++) {
        bring_up(round, count);
    }
}
