// SPDX-License-Identifier: Apache-2.0
// Exceptions taken at EL1 and returned from, for stubs that go on after them.
#ifndef EXCEPTIONS_H
#define EXCEPTIONS_H

#include <stdint.h>

#pragma GCC visibility push(hidden)

#define VECTOR_EL1H_SYNCHRONOUS 0x200
#define VECTOR_EL1H_IRQ 0x280

// From now on every exception of this vCPU calls exception_taken(), on the stack it came from.
void exceptions_take(void);

// The stub's. `vector` is the offset from VBAR_EL1; the way back is ELR_EL1 and SPSR_EL1.
void exception_taken(uint64_t vector);

#pragma GCC visibility pop

static inline void interrupts_mask(void)
{
    __asm__ volatile("msr daifset, #2" : : : "memory");
}

static inline void interrupts_unmask(void)
{
    __asm__ volatile("msr daifclr, #2" : : : "memory");
}

#endif
