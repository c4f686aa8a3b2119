// SPDX-License-Identifier: Apache-2.0
// In place of the real one, for what a host cannot assemble.
#ifndef EL2_CPU_H
#define EL2_CPU_H

#include <stdint.h>

struct cpu;

uint64_t counter(void);

#endif
