// SPDX-License-Identifier: Apache-2.0
// The end of a run.
#ifndef EL2_POWER_H
#define EL2_POWER_H

#include <stdbool.h>

// How to switch off: PSCI by SMC, or not at all. Until it is called: not at all.
void power_init(bool psci_smc);

// Firmware starts a CPU, with its MMU off. False: it says no, or there is none.
bool power_cpu_on(uint64_t mpidr, uint64_t entry);

// Prints the line `[aether] end: reason`, the last one, and switches the machine off.
_Noreturn void power_end(const char *reason);

#endif
