// SPDX-License-Identifier: Apache-2.0
// The GICv2 as one vCPU meets it: every kind of register of the distributor, and what its CPU
// interface then signals. All interrupts stay masked in PSTATE and are taken by reading GICC_IAR.
#include "runtime/gicv2.h"
#include "runtime/stub.h"

#define GICD_ISPENDR 0x200UL
#define GICD_ICPENDR 0x280UL
#define GICD_ISACTIVER 0x300UL
#define GICD_ICACTIVER 0x380UL
#define GICD_IGROUPR 0x080UL
#define GICD_IPRIORITYR 0x400UL
#define GICD_ITARGETSR 0x800UL
#define GICD_ICFGR 0xc00UL
#define GICD_CPENDSGIR 0xf10UL
#define GICD_SPENDSGIR 0xf20UL
#define GICD_PIDR4 0xfd0UL
#define GICC_BPR (GICC_BASE - GICD_BASE + 0x8)
#define GICC_RPR (GICC_BASE - GICD_BASE + 0x14)
#define GICC_HPPIR (GICC_BASE - GICD_BASE + 0x18)
#define GICC_DIR (GICC_BASE - GICD_BASE + 0x1000)
#define EOIMODE (1u << 9)
#define TIMER_BIT (1u << GIC_PPI_VIRTUAL_TIMER)

#define FIRST 40u // an SPI that nothing drives, with others after it
#define COUNT 12u
#define WORD (FIRST / 32 * 4)
#define BIT(intid) (1u << (intid) % 32)

static void tell(const char *name, uint64_t value)
{
    put_string("probe ");
    put_string(name);
    put_char(':');
    put_key("value", value);
    put_char('\n');
}

static void write_byte(uint64_t offset, uint8_t value)
{
    mmio_write8(GICD_BASE + offset, value);
}

static uint8_t read_byte(uint64_t offset)
{
    return mmio_read8(GICD_BASE + offset);
}

static uint32_t take(void)
{
    return gic_read(GICC_IAR);
}

static void end(uint32_t iar)
{
    gic_write(GICC_EOIR, iar);
}

static void pend(uint32_t intid)
{
    gic_write(GICD_ISPENDR + WORD, BIT(intid));
}

static void registers(void)
{
    uint64_t id = 0;
    tell("control-at-reset", gic_read(GICD_CTLR));
    for (uint64_t offset = GICD_PIDR4; offset < 0x1000; offset += 4) {
        id = id * 31 + gic_read(offset);
    }
    tell("identification", id);
    tell("enabled-at-reset", gic_read(GICD_ISENABLER));
    tell("groups", gic_read(GICD_IGROUPR));
    tell("sgi-configuration", gic_read(GICD_ICFGR));
    tell("targets-of-one", gic_read(GICD_ITARGETSR));
    gic_write(GICD_ICENABLER, 0xffff);
    tell("sgis-stay-enabled", gic_read(GICD_ISENABLER) & 0xffff);
    gic_write(GICD_ISENABLER + WORD, BIT(FIRST) | BIT(FIRST + 1));
    gic_write(GICD_ICENABLER + WORD, BIT(FIRST));
    tell("enable", gic_read(GICD_ISENABLER + WORD));
    tell("enable-by-clear", gic_read(GICD_ICENABLER + WORD));
    gic_write(GICD_IPRIORITYR + FIRST, 0x40302010);
    write_byte(GICD_IPRIORITYR + FIRST + 1, 0x88);
    tell("priority-word", gic_read(GICD_IPRIORITYR + FIRST));
    tell("priority-byte", read_byte(GICD_IPRIORITYR + FIRST + 3));
    gic_write(GICD_ICFGR + FIRST / 16 * 4, 0xaaaaaaaa);
    tell("edge", gic_read(GICD_ICFGR + FIRST / 16 * 4));
    gic_write(GICD_ICFGR + FIRST / 16 * 4, 0);
    tell("level", gic_read(GICD_ICFGR + FIRST / 16 * 4));
    write_byte(GICD_SPENDSGIR + 5, 1);
    tell("sgi-pending-by-source", gic_read(GICD_CPENDSGIR + 4));
    tell("sgi-pending", gic_read(GICD_ISPENDR));
    gic_write(GICD_ICPENDR, 1u << 5);
    tell("sgi-pending-still", gic_read(GICD_ISPENDR));
    write_byte(GICD_CPENDSGIR + 5, 1);
    tell("sgi-not-pending", gic_read(GICD_ISPENDR));
}

static void one_interrupt(void)
{
    for (uint32_t i = 0; i < COUNT; i++) {
        write_byte(GICD_IPRIORITYR + FIRST + i, (uint8_t)(0xe0 - 0x10 * i));
    }
    tell("nothing", take());
    gic_write(GICD_ICENABLER + WORD, UINT32_MAX);
    pend(FIRST);
    tell("disabled", take());
    gic_write(GICD_ISENABLER + WORD, BIT(FIRST));
    tell("waits", gic_read(GICC_HPPIR));
    uint32_t iar = take();
    tell("taken", iar);
    tell("running-priority", gic_read(GICC_RPR));
    tell("active", gic_read(GICD_ISACTIVER + WORD));
    tell("not-pending", gic_read(GICD_ISPENDR + WORD));
    pend(FIRST);
    tell("active-and-pending", gic_read(GICD_ISPENDR + WORD));
    tell("not-twice-at-once", take());
    gic_write(GICD_ICENABLER + WORD, BIT(FIRST));
    tell("active-when-disabled", gic_read(GICD_ISACTIVER + WORD));
    end(iar);
    tell("ended", gic_read(GICD_ISACTIVER + WORD));
    tell("disabled-again", take());
    gic_write(GICD_ISENABLER + WORD, BIT(FIRST));
    iar = take();
    tell("taken-again", iar);
    end(iar);
    pend(FIRST);
    gic_write(GICD_ICPENDR + WORD, BIT(FIRST));
    tell("cleared", take());
    gic_write(GICD_CTLR, 0);
    pend(FIRST);
    tell("distributor-off", take());
    gic_write(GICD_CTLR, 1);
    gic_write(GICC_PMR, 0x50);
    tell("masked-by-priority", take());
    gic_write(GICC_PMR, 0xf0);
    iar = take();
    tell("unmasked", iar);
    end(iar);
    gic_write(GICD_ISACTIVER + WORD, BIT(FIRST));
    pend(FIRST);
    tell("made-active", gic_read(GICD_ISACTIVER + WORD));
    tell("held-back", take());
    gic_write(GICD_ICACTIVER + WORD, BIT(FIRST));
    iar = take();
    tell("made-inactive", iar);
    end(iar);
}

static void many(void)
{
    uint32_t iars[COUNT];
    gic_write(GICD_ISENABLER + WORD, UINT32_MAX);
    for (uint32_t i = 0; i < COUNT; i++) {
        pend(FIRST + i);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        iars[i] = take();
        tell("in-order", iars[i]);
        end(iars[i]);
    }
    tell("no-more", take());
    for (uint32_t i = 0; i < COUNT; i++) { // each preempts the one before
        pend(FIRST + i);
        iars[i] = take();
        tell("nested", iars[i]);
    }
    tell("all-active", gic_read(GICD_ISACTIVER + WORD));
    tell("none-pending", gic_read(GICD_ISPENDR + WORD));
    for (uint32_t i = COUNT; i-- > 0;) {
        end(iars[i]);
        tell("fewer-active", gic_read(GICD_ISACTIVER + WORD));
    }
    tell("idle", gic_read(GICC_RPR) & 0xf8);
}

static void sgis(void)
{
    static const uint32_t commands[] = {1u << GICD_SGIR_TARGET_SHIFT | 1, 2u << 24 | 2,
                                        1u << 24 | 3, 2u << GICD_SGIR_TARGET_SHIFT | 4};
    for (uint32_t i = 0; i < 4; i++) {
        gic_write(GICD_SGIR, commands[i]);
        uint32_t iar = take();
        tell("sgi", iar);
        if ((iar & GIC_INTID_MASK) < 16) {
            end(iar);
        }
    }
}

static void timer(void)
{
    gic_write(GICD_ISENABLER, TIMER_BIT);
    for (uint32_t i = 0; i < 3; i++) {
        WRITE_SYSREG(cntv_cval_el0, READ_SYSREG(cntvct_el0) + 2000);
        WRITE_SYSREG(cntv_ctl_el0, 1);
        uint32_t iar = gic_wait(GIC_PPI_VIRTUAL_TIMER);
        tell("timer", iar);
        tell("timer-active", gic_read(GICD_ISACTIVER));
        gic_write(GICD_ICENABLER, TIMER_BIT);
        if (i != 1) { // else it fires again when it has ended
            WRITE_SYSREG(cntv_ctl_el0, 0);
        }
        end(iar);
        gic_write(GICD_ISENABLER, TIMER_BIT);
        if (i == 1) {
            iar = gic_wait(GIC_PPI_VIRTUAL_TIMER);
            tell("timer-again", iar);
            WRITE_SYSREG(cntv_ctl_el0, 0);
            gic_write(GICD_ICACTIVER, TIMER_BIT); // the end before the EOI
            end(iar);
        }
        tell("timer-inactive", gic_read(GICD_ISACTIVER));
        tell("timer-silent", take());
    }
}

static void two_steps(void)
{
    gic_write(GICC_CTLR, 1 | EOIMODE);
    for (uint32_t i = 0; i < COUNT; i++) { // more active than there are list registers
        pend(FIRST + i);
        uint32_t iar = take();
        end(iar);
        tell("dropped", iar);
    }
    tell("still-active", gic_read(GICD_ISACTIVER + WORD));
    gic_write(GICD_SGIR, 2u << 24 | 7);
    uint32_t iar = take();
    tell("another", iar);
    end(iar);
    gic_write(GICC_DIR, iar);
    for (uint32_t i = 0; i < COUNT; i++) {
        gic_write(GICC_DIR, FIRST + i * 5 % COUNT);
        tell("deactivated", gic_read(GICD_ISACTIVER + WORD));
    }
    gic_write(GICC_CTLR, 1);
}

void stub_main(void)
{
    registers();
    gic_write(GICD_CTLR, 1);
    gic_write(GICC_PMR, 0xf0);
    gic_write(GICC_BPR, 0);
    gic_write(GICC_CTLR, 1);
    one_interrupt();
    many();
    sgis();
    timer();
    two_steps();
    put_string("gic: done\n");
}
