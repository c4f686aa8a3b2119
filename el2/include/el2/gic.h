// SPDX-License-Identifier: Apache-2.0
// The board's GICv2 (Arm IHI 0048B): distributor, CPU interface of this PE, and the hypervisor
// interface with the list registers. Priority drop and deactivation are two steps (EOImodeNS = 1):
// every acknowledged interrupt is dropped at once, and deactivated by EL2, or by the guest it was
// handed to.
#ifndef EL2_GIC_H
#define EL2_GIC_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/board.h>
#include <el2/error.h>
#include <stage2/addr.h>

#define GIC_SGI_KICK 0u
#define GIC_PPI_MAINTENANCE 25u
#define GIC_PPI_HYP_TIMER 26u
#define GIC_PPI_VIRTUAL_TIMER 27u
#define GIC_FIRST_SPI 32u
#define GIC_SPURIOUS 1023u // also 1020 to 1022: nothing to handle from here up to 1023
#define GIC_FIRST_SPECIAL 1020u
#define GIC_INTID_MASK 0x3ffu // of what gic_acknowledge() returns

// Distributor: registers, or the first of a kindA bit for each interrupt:
#define GICD_CTLR 0x000u
#define GICD_TYPER 0x004u
#define GICD_IIDR 0x008u
#define GICD_ISENABLER 0x100u // a bit for each interrupt
#define GICD_ICENABLER 0x180u
#define GICD_ISPENDR 0x200u
#define GICD_ICPENDR 0x280u
#define GICD_ISACTIVER 0x300u
#define GICD_ICACTIVER 0x380u
#define GICD_IPRIORITYR 0x400u // a byte
#define GICD_ITARGETSR 0x800u
#define GICD_ICFGR 0xc00u // two bits
#define GICD_SGIR 0xf00u
#define GICD_CPENDSGIR 0xf10u // a byte for each SGI
#define GICD_SPENDSGIR 0xf20u
#define GICD_PIDR4 0xfd0u // the first of the identification registers

#define GICD_CTLR_ENABLE (1u << 0)
#define GICD_TYPER_LINES 0x1fu
#define GICD_TYPER_CPUS_SHIFT 5u
#define GICD_SGIR_FILTER_SHIFT 24u
#define GICD_SGIR_TARGETS_SHIFT 16u

#define GICC_DIR 0x1000u

// Hypervisor interface
#define GICH_HCR 0x000u
#define GICH_VTR 0x004u
#define GICH_VMCR 0x008u
#define GICH_ELRSR0 0x030u
#define GICH_APR 0x0f0u
#define GICH_LR0 0x100u

#define GICH_HCR_EN (1u << 0)
#define GICH_HCR_LRENPIE (1u << 2) // an EOI of what no list register holds
#define GICH_HCR_NPIE (1u << 3)    // no list register is pending
#define GICH_HCR_EOICOUNT_SHIFT 27u
#define GICH_VTR_LISTREGS 0x3fu    // less one
#define GICH_VMCR_ENABLE (1u << 0) // of group 0, the only one
#define GICH_VMCR_EOIMODE (1u << 9)
#define GICH_VMCR_MASK_SHIFT 27u // five bits of GICV_PMR

#define GICH_LR_CPUID_SHIFT 10u // HW = 0
#define GICH_LR_CPUID_MASK 7u
#define GICH_LR_EOI (1u << 19) // HW = 0
#define GICH_LR_PHYSICAL_SHIFT 10u
#define GICH_LR_PRIORITY (0x1fu << 23)
#define GICH_LR_PRIORITY_SHIFT 23u
#define GICH_LR_PRIORITY_TOP 20u // of a priority's 8 bits; the low 3 are not there
#define GICH_LR_PENDING (1u << 28)
#define GICH_LR_ACTIVE (1u << 29)
#define GICH_LR_HW (1u << 31)

#define GIC_MAX_LIST_REGISTERS 16u // used of those there are

// On the first PE, before gic_cpu_init(): maps the windows for good, all interrupts off. The
// board's GIC must have virtualisation.
bool gic_init(const struct board_gic *board, struct boot_error *error);

// On every PE, the first too: SGI 0 and PPIs 25 to 27 on, list registers empty.
void gic_cpu_init(void);

// GICC_IAR: the interrupt with, for an SGI, its source; what gic_drop() and gic_deactivate() want.
uint32_t gic_acknowledge(void);
void gic_drop(uint32_t iar);
void gic_deactivate(uint32_t iar);

// In a slot's window (`open`) nothing but PPI 26, whose priority is above all others, is signalled
// to this PE: only it ends the sleep that the slot begins with (GICC_PMR).
void gic_window(bool open);

// SGI 0 to another PE. What was stored before is seen there by whom it interrupts.
struct cpu;
void gic_kick(const struct cpu *target);

// An SPI goes to this PE.
void gic_route(uint32_t intid);

// An SPI is edge-triggered or level-sensitive.
void gic_set_edge(uint32_t intid, bool edge);

// One of the registers with a bit for each interrupt, of 32 * `index` and on (0: of this PE).
void gic_write(uint32_t offset, uint32_t index, uint32_t bits);

// PA of the page that is a guest's GICC: the first of GICV. The second, with GICC_DIR, is emulated.
pa_t gic_virtual_interface(void);

#pragma GCC visibility push(hidden)
extern uint32_t gic_list_registers;      // at most GIC_MAX_LIST_REGISTERS
extern volatile uint8_t *gic_hypervisor; // GICH of whichever PE accesses it
#pragma GCC visibility pop

static inline uint32_t gich_read(uint32_t offset)
{
    return *(volatile uint32_t *)(gic_hypervisor + offset);
}

static inline void gich_write(uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(gic_hypervisor + offset) = value;
}

#endif
