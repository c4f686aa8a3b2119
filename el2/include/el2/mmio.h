// SPDX-License-Identifier: Apache-2.0
// Accesses of a guest to its emulated devices.
#ifndef EL2_MMIO_H
#define EL2_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/vm.h>

// Emulate the load or store of the data abort `esr` at `ipa`. False: no device of the VM is there.
// A guest whose instruction the syndrome does not describe crashes.
bool mmio_access(struct vcpu *vcpu, uint64_t esr, ipa_t ipa);

#endif
