// SPDX-License-Identifier: Apache-2.0
// The pages of this VM: what each is used for, and what is in it.
#include "lending.h"

#define LINE 64
#define LINES (PAGE_SIZE / LINE)
#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

struct own own[OWN_MAX];
uint32_t owned;

// Marks: a word of each line, by a seed that the first one tells; seed 0 is a page of zeros.

static uint64_t place(uint64_t address, uint64_t line)
{
    return address + line * LINE + line % 8 * 8;
}

static uint64_t word(uint64_t seed, uint64_t line)
{
    return seed == 0 ? 0 : seed ^ line * GOLDEN;
}

void mark(struct caller *by, uint64_t address)
{
    const uint64_t seed = pick(by, 32) == 0 ? 0 : by->random | 1;
    for (uint64_t i = 0; i < LINES; i++) {
        store(place(address, i), word(seed, i));
    }
}

static uint64_t differing(uint64_t address, bool zero)
{
    const uint64_t seed = zero ? 0 : load(address);
    uint64_t count = 0;
    for (uint64_t i = 0; i < LINES; i++) {
        count += load(place(address, i)) != word(seed, i);
    }
    return count;
}

// Beside the marks; the place may be both VMs' at this time.
void scribble(struct caller *by, uint64_t address)
{
    const uint64_t line = pick(by, LINES);
    store(address + line * LINE + (line + 1) % 8 * 8, by->random);
}

struct own *some_page(struct caller *by, enum use use)
{
    const uint64_t from = pick(by, owned);
    for (uint64_t i = 0; i < owned; i++) {
        struct own *page = &own[(from + i) % owned];
        if (page->use == use) {
            return page;
        }
    }
    return NULL;
}

uint32_t count_free(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < owned; i++) {
        count += own[i].use == FREE;
    }
    return count;
}

void keep(uint64_t slot)
{
    for (uint32_t i = 0; i < owned; i++) {
        if (own[i].use == GIVEN && own[i].slot == slot) {
            own[i].use = FREE;
        }
    }
}

void drop(uint64_t slot)
{
    for (uint32_t i = 0; i < owned;) {
        if (own[i].use == GIVEN && own[i].slot == slot) {
            own[i] = own[--owned];
        } else {
            i++;
        }
    }
}

// What was got is as it should be; then it is this VM's to mark.
void look_at_pages(struct caller *by, uint64_t address, uint64_t pages, bool zero, bool writable)
{
    for (uint64_t i = 0; i < pages; i++) {
        const uint64_t page = address + i * PAGE_SIZE;
        const uint64_t wrong_lines = differing(page, zero);
        expect(by, zero ? "zeroed" : "handed over", wrong_lines == 0 || peer_over(), page);
        if (writable && pick(by, 2) == 0) {
            mark(by, page);
        }
    }
}
