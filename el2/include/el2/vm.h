// SPDX-License-Identifier: Apache-2.0
// A virtual machine and its virtual CPU. One of each for now.
#ifndef EL2_VM_H
#define EL2_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/bundle.h>
#include <el2/manifest.h>
#include <el2/vpl011.h>
#include <stage2/addr.h>
#include <stage2/pgtable.h>

struct vm;

// The vectors use x, pc and pstate through offsets.h.
struct vcpu {
    uint64_t x[31];
    uint64_t pc;     // ELR_EL2
    uint64_t pstate; // SPSR_EL2
    struct vm *vm;
};

struct vm_memory {
    ipa_t ipa;
    pa_t pa;
    uint64_t size;
};

struct vm {
    uint16_t vmid;
    struct vm_config config;
    struct bundle bundle;
    struct vm_memory memory[VM_MAX_MEMORY]; // config.memory_count of them
    struct vpl011 uarts[VM_MAX_DEVICES];    // config.device_count of them
    struct pgt stage2;
    struct pgt_pool pool;
    struct vcpu vcpu;
};

// Memory from the frame table, stage 2, images, registers: ready to run. The bundle must stay
// mapped.
bool vm_create(struct vm *vm, uint16_t vmid, const struct bundle *bundle,
               const struct vm_config *config, struct boot_error *error);

// Enter the VM's vCPU, for ever.
_Noreturn void vm_run(struct vm *vm);

// Everything as at vm_create(): memory scrubbed, images loaded anew, registers reset.
void vm_reset(struct vm *vm);

// The VM is switched off; with no other VM left the machine follows.
_Noreturn void vm_off(struct vm *vm);

// The guest cannot go on: crash record, and off. `ipa`: of the faulting access, 0 if there is none.
_Noreturn void vm_crash(struct vcpu *vcpu, const char *why, ipa_t ipa);

#endif
