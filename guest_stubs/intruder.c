// SPDX-License-Identifier: Apache-2.0
// Does what may be felt elsewhere, one thing for ever or each in turn as a seed says. Exceptions do
// not end it: whatever faults is stepped over.
#include "exceptions.h"
#include "runtime/gicv2.h"
#include "runtime/stub.h"
#include "smp.h"

#define CPU_ON_64 0xC4000003UL
#define NOWHERE 0x20000000UL
#define GICD_ISPENDR 0x200UL
#define GICD_IPRIORITYR 0x400UL
#define GICD_ITARGETSR 0x800UL
#define GICC_DIR (GICC_BASE - GICD_BASE + 0x1000)
#define BANKS 3 // of 32 interrupts
#define SGIR_TO_ALL (3u << 16)
#define VCPUS_MAX 8
#define PAUSE 400 // turns of an empty loop, so that simulators get along

enum intruder_case {
    ANYTHING,
    BROADCASTS,
    TIMER_STORM,
    WILD_STORE,
    EVENTS,
    ABORTS,
    INTERRUPTS,
    REGISTERS,
    TRAPS,
    SMC,
    DEACTIVATIONS,
    TALK,
    ACTIONS = TALK,
    CROWD,
};

static volatile bool storms[VCPUS_MAX]; // what each vCPU does to its timer in interrupts

static uint64_t self(void)
{
    return READ_SYSREG(mpidr_el1) & (VCPUS_MAX - 1);
}

// Acknowledged and sometimes left active, so that list registers stay taken.
void exception_taken(uint64_t vector)
{
    if (vector != VECTOR_EL1H_IRQ) {
        WRITE_SYSREG(elr_el1, READ_SYSREG(elr_el1) + 4);
        return;
    }
    const uint32_t iar = gic_read(GICC_IAR);
    const uint32_t intid = iar & GIC_INTID_MASK;
    if (intid == GIC_PPI_VIRTUAL_TIMER && !storms[self()]) {
        WRITE_SYSREG(cntv_ctl_el0, 0);
    }
    if (intid % 8 != 7) {
        gic_write(GICC_EOIR, iar);
    }
}

static void pause(void)
{
    for (int i = 0; i < PAUSE; i++) {
        __asm__ volatile("nop");
    }
}

static void broadcasts(void)
{
    __asm__ volatile("dsb ishst\n"
                     "tlbi vmalle1is\n"
                     "tlbi vmalls12e1is\n" // EL2's alone: undefined
                     "ic ialluis\n"
                     "dsb ish\n"
                     "isb"
                     :
                     :
                     : "memory");
    pause();
}

static void timer_storm(void)
{
    storms[self()] = true;
    gic_write(GICD_ISENABLER, 1u << GIC_PPI_VIRTUAL_TIMER);
    WRITE_SYSREG(cntv_cval_el0, 0);
    WRITE_SYSREG(cntv_ctl_el0, 1);
    for (int i = 0; i < 50; i++) {
        __asm__ volatile("nop");
    }
    storms[self()] = false;
}

// With vectors where nothing is, so that the store is the end.
static void wild_store(void)
{
    WRITE_SYSREG(vbar_el1, NOWHERE);
    *(volatile uint64_t *)NOWHERE = 1;
}

static void events(void)
{
    for (int i = 0; i < 20; i++) {
        __asm__ volatile("sev\n wfe\n sev\n yield");
    }
}

static void aborts(uint64_t value)
{
    (void)*(volatile uint32_t *)(NOWHERE + value % 0x1000 / 4 * 4);
    *(volatile uint8_t *)(~0UL >> 20) = 0;
    __asm__ volatile("str w1, [%0]" : : "r"(GICC_BASE + 0x2000) : "memory");
}

// All of them, with every priority, at this vCPU and others.
static void interrupts(uint64_t value)
{
    gic_write(GICD_CTLR, 1);
    for (uint32_t bank = 0; bank < BANKS; bank++) {
        for (uint32_t i = 0; i < 8; i++) {
            gic_write(GICD_IPRIORITYR + 32 * bank + 4 * i, (uint32_t)(value >> i));
            gic_write(GICD_ITARGETSR + 32 * bank + 4 * i, (uint32_t)(value >> (8 + i)));
        }
        gic_write(GICD_ISENABLER + 4 * bank, 0xffffffff);
        gic_write(GICD_ISPENDR + 4 * bank, (uint32_t)value);
    }
    for (uint32_t sgi = 0; sgi < 16; sgi++) {
        gic_write(GICD_SGIR, SGIR_TO_ALL | sgi);
    }
}

// All of them pending at once, the later the more urgent: the longest search for those that go
// first.
static void crowd(void)
{
    gic_write(GICD_CTLR, 1);
    for (uint32_t i = 0; i < 8 * BANKS; i++) {
        const uint32_t priority = 0xf8 - 8 * i;
        gic_write(GICD_IPRIORITYR + 4 * i, priority * 0x01010101);
        gic_write(GICD_ITARGETSR + 4 * i, 0x01010101);
    }
    for (uint32_t bank = 0; bank < BANKS; bank++) {
        gic_write(GICD_ISENABLER + 4 * bank, 0xffffffff);
        gic_write(GICD_ISPENDR + 4 * bank, 0xffffffff);
    }
    for (uint32_t sgi = 0; sgi < 16; sgi++) {
        gic_write(GICD_SGIR, SGIR_TO_ALL | sgi);
    }
}

// Registers that the next VM on this CPU would find.
static void registers(uint64_t value)
{
    WRITE_SYSREG(cpacr_el1, 3UL << 20);
    __asm__ volatile(".arch_extension simd\n"
                     "dup v0.2d, %0\n"
                     "dup v8.2d, %0\n"
                     "dup v17.2d, %0\n"
                     "dup v31.2d, %0\n"
                     "msr fpcr, %1\n"
                     "msr fpsr, %1\n"
                     ".arch_extension nosimd"
                     :
                     : "r"(value), "r"(value & 0x07c0009f));
    WRITE_SYSREG(tpidr_el0, value);
    WRITE_SYSREG(tpidr_el1, value);
    WRITE_SYSREG(tpidrro_el0, value);
    WRITE_SYSREG(mair_el1, value);
    WRITE_SYSREG(tcr_el1, value & 0xffffffff);
    WRITE_SYSREG(ttbr0_el1, value);
    WRITE_SYSREG(ttbr1_el1, value);
    WRITE_SYSREG(contextidr_el1, value);
    WRITE_SYSREG(cntkctl_el1, value & 0x3ff);
    WRITE_SYSREG(csselr_el1, value & 0xf);
    WRITE_SYSREG(cntv_cval_el0, value);
    WRITE_SYSREG(cntv_ctl_el0, value & 3);
    gic_write(GICC_PMR, (uint32_t)value & 0xff);
    gic_write(GICC_CTLR, (uint32_t)value & 0x3ff);
    pause();
}

static void traps(uint64_t value)
{
    (void)READ_SYSREG(id_aa64pfr0_el1);
    (void)READ_SYSREG(id_aa64mmfr0_el1);
    (void)READ_SYSREG(actlr_el1);
    WRITE_SYSREG(pmcr_el0, value);
    WRITE_SYSREG(mdscr_el1, value);
    WRITE_SYSREG(dbgbcr0_el1, value);
    WRITE_SYSREG(oslar_el1, value & 1);
    WRITE_SYSREG(cntp_cval_el0, value);
    WRITE_SYSREG(cntp_ctl_el0, 1);
    (void)READ_SYSREG(cntpct_el0);
    __asm__ volatile("dc csw, %0" : : "r"(value & 0xfffffff0));
    pause();
}

static void smc(uint64_t value)
{
    register uint64_t x0 __asm__("x0") = 0x84000000UL | (value & 0x4000001f);
    if ((x0 & 0x1f) == 2 || (x0 & 0x1f) == 8 || (x0 & 0x1f) == 9) {
        x0 = 0;
    }
    __asm__ volatile(".inst 0xd4000003" // SMC #0
                     : "+r"(x0)
                     :
                     : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
                       "x13", "x14", "x15", "x16", "x17", "memory");
}

static void deactivations(uint64_t value)
{
    for (uint32_t i = 0; i < 96; i += 3) {
        gic_write(GICC_DIR, i | (uint32_t)value << 10);
        gic_write(GICC_EOIR, i);
        (void)gic_read(GICC_IAR);
    }
}

static void act(uint64_t what, uint64_t value)
{
    switch (what) {
    case BROADCASTS:
        broadcasts();
        break;
    case TIMER_STORM:
        timer_storm();
        break;
    case WILD_STORE:
        wild_store();
        break;
    case EVENTS:
        events();
        break;
    case ABORTS:
        aborts(value);
        break;
    case INTERRUPTS:
        interrupts(value);
        break;
    case CROWD:
        crowd();
        break;
    case REGISTERS:
        registers(value);
        break;
    case TRAPS:
        traps(value);
        break;
    case SMC:
        smc(value);
        break;
    case DEACTIVATIONS:
        deactivations(value);
        break;
    default:
        pl011_write("intruder\n");
        break;
    }
}

static _Noreturn void intrude(uint64_t seed)
{
    uint64_t x = seed ^ 0x9e3779b97f4a7c15UL;
    exceptions_take();
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
    for (;;) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if ((x >> 40 & 3) == 0) {
            interrupts_mask();
        } else {
            interrupts_unmask();
        }
        act(stub_case != ANYTHING ? stub_case : 1 + (x >> 44) % ACTIONS, x);
    }
}

void smp_secondary(uint64_t argument)
{
    intrude(argument);
}

void stub_main(void)
{
    for (uint64_t i = 1; i < VCPUS_MAX; i++) {
        (void)hvc(CPU_ON_64, i, smp_entry_address(), (stub_parameter + 1) * 0x9e3779b9 + i);
    }
    intrude(stub_parameter);
}
