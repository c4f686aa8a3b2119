// SPDX-License-Identifier: Apache-2.0
// What the page-table library asks of its surroundings, in A64 instructions. VA = PA at EL2.
#include <el2/sysregs.h>
#include <stage2/primitives.h>

uint64_t *pgt_prim_table(pa_t table)
{
    return (uint64_t *)(uintptr_t)pa_value(table);
}

void pgt_prim_write(uint64_t *entry, uint64_t descriptor)
{
    __asm__ volatile("str %x1, [%0]" : : "r"(entry), "rZ"(descriptor) : "memory");
}

void pgt_prim_zero(pa_t table)
{
    volatile uint64_t *entries = pgt_prim_table(table);
    for (unsigned i = 0; i < PAGE_SIZE / sizeof(*entries); i++) {
        entries[i] = 0;
    }
}

void pgt_prim_dsb_ishst(void)
{
    __asm__ volatile("dsb ishst" : : : "memory"); // stores before, walkers after
}

void pgt_prim_dsb_ish(void)
{
    __asm__ volatile("dsb ish" : : : "memory"); // TLBI and accesses before, all after
}

void pgt_prim_isb(void)
{
    isb();
}

// Another one only while no vCPU is loaded: the EL1 regime is parked (switch.S), so that no
// speculative walk (Cortex-A72 1319367) pairs a guest's tables with another VMID. In a call the
// tables that change are the caller's, and its VMID is there already.
uint64_t pgt_prim_set_vttbr(uint64_t vttbr)
{
    uint64_t before = READ_SYSREG(vttbr_el2);
    if (before != vttbr) {
        WRITE_SYSREG(vttbr_el2, vttbr);
        isb(); // the TLBIs that follow work on the new VMID
    }
    return before;
}

void pgt_prim_tlbi_ipas2e1is(ipa_t ipa)
{
    __asm__ volatile("tlbi ipas2e1is, %0" : : "r"(ipa_value(ipa) >> PAGE_SHIFT) : "memory");
}

void pgt_prim_tlbi_vmalle1is(void)
{
    __asm__ volatile("tlbi vmalle1is" : : : "memory");
}

void pgt_prim_tlbi_vmalls12e1is(void)
{
    __asm__ volatile("tlbi vmalls12e1is" : : : "memory");
}

void pgt_prim_tlbi_vae2is(va_t va)
{
    __asm__ volatile("tlbi vae2is, %0" : : "r"(va_value(va) >> PAGE_SHIFT) : "memory");
}
