// SPDX-License-Identifier: Apache-2.0
// The frame table: who owns each 4 KiB frame of RAM, and who else reaches it. Memory is handed out
// at boot; after that it changes hands by FF-A calls only, and goes home when a VM ends.
#ifndef EL2_FRAMES_H
#define EL2_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/board.h>
#include <stage2/addr.h>

// Owner of a frame. A VM is OWNER_VM + its VMID.
enum frame_owner {
    OWNER_NOBODY = 0,
    OWNER_FIRMWARE = 1, // reserved by the board's device tree
    OWNER_EL2 = 2,
    OWNER_VM = 16,
};

enum frame_state {
    FRAME_FREE = 0,
    FRAME_OWNED = 1, // by one owner, and nobody else reaches it
    FRAME_TABLE = 2, // set aside by EL2 for translation tables of a VM
    FRAME_SHOWN = 3, // written by EL2, read by its owner: telemetry
    // Of a VM that is an FF-A partition:
    FRAME_SHARED = 4,  // the owner has offered it, and reaches it as before
    FRAME_LENT = 5,    // the owner has offered it (also: as a gift), and cannot reach it
    FRAME_MAILBOX = 6, // mapped at EL2 as its RX or TX buffer
};

// Read and written whole.
struct frame {
    _Alignas(4) uint8_t owner; // enum frame_owner
    uint8_t state;             // enum frame_state
    uint8_t borrower;          // the VM (as an owner is given) that has taken up the offer; 0: none
    uint8_t zero;
};

// Symbol frame_banks: the table as an observer finds it. Unused banks have no frames.
struct frame_bank {
    uint64_t base; // PA
    uint64_t count;
    struct frame *frames;
};

__attribute__((visibility("hidden"))) extern struct frame_bank frame_banks[BOARD_MAX_BANKS];

// The frame of a byte of RAM. NULL: not RAM.
struct frame *frame_of(pa_t pa);

// After boot: a frame changes under the share lock of its owner (ffa_memory.h), but may be looked
// at by anyone: what was done to its contents before is seen by whoever sees the change.
static inline struct frame frame_get(const struct frame *frame)
{
    struct frame value;
    __atomic_load(frame, &value, __ATOMIC_ACQUIRE);
    return value;
}

static inline void frame_set(struct frame *frame, unsigned owner, enum frame_state state,
                             unsigned borrower)
{
    struct frame value = {(uint8_t)owner, (uint8_t)state, (uint8_t)borrower, 0};
    __atomic_store(frame, &value, __ATOMIC_RELEASE);
}

// Builds the table in RAM that neither the image, `dtb`, the bundle nor a reservation covers, and
// enters all of these as taken.
bool frames_init(const struct board *board, struct range dtb, struct boot_error *error);

// Give [base, base + size), whole free frames of one bank, to an owner. False: not all RAM, or not
// all free; then nothing has changed.
bool frames_take(pa_t base, uint64_t size, unsigned owner, enum frame_state state);

// The same for the lowest free range that starts at a multiple of `align`, a power of two.
bool frames_allocate(uint64_t size, uint64_t align, unsigned owner, enum frame_state state,
                     pa_t *base);

#endif
