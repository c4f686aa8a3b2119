// SPDX-License-Identifier: Apache-2.0
// What lending.c, pages.c and mailbox.c know of each other.
#ifndef LENDING_H
#define LENDING_H

#include "caller.h"

#pragma GCC visibility push(hidden)

#define OWN_MAX 64 // what both have at most
#define REQUEST_SIZE 64
#define WINDOW UINT64_C(0x70000000)

extern const char bss_end[]; // from there to MEMORY_END are the pages of this VM

enum use { FREE, BOX, BOARD, GIVEN };

// A page of this VM; the offer that it is given by.
struct own {
    uint64_t address;
    uint32_t use;
    uint32_t slot;
};

// pages.c
extern struct own own[OWN_MAX];
extern uint32_t owned;
void mark(struct caller *by, uint64_t address);     // by the caller's choice
void scribble(struct caller *by, uint64_t address); // beside the marks: the page may be both VMs'
struct own *some_page(struct caller *by, enum use use);
uint32_t count_free(void);
void keep(uint64_t slot); // what that offer was to give
void drop(uint64_t slot); // what that offer has given
void look_at_pages(struct caller *by, uint64_t address, uint64_t pages, bool zero, bool writable);

// mailbox.c
extern volatile uint64_t *tx;
extern const volatile uint64_t *rx;
bool box_begin(struct caller *by);
void box_moves(struct caller *by);
void partitions_call(struct caller *by);
void release_rx(struct caller *by);
int64_t retrieve_request(struct caller *by, struct smccc *args); // by what is in TX

// In the window, and gone for good perhaps: then something else may be there.
static inline bool may_be_reused(uint64_t given)
{
    return given >= WINDOW;
}

// lending.c
bool peer_over(void);

#pragma GCC visibility pop

#endif
