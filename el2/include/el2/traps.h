// SPDX-License-Identifier: Apache-2.0
// What a guest's exceptions lead to. Called by the vectors, and through trap_table.
#ifndef EL2_TRAPS_H
#define EL2_TRAPS_H

#include <stdint.h>

#include <el2/vm.h>

#define TRAP_CLASSES 64u

// From exception class to handler, as offsets from the table itself; 0: none. See trap_table.S.
__attribute__((visibility("hidden"))) extern const int32_t trap_table[TRAP_CLASSES];

typedef void trap_handler(struct vcpu *vcpu, uint64_t esr);

trap_handler trap_hvc;
trap_handler trap_smc;
trap_handler trap_sysreg;
trap_handler trap_undefined;
trap_handler trap_instruction_abort;
trap_handler trap_data_abort;

void trap_synchronous(struct vcpu *vcpu);
void trap_interrupt(struct vcpu *vcpu);
void trap_serror(struct vcpu *vcpu);
void trap_aarch32(struct vcpu *vcpu);

#endif
