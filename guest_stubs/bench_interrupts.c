// SPDX-License-Identifier: Apache-2.0
// Interrupts to be counted: of the virtual timer (case 0), and from vCPU 0 to vCPU 1 (case 1). The
// guest keeps them masked and takes them from its CPU interface by polling, which costs no exit.
#include "runtime/gicv2.h"
#include "runtime/stub.h"

#pragma GCC visibility push(hidden)
extern const char bench_peer[];
// What vCPU 1 has taken. It is waited for each time, so that each SGI finds vCPU 1 asleep.
extern volatile uint64_t bench_pings;
#pragma GCC visibility pop

#define DEFAULT_COUNT 1000
#define TIMER_TICKS 2000
#define CNTV_ENABLE 1UL
#define SGI_PING 1u
#define CPU_ON_64 0xC4000003UL

enum { TIMER_CASE, SGI_CASE };

static void cpu_interface_on(void)
{
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
}

static void timer(uint64_t count)
{
    gic_write(GICD_ISENABLER, 1u << GIC_PPI_VIRTUAL_TIMER);
    for (uint64_t i = 0; i < count; i++) {
        WRITE_SYSREG(cntv_cval_el0, READ_SYSREG(cntvct_el0) + TIMER_TICKS);
        WRITE_SYSREG(cntv_ctl_el0, CNTV_ENABLE);
        uint32_t iar = gic_wait(GIC_PPI_VIRTUAL_TIMER);
        WRITE_SYSREG(cntv_ctl_el0, 0);
        gic_write(GICC_EOIR, iar);
    }
}

static void sgis(uint64_t count)
{
    uint64_t ready = bench_pings;
    if (hvc(CPU_ON_64, 1, (uint64_t)bench_peer, 0) != 0) {
        put_string("bench-irq: vCPU 1 does not start\n");
        return;
    }
    while (bench_pings == ready) {
    }
    for (uint64_t i = 0; i < count; i++) {
        ready = bench_pings;
        for (int wait = 0; wait < 1000; wait++) { // until it sleeps
            __asm__ volatile("nop");
        }
        gic_write(GICD_SGIR, 1u << (GICD_SGIR_TARGET_SHIFT + 1) | SGI_PING);
        while (bench_pings == ready) {
        }
    }
}

void stub_main(void)
{
    const uint64_t count = stub_parameter != 0 ? stub_parameter : DEFAULT_COUNT;
    gic_write(GICD_CTLR, 1);
    cpu_interface_on();
    put_string("bench-irq: ");
    put_decimal(count);
    if (stub_case == SGI_CASE) {
        put_string(" SGIs\n");
        sgis(count);
    } else {
        put_string(" timer interrupts\n");
        timer(count);
    }
    put_string("bench-irq: done\n");
}
