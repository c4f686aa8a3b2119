// SPDX-License-Identifier: Apache-2.0
// The frame table: who owns each 4 KiB frame of RAM. Memory is handed out at boot only.
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
};

struct frame {
    uint8_t owner; // enum frame_owner
    uint8_t state; // enum frame_state
};

// Symbol frame_banks: the table as an observer finds it. Unused banks have no frames.
struct frame_bank {
    uint64_t base; // PA
    uint64_t count;
    struct frame *frames;
};

__attribute__((visibility("hidden"))) extern struct frame_bank frame_banks[BOARD_MAX_BANKS];

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
