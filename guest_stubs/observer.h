// SPDX-License-Identifier: Apache-2.0
// Between observer.c and observer_mix.S.
#ifndef OBSERVER_H
#define OBSERVER_H

#include <stdint.h>

#pragma GCC visibility push(hidden)

// Stirs CNTVCT_EL0 into X2 to X28, Q0 to Q31, FPSR and registers of EL1, `rounds` times, starting
// from `seed`. What it returns depends on all of them, so on what became of each at any moment.
uint64_t observer_mix(uint64_t seed, uint64_t rounds);

#pragma GCC visibility pop

#endif
