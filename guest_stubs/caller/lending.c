// SPDX-License-Identifier: Apache-2.0
// Two VMs that share, lend and give each other pages. A page that one of them has to itself is
// marked, or zero; so is what it gets from the other. What is on offer stands on a board, a page
// that the one with the lower id shares with the other for good.
#include "lending.h"

#define NOWHERE (WINDOW + UINT64_C(0x3ff000)) // of the window, and never come to
#define SLOTS 8                               // offers at a time
#define MOST_PAGES 12
#define KEPT 6 // pages that are not offered
#define MOST_YIELDS 20000
#define HALF 2048 // of the board
#define ENTRY 32  // of the board: handle, tag, the handle again while the pages are zero, writable
#define ENTRY_TAG 8
#define ENTRY_ZERO 16
#define ENTRY_WRITABLE 24
#define DONE (SLOTS * ENTRY)
#define ARRIVED (DONE + 8)
#define FFA_DATA_RO 1u
#define FFA_DATA_RW 2u
#define WORDS 10 // of a descriptor, before its ranges

enum kind { SHARE = 1, LEND, DONATE };

struct offered {
    uint64_t handle; // 0: none
    uint32_t kind;
    bool writable;
};
// What was retrieved of the peer's offer in that slot.
struct loan {
    uint64_t handle; // 0: none
    uint64_t address;
    uint32_t pages;
    uint32_t kind;
    bool writable;
};

struct counts counts;
static struct offered offers[SLOTS];
static struct loan loans[SLOTS];
static uint64_t board;

static uint64_t mine(uint64_t slot)
{
    return board + (world.self < world.peer ? 0 : HALF) + slot * ENTRY;
}

static uint64_t theirs(uint64_t slot)
{
    return board + (world.self < world.peer ? HALF : 0) + slot * ENTRY;
}

bool peer_over(void)
{
    // FAULTED, too, is not 0: the peer's life has ended, and the board with it.
    return board != 0 && load(theirs(0) + DONE) != 0;
}

static void ordered(void)
{
    __asm__ volatile("dmb ish" : : : "memory"); // what was stored before is seen before
}

// The peer may be at its own call at this moment; a slot may be too short.
static bool must_wait(int64_t result)
{
    return result == FFA_BUSY || result == FFA_NO_MEMORY;
}

// One bit of the descriptor's words that makes it a wrong one, whatever it says.
static void damage(struct caller *by, uint64_t type)
{
    static const uint64_t harmful[] = {
        UINT64_C(0xffffffe6ffffffff), // attributes, flags but those about zeroing and the kind
        UINT64_MAX,
        0, // tag
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
        UINT64_C(0xfffffffffff0ffff), // access
        UINT64_MAX,
        UINT64_MAX,
        UINT64_MAX,
    };
    const uint64_t last = type == FFA_MEM_RETRIEVE_REQ ? 8 : WORDS;
    uint64_t bit;
    uint64_t which;
    do {
        which = pick(by, last);
        bit = UINT64_C(1) << pick(by, 64);
    } while ((bit & harmful[which]) == 0);
    tx[which] ^= bit;
}

static void write_header(uint64_t sender, uint64_t receiver, uint64_t handle, uint64_t tag,
                         uint64_t flags, uint64_t access)
{
    tx[0] = sender | flags << 32;
    tx[1] = handle;
    tx[2] = tag;
    tx[3] = 16 | UINT64_C(1) << 32; // one endpoint of 16 bytes
    tx[4] = 48;                     // and where it is
    tx[5] = 0;
    tx[6] = receiver | access << 16;
    tx[7] = 0;
}

// Pages of its own, to be given by `slot`; the descriptor's ranges.
static uint64_t write_ranges(struct caller *by, uint64_t slot, uint64_t wanted)
{
    uint64_t ranges = 0;
    uint64_t pages = 0;
    uint64_t end = 0;
    const uint64_t from = pick(by, owned);
    for (uint64_t i = 0; i < owned && pages < wanted; i++) {
        struct own *page = &own[(from + i) % owned];
        if (page->use != FREE) {
            continue;
        }
        if (page->address == end) {
            tx[WORDS + 2 * ranges - 1] += 1;
        } else {
            tx[WORDS + 2 * ranges] = page->address;
            tx[WORDS + 2 * ranges + 1] = 1;
            ranges++;
        }
        end = page->address + PAGE_SIZE;
        page->use = GIVEN;
        page->slot = (uint32_t)slot;
        pages++;
    }
    tx[6] |= UINT64_C(64) << 32;
    tx[8] = pages | ranges << 32;
    tx[9] = 0;
    return WORDS * 8 + ranges * 16;
}

static void offer_pages(struct caller *by)
{
    static const uint64_t functions[] = {[SHARE] = OFFER_SHARE, OFFER_LEND, OFFER_DONATE};
    const uint32_t spare = count_free();
    const bool bad = pick(by, 8) == 0;
    uint64_t slot = 0;
    while (slot < SLOTS && offers[slot].handle != 0) {
        slot++;
    }
    if (slot == SLOTS || spare <= KEPT) {
        return;
    }
    const uint64_t dice = pick(by, 8);
    const uint32_t kind = dice < 3 ? SHARE : dice < 7 || spare < 2 * KEPT ? LEND : DONATE;
    const uint64_t limit = spare - KEPT < MOST_PAGES ? spare - KEPT : MOST_PAGES;
    const uint64_t wanted = 1 + pick(by, pick(by, 8) == 0 || limit < 3 ? limit : 3);
    const uint64_t tag = pick(by, 2) * by->random;
    const bool zero = kind != SHARE && pick(by, 2) == 0;
    const bool writable = kind == DONATE || pick(by, 4) != 0;
    const uint64_t access = kind == DONATE ? 0 : writable ? FFA_DATA_RW : FFA_DATA_RO;
    write_header(world.self, world.peer, 0, tag, zero, access);
    const uint64_t size = write_ranges(by, slot, wanted);
    if (kind == SHARE && pick(by, 2) == 0) {
        tx[0] |= 0x2f << 16; // write-back memory
    }
    if (bad) {
        damage(by, functions[kind]);
    }
    struct smccc args = {{functions[kind] | (pick(by, 2) == 0 ? 0 : FFA_64), size, size}};
    const int64_t result = make(by, &args);
    if (bad || result < 0) {
        expect(by, "offer", bad ? result < 0 : must_wait(result), (uint64_t)result);
        keep(slot);
        return;
    }
    const uint64_t handle = args.x[2] | args.x[3] << 32;
    offers[slot] = (struct offered){handle, kind, writable};
    counts.offered++;
    store(mine(slot) + ENTRY_TAG, tag);
    store(mine(slot) + ENTRY_ZERO, zero ? handle : 0);
    store(mine(slot) + ENTRY_WRITABLE, writable);
    ordered();
    store(mine(slot), handle);
}

static void retrieved(struct caller *by, uint64_t slot, uint64_t handle, bool zero, bool may_write)
{
    const uint32_t kind = (uint32_t)(rx[0] >> 35 & 3);
    const bool writable = (rx[6] >> 16 & 3) == FFA_DATA_RW;
    const uint64_t address = rx[10];
    const uint32_t pages = (uint32_t)rx[11];
    expect(by, "access", may_write || !writable, handle);
    expect(by, "response", rx[1] == handle && address >= WINDOW && pages <= MOST_PAGES, rx[1]);
    release_rx(by);
    counts.retrieved++;
    look_at_pages(by, address, pages, zero, writable);
    if (kind != DONATE) {
        loans[slot] = (struct loan){handle, address, pages, kind, writable};
        return;
    }
    for (uint32_t i = 0; i < pages && owned < OWN_MAX; i++) {
        own[owned++] = (struct own){address + i * PAGE_SIZE, FREE, 0};
    }
}

static void retrieve_pages(struct caller *by)
{
    const bool bad = pick(by, 8) == 0;
    const uint64_t from = pick(by, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const uint64_t slot = (from + i) % SLOTS;
        const uint64_t handle = load(theirs(slot));
        ordered();
        const uint64_t tag = load(theirs(slot) + ENTRY_TAG);
        const uint64_t zeroed = load(theirs(slot) + ENTRY_ZERO);
        const bool writable = load(theirs(slot) + ENTRY_WRITABLE) != 0;
        ordered();
        if (handle == 0 || handle == FAULTED || loans[slot].handle != 0 ||
            load(theirs(slot)) != handle) {
            continue;
        }
        const bool zero = pick(by, 4) == 0;
        const uint64_t data = pick(by, 4) == 0 ? FFA_DATA_RO : pick(by, 4) == 0 ? FFA_DATA_RW : 0;
        const uint64_t instruction = pick(by, 4) == 0 ? 1 + pick(by, 2) : 0;
        write_header(world.peer, world.self, handle, tag, zero, data | instruction << 2);
        if (bad) {
            damage(by, FFA_MEM_RETRIEVE_REQ);
        } else {
            store(theirs(slot) + ENTRY_ZERO, 0);
        }
        struct smccc args = {
            {FFA_MEM_RETRIEVE_REQ | (pick(by, 2) == 0 ? 0 : FFA_64), REQUEST_SIZE, REQUEST_SIZE}};
        const int64_t result = make(by, &args);
        if (!bad && (uint32_t)result == FFA_MEM_RETRIEVE_RESP) {
            retrieved(by, slot, handle, zero || zeroed == handle, writable);
        } else {
            expect(by, "retrieve", result < 0, (uint64_t)result);
        }
        return;
    }
}

static struct loan *some_loan(struct caller *by)
{
    const uint64_t from = pick(by, SLOTS);
    for (uint64_t i = 0; i < SLOTS; i++) {
        struct loan *loan = &loans[(from + i) % SLOTS];
        if (loan->handle != 0) {
            return loan;
        }
    }
    return NULL;
}

static void relinquish_pages(struct caller *by)
{
    struct loan *loan = some_loan(by);
    if (loan == NULL) {
        return;
    }
    const bool zero = loan->kind == LEND && loan->writable && pick(by, 3) == 0;
    const uint64_t slot = (uint64_t)(loan - loans);
    const uint64_t handle = loan->handle;
    const bool bad = pick(by, 8) == 0;
    tx[0] = handle;
    tx[1] = zero | UINT64_C(1) << 32;
    tx[2] = world.self;
    if (bad) {
        const uint64_t which = pick(by, 3);
        tx[which] ^= UINT64_C(1) << (which == 2 ? pick(by, 16) : 1 + pick(by, 63));
    }
    struct smccc args = {{FFA_MEM_RELINQUISH}};
    const int64_t result = make(by, &args);
    if (bad || must_wait(result)) {
        expect(by, "relinquish", result < 0, (uint64_t)result);
        return;
    }
    expect(by, "relinquish", result == FFA_SUCCESS || peer_over(), (uint64_t)result);
    loan->handle = 0;
    counts.relinquished++;
    if (zero) {
        store(theirs(slot) + ENTRY_ZERO, handle);
    }
}

static void reclaim_pages(struct caller *by)
{
    const uint64_t slot = pick(by, SLOTS);
    const struct offered offer = offers[slot];
    if (offer.handle == 0) {
        return;
    }
    const bool zero = pick(by, 4) == 0;
    const uint64_t bad = pick(by, 8) == 0 ? UINT64_C(1) << pick(by, 64) : 0;
    const uint64_t handle = offer.handle ^ bad;
    struct smccc args = {{FFA_MEM_RECLAIM, handle & 0xffffffff, handle >> 32, zero}};
    const int64_t result = make(by, &args);
    if (bad != 0 || must_wait(result) || result == FFA_DENIED) {
        expect(by, "reclaim", result < 0, (uint64_t)result);
        return;
    }
    const bool gone = offer.kind == DONATE && result == FFA_INVALID_PARAMETERS;
    const bool zeroed = zero || load(mine(slot) + ENTRY_ZERO) == offer.handle;
    expect(by, "reclaim", gone || result == FFA_SUCCESS, (uint64_t)result);
    store(mine(slot), 0);
    offers[slot].handle = 0;
    if (gone) {
        drop(slot);
        return;
    }
    counts.reclaimed++;
    for (uint32_t i = 0; i < owned; i++) {
        if (own[i].use == GIVEN && own[i].slot == slot) {
            look_at_pages(by, own[i].address, 1, zeroed, true);
        }
    }
    keep(slot);
}

// Loads and stores where something is, and where nothing must be.
static void touch(struct caller *by)
{
    const struct own *page = &own[pick(by, owned)];
    const struct loan *loan = some_loan(by);
    if (page->use == FREE) {
        look_at_pages(by, page->address, 1, false, true);
    } else if (page->use == GIVEN && !may_be_reused(page->address)) {
        const bool shared = offers[page->slot].kind == SHARE;
        scribble(by, page->address);
        expect(by, shared ? "shared" : "given", (load(page->address) == FAULTED) != shared,
               page->address);
    }
    if (loan != NULL) {
        const uint64_t at = loan->address + pick(by, loan->pages) * PAGE_SIZE;
        if (loan->writable) {
            look_at_pages(by, at, 1, false, true);
        } else {
            const uint64_t seen = load(at);
            store(at, ~seen);
            expect(by, "read-only", load(at) == seen || peer_over(), at);
        }
        scribble(by, at);
    }
    expect(by, "nowhere", load(NOWHERE) == FAULTED, NOWHERE);
}

static void yield_slot(struct caller *by)
{
    struct smccc args = {{FFA_YIELD}};
    (void)make(by, &args);
}

// The board's handle is told by notifications, which nobody has used before.
static void share_board(struct caller *by)
{
    struct own *page = some_page(by, FREE);
    for (uint64_t i = 0; i < PAGE_SIZE; i += 8) {
        store(page->address + i, 0);
    }
    write_header(world.self, world.peer, 0, 0, 0, FFA_DATA_RW);
    tx[6] |= UINT64_C(64) << 32;
    tx[8] = 1 | UINT64_C(1) << 32;
    tx[9] = 0;
    tx[10] = page->address;
    tx[11] = 1;
    struct smccc args = {{OFFER_SHARE, 96, 96}};
    if (make(by, &args) < 0) {
        return;
    }
    const uint64_t ids = world.self << 16 | world.peer;
    const uint64_t low = args.x[2];
    const uint64_t high = args.x[3];
    page->use = BOARD;
    for (uint64_t i = 0; i < MOST_YIELDS; i++) {
        args = (struct smccc){{FFA_NOTIFICATION_SET, ids, 0, low, high}};
        if (board == 0 && make(by, &args) == FFA_SUCCESS) {
            board = page->address;
        }
        if (board != 0 && load(theirs(0) + ARRIVED) != 0) {
            return;
        }
        yield_slot(by);
    }
}

static void find_board(struct caller *by)
{
    const uint64_t all = 0xffffffff;
    struct smccc bind = {{FFA_NOTIFICATION_BIND, world.peer << 16 | world.self, 0, all, all}};
    (void)make(by, &bind);
    for (uint64_t i = 0; i < MOST_YIELDS; i++) {
        struct smccc args = {{FFA_NOTIFICATION_GET, world.self, 2}};
        const uint64_t handle = make(by, &args) < 0 ? 0 : args.x[4] | args.x[5] << 32;
        if (handle == 0) {
            yield_slot(by);
            continue;
        }
        write_header(world.peer, world.self, handle, 0, 0, 0);
        while (retrieve_request(by, &args) == FFA_BUSY) {
        }
        board = args.x[0] == FFA_MEM_RETRIEVE_RESP ? rx[10] : 0;
        release_rx(by);
        store(mine(0) + ARRIVED, 1);
        return;
    }
}

void lending_begin(struct caller *by)
{
    const uint64_t end = (uint64_t)_start + MEMORY_END;
    uint64_t address = ((uint64_t)bss_end + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    for (; address < end && owned < OWN_MAX / 2; address += PAGE_SIZE) {
        own[owned++] = (struct own){address, FREE, 0};
        mark(by, address);
    }
    if (world.self == 0 || !box_begin(by)) {
        world.self = 0;
        return;
    }
    partitions_call(by);
    if (world.peer != 0 && world.self < world.peer) {
        share_board(by);
    } else if (world.peer != 0) {
        find_board(by);
    }
}

void lending_step(struct caller *by)
{
    const uint64_t what = pick(by, 32);
    if (world.self == 0) {
        simple_call(by);
    } else if (what == 31 && pick(by, 2) == 0) {
        partitions_call(by);
    } else if (what == 31) {
        box_moves(by);
    } else if (board == 0 || load(board) == FAULTED) {
        simple_call(by);
    } else if (what < 8) {
        offer_pages(by);
    } else if (what < 16) {
        retrieve_pages(by);
    } else if (what < 21) {
        relinquish_pages(by);
    } else if (what < 27) {
        reclaim_pages(by);
    } else if (what < 30) {
        touch(by);
    } else {
        yield_slot(by);
    }
}

bool lending_over(bool here)
{
    if (here && board != 0) {
        store(mine(0) + DONE, 1);
        return peer_over();
    }
    return here;
}
