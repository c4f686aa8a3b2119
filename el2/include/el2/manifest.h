// SPDX-License-Identifier: Apache-2.0
// Reader of the manifest, the device tree in a bundle that says which VMs there are. What it
// accepts is complete and free of contradictions; whether the board has the memory is checked by
// its user. Nothing here depends on EL2, so that the host can test it.
#ifndef EL2_MANIFEST_H
#define EL2_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/bundle.h>
#include <el2/error.h>
#include <stage2/addr.h>

#define VM_NAME_SIZE 16u // with the NUL
#define VM_MAX_MEMORY 4u
#define VM_MAX_IMAGES 8u
#define VM_MAX_DEVICES 4u
#define VM_IPA_BITS 40u

struct vm_memory_config {
    ipa_t ipa;
    uint64_t size;
    bool pinned; // to host_address
    pa_t host_address;
};

struct vm_image_config {
    uint32_t blob;
    ipa_t load_address;
};

// An emulated PL011, the only kind of device so far.
struct vm_device_config {
    ipa_t ipa;
    uint64_t size;
};

struct vm_config {
    char name[VM_NAME_SIZE];
    ipa_t entry;
    ipa_t dtb_address; // 0: none
    struct vm_memory_config memory[VM_MAX_MEMORY];
    struct vm_image_config images[VM_MAX_IMAGES];
    struct vm_device_config devices[VM_MAX_DEVICES];
    uint32_t memory_count;
    uint32_t image_count;
    uint32_t device_count;
};

// The one VM of the manifest of an opened bundle. False: `error` says why.
bool manifest_read(const struct bundle *bundle, struct vm_config *vm, struct boot_error *error);

#endif
