// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/image.h>
#include <el2/memory.h>
#include <el2/mm.h>

#define MAX_TAKEN (BOARD_MAX_RESERVED + 3u)

struct frame_bank frame_banks[BOARD_MAX_BANKS];

// The lowest range of `size` bytes in the banks that meets none of `taken`.
static bool find_hole(const struct board *board, const struct board_range *taken, uint32_t count,
                      uint64_t size, pa_t *base)
{
    for (uint32_t b = 0; b < board->bank_count; b++) {
        uint64_t bank = pa_value(board->banks[b].base);
        uint64_t at = bank;
        for (uint32_t tries = 0; tries <= count; tries++) { // each range can move `at` up once
            for (uint32_t i = 0; i < count; i++) {
                uint64_t start = pa_value(taken[i].base);
                if (ranges_overlap(at, size, start, taken[i].size)) {
                    at = (start + taken[i].size + PAGE_MASK) & ~PAGE_MASK;
                }
            }
        }
        bool clear = range_within(at, size, bank, board->banks[b].size);
        for (uint32_t i = 0; i < count; i++) {
            clear = clear && !ranges_overlap(at, size, pa_value(taken[i].base), taken[i].size);
        }
        if (clear) {
            *base = pa_of(at);
            return true;
        }
    }
    return false;
}

static struct board_range whole_pages(struct board_range range)
{
    uint64_t start = pa_value(range.base) & ~PAGE_MASK;
    uint64_t end = (pa_value(range.base) + range.size + PAGE_MASK) & ~PAGE_MASK;
    return (struct board_range){pa_of(start), end - start};
}

// Enter a range; parts that are not RAM, or that are entered already, stay as they are.
static void enter(struct board_range range, unsigned owner)
{
    for (uint32_t b = 0; b < BOARD_MAX_BANKS; b++) {
        struct frame_bank *bank = &frame_banks[b];
        uint64_t start = pa_value(range.base);
        uint64_t end = start + range.size;
        uint64_t bank_end = bank->base + bank->count * PAGE_SIZE;
        start = start < bank->base ? bank->base : start;
        end = end > bank_end ? bank_end : end;
        for (uint64_t at = start; at < end; at += PAGE_SIZE) {
            struct frame *frame = &bank->frames[(at - bank->base) / PAGE_SIZE];
            if (frame->state == FRAME_FREE) {
                *frame = (struct frame){(uint8_t)owner, FRAME_OWNED};
            }
        }
    }
}

bool frames_init(const struct board *board, struct board_range dtb, struct boot_error *error)
{
    struct board_range taken[MAX_TAKEN];
    uint32_t count = 0;
    taken[count++] = (struct board_range){pa_of(image_address(image_start)),
                                          image_address(image_end) - image_address(image_start)};
    taken[count++] = whole_pages(dtb);
    taken[count++] = whole_pages(board->bundle);
    for (uint32_t i = 0; i < board->reserved_count; i++) {
        taken[count++] = board->reserved[i];
    }
    uint64_t frames = 0;
    for (uint32_t b = 0; b < board->bank_count; b++) {
        frames += board->banks[b].size / PAGE_SIZE;
    }
    struct board_range self =
        whole_pages((struct board_range){pa_of(0), frames * sizeof(struct frame)});
    if (!find_hole(board, taken, count, self.size, &self.base) ||
        !mm_map(self.base, self.size, MM_READ_WRITE)) {
        return refuse(error, "memory", "no room for the frame table", "give the board more memory");
    }
    mm_zero(self.base, self.size);
    struct frame *next = mm_pointer(self.base);
    for (uint32_t b = 0; b < board->bank_count; b++) {
        uint64_t bank_frames = board->banks[b].size / PAGE_SIZE;
        frame_banks[b] = (struct frame_bank){pa_value(board->banks[b].base), bank_frames, next};
        next += bank_frames;
    }
    enter(self, OWNER_EL2);
    for (uint32_t i = 0; i < count; i++) {
        enter(taken[i], i < 3 ? OWNER_EL2 : OWNER_FIRMWARE);
    }
    return true;
}

static struct frame_bank *bank_of(pa_t base, uint64_t size)
{
    for (uint32_t b = 0; b < BOARD_MAX_BANKS; b++) {
        struct frame_bank *bank = &frame_banks[b];
        if (bank->count != 0 &&
            range_within(pa_value(base), size, bank->base, bank->count * PAGE_SIZE)) {
            return bank;
        }
    }
    return NULL;
}

// Index of the last frame of [first, first + count) that is not free, plus 1; 0: all are free.
static uint64_t last_taken(const struct frame_bank *bank, uint64_t first, uint64_t count)
{
    for (uint64_t i = first + count; i > first; i--) {
        if (bank->frames[i - 1].state != FRAME_FREE) {
            return i;
        }
    }
    return 0;
}

bool frames_take(pa_t base, uint64_t size, unsigned owner, enum frame_state state)
{
    struct frame_bank *bank = bank_of(base, size);
    if (bank == NULL || ((pa_value(base) | size) & PAGE_MASK) != 0) {
        return false;
    }
    uint64_t first = (pa_value(base) - bank->base) / PAGE_SIZE;
    uint64_t count = size / PAGE_SIZE;
    if (last_taken(bank, first, count) != 0) {
        return false;
    }
    for (uint64_t i = first; i < first + count; i++) {
        bank->frames[i] = (struct frame){(uint8_t)owner, (uint8_t)state};
    }
    return true;
}

bool frames_allocate(uint64_t size, uint64_t align, unsigned owner, enum frame_state state,
                     pa_t *base)
{
    for (uint32_t b = 0; b < BOARD_MAX_BANKS; b++) {
        struct frame_bank *bank = &frame_banks[b];
        uint64_t end = bank->base + bank->count * PAGE_SIZE;
        uint64_t at = (bank->base + align - 1) & ~(align - 1);
        while (range_within(at, size, bank->base, end - bank->base)) {
            uint64_t taken = last_taken(bank, (at - bank->base) / PAGE_SIZE, size / PAGE_SIZE);
            if (taken == 0) {
                *base = pa_of(at);
                return frames_take(*base, size, owner, state);
            }
            at = (bank->base + taken * PAGE_SIZE + align - 1) & ~(align - 1);
        }
    }
    return false;
}
