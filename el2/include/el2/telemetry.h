// SPDX-License-Identifier: Apache-2.0
// Counters for whoever watches. Version 1 of the layout: one 4 KiB page for each VM, which the VM
// may read (device aether,telemetry), and one of the hypervisor, symbol telemetry_page, which names
// the others. Little-endian; every counter is 64 bits wide, starts at 0 and only grows. Each has
// one writer, so a reader sees each of them whole, but not all at one moment.
//
//   VM page                                   hypervisor page
//      0 header and 3 words, 64 bytes            0 header and 3 words
//     64 vCPU 0, 192 bytes                      64 pCPU 0, 64 bytes
//    256 vCPU 1, ...                           128 pCPU 1, ...
//                                              576 u64 PAs of the VMs' pages, 0: no such VM
#ifndef EL2_TELEMETRY_H
#define EL2_TELEMETRY_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/error.h>
#include <el2/manifest.h>

#define TELEMETRY_VERSION 1u

enum telemetry_kind {
    TELEMETRY_VM = 1,
    TELEMETRY_HYPERVISOR = 2,
};

// Why a vCPU came to EL2.
enum telemetry_exit {
    TELEMETRY_EXIT_HVC,
    TELEMETRY_EXIT_SMC,
    TELEMETRY_EXIT_SYSREG,
    TELEMETRY_EXIT_INSTRUCTION_ABORT,
    TELEMETRY_EXIT_DATA_ABORT_GICD, // an emulated window of the vGIC
    TELEMETRY_EXIT_DATA_ABORT_UART,
    TELEMETRY_EXIT_DATA_ABORT_OTHER,
    TELEMETRY_EXIT_IRQ_TIMER,
    TELEMETRY_EXIT_IRQ_MAINTENANCE,
    TELEMETRY_EXIT_IRQ_KICK,
    TELEMETRY_EXIT_IRQ_FORWARDED,
    TELEMETRY_EXIT_IRQ_SLOT,
    TELEMETRY_EXIT_SERROR,
    TELEMETRY_EXIT_OTHER,
    TELEMETRY_EXITS,
};

struct telemetry_header {
    char magic[8];           // "AETHERT1"
    uint32_t version;        // TELEMETRY_VERSION
    uint32_t kind;           // enum telemetry_kind
    uint32_t size;           // bytes that mean something
    uint32_t count;          // vCPUs of this VM, or pCPUs of the board
    char name[VM_NAME_SIZE]; // of the VM; "aether" for the hypervisor
};

// Writer: the pCPU of the vCPU.
struct vcpu_telemetry {
    uint64_t exits[TELEMETRY_EXITS];
    uint64_t el2_ticks; // of CNTPCT, from exits to entries
    uint64_t slots;     // that began
    uint64_t late;      // of them, those whose window was missed
    uint64_t injected;  // interrupts put into a list register
    uint64_t kicks;     // sent to other vCPUs
    uint64_t reserved[5];
};

// Writer: the pCPU.
struct cpu_telemetry {
    uint64_t slots;      // that began, idle ones too
    uint64_t late;       // of them, those whose window was missed
    uint64_t idle_slots; // in which no guest ran
    uint64_t switches;   // from one vCPU to another
    uint64_t most_ticks; // of a window, before it slept: the most so far
    uint64_t reserved[3];
};

struct vm_telemetry {
    struct telemetry_header header;
    uint64_t state; // enum vm_state; written, as the next two, by the pCPU of vCPU 0
    uint64_t crashes;
    uint64_t restarts; // after a crash or not
    struct vcpu_telemetry vcpus[VM_MAX_VCPUS];
};

struct hypervisor_telemetry {
    struct telemetry_header header;
    uint64_t frame; // length in ticks
    uint64_t window;
    uint64_t frequency; // ticks in a second
    struct cpu_telemetry cpus[CPU_MAX];
    uint64_t vm_pages[VM_MAX];
};

union telemetry_page {
    struct hypervisor_telemetry hypervisor;
    uint8_t bytes[4096];
};

__attribute__((visibility("hidden"))) extern union telemetry_page telemetry_page;

// At boot. The hypervisor's page; ticks of the schedule and of a second.
void telemetry_start(uint32_t cpu_count, uint64_t frame, uint64_t window, uint64_t frequency);

// A page for VM `index`, which EL2 keeps mapped and a stage 2 may map read-only. NULL: no memory.
struct vm_telemetry *telemetry_add(uint32_t index, const struct vm_config *config);

// A counter of the page of whoever calls.
static inline void telemetry_add_one(uint64_t *counter)
{
    *(volatile uint64_t *)counter = *counter + 1; // one store, whole
}

#define telemetry_exit(vcpu, kind) telemetry_add_one(&(vcpu)->telemetry->exits[kind])
#define telemetry_inject(vcpu) telemetry_add_one(&(vcpu)->telemetry->injected)
#define telemetry_sent_kick(vcpu) telemetry_add_one(&(vcpu)->telemetry->kicks)

#endif
