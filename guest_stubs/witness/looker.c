// SPDX-License-Identifier: Apache-2.0
// The second vCPU. The two take turns through cached memory.
#include "witness.h"
#include "../exceptions.h"
#include "../smp.h"

#define PSCI_CPU_ON_64 0xC4000003UL
#define PSCI_ALREADY_ON (-4)
#define PSCI_ON_PENDING (-5)
#define SAME_CPU 1

static uint64_t turn; // even: the first vCPU's, odd: the second's
enum work { LOOK, RUN, MOVE_MAILBOX };

static enum work work;
static uint64_t place[2];
static uint64_t seen;
static bool same_cpu; // then the other runs only in its own slots

static void give_turn(void)
{
    __atomic_store_n(&turn, turn + 1, __ATOMIC_RELEASE);
    __asm__ volatile("dsb ish\n sev" : : : "memory"); // stored before the other looks
}

static void await_turn(uint64_t whose)
{
    while ((__atomic_load_n(&turn, __ATOMIC_ACQUIRE) & 1) != whose) {
        if (same_cpu) {
            rest();
        } else {
            __asm__ volatile("wfe" : : : "memory");
        }
    }
}

static uint64_t ask(enum work what, uint64_t first, uint64_t second)
{
    work = what;
    place[0] = first;
    place[1] = second;
    give_turn();
    await_turn(0);
    return seen;
}

uint64_t looker_reads(uint64_t address)
{
    return ask(LOOK, address, 0);
}

uint64_t looker_calls(uint64_t address)
{
    return ask(RUN, address, 0);
}

uint64_t looker_moves_mailbox(uint64_t tx, uint64_t rx)
{
    return ask(MOVE_MAILBOX, tx, rx);
}

void smp_secondary(uint64_t argument)
{
    mmu_on((argument & SAME_CPU) == 0);
    exceptions_take();
    for (;;) {
        await_turn(1);
        if (work == LOOK) {
            seen = load(place[0]);
        } else if (work == RUN) {
            __asm__ volatile("isb" : : : "memory"); // what another vCPU has written is fetched
            seen = call(place[0]);
        } else {
            seen = mailbox_end() + mailbox(place[0], place[1]);
        }
        give_turn();
    }
}

void looker_start(bool on_same_cpu)
{
    const uint64_t argument = on_same_cpu ? SAME_CPU : 0;
    same_cpu = on_same_cpu;
    (void)hvc(PSCI_CPU_ON_64, 1, smp_entry_address(), argument);
    const int64_t again = (int64_t)hvc(PSCI_CPU_ON_64, 1, smp_entry_address(), argument);
    (void)looker_reads((uint64_t)_start); // it is there
    say("start of one that starts", again == PSCI_ON_PENDING || again == PSCI_ALREADY_ON,
        (uint64_t)again);
}
