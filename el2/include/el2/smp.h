// SPDX-License-Identifier: Apache-2.0
// The physical CPUs that the schedule uses.
#ifndef EL2_SMP_H
#define EL2_SMP_H

#include <el2/board.h>
#include <el2/cpu.h>
#include <el2/error.h>

// Enters the board's CPUs into `cpus`. On the one that booted.
bool smp_init(const struct board *board, struct boot_error *error);

// Starts those that have slots: by PSCI, or through the address that a spin-table CPU watches.
bool smp_start(const struct board *board, struct boot_error *error);

// All CPUs begin the schedule, this one too.
_Noreturn void smp_run(void);

#endif
