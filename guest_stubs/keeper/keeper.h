// SPDX-License-Identifier: Apache-2.0
// Between keeper.c and fill.S.
#ifndef KEEPER_H
#define KEEPER_H

#include "../exceptions.h"
#include "../runtime/gicv2.h"
#include "../runtime/stub.h"
#include "../smp.h"

#pragma GCC visibility push(hidden)

// Leaves `word` in Q0 to Q31, FPCR, FPSR and registers of EL1, and stays with it in X2 to X28 for
// some thousand instructions.
void keeper_fill(uint64_t word);

#pragma GCC visibility pop

#endif
