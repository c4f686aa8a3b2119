// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/image.h>
#include <el2/memory.h>
#include <el2/mm.h>

#define MAX_TAKEN (BOARD_MAX_RESERVED + 3u)

struct frame_bank frame_banks[BOARD_MAX_BANKS];

// A range of `size` bytes in the banks that meets none of `taken`: if there is one, one starts
// where a bank starts or one of these ends.
static bool find_hole(const struct board *board, const struct range *taken, uint32_t count,
                      struct range *hole)
{
    for (uint32_t b = 0; b < board->bank_count; b++) {
        hole->base = board->banks[b].base;
        for (uint32_t i = 0; i <= count; i++) {
            if (range_within(*hole, board->banks[b]) && !range_meets(*hole, taken, count)) {
                return true;
            }
            hole->base = i < count ? taken[i].base + taken[i].size : 0;
        }
    }
    return false;
}

static struct range whole_pages(struct range range)
{
    uint64_t start = range.base & ~PAGE_MASK;
    return (struct range){start, ((range.base + range.size + PAGE_MASK) & ~PAGE_MASK) - start};
}

// Enter a range; parts that are not RAM, or that are entered already, stay as they are.
static void enter(struct range range, unsigned owner)
{
    for (uint32_t b = 0; b < BOARD_MAX_BANKS; b++) {
        struct frame_bank *bank = &frame_banks[b];
        uint64_t bank_end = bank->base + bank->count * PAGE_SIZE;
        uint64_t end = range.base + range.size;
        end = end > bank_end ? bank_end : end;
        for (uint64_t at = range.base < bank->base ? bank->base : range.base; at < end;
             at += PAGE_SIZE) {
            struct frame *frame = &bank->frames[(at - bank->base) / PAGE_SIZE];
            if (frame->state == FRAME_FREE) {
                frame_set(frame, owner, FRAME_OWNED, 0);
            }
        }
    }
}

bool frames_init(const struct board *board, struct range dtb, struct boot_error *error)
{
    uint64_t image = image_address(image_start);
    struct range taken[MAX_TAKEN] = {
        {image, image_address(image_end) - image}, whole_pages(dtb), whole_pages(board->bundle)};
    uint32_t count = 3;
    for (uint32_t i = 0; i < board->reserved_count; i++) {
        taken[count++] = board->reserved[i];
    }
    uint64_t frames = 0;
    for (uint32_t b = 0; b < board->bank_count; b++) {
        frames += board->banks[b].size / PAGE_SIZE;
    }
    struct range self = whole_pages((struct range){0, frames * sizeof(struct frame)});
    if (!find_hole(board, taken, count, &self) ||
        !mm_map(pa_of(self.base), self.size, MM_READ_WRITE)) {
        return refuse(error, "memory", "no room for the frame table", "give the board more memory");
    }
    mm_zero(pa_of(self.base), self.size);
    struct frame *next = mm_pointer(pa_of(self.base));
    for (uint32_t b = 0; b < board->bank_count; b++) {
        uint64_t bank_frames = board->banks[b].size / PAGE_SIZE;
        frame_banks[b] = (struct frame_bank){board->banks[b].base, bank_frames, next};
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
        if (bank->count != 0 && range_within((struct range){pa_value(base), size},
                                             (struct range){bank->base, bank->count * PAGE_SIZE})) {
            return bank;
        }
    }
    return NULL;
}

struct frame *frame_of(pa_t pa)
{
    struct frame_bank *bank = bank_of(pa, 1);
    return bank == NULL ? NULL : &bank->frames[(pa_value(pa) - bank->base) / PAGE_SIZE];
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
        frame_set(&bank->frames[i], owner, state, 0);
    }
    return true;
}

bool frames_allocate(uint64_t size, uint64_t align, unsigned owner, enum frame_state state,
                     pa_t *base)
{
    for (uint32_t b = 0; b < BOARD_MAX_BANKS; b++) {
        struct frame_bank *bank = &frame_banks[b];
        struct range all = {bank->base, bank->count * PAGE_SIZE};
        uint64_t at = (bank->base + align - 1) & ~(align - 1);
        while (range_within((struct range){at, size}, all)) {
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
