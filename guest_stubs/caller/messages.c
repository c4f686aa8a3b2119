// SPDX-License-Identifier: Apache-2.0
// Direct messages. A call that waits for the peer is ended by the virtual timer at the latest:
// interrupts stay masked, and are taken here.
#include "caller.h"
#include "../runtime/gicv2.h"

#define NOTIFICATIONS 20
#define LEAST_TICKS 500
#define MOST_TICKS 60000
#define MOST_TAKEN 4

static uint64_t awaited; // whose answer, as FFA_INTERRUPT has told it
static uint64_t asked;
static bool serving;

void messages_begin(void)
{
    gic_write(GICD_CTLR, 1);
    gic_write(GICD_ISENABLER, 1u << GIC_PPI_VIRTUAL_TIMER | 1u << NOTIFICATIONS);
    gic_write(GICC_PMR, 0xff);
    gic_write(GICC_CTLR, 1);
}

static void take_interrupts(void)
{
    for (unsigned i = 0; i < MOST_TAKEN; i++) {
        const uint32_t iar = gic_read(GICC_IAR);
        if ((iar & GIC_INTID_MASK) >= 1020) { // none
            return;
        }
        gic_write(GICC_EOIR, iar);
    }
}

static void wait_by(struct caller *by, struct smccc *args)
{
    const bool asks = (args->x[0] & ~(uint64_t)FFA_64) == FFA_MSG_SEND_DIRECT_REQ;
    const uint64_t end = READ_SYSREG(cntvct_el0) + LEAST_TICKS + pick(by, MOST_TICKS);
    WRITE_SYSREG(cntv_cval_el0, end);
    WRITE_SYSREG(cntv_ctl_el0, 1);
    const int64_t result = make(by, args);
    WRITE_SYSREG(cntv_ctl_el0, 0);
    const uint32_t function = (uint32_t)args->x[0] & ~FFA_64;
    if (function == FFA_INTERRUPT) {
        take_interrupts();
        awaited = asks || awaited != 0 ? args->x[1] : 0;
    } else if (function == FFA_MSG_SEND_DIRECT_REQ) {
        serving = true;
        asked = args->x[3];
        expect(by, "request", args->x[1] == (world.peer << 16 | world.self), args->x[1]);
    } else if (function == FFA_MSG_SEND_DIRECT_RESP) {
        awaited = 0;
        expect(by, "answer", args->x[1] == (world.peer << 16 | world.self), args->x[1]);
    } else {
        awaited = result == FFA_BUSY || result == FFA_DENIED ? awaited : 0;
    }
}

static void send(struct caller *by, uint64_t function, uint64_t word)
{
    struct smccc args = {{function | (pick(by, 2) == 0 ? 0 : FFA_64), world.self << 16 | world.peer,
                          0, word, odd_value(by), odd_value(by), odd_value(by), odd_value(by)}};
    wait_by(by, &args);
}

void messages_step(struct caller *by)
{
    const bool otherwise = pick(by, 4) == 0;
    if (awaited != 0 && !otherwise) {
        struct smccc args = {{FFA_RUN, awaited}};
        wait_by(by, &args);
    } else if (serving && !otherwise) {
        serving = false;
        send(by, FFA_MSG_SEND_DIRECT_RESP, asked);
    } else if (pick(by, 2) == 0) {
        struct smccc args = {{FFA_MSG_WAIT}};
        wait_by(by, &args);
    } else {
        send(by, FFA_MSG_SEND_DIRECT_REQ, by->random);
    }
}
