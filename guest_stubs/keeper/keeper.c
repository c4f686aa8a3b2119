// SPDX-License-Identifier: Apache-2.0
// Keeps a secret: words in its memory that nobody else may learn of. What it does, how long, with
// which values, and how it ends is a function of them.
#include "keeper.h"

#define SECRET_OFFSET 0x100000UL // counted from the memory's start; below the image
#define SECRET_WORDS 4096u
#define CPU_ON_64 0xC4000003UL
#define NOWHERE 0x20000000UL
#define GICD_ISPENDR 0x200UL
#define SGIR_TO_ALL_OTHERS (1u << 24)
#define PL011_IMSC 0x38UL
#define PL011_INTERRUPTS 0x7f0u
#define ROOM 0x40000UL // behind the secret: what it stores there depends on it
#define MOST_TICKS 20000u
#define PSCI_FUNCTIONS 0x20UL

enum keeper_case { ANYTHING, TIME, REGISTERS, LIVES };
enum action {
    LOOP,
    LOADS,
    STORES,
    CALLS,
    SLEEP,
    FILL,
    INTERRUPTS,
    TALK,
    ABORTS,
    TRAPS,
    BROADCAST,
    ACTIONS,
};

static volatile uint64_t sink;

static volatile uint64_t *secret(void)
{
    return (volatile uint64_t *)(memory_base() + SECRET_OFFSET);
}

// What faults is stepped over; an interrupt ends a sleep, and is taken back.
void exception_taken(uint64_t vector)
{
    if (vector != VECTOR_EL1H_IRQ) {
        WRITE_SYSREG(elr_el1, READ_SYSREG(elr_el1) + 4);
        return;
    }
    const uint32_t iar = gic_read(GICC_IAR);
    mmio_write32(PL011_BASE + PL011_IMSC, 0);
    if ((iar & GIC_INTID_MASK) == GIC_PPI_VIRTUAL_TIMER) {
        WRITE_SYSREG(cntv_ctl_el0, 0);
    }
    gic_write(GICC_EOIR, iar);
}

static void loop(uint64_t word)
{
    for (uint64_t i = 0; i < word % 4096; i++) {
        __asm__ volatile("nop");
    }
}

static void loads(uint64_t word)
{
    for (uint32_t i = 0; i < 64; i++) {
        sink += secret()[word % SECRET_WORDS];
        word = word * 0x5851f42d4c957f2dUL + 1;
    }
}

static void stores(uint64_t word)
{
    volatile uint64_t *room = secret() + SECRET_WORDS;
    for (uint32_t i = 0; i < 64; i++) {
        room[word % (ROOM / 8)] = word;
        word = word * 0x5851f42d4c957f2dUL + 1;
    }
}

// Any function but those that end the VM or switch this vCPU off, with any arguments.
static void calls(uint64_t word)
{
    for (uint64_t i = 0; i < word % 16; i++) {
        const uint64_t psci = (word >> 8) % PSCI_FUNCTIONS;
        if (psci != (PSCI_CPU_OFF & 0xff) && psci != (PSCI_SYSTEM_OFF & 0xff) &&
            psci != (PSCI_SYSTEM_RESET & 0xff)) {
            (void)hvc(PSCI_VERSION + psci + (word >> 16 & 0x40000000UL), word, word >> 8, i);
        }
        (void)hvc(AETHER_VERSION + (word >> 24) % 4, word, i, word);
        word = word * 0x5851f42d4c957f2dUL + 1;
    }
}

// Until its timer, or for ever so long: until something else happens.
static void sleep(uint64_t word)
{
    gic_write(GICD_ISENABLER, 1u << GIC_PPI_VIRTUAL_TIMER);
    WRITE_SYSREG(cntv_cval_el0, READ_SYSREG(cntvct_el0) + word % MOST_TICKS);
    WRITE_SYSREG(cntv_ctl_el0, 1);
    __asm__ volatile("wfi" : : : "memory");
    WRITE_SYSREG(cntv_ctl_el0, word >> 32 & 2);
}

static void interrupts(uint64_t word)
{
    gic_write(GICD_CTLR, 1);
    gic_write(GICD_ISENABLER + 4, (uint32_t)word);
    gic_write(GICD_ISPENDR + 4, (uint32_t)(word >> 8));
    gic_write(GICD_SGIR, SGIR_TO_ALL_OTHERS | (uint32_t)(word & 15));
    mmio_write32(PL011_BASE + PL011_IMSC, (uint32_t)(word >> 16) & PL011_INTERRUPTS);
}

static void talk(uint64_t word)
{
    char text[] = "keeper: 0123456789abcdef\n";
    for (uint32_t i = 0; i < 16; i++) {
        text[8 + i] = "0123456789abcdef"[word >> 4 * i & 15];
    }
    text[8 + word % 16] = '\n';
    text[9 + word % 16] = '\0';
    pl011_write(text);
}

static void aborts(uint64_t word)
{
    for (uint64_t i = 0; i < word % 8; i++) {
        sink += *(volatile uint32_t *)(NOWHERE + (word & 0xffffffcUL));
        *(volatile uint8_t *)(NOWHERE + (word >> 8 & 0xfffffffUL)) = (uint8_t)word;
    }
}

static void traps(uint64_t word)
{
    for (uint64_t i = 0; i < word % 8; i++) {
        WRITE_SYSREG(pmcr_el0, word);
        WRITE_SYSREG(mdscr_el1, word);
        WRITE_SYSREG(dbgbcr0_el1, word);
        WRITE_SYSREG(cntp_cval_el0, word);
        sink += READ_SYSREG(id_aa64pfr0_el1);
    }
}

static void broadcast(void)
{
    __asm__ volatile("dsb ishst\n tlbi vmalle1is\n ic ialluis\n dsb ish\n isb" : : : "memory");
}

static void act(enum action what, uint64_t word)
{
    switch (what) {
    case LOOP:
        loop(word);
        break;
    case LOADS:
        loads(word);
        break;
    case STORES:
        stores(word);
        break;
    case CALLS:
        calls(word);
        break;
    case SLEEP:
        sleep(word);
        break;
    case FILL:
        keeper_fill(word);
        break;
    case INTERRUPTS:
        interrupts(word);
        break;
    case TALK:
        talk(word);
        break;
    case ABORTS:
        aborts(word);
        break;
    case TRAPS:
        traps(word);
        break;
    default:
        broadcast();
        break;
    }
}

// Some lives end by the secret: off, anew, or by a crash.
static void end_of_life(uint64_t word)
{
    switch (word % 3) {
    case 0:
        (void)hvc(PSCI_SYSTEM_OFF, 0, 0, 0);
        break;
    case 1:
        (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
        break;
    default:
        __asm__ volatile("str w1, [%0], #4" : : "r"(PL011_BASE) : "memory"); // not emulated
    }
}

static enum action choose(uint64_t word)
{
    switch (stub_case) {
    case TIME:
        return (word >> 40 & 1) != 0 ? LOOP : SLEEP;
    case REGISTERS:
        return (word >> 40 & 1) != 0 ? FILL : CALLS;
    default:
        return (enum action)((word >> 40) % ACTIONS);
    }
}

static _Noreturn void keep(uint64_t first)
{
    exceptions_take();
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
    interrupts_unmask();
    for (uint64_t at = first;; at++) {
        const uint64_t word = secret()[at % SECRET_WORDS];
        act(choose(word), word);
        if (stub_case == LIVES && word >> 56 < 16) {
            end_of_life(word >> 48);
        }
    }
}

void smp_secondary(uint64_t argument)
{
    keep(argument);
}

void stub_main(void)
{
    (void)hvc(CPU_ON_64, 1, smp_entry_address(), SECRET_WORDS / 2);
    keep(0);
}
