// SPDX-License-Identifier: Apache-2.0
// Firmware Framework for Arm A-profile 1.1 (Arm DEN0077A), as an FF-A partition meets it: a VM
// whose manifest has peers. The id of a partition is its VMID; the hypervisor's is 0.
#ifndef EL2_FFA_H
#define EL2_FFA_H

#include <stdbool.h>
#include <stdint.h>

struct vcpu;

#define FFA_FIRST 0x84000060u // of the functions that the standard sets aside, without FFA_64
#define FFA_LAST 0x840000efu
#define FFA_64 0x40000000u

#define FFA_ERROR 0x84000060u
#define FFA_SUCCESS 0x84000061u
#define FFA_INTERRUPT 0x84000062u
#define FFA_VERSION 0x84000063u
#define FFA_FEATURES 0x84000064u
#define FFA_RX_RELEASE 0x84000065u
#define FFA_RXTX_MAP 0x84000066u // or with FFA_64
#define FFA_RXTX_UNMAP 0x84000067u
#define FFA_PARTITION_INFO_GET 0x84000068u
#define FFA_ID_GET 0x84000069u
#define FFA_MSG_WAIT 0x8400006bu
#define FFA_YIELD 0x8400006cu
#define FFA_RUN 0x8400006du
#define FFA_MSG_SEND_DIRECT_REQ 0x8400006fu  // or with FFA_64
#define FFA_MSG_SEND_DIRECT_RESP 0x84000070u // or with FFA_64
#define FFA_MEM_DONATE 0x84000071u           // or with FFA_64
#define FFA_MEM_LEND 0x84000072u             // or with FFA_64
#define FFA_MEM_SHARE 0x84000073u            // or with FFA_64
#define FFA_MEM_RETRIEVE_REQ 0x84000074u     // or with FFA_64
#define FFA_MEM_RETRIEVE_RESP 0x84000075u
#define FFA_MEM_RELINQUISH 0x84000076u
#define FFA_MEM_RECLAIM 0x84000077u
#define FFA_NOTIFICATION_BIND 0x8400007fu
#define FFA_NOTIFICATION_UNBIND 0x84000080u
#define FFA_NOTIFICATION_SET 0x84000081u
#define FFA_NOTIFICATION_GET 0x84000082u
#define FFA_NOTIFICATION_INFO_GET 0x84000083u // or with FFA_64

enum ffa_error {
    FFA_OK = 0,
    FFA_NOT_SUPPORTED = -1,
    FFA_INVALID_PARAMETERS = -2,
    FFA_NO_MEMORY = -3,
    FFA_BUSY = -4,
    FFA_INTERRUPTED = -5,
    FFA_DENIED = -6,
    FFA_RETRY = -7,
    FFA_ABORTED = -8,
    FFA_NO_DATA = -9,
};

// Two partitions in X1, the first in bits 31 to 16.
static inline uint32_t ffa_high_id(uint64_t x1)
{
    return (uint32_t)x1 >> 16;
}

static inline uint32_t ffa_low_id(uint64_t x1)
{
    return (uint32_t)x1 & 0xffff;
}

// Registers X<first> to X7 of the caller, which must be zero, are.
bool ffa_zero_from(const struct vcpu *vcpu, unsigned first);

// For functions with results of their own: X0 = `function`, X1 to X7 = 0.
void ffa_result(struct vcpu *vcpu, uint32_t function);

// A call of FFA_FIRST to FFA_LAST, with or without FFA_64. Arguments of a 32-bit call are cut to 32
// bits first.
void ffa_call(struct vcpu *vcpu, uint32_t function);

#endif
