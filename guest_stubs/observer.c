// SPDX-License-Identifier: Apache-2.0
// Looks at everything a VM can see of time and of itself, and says what came of it: a digest in
// which each counter value, interrupt and register at each moment counts.
#include "exceptions.h"
#include "observer.h"
#include "runtime/gicv2.h"
#include "runtime/stub.h"
#include "smp.h"

#define CPU_ON_64 0xC4000003UL
#define TELEMETRY_BASE 0x0a000000UL
#define TELEMETRY_SIZE 0x400UL // header and four vCPUs
#define TELEMETRY_RESTARTS 56UL
#define HAS_TELEMETRY (1UL << 32) // in stub_parameter, above the number of lines
#define DEFAULT_LINES 8
#define PERIOD 9973 // ticks between two timer interrupts: prime
#define ROUNDS 90
#define SGI_PING 3u
#define SGI_PONG 5u
#define LIVES 3
#define FNV_PRIME 0x100000001b3UL
#define GICC_HPPIR (GICC_BASE - GICD_BASE + 0x18)
#define GICD_ISPENDR 0x200UL
#define GICD_ISACTIVER 0x300UL

enum observer_case { SINGLE, PAIR, LIVES_CASE };

// Of a vCPU. MMU and caches are off: every access goes to memory, in order.
struct view {
    uint64_t digest;
    uint64_t interrupts;
    uint64_t pings;
};

static volatile struct view views[2];
static volatile uint64_t pongs;

static uint64_t self(void)
{
    return READ_SYSREG(mpidr_el1) & 1;
}

static void fold(volatile struct view *view, uint64_t value)
{
    view->digest = (view->digest ^ value) * FNV_PRIME;
}

static void send(uint32_t vcpu, uint32_t sgi)
{
    gic_write(GICD_SGIR, 1u << (GICD_SGIR_TARGET_SHIFT + vcpu) | sgi);
}

void exception_taken(uint64_t vector)
{
    volatile struct view *view = &views[self()];
    const uint64_t now = READ_SYSREG(cntvct_el0);
    if (vector != VECTOR_EL1H_IRQ) {
        stub_panic();
    }
    const uint32_t iar = gic_read(GICC_IAR);
    const uint32_t intid = iar & GIC_INTID_MASK;
    fold(view, now);
    fold(view, iar);
    if (intid == GIC_PPI_VIRTUAL_TIMER) {
        WRITE_SYSREG(cntv_cval_el0, now + PERIOD);
    } else if (intid == SGI_PING) {
        view->pings++;
        send(0, SGI_PONG);
    } else if (intid == SGI_PONG) {
        pongs++;
    }
    view->interrupts++;
    gic_write(GICC_EOIR, iar);
}

static void open_eyes(void)
{
    exceptions_take();
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
    gic_write(GICD_ISENABLER, 1u << GIC_PPI_VIRTUAL_TIMER);
    WRITE_SYSREG(cntv_cval_el0, READ_SYSREG(cntvct_el0) + PERIOD);
    WRITE_SYSREG(cntv_ctl_el0, 1);
    interrupts_unmask();
}

static void sleep_until_interrupt(volatile struct view *view)
{
    interrupts_mask();
    const uint64_t before = view->interrupts;
    while (view->interrupts == before) {
        __asm__ volatile("wfi" : : : "memory");
        interrupts_unmask();
        __asm__ volatile("isb" : : : "memory"); // taken here
        interrupts_mask();
    }
    interrupts_unmask();
}

static void look(volatile struct view *view)
{
    fold(view, observer_mix(view->digest, ROUNDS));
    fold(view, READ_SYSREG(cntvct_el0));
    fold(view, gic_read(GICD_ISPENDR));
    fold(view, gic_read(GICD_ISACTIVER));
    fold(view, gic_read(GICC_HPPIR));
    __asm__ volatile("sevl\n wfe\n wfe" : : : "memory"); // the second waits, perhaps
    fold(view, READ_SYSREG(cntvct_el0));
}

// Each SGI is answered, and the time that took is seen.
static void ping(volatile struct view *view)
{
    const uint64_t before = pongs;
    send(1, SGI_PING);
    while (pongs == before) {
    }
    fold(view, READ_SYSREG(cntvct_el0));
    fold(view, views[1].digest);
}

static void look_at_telemetry(volatile struct view *view)
{
    for (uint64_t offset = 0; offset < TELEMETRY_SIZE; offset += 8) {
        fold(view, *(volatile uint64_t *)(TELEMETRY_BASE + offset));
    }
}

void smp_secondary(uint64_t argument)
{
    volatile struct view *view = &views[1];
    fold(view, argument);
    open_eyes();
    for (;;) {
        look(view);
        sleep_until_interrupt(view);
    }
}

static void end_life(void)
{
    const uint64_t life = *(volatile uint64_t *)(TELEMETRY_BASE + TELEMETRY_RESTARTS);
    if (life + 1 >= LIVES) {
        return;
    }
    interrupts_mask();
    if (life % 2 == 0) {
        (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
    }
    // A store that no syndrome describes.
    __asm__ volatile("str w1, [%0], #4" : : "r"(PL011_BASE) : "memory");
}

void stub_main(void)
{
    volatile struct view *view = &views[0];
    const uint64_t wanted = stub_parameter & 0xffffffff;
    const uint64_t lines = wanted != 0 ? wanted : DEFAULT_LINES;
    const bool has_telemetry = (stub_parameter & HAS_TELEMETRY) != 0;
    gic_write(GICD_CTLR, 1);
    open_eyes();
    if (stub_case == PAIR && hvc(CPU_ON_64, 1, smp_entry_address(), 0) != 0) {
        put_string("observer: vCPU 1 does not start\n");
        return;
    }
    for (uint64_t line = 0; line < lines; line++) {
        look(view);
        sleep_until_interrupt(view);
        if (stub_case == PAIR) {
            ping(view);
        }
        if (has_telemetry) {
            look_at_telemetry(view);
        }
        put_string("observer:");
        put_key("time", READ_SYSREG(cntvct_el0));
        put_key("interrupts", view->interrupts);
        put_key("digest", view->digest);
        put_char('\n');
    }
    pl011_write("observer: done\n");
    if (stub_case == LIVES_CASE && has_telemetry) {
        end_life();
    }
}
