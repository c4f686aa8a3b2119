// SPDX-License-Identifier: Apache-2.0
// Offsets of struct members for assembly. Not linked: the build compiles this file with -S, and
// turns each line `.ascii "-> NAME VALUE"` of the output into `#define NAME VALUE` in offsets.h.
#include <stddef.h>

#include <el2/panic.h>
#include <el2/vm.h>

#define OFFSET(name, type, member)                                                                 \
    __asm__ volatile(".ascii \"-> " #name " %c0\"" : : "i"(offsetof(type, member)))

void offsets(void);

void offsets(void)
{
    OFFSET(VCPU_X, struct vcpu, x);
    OFFSET(VCPU_PC, struct vcpu, pc);
    OFFSET(PANIC_X, struct panic_record, x);
    OFFSET(PANIC_SP, struct panic_record, sp);
}

_Static_assert(offsetof(struct vcpu, pstate) == offsetof(struct vcpu, pc) + 8, "stored as a pair");
