// SPDX-License-Identifier: Apache-2.0
// Does one thing for ever that may cost others time: none of it may.
#include "smp.h"
#include "runtime/mmio.h"
#include "runtime/stub.h"

#define GICD_BASE 0x08000000UL
#define GICD_CTLR 0x000
#define GICD_SGIR 0xf00
#define GICD_SIZE 0x1000
#define SGIR_TO_SELF (2U << 24)
#define SGIR_TO_ALL_OTHERS (1U << 24)

#define PSCI_CPU_ON_64 0xC4000003UL
#define PSCI_FUNCTIONS 0x20
#define SMCCC_64 0x40000000UL

enum hostile_case {
    MASKED_LOOP,
    SLEEP,
    EVERY_PSCI,
    DISTRIBUTOR,
    SGIS,
    CONSOLE,
    CRASH,
    RESET,
    SWITCH_CPUS,
};

static void gicd_write(uint32_t offset, uint32_t value)
{
    mmio_write32(GICD_BASE + offset, value);
}

static uint32_t gicd_read(uint32_t offset)
{
    return mmio_read32(GICD_BASE + offset);
}

// All functions but those that end the VM, with arguments that change.
static void every_psci(uint64_t round)
{
    for (uint64_t i = 0; i < 2 * PSCI_FUNCTIONS; i++) {
        uint64_t function = PSCI_VERSION + i % PSCI_FUNCTIONS;
        if (function != PSCI_CPU_OFF && function != PSCI_SYSTEM_OFF &&
            function != PSCI_SYSTEM_RESET) {
            function |= i < PSCI_FUNCTIONS ? 0 : SMCCC_64;
            (void)hvc(function, round * 0x9e3779b97f4a7c15UL, round, ~round);
        }
    }
}

static void distributor(uint64_t round)
{
    for (uint32_t offset = 0; offset < GICD_SIZE; offset += 4) {
        if (offset != GICD_SGIR) {
            gicd_write(offset, gicd_read(offset) ^ (uint32_t)(round * 0x9e3779b9U));
        }
    }
}

static void sgis(void)
{
    gicd_write(GICD_CTLR, 1);
    for (uint32_t i = 0; i < 16; i++) {
        gicd_write(GICD_SGIR, SGIR_TO_SELF | i);
        gicd_write(GICD_SGIR, SGIR_TO_ALL_OTHERS | i);
    }
}

void smp_secondary(uint64_t argument)
{
    (void)argument;
    (void)hvc(PSCI_CPU_OFF, 0, 0, 0);
}

static void one_round(uint64_t round)
{
    switch (stub_case) {
    case SLEEP:
        __asm__ volatile("wfi");
        break;
    case EVERY_PSCI:
        every_psci(round);
        break;
    case DISTRIBUTOR:
        distributor(round);
        break;
    case SGIS:
        sgis();
        break;
    case CONSOLE:
        pl011_write("hostile: and so on and so on and so on and so on and so on\n");
        break;
    case CRASH:
        // A store whose syndrome does not describe it.
        __asm__ volatile("str w1, [%0], #4" : : "r"(PL011_BASE) : "memory");
        break;
    case RESET:
        (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
        break;
    case SWITCH_CPUS:
        (void)hvc(PSCI_CPU_ON_64, 1 + round % 7, smp_entry_address(), round);
        break;
    default:
        break;
    }
}

void stub_main(void)
{
    for (uint64_t round = 0;; round++) {
        one_round(round);
    }
}
