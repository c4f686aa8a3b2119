// SPDX-License-Identifier: Apache-2.0
#include <el2/gic.h>
#include <el2/mm.h>

#define GICC_CTLR 0x000u
#define GICD_CTLR 0x000u
#define GICD_ICENABLER0 0x180u

static bool write(pa_t window, uint32_t offset, uint32_t value)
{
    if (!mm_map(window, PAGE_SIZE, MM_DEVICE)) {
        return false;
    }
    *(volatile uint32_t *)((uintptr_t)mm_pointer(window) + offset) = value;
    __asm__ volatile("dsb sy" : : : "memory"); // has arrived before the window goes
    mm_unmap(window, PAGE_SIZE);
    return true;
}

bool gic_silence(pa_t distributor, pa_t cpu_interface)
{
    return write(cpu_interface, GICC_CTLR, 0) && write(distributor, GICD_CTLR, 0) &&
           write(distributor, GICD_ICENABLER0, UINT32_MAX);
}
