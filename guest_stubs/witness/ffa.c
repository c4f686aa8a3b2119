// SPDX-License-Identifier: Apache-2.0
// A partition's calls about memory (FF-A 1.1).
#include "witness.h"

#define FFA_ERROR 0x84000060U
#define FFA_BUSY (-4)
#define FFA_RX_RELEASE 0x84000065
#define FFA_RXTX_MAP_64 0xC4000066
#define FFA_RXTX_UNMAP 0x84000067
#define FFA_PARTITION_INFO_GET 0x84000068
#define FFA_YIELD 0x8400006C
#define FFA_MEM_RETRIEVE_REQ 0x84000074
#define FFA_MEM_RELINQUISH 0x84000076
#define FFA_MEM_RECLAIM 0x84000077
#define DATA_RW 2U
#define INSTRUCTION_X (2U << 2)
#define FLAG_ZERO 1U
#define BORROWED_RANGE 80 // of what RETRIEVE_REQ leaves in RX
#define RANGE 16          // bytes

struct transaction {
    uint16_t sender;
    uint16_t attributes;
    uint32_t flags;
    uint64_t handle;
    uint64_t tag;
    uint32_t endpoint_size;
    uint32_t endpoint_count;
    uint32_t endpoint_offset;
    uint32_t reserved[3];
    uint16_t receiver;
    uint8_t permissions;
    uint8_t endpoint_flags;
    uint32_t composite_offset;
    uint64_t endpoint_reserved;
    uint32_t page_count;
    uint32_t range_count;
    uint64_t composite_reserved;
    uint64_t address;
    uint32_t range_pages;
    uint32_t range_reserved;
};

static uint64_t own_tx;
static uint64_t own_rx;

// X0 of the answer; an error as its code.
static int64_t ffa(struct smccc *args)
{
    const uint64_t x0 = args->x[0];
    const uint64_t x1 = args->x[1];
    const uint64_t x2 = args->x[2];
    const uint64_t x3 = args->x[3];
    for (;;) {
        hvc_call(args);
        if ((uint32_t)args->x[0] != FFA_ERROR) {
            return (int64_t)args->x[0];
        }
        if ((int32_t)args->x[2] != FFA_BUSY) {
            return (int32_t)args->x[2];
        }
        *args = (struct smccc){{x0, x1, x2, x3}};
    }
}

static uint64_t self(void)
{
    struct smccc args = {{0x84000069}}; // FFA_ID_GET
    (void)ffa(&args);
    return args.x[2];
}

static struct transaction *tx(void)
{
    struct transaction *t = (struct transaction *)own_tx;
    for (uint64_t i = 0; i < sizeof(*t); i += 8) {
        store(own_tx + i, 0);
    }
    return t;
}

uint64_t mailbox(uint64_t tx_page, uint64_t rx_page)
{
    struct smccc args = {{FFA_RXTX_MAP_64, tx_page, rx_page, 1}};
    own_tx = tx_page;
    own_rx = rx_page;
    return ffa(&args) < 0;
}

uint64_t mailbox_end(void)
{
    struct smccc args = {{FFA_RXTX_UNMAP}};
    return ffa(&args) < 0;
}

static void release_rx(void)
{
    struct smccc args = {{FFA_RX_RELEASE}};
    (void)ffa(&args);
}

uint64_t partitions(void)
{
    struct smccc args = {{FFA_PARTITION_INFO_GET}};
    const bool failed = ffa(&args) < 0;
    const uint64_t first = load(own_rx);
    release_rx();
    return failed ? 0 : first;
}

static struct transaction *describe(enum offer how, uint64_t peer, uint64_t address, uint32_t pages)
{
    struct transaction *t = tx();
    t->sender = (uint16_t)self();
    t->endpoint_size = 16;
    t->endpoint_count = 1;
    t->endpoint_offset = 48;
    t->receiver = (uint16_t)peer;
    t->permissions = how == OFFER_DONATE ? 0 : DATA_RW;
    t->composite_offset = 64;
    t->page_count = pages;
    t->range_count = 1;
    t->address = address;
    t->range_pages = pages;
    return t;
}

// Handle; 0: refused.
static uint64_t send(enum offer how, uint64_t length)
{
    struct smccc args = {{how, length, length}};
    return ffa(&args) < 0 ? 0 : args.x[2] | args.x[3] << 32;
}

uint64_t offer(enum offer how, uint64_t peer, uint64_t address, uint32_t pages, bool zero)
{
    struct transaction *t = describe(how, peer, address, pages);
    t->flags = zero ? FLAG_ZERO : 0;
    return send(how, sizeof(*t));
}

uint64_t offer_page_twice(uint64_t peer, uint64_t address)
{
    struct transaction *t = describe(OFFER_LEND, peer, address, 1);
    t->page_count = 2;
    t->range_count = 2;
    store(own_tx + sizeof(*t), address);
    store(own_tx + sizeof(*t) + 8, 1);
    return send(OFFER_LEND, sizeof(*t) + RANGE);
}

uint64_t offer_beyond_its_end(uint64_t peer, uint64_t address)
{
    struct transaction *t = describe(OFFER_LEND, peer, address, 1);
    t->page_count = 2;
    t->range_count = 2;
    return send(OFFER_LEND, sizeof(*t));
}

uint64_t offer_more_than_said(uint64_t peer, uint64_t address)
{
    struct transaction *t = describe(OFFER_LEND, peer, address, 2);
    t->page_count = 1;
    return send(OFFER_LEND, sizeof(*t));
}

uint64_t retrieve(uint64_t handle, uint64_t owner, bool execute)
{
    struct transaction *t = tx();
    t->sender = (uint16_t)owner;
    t->handle = handle;
    t->endpoint_size = 16;
    t->endpoint_count = 1;
    t->endpoint_offset = 48;
    t->receiver = (uint16_t)self();
    t->permissions = execute ? INSTRUCTION_X : 0;
    struct smccc args = {{FFA_MEM_RETRIEVE_REQ, 64, 64}};
    if (ffa(&args) < 0) {
        return 0;
    }
    const uint64_t address = load(own_rx + BORROWED_RANGE);
    release_rx();
    return address;
}

uint64_t relinquish(uint64_t handle, bool zero)
{
    (void)tx();
    store(own_tx, handle);
    store(own_tx + 8, (zero ? FLAG_ZERO : 0) | UINT64_C(1) << 32);
    store(own_tx + 16, self());
    struct smccc args = {{FFA_MEM_RELINQUISH}};
    return ffa(&args) < 0;
}

uint64_t reclaim(uint64_t handle)
{
    struct smccc args = {{FFA_MEM_RECLAIM, handle & 0xffffffff, handle >> 32}};
    return ffa(&args) < 0;
}

void rest(void)
{
    (void)hvc(FFA_YIELD, 0, 0, 0);
}
