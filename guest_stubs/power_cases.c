// SPDX-License-Identifier: Apache-2.0
// The ways to end.
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
_Noreturn void smc_system_off(void);
#pragma GCC visibility pop

enum power_case { SYSTEM_OFF, SYSTEM_OFF_SMC, CPU_OFF, RESET, READ_THEN_OFF };

#define FLAG_OFFSET 0x3e0000UL
#define FLAG 0x5e7a11f1a6ULL
#define PL011_FR_RXFE (1U << 4)

// Prints each byte received in hex, until a '.'.
static void echo(void)
{
    volatile const uint32_t *const dr = (volatile const uint32_t *)PL011_BASE;
    volatile const uint32_t *const fr = (volatile const uint32_t *)(PL011_BASE + 0x18);
    put_string("power: reading\n");
    for (;;) {
        if ((*fr & PL011_FR_RXFE) != 0) {
            continue;
        }
        const uint32_t c = *dr & 0xff;
        put_string("power: read ");
        put_hex(c);
        put_char('\n');
        if (c == '.') {
            return;
        }
    }
}

void stub_main(void)
{
    volatile uint64_t *const flag = (volatile uint64_t *)(memory_base() + FLAG_OFFSET);
    put_string("power: case ");
    put_decimal(stub_case);
    put_string(*flag == FLAG ? ", memory kept\n" : ", memory fresh\n");
    flush();
    switch (stub_case) {
    case SYSTEM_OFF_SMC:
        smc_system_off();
    case CPU_OFF:
        (void)hvc(PSCI_CPU_OFF, 0, 0, 0);
        put_string("power: CPU_OFF returned\n");
        break;
    case RESET:
        *flag = FLAG;
        (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
        put_string("power: SYSTEM_RESET returned\n");
        break;
    case READ_THEN_OFF:
        echo();
        break;
    default: // SYSTEM_OFF: by returning
        break;
    }
}
