// SPDX-License-Identifier: Apache-2.0
// Calls about another VM, which the manifest lets the caller manage: X1 has its number, VMID, and
// X2 to X7 are zero.
#ifndef EL2_VM_CONTROL_H
#define EL2_VM_CONTROL_H

#include <stdint.h>

#include <el2/vm.h>

#define AETHER_VM_INFO 0xc6000010u // X1 = state, X2 = why it ended last, X3 = restarts
#define AETHER_VM_CREATE 0xc6000011u
#define AETHER_VM_START 0xc6000012u
#define AETHER_VM_PAUSE 0xc6000013u
#define AETHER_VM_RESUME 0xc6000014u
#define AETHER_VM_STOP 0xc6000015u
#define AETHER_VM_DESTROY 0xc6000016u

#define AETHER_DENIED (-5)    // the caller does not manage it
#define AETHER_BAD_STATE (-6) // the VM is in no state for that

// One of these; its result is left in X0. The VM gets there in its own slots.
void vm_control(struct vcpu *vcpu, uint32_t function);

#endif
