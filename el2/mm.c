// SPDX-License-Identifier: Apache-2.0
#include <el2/cpu.h>
#include <el2/image.h>
#include <el2/mm.h>
#include <el2/panic.h>
#include <el2/sysregs.h>

#define POOL_PAGES 64u

struct mm_boot_registers mm_boot_registers;

static struct pgt table;
static struct pgt_pool pool;
static uint8_t root_page[PAGE_SIZE] __attribute__((aligned(4096), section(".bss.pages")));
static uint8_t pool_pages[POOL_PAGES * PAGE_SIZE]
    __attribute__((aligned(4096), section(".bss.pages")));

unsigned mm_pa_bits(void)
{
    static const uint8_t bits[] = {32, 36, 40, 42, 44, 48};
    uint64_t range = id_field(READ_SYSREG(id_aa64mmfr0_el1), 0);
    return range < sizeof(bits) ? bits[range] : 48;
}

static struct pgt_attr attributes(enum mm_access access)
{
    struct pgt_attr attr = {{true, access != MM_READ_ONLY, false, false},
                            access == MM_DEVICE ? PGT_DEVICE_nGnRE : PGT_NORMAL_WB};
    return attr;
}

static bool map_pages(uint64_t start, uint64_t end, struct pgt_attr attr)
{
    return pgt_map(&table, ia_of_va(va_of(start)), pa_of(start), end - start, attr) == PGT_OK;
}

void mm_build(void)
{
    struct pgt_config config = {
        .regime = PGT_EL2, .ia_bits = mm_pa_bits(), .pa_bits = mm_pa_bits()};
    struct pgt_attr code = {{true, false, true, false}, PGT_NORMAL_WB};
    struct pgt_attr data = attributes(MM_READ_WRITE);
    bool good = pgt_pool_init(&pool, pa_of((uintptr_t)pool_pages), POOL_PAGES) == PGT_OK &&
                pgt_init(&table, &config, pa_of((uintptr_t)root_page), &pool) == PGT_OK &&
                map_pages(image_address(text_start), image_address(text_end), code) &&
                map_pages(image_address(rodata_start), image_address(rodata_end),
                          attributes(MM_READ_ONLY)) &&
                map_pages(image_address(data_start), image_address(data_end), data);
    for (uint64_t i = 0; good && i < CPU_MAX; i++) {
        uint64_t stack = image_address(stack_start) + i * STACK_STEP;
        uint64_t panic_stack = image_address(panic_stack_start) + i * PANIC_STACK_STEP;
        good = map_pages(stack, stack + STACK_SIZE, data) &&
               map_pages(panic_stack, panic_stack + PANIC_STACK_SIZE, data);
    }
    good = good && pgt_reserve(&table, ia_of_va(va_of(image_address(window_start))),
                               MM_WINDOWS * PAGE_SIZE) == PGT_OK;
    if (!good) {
        panic("EL2's own map cannot be built");
    }
    mm_boot_registers = (struct mm_boot_registers){
        pgt_ttbr0_el2(&table),
        pgt_tcr_el2(&table),
        PGT_MAIR_EL2,
    };
}

static uint64_t page_floor(uint64_t address)
{
    return address & ~PAGE_MASK;
}

static uint64_t page_ceiling(uint64_t address)
{
    return (address + PAGE_MASK) & ~PAGE_MASK;
}

bool mm_map(pa_t base, uint64_t size, enum mm_access access)
{
    uint64_t start = pa_value(base);
    if (size == 0 || start + size + PAGE_MASK < start) {
        return false;
    }
    return map_pages(page_floor(start), page_ceiling(start + size), attributes(access));
}

void mm_unmap(pa_t base, uint64_t size)
{
    uint64_t start = page_floor(pa_value(base));
    uint64_t end = page_ceiling(pa_value(base) + size);
    if (pgt_unmap(&table, ia_of_va(va_of(start)), end - start) != PGT_OK) {
        panic("a part of EL2's map cannot be taken away");
    }
}

static ia_t window_address(uint32_t number)
{
    return ia_of_va(va_of((uintptr_t)mm_window(number)));
}

void *mm_window_open(uint32_t number, pa_t page, enum mm_access access)
{
    if (pgt_fill(&table, window_address(number), page, PAGE_SIZE, attributes(access)) != PGT_OK) {
        panic("a window of EL2 is open already");
    }
    return mm_window(number);
}

void mm_window_close(uint32_t number)
{
    if (pgt_hold(&table, window_address(number), PAGE_SIZE) != PGT_OK) {
        panic("a window of EL2 is not open");
    }
}

// `operation` on each block of `step` bytes in [at, end). It runs over whole VMs, so eight blocks
// share the cost of the loop.
#define DC_ONE(operation) "dc " operation ", %0\n add %0, %0, %1\n"
#define DC_FOUR(operation) DC_ONE(operation) DC_ONE(operation) DC_ONE(operation) DC_ONE(operation)
#define DC_RANGE(operation, at, end, step)                                                         \
    do {                                                                                           \
        while ((end) - (at) >= 16 * (step)) {                                                      \
            __asm__ volatile(DC_FOUR(operation) DC_FOUR(operation) DC_FOUR(operation)              \
                                 DC_FOUR(operation)                                                \
                             : "+r"(at)                                                            \
                             : "r"(step)                                                           \
                             : "memory");                                                          \
        }                                                                                          \
        while ((at) < (end)) {                                                                     \
            __asm__ volatile(DC_ONE(operation) : "+r"(at) : "r"(step) : "memory");                 \
        }                                                                                          \
    } while (0)

void mm_zero(pa_t base, uint64_t size)
{
    uint64_t at = pa_value(base);
    uint64_t end = at + size;
    uint64_t dczid = READ_SYSREG(dczid_el0);
    uint64_t block = UINT64_C(4) << (dczid & ID_FIELD_MASK);
    if ((dczid & DCZID_DZP) != 0 || (at | end) % block != 0) {
        for (; at != end; at += 8) {
            *(volatile uint64_t *)(uintptr_t)at = 0;
        }
        return;
    }
    DC_RANGE("zva", at, end, block);
}

void mm_scrub(pa_t page)
{
    uint32_t number = MM_WINDOW_CPU + this_cpu()->index;
    pa_t at = pa_of((uintptr_t)mm_window_open(number, page, MM_READ_WRITE));
    mm_zero(at, PAGE_SIZE);
    mm_flush(at, PAGE_SIZE);
    mm_window_close(number);
}

void mm_clean(pa_t page)
{
    uint32_t number = MM_WINDOW_CPU + this_cpu()->index;
    mm_flush(pa_of((uintptr_t)mm_window_open(number, page, MM_READ_ONLY)), PAGE_SIZE);
    mm_window_close(number);
}

void mm_flush(pa_t base, uint64_t size)
{
    uint64_t line = UINT64_C(4) << id_field(READ_SYSREG(ctr_el0), CTR_DMINLINE_SHIFT);
    uint64_t end = pa_value(base) + size;
    uint64_t at = pa_value(base) & ~(line - 1);
    DC_RANGE("civac", at, end, line);
    __asm__ volatile("dsb sy" : : : "memory"); // all of it in memory before anything after
}
