// SPDX-License-Identifier: Apache-2.0
// Has every interrupt enabled that there is, though nobody is to send any, and looks for traces of
// others wherever a register can be read: what it finds stays in X registers when it exits.
#include "../exceptions.h"
#include "../runtime/gicv2.h"
#include "../runtime/stub.h"

#define GICD_ISPENDR 0x200UL
#define GICD_ISACTIVER 0x300UL
#define GICD_ITARGETSR 0x800UL
#define GICC_HPPIR (GICC_BASE - GICD_BASE + 0x18)
#define BANKS 3u // of 32 interrupts
#define PL011_FR 0x18UL
#define PL011_RIS 0x3cUL
#define PL011_MIS 0x40UL
#define FNV_PRIME 0x100000001b3UL
#define SAID_EVERY 16u

static volatile uint64_t digest;
static volatile uint64_t taken;

static void fold(uint64_t value)
{
    digest = (digest ^ value) * FNV_PRIME;
}

void exception_taken(uint64_t vector)
{
    fold(READ_SYSREG(cntvct_el0));
    fold(vector);
    if (vector != VECTOR_EL1H_IRQ) {
        WRITE_SYSREG(elr_el1, READ_SYSREG(elr_el1) + 4);
        return;
    }
    const uint32_t iar = gic_read(GICC_IAR);
    fold(iar);
    taken++;
    gic_write(GICC_EOIR, iar);
}

static void look(void)
{
    for (uint32_t bank = 0; bank < BANKS; bank++) {
        fold(gic_read(GICD_ISPENDR + 4 * bank));
        fold(gic_read(GICD_ISACTIVER + 4 * bank));
    }
    fold(gic_read(GICC_HPPIR));
    fold(mmio_read32(PL011_BASE + PL011_FR));
    fold(mmio_read32(PL011_BASE + PL011_RIS));
    fold(mmio_read32(PL011_BASE + PL011_MIS));
    fold(READ_SYSREG(isr_el1));
    fold(READ_SYSREG(cntvct_el0));
    fold(READ_SYSREG(cntpct_el0));
    fold(hvc(AETHER_VERSION, digest, taken, 0));
}

void stub_main(void)
{
    exceptions_take();
    gic_write(GICD_CTLR, 1);
    for (uint32_t bank = 0; bank < BANKS; bank++) {
        gic_write(GICD_ISENABLER + 4 * bank, 0xffffffff);
        for (uint32_t i = 0; i < 8 && bank != 0; i++) {
            gic_write(GICD_ITARGETSR + 32 * bank + 4 * i, 0x01010101);
        }
    }
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
    interrupts_unmask();
    for (uint64_t round = 0;; round++) {
        look();
        if (round % SAID_EVERY == 0) {
            put_string("listener:");
            put_key("interrupts", taken);
            put_key("digest", digest);
            put_char('\n');
        }
    }
}
