// SPDX-License-Identifier: Apache-2.0
// A virtual machine, its virtual CPUs, and its life: created at boot, run in slots, stopped, loaded
// anew. What is done for a VM after boot is done in the slots of its first vCPU, step by step.
#ifndef EL2_VM_H
#define EL2_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/bundle.h>
#include <el2/cpu.h>
#include <el2/error.h>
#include <el2/ffa_memory.h>
#include <el2/ffa_message.h>
#include <el2/manifest.h>
#include <el2/spinlock.h>
#include <el2/telemetry.h>
#include <el2/vgic.h>
#include <el2/vpl011.h>
#include <stage2/pgtable.h>

// What switch.S keeps of a vCPU that is not loaded, in its order.
struct el1_state {
    uint64_t ttbr0, ttbr1;
    uint64_t mair, amair;
    uint64_t vbar, cpacr;
    uint64_t contextidr, csselr;
    uint64_t esr, far;
    uint64_t afsr0, afsr1;
    uint64_t elr, spsr;
    uint64_t sp_el0, sp_el1;
    uint64_t tpidr_el0, tpidrro_el0;
    uint64_t tpidr_el1, par;
    uint64_t cntkctl, cntv_cval;
    uint64_t cntv_ctl;
    uint64_t sctlr, tcr; // last: see switch.S
};

struct fp_state {
    uint64_t v[64];
    uint64_t fpcr, fpsr;
};

enum vcpu_power {
    VCPU_OFF,
    VCPU_ON_PENDING, // by CPU_ON, until its pCPU takes it up
    VCPU_ON,
};

// The vectors and switch.S use x to fp through offsets.h.
struct vcpu {
    uint64_t x[31];
    uint64_t pc;     // ELR_EL2
    uint64_t pstate; // SPSR_EL2
    struct vm *vm;
    struct cpu *cpu; // the one it is pinned to
    struct el1_state el1;
    struct fp_state fp;
    struct vgic_cpu vgic;
    struct vcpu_telemetry *telemetry;
    uint32_t index;        // in the VM; affinity level 0 of its MPIDR
    bool shares_cpu;       // with another vCPU of the VM: each finds the other's TLB entries
    bool parked;           // STOPPING has reached it
    enum vcpu_power power; // this, parked and the next two: under the VM's lock
    uint64_t entry;        // of CPU_ON
    uint64_t context;
    uint64_t run_until;  // end of the slot it is in, 0: in none; written by its pCPU only
    uint32_t longest_us; // of its slots: what the guest has of it
    struct ffa_vcpu ffa;
};

struct vm_memory {
    ipa_t ipa;
    pa_t pa;
    uint64_t size;
};

// Out of DOWN, RUNNING, READY, PAUSED and ABSENT a VM that manages it may take it; out of RUNNING
// and PAUSED its own vCPUs; out of the others the pCPU of its first vCPU. That one does the work.
enum vm_state {
    VM_DOWN = 0, // also before the first start
    VM_RUNNING = 1,
    VM_STOPPING = 2,  // until all its vCPUs are parked
    VM_RECORDING = 3, // what became of it, line by line
    VM_LOADING = 4,   // memory scrubbed and images copied, page by page
    VM_RELEASING = 5, // what it has of other VMs, and they of it, goes back
    VM_READY = 6,     // loaded, and to be started
    VM_PAUSED = 7,    // its vCPUs do not run; its time goes on
    VM_ABSENT = 8,    // nothing of it is in its memory
    VM_SCRUBBING = 9, // page by page, until it is absent
};

enum vm_end {
    VM_END_OFF,
    VM_END_RESET,
    VM_END_CRASH,
    VM_END_STOPPED, // by a VM that manages it
};

// What a vCPU was at when its VM crashed.
struct vm_crash_record {
    const char *why;
    uint64_t x[31];
    uint64_t pc, pstate, esr, far, ipa;
};

struct vm {
    uint16_t vmid; // its index + 1
    struct vm_config config;
    struct spinlock lock; // outside of all others; end, and the power of its vCPUs
    enum vm_state state;  // atomic
    enum vm_end end;      // why it was stopped last
    bool ended;           // by itself, in this life
    bool begins;          // RUNNING, but nothing has been done for it
    bool unwanted;        // atomic: it was stopped between two lives
    bool restarts;        // LOADING: by itself
    uint32_t step;        // of RECORDING: line; of LOADING and SCRUBBING: memory range
    uint64_t offset;      // of these two: in that range
    uint64_t cntvoff;     // constant from one start to the next
    struct vgic vgic;
    struct vpl011 uarts[VM_MAX_DEVICES]; // by index of the device
    struct vcpu vcpus[VM_MAX_VCPUS];
    uint32_t vcpu_count;
    struct vm_memory memory[VM_MAX_MEMORY]; // config.memory_count of them
    struct pgt stage2;
    struct pgt_pool pool;
    struct ffa_vm_memory shares; // has a lock of its own
    struct ffa_notifications notifications;
    struct vm_crash_record crash;
    struct vm_telemetry *telemetry;
};

__attribute__((visibility("hidden"))) extern struct vm vms[VM_MAX];
__attribute__((visibility("hidden"))) extern uint32_t vm_count;

// Memory from the frame table, stage 2, images loaded. `bundle` must stay, and stay mapped.
bool vm_create(uint32_t index, const struct vm_config *config, const struct bundle *bundle,
               struct boot_error *error);

// After the boot. Unless another VM starts it, its first vCPU may run, and virtual time begins at
// `time`, a count of the system counter.
void vm_boot(struct vm *vm, uint64_t time);

// For the pCPU of a vCPU, in its slots. May it run now? One that was switched on is reset first.
bool vm_take_up(struct vcpu *vcpu);

// One step of what the VM needs between two lives, bounded to a line or a page. False: nothing to
// do for this vCPU, or not now.
bool vm_step(struct vcpu *vcpu);

// For a kicked pCPU: has the VM not been stopped or paused?
static inline bool vm_is_running(const struct vm *vm)
{
    return __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE) == VM_RUNNING;
}

// For pCPU 0: ends the machine when no VM runs, nor ever will.
void vm_end_machine(void);

// For a VM that manages this one: from any state of the set `from`, a bit each, to another. Work
// that this means is done in the VM's own slots. False: it is in none of these states.
bool vm_move(struct vm *vm, uint32_t from, enum vm_state to);

// It is between two lives: the next one does not begin, or is stopped at once. Then vm_move() has
// to be tried again: it may have begun meanwhile. False: it is not.
bool vm_stop_later(struct vm *vm);

// For the pCPU of its first vCPU, when that is taken up.
static inline void vm_publish(struct vm *vm)
{
    vm->telemetry->state = __atomic_load_n(&vm->state, __ATOMIC_RELAXED);
}

// The VM of the calling vCPU ends. No lock may be held. These do not return: the pCPU goes on with
// its slot, the vCPU perhaps with another life.
_Noreturn void vm_off(struct vcpu *vcpu);
_Noreturn void vm_reset(struct vcpu *vcpu);

// The guest cannot go on. `ipa`: of the faulting access, 0 if there is none.
_Noreturn void vm_crash(struct vcpu *vcpu, const char *why, ipa_t ipa);

// The VM whose manifest has this page of memory.
const struct vm *vm_home_of(pa_t page);

// All of [ipa, ipa + size) is memory of the VM.
bool vm_has_memory(const struct vm *vm, ipa_t ipa, uint64_t size);

#endif
