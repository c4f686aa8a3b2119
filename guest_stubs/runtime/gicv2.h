// SPDX-License-Identifier: Apache-2.0
// The interrupt controller that a guest sees, as far as the benchmarks use it.
#ifndef STUB_GICV2_H
#define STUB_GICV2_H

#include <stdint.h>

#include "mmio.h"

#define GICD_BASE 0x08000000UL
#define GICD_CTLR 0x000UL
#define GICD_ISENABLER 0x100UL
#define GICD_ICENABLER 0x180UL
#define GICD_SGIR 0xf00UL
#define GICD_SGIR_TARGET_SHIFT 16

#define GICC_BASE 0x08010000UL
#define GICC_CTLR (GICC_BASE - GICD_BASE + 0x0)
#define GICC_PMR (GICC_BASE - GICD_BASE + 0x4)
#define GICC_IAR (GICC_BASE - GICD_BASE + 0xc)
#define GICC_EOIR (GICC_BASE - GICD_BASE + 0x10)

#define GIC_INTID_MASK 0x3ffu
#define GIC_PPI_VIRTUAL_TIMER 27u

// Offsets from GICD_BASE.
static inline void gic_write(uint64_t offset, uint32_t value)
{
    mmio_write32(GICD_BASE + offset, value);
}

static inline uint32_t gic_read(uint64_t offset)
{
    return mmio_read32(GICD_BASE + offset);
}

// Waits for an interrupt, masked in PSTATE, and acknowledges it; what IAR said.
static inline uint32_t gic_wait(uint32_t intid)
{
    for (;;) {
        __asm__ volatile("wfi" : : : "memory");
        uint32_t iar = gic_read(GICC_IAR);
        if ((iar & GIC_INTID_MASK) == intid) {
            return iar;
        }
    }
}

#endif
