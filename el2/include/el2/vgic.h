// SPDX-License-Identifier: Apache-2.0
// The GICv2 that a VM sees: an emulated distributor, and the board's GICV as CPU interface, fed
// through list registers.
//
// What an interrupt is at stands in bit maps, a word for 32 interrupts: word 0, of SGIs and PPIs,
// once for each vCPU, the others once for the VM. What a list register holds may have gone on since
// it was written; folding takes it back. Word 0 belongs to its vCPU alone, to which others send
// SGIs through an inbox; the others are under vgic.lock, the innermost of a VM's locks. An
// interrupt in a list register, or active, is claimed: it stays with that vCPU.
#ifndef EL2_VGIC_H
#define EL2_VGIC_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/gic.h>
#include <el2/spinlock.h>

#define VGIC_INTERRUPTS 96u // SGIs, PPIs and 64 SPIs; a forwarded SPI must be one of them
#define VGIC_WORDS (VGIC_INTERRUPTS / 32)
#define VGIC_SGIS 16u
#define VGIC_PRIORITY_BITS 5u // as a list register has; the upper ones of a byte
#define VGIC_NOTIFICATION 20u // PPI: FF-A notifications are pending
#define VGIC_DISTRIBUTOR_SIZE 0x1000u
#define VGIC_CPU_INTERFACE_SIZE 0x2000u

struct vm;
struct vcpu;

struct vgic_word {
    uint32_t enabled;
    uint32_t pending; // latched: an edge, an SGI, a physical interrupt, or a write of the guest
    uint32_t fresh;   // latched since a list register got it
    uint32_t line;    // input from an emulated device
    uint32_t edge;    // configuration
    uint32_t active;
    uint32_t claimed;
    uint32_t held;       // the physical interrupt behind it is active, and to be deactivated once
    uint32_t held_again; // since a list register on another PE got, and ended, the last one
    uint32_t priority[VGIC_PRIORITY_BITS]; // a map for each bit, the uppermost first
};

struct vgic_cpu {
    struct vgic_word private;
    uint32_t route[VGIC_WORDS];          // what is delivered here
    uint32_t owned[VGIC_WORDS];          // what is claimed here
    uint32_t taken[VGIC_WORDS];          // acknowledged, and not ended by the guest
    uint32_t unlisted[VGIC_WORDS];       // of these, the ones without a list register
    uint32_t overridden[VGIC_WORDS];     // `active` was written by another vCPU
    uint32_t lr[GIC_MAX_LIST_REGISTERS]; // as written
    uint32_t listed;                     // list registers that mean something
    uint32_t vmcr, apr;                  // while not loaded
    uint64_t inbox[VGIC_SGIS / 8];       // a byte for each SGI: vCPUs that have sent it
    uint8_t sources[VGIC_SGIS];          // vCPUs whose SGI is pending outside of list registers
    uint8_t active_source[VGIC_SGIS];
    bool changed;  // list registers are to be written before the guest goes on
    bool notified; // PPI 20 is to be made pending: by any PE
};

struct vgic {
    struct spinlock lock;
    bool enabled; // GICD_CTLR
    struct vgic_word shared[VGIC_WORDS - 1];
    uint32_t forwarded[VGIC_WORDS];
    uint8_t targets[VGIC_INTERRUPTS - 32];
};

// As at power-on, of a VM none of whose vCPUs is loaded: before its first start and every other.
// Physical interrupts that it holds are deactivated. config, vcpu_count and vcpus[0].cpu are set.
void vgic_reset(struct vm *vm);

// At a switch, on the vCPU's own PE: virtual CPU interface, physical PPI 27, with vCPU 0 the
// forwarded SPIs. Nothing of the VM's interrupts is left in this PE after vgic_save().
void vgic_load(struct vcpu *vcpu);
void vgic_save(struct vcpu *vcpu);

// Before each ERET to a loaded vCPU when vgic_changed(&vcpu->vgic), which vgic_load() makes true.
void vgic_enter(struct vcpu *vcpu);

static inline bool vgic_changed(const struct vgic_cpu *vgic)
{
    // Other PEs set them, and then kick.
    return __atomic_load_n(&vgic->changed, __ATOMIC_RELAXED) ||
           (__atomic_load_n(&vgic->inbox[0], __ATOMIC_RELAXED) |
            __atomic_load_n(&vgic->inbox[1], __ATOMIC_RELAXED)) != 0;
}

// PPI 27 or a forwarded SPI was acknowledged and dropped on this PE, where `vcpu` is loaded: the
// end of the virtual interrupt deactivates it.
void vgic_physical(struct vcpu *vcpu, uint32_t intid);

// PPI 25 was acknowledged and dropped. Deactivate it after vgic_enter(), which ends its cause.
void vgic_maintenance(struct vcpu *vcpu);

// From any PE: PPI 20 becomes pending at `vcpu`.
void vgic_send_notification(struct vcpu *vcpu);

// The vCPU, the one that is loaded here, would take an interrupt if its PSTATE let it.
bool vgic_signals(const struct vcpu *vcpu);

// Input from an emulated device: an SPI, level or edge as the guest has configured it. From any PE.
void vgic_set_level(struct vm *vm, uint32_t intid, bool level);

// An access to the distributor of 1, 2, 4 or 8 bytes at any offset below VGIC_DISTRIBUTOR_SIZE.
uint64_t vgic_distributor_read(struct vcpu *vcpu, uint64_t offset, unsigned size);
void vgic_distributor_write(struct vcpu *vcpu, uint64_t offset, unsigned size, uint64_t value);

// A write to GICC_DIR, the only register of the CPU interface's second page.
void vgic_dir(struct vcpu *vcpu, uint32_t value);

#endif
