// SPDX-License-Identifier: Apache-2.0
// Between smp.c and smp_entry.S.
#ifndef SMP_H
#define SMP_H

#define SMP_STACK_SIZE 4096

#ifndef __ASSEMBLER__

#include <stdint.h>

#pragma GCC visibility push(hidden)

// Where CPU_ON lets a vCPU begin.
uint64_t smp_entry_address(void);
void smp_secondary(uint64_t argument);

// Puts values that follow from `seed` into X2 to X30, Q0 to Q31, FPCR, FPSR and EL1's system
// registers, and looks at them until CNTVCT has gone on by `milliseconds` (0: 50). Returns how
// often one was another.
uint64_t smp_check_state(uint64_t seed, uint64_t milliseconds);

#pragma GCC visibility pop

#endif
#endif
