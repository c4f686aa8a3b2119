// SPDX-License-Identifier: Apache-2.0
// Exceptions that EL2 raises at a guest's EL1, as the architecture would have (Arm ARM pseudocode
// AArch64.TakeException).
#ifndef EL2_INJECT_H
#define EL2_INJECT_H

#include <stdint.h>

#include <el2/vm.h>

// The instruction is UNDEFINED.
void inject_undefined(struct vcpu *vcpu);

// Synchronous external abort for the stage-2 abort `esr`, which has hit address `far`. Where it
// could never be taken, because it is the fetch of the very vector that would be entered, the VM
// crashes.
void inject_external_abort(struct vcpu *vcpu, uint64_t esr, uint64_t far, ipa_t ipa);

#endif
