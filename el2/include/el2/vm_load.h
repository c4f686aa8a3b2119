// SPDX-License-Identifier: Apache-2.0
// Fills a VM's memory: zeros, then its images, cleaned to the point of coherency. What another VM
// owns at that moment, having been given it, is left alone; what has come home is mapped again.
// Guest memory is mapped at EL2 for no longer than that takes.
#ifndef EL2_VM_LOAD_H
#define EL2_VM_LOAD_H

#include <el2/vm.h>

enum vm_load {
    VM_LOAD_MORE,
    VM_LOAD_DONE,
};

// At boot: where the images are. `bundle` must stay, and stay mapped.
void vm_load_from(const struct bundle *bundle);

// All at once, at boot. False: EL2 cannot map it.
bool vm_load(struct vm *vm);

// The next page. The first has vm->step = 0, vm->offset = 0. No vCPU of the VM may run.
enum vm_load vm_load_page(struct vm *vm);

// The same without images: nothing but zeros.
enum vm_load vm_scrub_page(struct vm *vm);

#endif
