// SPDX-License-Identifier: Apache-2.0
// The mailbox, and what is asked by it.
#include "lending.h"

volatile uint64_t *tx;
const volatile uint64_t *rx;

void release_rx(struct caller *by)
{
    struct smccc args = {{FFA_RX_RELEASE}};
    (void)make(by, &args);
}

static int64_t map_box(struct caller *by, uint64_t tx_page, uint64_t rx_page, uint64_t pages)
{
    struct smccc args = {{FFA_RXTX_MAP | (pick(by, 2) == 0 ? 0 : FFA_64), tx_page, rx_page, pages}};
    return make(by, &args);
}

bool box_begin(struct caller *by)
{
    struct own *first = some_page(by, FREE);
    if (first == NULL) {
        return false;
    }
    first->use = BOX;
    struct own *second = some_page(by, FREE);
    if (second == NULL || map_box(by, first->address, second->address, 1) < 0) {
        first->use = FREE;
        return false;
    }
    second->use = BOX;
    tx = (volatile uint64_t *)first->address;
    rx = (const volatile uint64_t *)second->address;
    return true;
}

int64_t retrieve_request(struct caller *by, struct smccc *args)
{
    for (uint64_t i = 0; i < 8; i++) {
        args->x[i] = i == 0 ? FFA_MEM_RETRIEVE_REQ : i <= 2 ? REQUEST_SIZE : 0;
    }
    return make(by, args);
}

// Two other pages become the mailbox.
void box_moves(struct caller *by)
{
    const struct own *given = some_page(by, GIVEN);
    struct smccc args = {{FFA_RXTX_UNMAP, pick(by, 2) * world.self << 16}};
    const int64_t result = make(by, &args);
    expect(by, "mailbox", result == FFA_SUCCESS || result == FFA_BUSY, (uint64_t)result);
    if (result != FFA_SUCCESS) {
        return;
    }
    for (uint32_t i = 0; i < owned; i++) {
        if (own[i].use == BOX) {
            own[i].use = FREE;
            mark(by, own[i].address);
        }
    }
    expect(by, "no mailbox", retrieve_request(by, &args) < 0, 0);
    const uint64_t page = own[pick(by, owned)].address;
    expect(by, "one page", map_box(by, page, page, 1) < 0, page);
    expect(by, "two pages", map_box(by, page, page ^ PAGE_SIZE, 2) < 0, page);
    if (given != NULL && !may_be_reused(given->address)) {
        expect(by, "page given", map_box(by, given->address, page, 1) < 0, given->address);
    }
    while (!box_begin(by)) {
    }
}

void partitions_call(struct caller *by)
{
    struct smccc args = {{FFA_PARTITION_INFO_GET}};
    const int64_t result = make(by, &args);
    if (pick(by, 2) == 0) {
        struct smccc again = {{FFA_PARTITION_INFO_GET}};
        expect(by, "RX is full", make(by, &again) < 0 || result < 0, 0);
    }
    if (result == FFA_SUCCESS) {
        for (uint64_t i = 0; i < args.x[2]; i++) {
            const uint64_t id = rx[3 * i] & 0xffff;
            expect(by, "partition", id != 0, id);
            world.peer = id != world.self && world.peer == 0 ? id : world.peer;
        }
    }
    release_rx(by);
}
