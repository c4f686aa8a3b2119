// SPDX-License-Identifier: Apache-2.0
#include <el2/cpu.h>
#include <el2/gic.h>
#include <el2/mm.h>

#define GICC_CTLR 0x0000u
#define GICC_PMR 0x0004u
#define GICC_BPR 0x0008u
#define GICC_IAR 0x000cu
#define GICC_EOIR 0x0010u
#define GICC_CTLR_ENABLE (1u << 0)
#define GICC_CTLR_EOIMODE (1u << 9) // EOIR drops the priority, DIR deactivates
#define GICC_PMR_ALL 0xffu
#define GICC_PMR_WINDOW 0x40u

// The slot's end comes before all others, and alone within a window.
#define PRIORITY_SLOT 0x00u
#define PRIORITY 0x80u

volatile uint8_t *gic_hypervisor;
uint32_t gic_list_registers;
static volatile uint8_t *distributor;
static volatile uint8_t *cpu_interface;
static pa_t virtual_interface;
static uint8_t targets[CPU_MAX]; // the distributor's name for each pCPU
static uint32_t configs[64];     // GICD_ICFGR

static volatile uint32_t *gicd(uint32_t offset)
{
    return (volatile uint32_t *)(distributor + offset);
}

static volatile uint32_t *gicc(uint32_t offset)
{
    return (volatile uint32_t *)(cpu_interface + offset);
}

void gic_write(uint32_t offset, uint32_t index, uint32_t bits)
{
    *gicd(offset + 4 * index) = bits;
}

// Whatever firmware left.
static void silence(uint32_t index)
{
    gic_write(GICD_ICENABLER, index, UINT32_MAX);
    gic_write(GICD_ICPENDR, index, UINT32_MAX);
    gic_write(GICD_ICACTIVER, index, UINT32_MAX);
}

bool gic_init(const struct board_gic *board, struct boot_error *error)
{
    if (board->virtual_cpu.size == 0) {
        return refuse(error, "board device tree", "no GICv2 with virtualisation (GICH, GICV)",
                      "use a board that has one; for QEMU: virtualization=on,gic-version=2");
    }
    distributor = mm_pointer(pa_of(board->distributor.base));
    cpu_interface = mm_pointer(pa_of(board->cpu_interface.base));
    gic_hypervisor = mm_pointer(pa_of(board->hypervisor.base));
    virtual_interface = pa_of(board->virtual_cpu.base);
    if (!mm_map(pa_of(board->distributor.base), PAGE_SIZE, MM_DEVICE) ||
        !mm_map(pa_of(board->cpu_interface.base), 2 * PAGE_SIZE, MM_DEVICE) ||
        !mm_map(pa_of(board->hypervisor.base), PAGE_SIZE, MM_DEVICE)) {
        return refuse(error, "board device tree", "the GIC overlaps with something else",
                      "correct it");
    }
    *gicd(GICD_CTLR) = 0;
    for (uint32_t index = *gicd(GICD_TYPER) & GICD_TYPER_LINES; index > 0; index--) {
        silence(index);
    }
    *gicd(GICD_CTLR) = GICD_CTLR_ENABLE;
    gic_list_registers = (gich_read(GICH_VTR) & GICH_VTR_LISTREGS) + 1;
    if (gic_list_registers > GIC_MAX_LIST_REGISTERS) {
        gic_list_registers = GIC_MAX_LIST_REGISTERS;
    }
    return true;
}

void gic_cpu_init(void)
{
    silence(0);
    for (uint32_t intid = 0; intid < GIC_FIRST_SPI; intid++) {
        distributor[GICD_IPRIORITYR + intid] =
            intid == GIC_PPI_HYP_TIMER ? PRIORITY_SLOT : PRIORITY;
    }
    targets[this_cpu()->index] = distributor[GICD_ITARGETSR];
    gich_write(GICH_HCR, 0);
    for (uint32_t i = 0; i < gic_list_registers; i++) {
        gich_write(GICH_LR0 + 4 * i, 0);
    }
    gic_write(GICD_ISENABLER, 0,
              1u << GIC_SGI_KICK | 1u << GIC_PPI_MAINTENANCE | 1u << GIC_PPI_HYP_TIMER |
                  1u << GIC_PPI_VIRTUAL_TIMER);
    gic_window(false);
    *gicc(GICC_BPR) = 0;
    *gicc(GICC_CTLR) = GICC_CTLR_ENABLE | GICC_CTLR_EOIMODE;
}

uint32_t gic_acknowledge(void)
{
    return *gicc(GICC_IAR);
}

void gic_drop(uint32_t iar)
{
    *gicc(GICC_EOIR) = iar;
}

void gic_deactivate(uint32_t iar)
{
    *gicc(GICC_DIR) = iar;
}

void gic_window(bool open)
{
    *gicc(GICC_PMR) = open ? GICC_PMR_WINDOW : GICC_PMR_ALL;
}

void gic_kick(const struct cpu *target)
{
    __asm__ volatile("dsb ishst" : : : "memory"); // what was stored is seen before the interrupt
    *gicd(GICD_SGIR) = (uint32_t)targets[target->index] << GICD_SGIR_TARGETS_SHIFT | GIC_SGI_KICK;
}

void gic_route(uint32_t intid)
{
    distributor[GICD_IPRIORITYR + intid] = PRIORITY;
    distributor[GICD_ITARGETSR + intid] = targets[this_cpu()->index];
}

// A register is of 16 SPIs, perhaps of several VMs: whoever writes last has looked last.
void gic_set_edge(uint32_t intid, bool edge)
{
    uint32_t *config = &configs[intid / 16];
    uint32_t bit = 2u << intid % 16 * 2;
    uint32_t written;
    if (edge) {
        __atomic_fetch_or(config, bit, __ATOMIC_SEQ_CST);
    } else {
        __atomic_fetch_and(config, ~bit, __ATOMIC_SEQ_CST);
    }
    do {
        written = __atomic_load_n(config, __ATOMIC_SEQ_CST);
        gic_write(GICD_ICFGR, intid / 16, written);
    } while (__atomic_load_n(config, __ATOMIC_SEQ_CST) != written);
}

pa_t gic_virtual_interface(void)
{
    return virtual_interface;
}
