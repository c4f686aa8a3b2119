// SPDX-License-Identifier: Apache-2.0
// Builds the tables. All of it with stage 1 off and walks Non-cacheable: no cache maintenance.
#include "stage1.h"

// Offsets in the guest's memory.
#define TABLES 0x800000UL
#define L0_TABLE (TABLES + 0x0000UL)
#define L1_IDENTITY_TABLE (TABLES + 0x1000UL)
#define L2_LOW_TABLE (TABLES + 0x2000UL)
#define L2_MEMORY_TABLE (TABLES + 0x3000UL)
#define L1_WINDOW_TABLE (TABLES + 0x4000UL)
#define L2_WINDOW_TABLE (TABLES + 0x5000UL)
#define L3_WINDOW_TABLE (TABLES + 0x6000UL)
#define L1_USER_TABLE (TABLES + 0x7000UL)
#define L2_USER_TABLE (TABLES + 0x8000UL)
#define TABLES_END (TABLES + 0x9000UL)
#define PAGE_A 0x900000UL
#define PAGE_B 0x910000UL
#define PAGE_B_NEXT 0x911000UL
#define K64_L1_TABLE 0xa00000UL
#define K64_L2_TABLE_AT 0xa10000UL
#define K64_L3_TABLE_AT 0xa20000UL
#define K64_TABLES_END 0xa30000UL

// Descriptor bits (Arm ARM D8.3, VMSAv8-64 translation table format descriptors).
#define VALID (1UL << 0)
#define TABLE_OR_PAGE (1UL << 1)
#define ATTR_DEVICE (0UL << 2)
#define ATTR_NORMAL (1UL << 2)
#define AP_EL0 (1UL << 6)
#define AP_READ_ONLY (1UL << 7)
#define SH_INNER (3UL << 8)
#define AF (1UL << 10)
#define CONTIGUOUS (1UL << 52)
#define PXN (1UL << 53)
#define UXN (1UL << 54)
#define PXN_TABLE (1UL << 59)
#define UXN_TABLE (1UL << 60)
#define AP_TABLE_READ_ONLY (1UL << 62)

#define TABLE (VALID | TABLE_OR_PAGE)
#define LEAF (VALID | ATTR_NORMAL | SH_INNER | AF)
#define KERNEL (LEAF | UXN)
#define DEVICE (VALID | ATTR_DEVICE | AF | UXN | PXN)
#define PAGE TABLE_OR_PAGE
#define PAST_IPS (1UL << 41)
#define PAST_IPA (1UL << 40)

// MAIR_EL1: attribute 0 Device-nGnRnE, 1 Normal Non-cacheable.
#define MAIR 0x4400UL

#define TCR_T0SZ(n) (n)
#define TCR_T1SZ_16 (16UL << 16)
#define TCR_EPD1 (1UL << 23)
#define TCR_TG0_64K (1UL << 14)
#define TCR_TG1_4K (2UL << 30)
#define TCR_IPS_40 (2UL << 32)
#define TCR_IPS_44 (4UL << 32)
#define TCR_IPS_MASK (7UL << 32)

#define ENDS_PROBE (0xd4000001U | ((uint32_t)PROBE_END_SVC << 5)) // the SVC that ends a probe

static volatile uint64_t *at(uint64_t offset)
{
    return (volatile uint64_t *)(memory_base() + offset);
}

static void clear(uint64_t from, uint64_t to)
{
    for (uint64_t offset = from; offset < to; offset += 8) {
        *at(offset) = 0;
    }
}

// Every page that a probe may fetch from begins with the end of a probe.
static void fill_page(uint64_t offset, uint64_t mark)
{
    at(offset)[0] = ENDS_PROBE;
    at(offset)[1] = mark;
}

static void invalidate(void)
{
    __asm__ volatile("dsb ish\n\t" // the table writes are seen by walks
                     "tlbi vmalle1is\n\t"
                     "ic iallu\n\t" // pages were filled with code
                     "dsb ish\n\t"  // both are complete
                     "isb"          // and nothing was fetched under what was dropped
                     :
                     :
                     : "memory");
}

static void make_identity(void)
{
    const uint64_t base = memory_base();
    volatile uint64_t *const l1 = at(L1_IDENTITY_TABLE);
    l1[0] = (base + L2_LOW_TABLE) | TABLE;
    l1[base >> 30] = (base + L2_MEMORY_TABLE) | TABLE;
    at(L2_LOW_TABLE)[PL011_BASE >> 21] = (PL011_BASE & ~0x1fffffUL) | DEVICE;
    for (uint64_t i = 0; i < MEMORY_SIZE >> 21; i++) {
        at(L2_MEMORY_TABLE)[i] = (base + (i << 21)) | KERNEL;
    }
}

// The entries that levels 1 and 2 of the window have alike; `block` is where their blocks point.
static void make_window_level(uint64_t table, uint64_t next, uint64_t block)
{
    volatile uint64_t *const entry = at(table);
    entry[LX_TABLE] = (memory_base() + next) | TABLE;
    entry[LX_NO_AF] = block | (KERNEL & ~AF);
    entry[LX_READ_ONLY] = block | KERNEL | AP_READ_ONLY | PXN;
    entry[LX_UNOWNED] = UNOWNED_IPA | TABLE;
    entry[LX_OVERSIZE] = PAST_IPS | KERNEL;
    entry[LX_GOOD] = block | KERNEL;
    entry[LX_OVERSIZE_TABLE] = PAST_IPS | TABLE;
}

static void make_window_pages(void)
{
    const uint64_t page_a = memory_base() + PAGE_A;
    volatile uint64_t *const entry = at(L3_WINDOW_TABLE);
    entry[L3_GOOD] = page_a | KERNEL | PAGE;
    entry[L3_NO_AF] = page_a | ((KERNEL | AP_EL0) & ~AF) | PAGE;
    entry[L3_READ_ONLY] = page_a | KERNEL | PAGE | AP_READ_ONLY | PXN;
    entry[L3_UNOWNED] = UNOWNED_IPA | KERNEL | PAGE;
    entry[L3_OVERSIZE] = PAST_IPS | KERNEL | PAGE;
    entry[L3_PL011] = PL011_BASE | DEVICE | PAGE;
    entry[L3_EL0_WRITABLE] = page_a | LEAF | PAGE | AP_EL0;
    entry[L3_EL0_READ_ONLY] = page_a | LEAF | PAGE | AP_EL0 | AP_READ_ONLY;
    entry[L3_CODE] = page_a | KERNEL | PAGE;
    entry[L3_DEVICE_MEMORY] = page_a | DEVICE | PAGE;
    entry[L3_RESERVED] = page_a | KERNEL;
    entry[L3_CHANGING] = page_a | KERNEL | PAGE;
    entry[L3_BEFORE_UNOWNED] = page_a | KERNEL | PAGE;
    entry[L3_AFTER_GOOD] = UNOWNED_IPA | KERNEL | PAGE;
    entry[L3_EL0_NO_EXECUTE] = page_a | KERNEL | PAGE | AP_EL0;
    for (uint64_t i = 0; i < 16; i++) {
        entry[L3_CONTIGUOUS + i] =
            (memory_base() + PAGE_B + i * 0x1000) | KERNEL | PAGE | CONTIGUOUS;
    }
    entry[L3_PL011_READ_ONLY] = PL011_BASE | DEVICE | PAGE | AP_READ_ONLY;
    entry[L3_EL0_UNOWNED] = UNOWNED_IPA | LEAF | PAGE | AP_EL0;
    entry[L3_EL0_UNOWNED_CODE] = UNOWNED_IPA | LEAF | PAGE | AP_EL0 | AP_READ_ONLY;
    entry[L3_EL0_PL011] = PL011_BASE | DEVICE | PAGE | AP_EL0;
    entry[L3_BEFORE_INVALID] = page_a | KERNEL | PAGE;
    entry[L3_PAST_40_BITS] = PAST_IPA | KERNEL | PAGE;
}

struct regime make_tables_4k(void)
{
    const uint64_t base = memory_base();
    const struct regime regime = {
        .tcr = TCR_T0SZ(16UL) | TCR_T1SZ_16 | TCR_TG1_4K | TCR_IPS_40,
        .ttbr0 = base + L0_TABLE,
        .ttbr1 = UNOWNED_IPA,
    };
    clear(TABLES, TABLES_END);
    fill_page(PAGE_A, MARK_A);
    fill_page(PAGE_B, MARK_B);
    fill_page(PAGE_B_NEXT, MARK_B);
    make_identity();
    make_window_level(L1_WINDOW_TABLE, L2_WINDOW_TABLE, base & ~0x3fffffffUL);
    make_window_level(L2_WINDOW_TABLE, L3_WINDOW_TABLE, base + (PAGE_A & ~0x1fffffUL));
    at(L2_WINDOW_TABLE)[LX_UNOWNED_BLOCK] = (UNOWNED_IPA & ~0x1fffffUL) | KERNEL;
    make_window_pages();
    at(L1_USER_TABLE)[0] = (base + L2_USER_TABLE) | TABLE;
    at(L2_USER_TABLE)[0] = ((uint64_t)_start & ~0x1fffffUL) | LEAF | AP_EL0 | AP_READ_ONLY | PXN;

    volatile uint64_t *const l0 = at(L0_TABLE);
    l0[L0_IDENTITY] = (base + L1_IDENTITY_TABLE) | TABLE;
    l0[L0_WINDOW] = (base + L1_WINDOW_TABLE) | TABLE;
    l0[L0_BLOCK] = KERNEL;
    l0[L0_UNOWNED] = UNOWNED_IPA | TABLE;
    l0[L0_OVERSIZE] = PAST_IPS | TABLE;
    l0[L0_USER] = (base + L1_USER_TABLE) | TABLE;
    l0[L0_RESTRICTED] =
        (base + L1_WINDOW_TABLE) | TABLE | AP_TABLE_READ_ONLY | PXN_TABLE | UXN_TABLE;
    l0[L0_DEVICE_WALK] = PL011_BASE | TABLE;
    el0_offset = VA(6UL, 0, 0, 0) - ((uint64_t)_start & ~0x1fffffUL);
    return regime;
}

struct regime make_tables_64k(void)
{
    const uint64_t base = memory_base();
    const struct regime regime = {
        .tcr = TCR_T0SZ(16UL) | TCR_TG0_64K | TCR_EPD1 | TCR_IPS_40,
        .ttbr0 = base + K64_L1_TABLE,
        .ttbr1 = 0,
    };
    clear(K64_L1_TABLE, K64_TABLES_END);
    at(K64_L1_TABLE)[0] = (base + K64_L2_TABLE_AT) | TABLE;
    volatile uint64_t *const l2 = at(K64_L2_TABLE_AT);
    l2[0] = DEVICE; // the first 512 MiB, with the PL011
    l2[base >> 29] = (base & ~0x1fffffffUL) | KERNEL;
    l2[K64_L2_TABLE] = (base + K64_L3_TABLE_AT) | TABLE;
    l2[K64_L2_NO_AF] = (base & ~0x1fffffffUL) | (KERNEL & ~AF);
    volatile uint64_t *const l3 = at(K64_L3_TABLE_AT);
    l3[K64_L3_GOOD] = (base + PAGE_A) | KERNEL | PAGE;
    l3[K64_L3_NO_AF] = (base + PAGE_A) | (KERNEL & ~AF) | PAGE;
    l3[K64_L3_READ_ONLY] = (base + PAGE_A) | KERNEL | PAGE | AP_READ_ONLY;
    l3[K64_L3_UNOWNED] = UNOWNED_IPA | KERNEL | PAGE;
    return regime;
}

struct regime start_at_level_1(const struct regime *regime)
{
    struct regime result = *regime;
    result.tcr = (regime->tcr & ~0x3fUL) | TCR_T0SZ(25UL);
    result.ttbr0 = memory_base() + L1_IDENTITY_TABLE;
    return result;
}

struct regime with_44_bit_addresses(const struct regime *regime)
{
    struct regime result = *regime;
    result.tcr = (regime->tcr & ~TCR_IPS_MASK) | TCR_IPS_44;
    return result;
}

struct regime with_walk_disabled_in_upper_half(const struct regime *regime)
{
    struct regime result = *regime;
    result.tcr |= TCR_EPD1;
    return result;
}

void change_page(uint64_t mark)
{
    volatile uint64_t *const entry = &at(L3_WINDOW_TABLE)[L3_CHANGING];
    const uint64_t va = VA(1UL, 0, 0, (uint64_t)L3_CHANGING);
    *entry = 0;
    __asm__ volatile("dsb ishst\n\t" // the break is seen by walks before the TLBI
                     "tlbi vae1is, %0\n\t"
                     "dsb ish" // the TLBI is complete before the make
                     :
                     : "r"(va >> 12)
                     : "memory");
    if (mark != 0) {
        *entry = (memory_base() + (mark == MARK_A ? PAGE_A : PAGE_B)) | KERNEL | PAGE;
    }
    __asm__ volatile("dsb ishst\n\tisb" : : : "memory"); // the make is seen by later walks
}

void set_access_flag(void)
{
    at(L3_WINDOW_TABLE)[L3_NO_AF] |= AF;                 // such an entry is in no TLB: no TLBI
    __asm__ volatile("dsb ishst\n\tisb" : : : "memory"); // seen by later walks
}

void use(const struct regime *regime)
{
    WRITE_SYSREG(mair_el1, MAIR);
    WRITE_SYSREG(tcr_el1, regime->tcr);
    WRITE_SYSREG(ttbr0_el1, regime->ttbr0);
    WRITE_SYSREG(ttbr1_el1, regime->ttbr1);
    invalidate();
}
