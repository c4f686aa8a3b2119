// SPDX-License-Identifier: Apache-2.0
// Reader of the manifest, version 3: the device tree in a bundle that says which VMs there are and
// when each runs. What it accepts is complete, free of contradictions, and possible on this board
// but for the amount of memory. Nothing here depends on EL2, so that the host can test it.
#ifndef EL2_MANIFEST_H
#define EL2_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/board.h>
#include <el2/bundle.h>
#include <el2/error.h>
#include <el2/range.h>
#include <stage2/addr.h>

#define VM_MAX 8u
#define VM_MAX_VCPUS 8u
#define VM_NAME_SIZE 16u // with the NUL
#define VM_MAX_MEMORY 4u
#define VM_MAX_IMAGES 8u
#define VM_MAX_DEVICES 8u
#define VM_MAX_INTERRUPTS 8u // of a device
#define VM_IPA_BITS 40u
#define VM_UUID_SIZE 16u
#define SLOT_MAX 16u // of a pCPU
#define SLOT_IDLE UINT32_MAX

// Where an FF-A partition finds memory that others share with it, lend or donate to it: IPAs at
// which it can have nothing else.
#define FFA_WINDOW_IPA UINT64_C(0x70000000)
#define FFA_WINDOW_SIZE UINT64_C(0x400000)

struct vm_memory_config {
    struct range ipa;
    bool pinned; // to host_address
    pa_t host_address;
};

struct vm_image_config {
    uint32_t blob;
    ipa_t load_address;
};

enum vm_device_kind {
    VM_DEVICE_VPL011,
    VM_DEVICE_VGICV2, // at most one
    VM_DEVICE_PASSTHROUGH,
    VM_DEVICE_TELEMETRY, // at most one
};

struct vm_device_config {
    enum vm_device_kind kind;
    struct range ipa;                       // VM_DEVICE_VGICV2: the distributor, one page
    struct range gicc;                      // VM_DEVICE_VGICV2: the CPU interface, two pages
    pa_t host_address;                      // VM_DEVICE_PASSTHROUGH
    uint32_t interrupts[VM_MAX_INTERRUPTS]; // INTIDs 32..95; vPL011: at most one
    uint32_t interrupt_count;
};

enum vm_restart {
    VM_RESTART_NEVER,
    VM_RESTART_CRASH,
    VM_RESTART_ALWAYS,
};

struct vm_config {
    char name[VM_NAME_SIZE];
    ipa_t entry;
    ipa_t dtb_address; // 0: none
    enum vm_restart restart;
    bool manual;      // it runs once another VM has created and started it
    bool ffa;         // it is an FF-A partition,
    uint32_t peers;   // and may deal with these VMs, a bit each by index, as they may with it
    uint32_t manages; // it may create, start, stop ... these VMs
    uint8_t uuid[VM_UUID_SIZE];
    uint32_t vcpu_count;
    uint32_t vcpu_cpu[VM_MAX_VCPUS]; // the pCPU whose slots have this vCPU
    struct vm_memory_config memory[VM_MAX_MEMORY];
    struct vm_image_config images[VM_MAX_IMAGES];
    struct vm_device_config devices[VM_MAX_DEVICES];
    uint32_t memory_count;
    uint32_t image_count;
    uint32_t device_count;
};

// What a vCPU's slot has room for after the window at least.
#define SLOT_ENTRY_US 10u // until the guest is entered
#define SLOT_STEP_US 48u  // a step of vm_step(): else a VM that ends would never be down

struct slot_config {
    uint32_t vm; // index in struct manifest; SLOT_IDLE: nobody
    uint32_t vcpu;
    uint32_t offset_us; // from the start of the frame
    uint32_t length_us; // more than the window
};

// A pCPU is its index in struct board. One without slots is not used.
struct schedule_config {
    uint32_t frame_us;
    uint32_t window_us;
    struct slot_config slots[CPU_MAX][SLOT_MAX]; // those of a pCPU fill the frame
    uint32_t slot_count[CPU_MAX];
};

struct manifest {
    struct schedule_config schedule;
    struct vm_config vms[VM_MAX];
    uint32_t vm_count;
};

// The manifest of an opened bundle, for this board. False: `error` says why. The struct is large:
// no stack of EL2 has room for it.
bool manifest_read(const struct bundle *bundle, const struct board *board,
                   struct manifest *manifest, struct boot_error *error);

#endif
