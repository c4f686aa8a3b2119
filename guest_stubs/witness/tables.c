// SPDX-License-Identifier: Apache-2.0
// One table of level 1 for each vCPU: blocks of 1 GiB. Made with the MMU off.
#include "witness.h"

#define BLOCK UINT64_C(1)
#define ATTRIBUTE(n) ((uint64_t)(n) << 2)
#define INNER (UINT64_C(3) << 8)
#define AF (UINT64_C(1) << 10)
#define NG (UINT64_C(1) << 11)
#define NO_EXECUTE (UINT64_C(3) << 53)
#define GIB UINT64_C(0x40000000)
#define ALIAS_BLOCK (GIB | BLOCK | ATTRIBUTE(2) | AF | NG | NO_EXECUTE)

#define DEVICE_BLOCK (BLOCK | ATTRIBUTE(0) | AF | NO_EXECUTE)
#define MEMORY_BLOCK (GIB | BLOCK | ATTRIBUTE(1) | INNER | AF)
#define SCTLR_M UINT64_C(1)

static uint64_t tables[2][512] __attribute__((aligned(4096)));

// Comes with the image: nothing is stored that a DSB would have to publish. Without the alias.
static const uint64_t image_table[512]
    __attribute__((aligned(4096))) = {DEVICE_BLOCK, MEMORY_BLOCK};

static volatile uint64_t *own_table(void)
{
    return tables[READ_SYSREG(mpidr_el1) & 1];
}

void alias_on(void)
{
    own_table()[2] = ALIAS_BLOCK;
    __asm__ volatile("dsb ishst\n isb" : : : "memory"); // seen by the next walk
}

// The vCPUs share ASID 0.
void mmu_on(bool with_alias)
{
    volatile uint64_t *table = own_table();
    table[0] = DEVICE_BLOCK;
    table[1] = MEMORY_BLOCK;
    table[2] = with_alias ? ALIAS_BLOCK : 0;
    __asm__ volatile("dsb sy" : : : "memory"); // stored before walks
    caches_set((uint64_t)table);
}

uint64_t load_at_once(uint64_t address)
{
    translation_on((uint64_t)image_table);
    const uint64_t value = load(address);
    WRITE_SYSREG(sctlr_el1, READ_SYSREG(sctlr_el1) & ~SCTLR_M);
    return value;
}
