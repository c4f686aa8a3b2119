// SPDX-License-Identifier: Apache-2.0
// Offsets of struct members for assembly. Not linked: the build compiles this file with -S, and
// turns each line `.ascii "-> NAME VALUE"` of the output into `#define NAME VALUE` in offsets.h.
#include <stddef.h>

#include <el2/vm.h>

#define OFFSET(name, type, member)                                                                 \
    __asm__ volatile(".ascii \"-> " #name " %c0\"" : : "i"(offsetof(type, member)))

void offsets(void);

void offsets(void)
{
    OFFSET(CPU_CURRENT, struct cpu, current);
    OFFSET(CPU_STACK_TOP, struct cpu, stack_top);
    OFFSET(CPU_PANIC_STACK_TOP, struct cpu, panic_stack_top);
    OFFSET(CPU_PANIC_X, struct cpu, panic.x);
    OFFSET(CPU_PANIC_SP, struct cpu, panic.sp);
    OFFSET(CPU_INDEX, struct cpu, index);
    OFFSET(VCPU_X, struct vcpu, x);
    OFFSET(VCPU_PC, struct vcpu, pc);
    OFFSET(EL1_TCR, struct el1_state, tcr);
    OFFSET(FP_FPCR, struct fp_state, fpcr);
}

#define FOLLOWS(type, first, second)                                                               \
    _Static_assert(offsetof(type, second) == offsetof(type, first) + 8, "used as a pair")

FOLLOWS(struct vcpu, pc, pstate);
FOLLOWS(struct cpu, stack_top, panic_stack_top);
FOLLOWS(struct fp_state, fpcr, fpsr);
FOLLOWS(struct el1_state, ttbr0, ttbr1);
FOLLOWS(struct el1_state, cntv_ctl, sctlr);
FOLLOWS(struct el1_state, sctlr, tcr);
_Static_assert(offsetof(struct el1_state, cntv_ctl) == 16 * 11, "as many pairs as in switch.S");
_Static_assert(offsetof(struct cpu, panic.x) + 8 * 28 <= 504, "in reach of STP");
