// SPDX-License-Identifier: Apache-2.0
// Fills a VM's memory: zeros, then its images, cleaned to the point of coherency. At no other time
// is guest memory mapped at EL2.
#ifndef EL2_VM_LOAD_H
#define EL2_VM_LOAD_H

#include <el2/vm.h>

enum vm_load {
    VM_LOAD_MORE,
    VM_LOAD_DONE,
    VM_LOAD_FAILED, // EL2 cannot map it
};

// All at once, at boot. `bundle` is remembered for the times after.
bool vm_load(struct vm *vm, const struct bundle *bundle);

// The next page. The first has vm->step = 0, vm->offset = 0.
enum vm_load vm_load_page(struct vm *vm);

#endif
