// SPDX-License-Identifier: Apache-2.0
// EL2's own map: VA = PA, only what is needed, never writable and executable.
#ifndef EL2_MM_H
#define EL2_MM_H

#include <stdint.h>

#include <el2/image.h>
#include <el2/manifest.h>
#include <stage2/addr.h>
#include <stage2/pgtable.h>

// Registers that boot.S loads when it switches the MMU on.
struct mm_boot_registers {
    uint64_t ttbr0_el2;
    uint64_t tcr_el2;
    uint64_t mair_el2;
};

enum mm_access {
    MM_READ_ONLY,
    MM_READ_WRITE,
    MM_DEVICE,
};

__attribute__((visibility("hidden"))) extern struct mm_boot_registers mm_boot_registers;

// With the MMU off: tables for the image itself, stack guards left out.
void mm_build(void);

// Whole pages around [base, base + size), none of them mapped before. False: not possible.
bool mm_map(pa_t base, uint64_t size, enum mm_access access);

// Exactly what one mm_map() mapped.
void mm_unmap(pa_t base, uint64_t size);

// Pages of guest memory that EL2 looks at while VMs run, at addresses of its own. Each number has
// one user at a time, who needs no lock; opening and closing needs no table.
enum {
    MM_WINDOW_TX = 0,           // + VM index: FF-A buffers
    MM_WINDOW_RX = VM_MAX,      // + VM index
    MM_WINDOW_CPU = 2 * VM_MAX, // + index of a pCPU: for as long as EL2 works on a page
    MM_WINDOWS = MM_WINDOW_CPU + CPU_MAX,
};

// `page`: RAM. The number is closed.
void *mm_window_open(uint32_t number, pa_t page, enum mm_access access);

// The number is open. On return nothing can reach the page by it.
void mm_window_close(uint32_t number);

static inline void *mm_window(uint32_t number)
{
    return window_start + number * PAGE_SIZE;
}

// Where EL2 reads and writes memory at `pa`.
static inline void *mm_pointer(pa_t pa)
{
    return (void *)(uintptr_t)pa_value(pa);
}

// Bits of a physical address that this PE implements (ID_AA64MMFR0_EL1.PARange), at most 48.
unsigned mm_pa_bits(void);

// Zeros for [base, base + size), mapped Normal; no maintenance.
void mm_zero(pa_t base, uint64_t size);

// Zeros for a page of a guest, cleaned to the point of coherency.
void mm_scrub(pa_t page);

// A page of a guest as it is, cleaned to the point of coherency: whoever reads it past the caches
// finds nothing older.
void mm_clean(pa_t page);

// Clean and invalidate to the point of coherency: a guest that has its caches off will see it, and
// finds no dirty line when it switches them on.
void mm_flush(pa_t base, uint64_t size);

#endif
