// SPDX-License-Identifier: Apache-2.0
// Two partitions by direct messages: X3 the order, X4 and X5 what it is about; X3 the answer.
#include "witness.h"

#define FFA_ERROR 0x84000060U
#define FFA_ID_GET 0x84000069
#define FFA_MSG_WAIT 0x8400006B
#define FFA_REQUEST_64 0xC400006F
#define FFA_RESPONSE_64 0xC4000070
#define FFA_BUSY (-4)
#define ABORTED UINT64_C(0xab0)

uint64_t order(uint64_t peer, enum order what, uint64_t a, uint64_t b)
{
    struct smccc args = {{FFA_ID_GET}};
    hvc_call(&args);
    const uint64_t ids = args.x[2] << 16 | peer;
    for (;;) {
        args = (struct smccc){{FFA_REQUEST_64, ids, 0, what, a, b}};
        hvc_call(&args);
        if ((uint32_t)args.x[0] != FFA_ERROR) {
            return args.x[3];
        }
        if ((int32_t)args.x[2] != FFA_BUSY) {
            return ABORTED;
        }
        rest();
    }
}

static uint64_t orders;

static uint64_t obey(uint64_t owner, enum order what, uint64_t a, uint64_t b)
{
    switch (what) {
    case READ:
        return load(a);
    case CHECK:
        return wrong(a, b);
    case FILL:
        fill(a, b);
        return 0;
    case RETRIEVE:
        return retrieve(a, owner, false);
    case EXECUTE:
        return retrieve(a, owner, true);
    case RELINQUISH:
        return relinquish(a, b != 0);
    case COUNT:
        return orders;
    case CALL:
        return call(a);
    case OFF:
        power_off();
    case RESET:
        (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
    }
    return 0;
}

_Noreturn void serve(uint64_t peer)
{
    struct smccc args = {{FFA_MSG_WAIT}};
    for (;;) {
        hvc_call(&args);
        if ((uint32_t)args.x[0] == (uint32_t)FFA_REQUEST_64) {
            const uint64_t ids = args.x[1] >> 16 | (args.x[1] & 0xffff) << 16;
            orders++;
            const uint64_t answer = obey(peer, (enum order)args.x[3], args.x[4], args.x[5]);
            args = (struct smccc){{FFA_RESPONSE_64, ids, 0, answer}};
        } else {
            args = (struct smccc){{FFA_MSG_WAIT}};
        }
    }
}
