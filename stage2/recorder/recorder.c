// SPDX-License-Identifier: Apache-2.0
// Host build of the page-table library: an arena of memory that stands for physical RAM, and a
// recorder of the primitive operations. Entry points take scalars only, for ctypes. One thread.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stage2/pgtable.h>
#include <stage2/primitives.h>

#ifdef __SANITIZE_ADDRESS__ // gcc
#define WITH_ASAN
#elif defined(__has_feature) // clang
#if __has_feature(address_sanitizer)
#define WITH_ASAN
#endif
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define SPACES_MAX 4u
#define WORDS (PAGE_SIZE / sizeof(uint64_t))

// RAM is not zero at reset. Read as descriptors, these words are valid: tables, and pages.
#define POISON UINT64_C(0x00005a5a5a5a5fff)

// Each page is followed by a gap of one page, so that an index out of a table hits no other table.
struct cell {
    uint64_t page[WORDS];
    uint64_t gap[WORDS];
};

enum event_kind {
    EVENT_WRITE = 0, // a: PA of the entry, b: descriptor
    EVENT_ZERO = 1,  // a: PA of the page
    EVENT_DSB_ISHST = 2,
    EVENT_DSB_ISH = 3,
    EVENT_ISB = 4,
    EVENT_SET_VTTBR = 5,      // a: value
    EVENT_TLBI_IPAS2E1IS = 6, // a: IPA
    EVENT_TLBI_VMALLE1IS = 7,
    EVENT_TLBI_VMALLS12E1IS = 8,
    EVENT_TLBI_VAE2IS = 9, // a: VA
    EVENT_BAD_ACCESS = 10, // a: PA outside the arena, or 0 for a pointer outside
};

// More than any one test records: an operation that does not end would fill the memory.
#define EVENTS_MAX (UINT64_C(1) << 23)

struct event {
    uint64_t kind;
    uint64_t a;
    uint64_t b;
};

struct arena {
    uint64_t base;
    uint64_t pages;
    struct cell *cells;
    struct pgt_pool pool;
    struct pgt spaces[SPACES_MAX];
    uint64_t vttbr;
    struct event *events;
    size_t event_count;
    size_t event_room;
    uint64_t scratch[WORDS]; // where accesses to no memory go
};

static struct arena *current;

static void record(enum event_kind kind, uint64_t a, uint64_t b)
{
    if (current->event_count == EVENTS_MAX) {
        fputs("stage2/recorder: an operation does not end\n", stderr);
        abort();
    }
    if (current->event_count == current->event_room) {
        current->event_room = current->event_room * 2 + 1024;
        current->events = realloc(current->events, current->event_room * sizeof(struct event));
        if (current->events == NULL) {
            abort();
        }
    }
    current->events[current->event_count++] = (struct event){(uint64_t)kind, a, b};
}

static uint64_t *page_of(pa_t table)
{
    uint64_t offset = pa_value(table) - current->base;
    if (pa_value(table) < current->base || offset / PAGE_SIZE >= current->pages ||
        offset % PAGE_SIZE != 0) {
        record(EVENT_BAD_ACCESS, pa_value(table), 0);
        memset(current->scratch, 0, sizeof(current->scratch));
        return current->scratch;
    }
    return current->cells[offset / PAGE_SIZE].page;
}

uint64_t *pgt_prim_table(pa_t table)
{
    return page_of(table);
}

void pgt_prim_write(uint64_t *entry, uint64_t descriptor)
{
    uintptr_t offset = (uintptr_t)entry - (uintptr_t)current->cells;
    uint64_t cell = offset / sizeof(struct cell);
    uint64_t byte = offset % sizeof(struct cell);
    if (cell >= current->pages || byte >= PAGE_SIZE) {
        record(EVENT_BAD_ACCESS, 0, descriptor);
        return;
    }
    *entry = descriptor;
    record(EVENT_WRITE, current->base + cell * PAGE_SIZE + byte, descriptor);
}

void pgt_prim_zero(pa_t table)
{
    memset(page_of(table), 0, PAGE_SIZE);
    record(EVENT_ZERO, pa_value(table), 0);
}

void pgt_prim_dsb_ishst(void)
{
    record(EVENT_DSB_ISHST, 0, 0);
}

void pgt_prim_dsb_ish(void)
{
    record(EVENT_DSB_ISH, 0, 0);
}

void pgt_prim_isb(void)
{
    record(EVENT_ISB, 0, 0);
}

uint64_t pgt_prim_set_vttbr(uint64_t vttbr)
{
    uint64_t old = current->vttbr;
    current->vttbr = vttbr;
    record(EVENT_SET_VTTBR, vttbr, 0);
    return old;
}

void pgt_prim_tlbi_ipas2e1is(ipa_t ipa)
{
    record(EVENT_TLBI_IPAS2E1IS, ipa_value(ipa), 0);
}

void pgt_prim_tlbi_vmalle1is(void)
{
    record(EVENT_TLBI_VMALLE1IS, 0, 0);
}

void pgt_prim_tlbi_vmalls12e1is(void)
{
    record(EVENT_TLBI_VMALLS12E1IS, 0, 0);
}

void pgt_prim_tlbi_vae2is(va_t va)
{
    record(EVENT_TLBI_VAE2IS, va_value(va), 0);
}

// Entry points. `space` is below SPACES_MAX.

static struct pgt_perm perm_of(uint32_t bits)
{
    return (struct pgt_perm){(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
}

static uint32_t bits_of(struct pgt_perm perm)
{
    return (perm.read ? 1u : 0) | (perm.write ? 2u : 0) | (perm.exec ? 4u : 0) |
           (perm.exec_el0 ? 8u : 0);
}

void host_free(struct arena *arena);

struct arena *host_new(uint64_t base, uint64_t pages)
{
    struct arena *arena = calloc(1, sizeof(*arena));
    struct cell *cells = malloc(pages * sizeof(*cells));
    if (arena == NULL || cells == NULL) {
        free(arena);
        free(cells);
        return NULL;
    }
    arena->base = base;
    arena->pages = pages;
    arena->cells = cells;
    for (uint64_t i = 0; i < pages * sizeof(*cells) / sizeof(uint64_t); i++) {
        ((uint64_t *)cells)[i] = POISON;
    }
#ifdef WITH_ASAN
    for (uint64_t i = 0; i < pages; i++) {
        __asan_poison_memory_region(cells[i].gap, sizeof(cells[i].gap));
    }
#endif
    return arena;
}

void host_free(struct arena *arena)
{
#ifdef WITH_ASAN
    __asan_unpoison_memory_region(arena->cells, arena->pages * sizeof(struct cell));
#endif
    free(arena->cells);
    free(arena->events);
    free(arena);
}

// Whether no gap between the pages was written.
int32_t host_gaps_intact(const struct arena *arena)
{
#ifndef WITH_ASAN
    for (uint64_t i = 0; i < arena->pages; i++) {
        for (uint64_t word = 0; word < WORDS; word++) {
            if (arena->cells[i].gap[word] != POISON) {
                return 0;
            }
        }
    }
#endif
    (void)arena;
    return 1;
}

// Copies page `index` of the arena to `out`.
void host_read_page(const struct arena *arena, uint64_t index, void *out)
{
    memcpy(out, arena->cells[index].page, PAGE_SIZE);
}

// Reads the word after the first page: a build under ASan must end here.
uint64_t host_read_past(const struct arena *arena)
{
    return *(const volatile uint64_t *)arena->cells[0].gap;
}

void host_poke(struct arena *arena, uint64_t pa, uint64_t value)
{
    uint64_t offset = pa - arena->base;
    arena->cells[offset / PAGE_SIZE].page[offset % PAGE_SIZE / sizeof(uint64_t)] = value;
}

uint64_t host_event_count(const struct arena *arena)
{
    return arena->event_count;
}

const struct event *host_events(const struct arena *arena)
{
    return arena->events;
}

void host_forget_events(struct arena *arena)
{
    arena->event_count = 0;
}

uint32_t host_free_pages(const struct arena *arena)
{
    return arena->pool.free_pages;
}

void host_set_vttbr(struct arena *arena, uint64_t vttbr)
{
    arena->vttbr = vttbr;
}

uint64_t host_vttbr(const struct arena *arena)
{
    return arena->vttbr;
}

int32_t host_pool_init(struct arena *arena, uint64_t base, uint32_t pages)
{
    current = arena;
    return (int32_t)pgt_pool_init(&arena->pool, pa_of(base), pages);
}

static struct pgt_config config_of(uint32_t regime, uint32_t ia_bits, uint32_t pa_bits,
                                   uint32_t vmid, uint32_t xnx, uint32_t pages_only)
{
    return (struct pgt_config){(enum pgt_regime)regime, ia_bits,  pa_bits,
                               (uint16_t)vmid,          xnx != 0, pages_only != 0};
}

uint64_t host_root_size(uint32_t regime, uint32_t ia_bits, uint32_t pa_bits, uint32_t vmid,
                        uint32_t xnx, uint32_t pages_only)
{
    struct pgt_config config = config_of(regime, ia_bits, pa_bits, vmid, xnx, pages_only);
    return pgt_root_size(&config);
}

int32_t host_init(struct arena *arena, uint32_t space, uint32_t regime, uint32_t ia_bits,
                  uint32_t pa_bits, uint32_t vmid, uint32_t xnx, uint32_t pages_only, uint64_t root)
{
    current = arena;
    struct pgt_config config = config_of(regime, ia_bits, pa_bits, vmid, xnx, pages_only);
    return (int32_t)pgt_init(&arena->spaces[space], &config, pa_of(root), &arena->pool);
}

static ia_t ia_in(const struct pgt *pgt, uint64_t ia)
{
    return pgt->config.regime == PGT_EL2 ? ia_of_va(va_of(ia)) : ia_of_ipa(ipa_of(ia));
}

int32_t host_map(struct arena *arena, uint32_t space, uint64_t ia, uint64_t pa, uint64_t size,
                 uint32_t perm, uint32_t type)
{
    struct pgt *pgt = &arena->spaces[space];
    struct pgt_attr attr = {perm_of(perm), (enum pgt_memory)type};
    current = arena;
    return (int32_t)pgt_map(pgt, ia_in(pgt, ia), pa_of(pa), size, attr);
}

int32_t host_unmap(struct arena *arena, uint32_t space, uint64_t ia, uint64_t size)
{
    struct pgt *pgt = &arena->spaces[space];
    current = arena;
    return (int32_t)pgt_unmap(pgt, ia_in(pgt, ia), size);
}

int32_t host_protect(struct arena *arena, uint32_t space, uint64_t ia, uint64_t size, uint32_t perm)
{
    struct pgt *pgt = &arena->spaces[space];
    current = arena;
    return (int32_t)pgt_protect(pgt, ia_in(pgt, ia), size, perm_of(perm));
}

int32_t host_reserve(struct arena *arena, uint32_t space, uint64_t ia, uint64_t size)
{
    struct pgt *pgt = &arena->spaces[space];
    current = arena;
    return (int32_t)pgt_reserve(pgt, ia_in(pgt, ia), size);
}

int32_t host_fill(struct arena *arena, uint32_t space, uint64_t ia, uint64_t pa, uint64_t size,
                  uint32_t perm, uint32_t type)
{
    struct pgt *pgt = &arena->spaces[space];
    struct pgt_attr attr = {perm_of(perm), (enum pgt_memory)type};
    current = arena;
    return (int32_t)pgt_fill(pgt, ia_in(pgt, ia), pa_of(pa), size, attr);
}

int32_t host_hold(struct arena *arena, uint32_t space, uint64_t ia, uint64_t size)
{
    struct pgt *pgt = &arena->spaces[space];
    current = arena;
    return (int32_t)pgt_hold(pgt, ia_in(pgt, ia), size);
}

void host_clear(struct arena *arena, uint32_t space)
{
    current = arena;
    pgt_clear(&arena->spaces[space]);
}

// out: descriptor, level, size, pa, permission bits, memory type.
int32_t host_walk(struct arena *arena, uint32_t space, uint64_t ia, uint64_t out[6])
{
    struct pgt *pgt = &arena->spaces[space];
    struct pgt_walk walk;
    memset(&walk, 0, sizeof(walk));
    current = arena;
    enum pgt_status status = pgt_walk(pgt, ia_in(pgt, ia), &walk);
    out[0] = walk.descriptor;
    out[1] = walk.level;
    out[2] = walk.size;
    out[3] = pa_value(walk.pa);
    out[4] = bits_of(walk.attr.perm);
    out[5] = (uint64_t)walk.attr.type;
    return (int32_t)status;
}

// out: VTTBR_EL2, VTCR_EL2, TTBR0_EL2, TCR_EL2, start level.
void host_registers(const struct arena *arena, uint32_t space, uint64_t out[5])
{
    const struct pgt *pgt = &arena->spaces[space];
    out[0] = pgt_vttbr_el2(pgt);
    out[1] = pgt->config.regime == PGT_STAGE2 ? pgt_vtcr_el2(pgt) : 0;
    out[2] = pgt_ttbr0_el2(pgt);
    out[3] = pgt_tcr_el2(pgt);
    out[4] = pgt->start_level;
}
