// SPDX-License-Identifier: Apache-2.0
// A guest that makes calls of every kind, chosen by a seed.
#ifndef CALLER_H
#define CALLER_H

#include "../witness/witness.h"

#pragma GCC visibility push(hidden)

#define FFA_64 0x40000000U
#define FFA_ERROR 0x84000060U
#define FFA_SUCCESS 0x84000061U
#define FFA_INTERRUPT 0x84000062U
#define FFA_VERSION 0x84000063U
#define FFA_FEATURES 0x84000064U
#define FFA_RX_RELEASE 0x84000065U
#define FFA_RXTX_MAP 0x84000066U
#define FFA_RXTX_UNMAP 0x84000067U
#define FFA_PARTITION_INFO_GET 0x84000068U
#define FFA_ID_GET 0x84000069U
#define FFA_MSG_WAIT 0x8400006BU
#define FFA_YIELD 0x8400006CU
#define FFA_RUN 0x8400006DU
#define FFA_MSG_SEND_DIRECT_REQ 0x8400006FU
#define FFA_MSG_SEND_DIRECT_RESP 0x84000070U
#define FFA_MEM_RETRIEVE_REQ 0x84000074U
#define FFA_MEM_RETRIEVE_RESP 0x84000075U
#define FFA_MEM_RELINQUISH 0x84000076U
#define FFA_MEM_RECLAIM 0x84000077U
#define FFA_NOTIFICATION_BIND 0x8400007FU
#define FFA_NOTIFICATION_UNBIND 0x84000080U
#define FFA_NOTIFICATION_SET 0x84000081U
#define FFA_NOTIFICATION_GET 0x84000082U
#define FFA_NOTIFICATION_INFO_GET 0x84000083U
#define FFA_NOT_SUPPORTED (-1)
#define FFA_INVALID_PARAMETERS (-2)
#define FFA_NO_MEMORY (-3)
#define FFA_BUSY (-4)
#define FFA_DENIED (-6)

// A vCPU: its choices, and what came of its calls.
struct caller {
    uint64_t random;
    uint64_t calls;
    uint64_t hash; // of X0 to X3 after each call
    uint64_t wrong;
};

// Who else there is: the VM's id and its peer's, 0 if there is none; its vCPUs.
struct world {
    uint64_t self;
    uint64_t peer;
    uint64_t vcpus;
};
extern struct world world;

// caller.c
uint64_t pick(struct caller *by, uint64_t count); // 0 to count - 1
uint64_t odd_value(struct caller *by);
int64_t make(struct caller *by, struct smccc *args); // X0, or the code of an error of FF-A
void make_oddly(struct caller *by, struct smccc *args);
void expect(struct caller *by, const char *what, bool good, uint64_t value);

// simple.c: calls after which nothing is other than before, on any vCPU.
void simple_call(struct caller *by);

// lending.c: pages between this VM and its peer, vCPU 0's alone.
struct counts {
    uint64_t offered;
    uint64_t retrieved;
    uint64_t relinquished;
    uint64_t reclaimed;
};
extern struct counts counts;
void lending_begin(struct caller *by);
void lending_step(struct caller *by);
bool lending_over(bool here); // this VM is done, or not yet; whether the peer is

// messages.c: requests, answers and waiting, each ended by the virtual timer if by nothing else.
void messages_begin(void);
void messages_step(struct caller *by);

// call.S
enum conduit { HVC, SMC, OTHER_HVC, OTHER_SMC };
void call_by(struct smccc *args, enum conduit how);
_Noreturn void leave_cpu(void); // with nothing of its stack left in the caches

#pragma GCC visibility pop

#endif
