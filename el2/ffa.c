// SPDX-License-Identifier: Apache-2.0
// FF-A calls: which there are, discovery, and who carries out the others.
#include <stddef.h>

#include <el2/ffa.h>
#include <el2/hypercall.h>
#include <el2/memory.h>
#include <el2/vcpu.h>

#define FFA_1_1 0x10001u
#define VERSION_BIT31 BIT(31)
#define VERSION_MAJOR_SHIFT 16u
#define FEATURE_IS_FUNCTION BIT(31)
#define FEATURE_NPI 1u // notification pending interrupt
#define PARTITION_COUNT_ONLY 1u

// Partition information descriptor, table 13.37.
struct partition_info {
    uint16_t id;
    uint16_t vcpus;
    uint32_t properties;
    uint8_t uuid[VM_UUID_SIZE]; // zero when the caller has asked for it
};

#define PARTITION_RECEIVES_REQUESTS BIT(0)
#define PARTITION_SENDS_REQUESTS BIT(1)
#define PARTITION_RECEIVES_NOTIFICATIONS BIT(3)
#define PARTITION_AARCH64 BIT(8)

// What there is, by the low byte of its number: in which widths, and from which register on all
// must be zero. NEVER: a function that only EL2 answers with.
#define W32 1u
#define W64 2u
#define NEVER 0u
#define ANY 8u
static const struct {
    uint8_t number;
    uint8_t widths;
    uint8_t zero_from;
} calls[] = {
    {FFA_ERROR & 0xff, W32, NEVER},
    {FFA_SUCCESS & 0xff, W32 | W64, NEVER},
    {FFA_INTERRUPT & 0xff, W32, NEVER},
    {FFA_VERSION & 0xff, W32, ANY},
    {FFA_FEATURES & 0xff, W32, 2},
    {FFA_RX_RELEASE & 0xff, W32, 1},
    {FFA_RXTX_MAP & 0xff, W32 | W64, 4},
    {FFA_RXTX_UNMAP & 0xff, W32, 2},
    {FFA_PARTITION_INFO_GET & 0xff, W32, 6},
    {FFA_ID_GET & 0xff, W32, 1},
    {FFA_MSG_WAIT & 0xff, W32, 1},
    {FFA_YIELD & 0xff, W32, 4},
    {FFA_RUN & 0xff, W32, 2},
    {FFA_MSG_SEND_DIRECT_REQ & 0xff, W32 | W64, ANY},
    {FFA_MSG_SEND_DIRECT_RESP & 0xff, W32 | W64, ANY},
    {FFA_MEM_DONATE & 0xff, W32 | W64, 3},
    {FFA_MEM_LEND & 0xff, W32 | W64, 3},
    {FFA_MEM_SHARE & 0xff, W32 | W64, 3},
    {FFA_MEM_RETRIEVE_REQ & 0xff, W32 | W64, 3},
    {FFA_MEM_RETRIEVE_RESP & 0xff, W32, NEVER},
    {FFA_MEM_RELINQUISH & 0xff, W32, 1},
    {FFA_MEM_RECLAIM & 0xff, W32, 4},
    {FFA_NOTIFICATION_BIND & 0xff, W32, 5},
    {FFA_NOTIFICATION_UNBIND & 0xff, W32, 5},
    {FFA_NOTIFICATION_SET & 0xff, W32, 5},
    {FFA_NOTIFICATION_GET & 0xff, W32, 3},
    {FFA_NOTIFICATION_INFO_GET & 0xff, W32 | W64, 1},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

// Its index in calls[]; CALLS: there is no such.
static uint32_t find(uint32_t function)
{
    unsigned width = (function & FFA_64) != 0 ? W64 : W32;
    uint32_t number = (function & ~FFA_64) - (FFA_FIRST & ~0xffu);
    uint32_t i = 0;
    while (i < CALLS && (calls[i].number != number || (calls[i].widths & width) == 0)) {
        i++;
    }
    return i;
}

bool ffa_zero_from(const struct vcpu *vcpu, unsigned first)
{
    uint64_t bits = 0;
    for (unsigned i = first; i < 8; i++) {
        bits |= vcpu->x[i];
    }
    return bits == 0;
}

void ffa_result(struct vcpu *vcpu, uint32_t function)
{
    memset(vcpu->x, 0, 8 * sizeof(vcpu->x[0]));
    vcpu->x[0] = function;
}

static void version(struct vcpu *vcpu)
{
    uint64_t wanted = vcpu->x[1];
    bool good = (wanted & VERSION_BIT31) == 0 && wanted >> VERSION_MAJOR_SHIFT == 1;
    vcpu->x[0] = good ? FFA_1_1 : (uint64_t)SMCCC_NOT_SUPPORTED;
}

static enum ffa_error features(struct vcpu *vcpu)
{
    uint32_t wanted = (uint32_t)vcpu->x[1];
    uint64_t property = 0; // of the functions that have some, what is not there reads as 0
    if (wanted == FEATURE_NPI) {
        property = VGIC_NOTIFICATION;
    } else if ((wanted & FEATURE_IS_FUNCTION) == 0 || find(wanted) == CALLS) {
        return FFA_NOT_SUPPORTED;
    }
    ffa_result(vcpu, FFA_SUCCESS);
    vcpu->x[2] = property;
    return FFA_OK;
}

static enum ffa_error id_get(struct vcpu *vcpu)
{
    ffa_result(vcpu, FFA_SUCCESS);
    vcpu->x[2] = vcpu->vm->vmid;
    return FFA_OK;
}

// The caller and its peers, if they have the UUID that is asked for; those are written to `info`
// unless it is NULL.
static uint32_t describe_partitions(const struct vm *self, const uint8_t wanted[VM_UUID_SIZE],
                                    struct partition_info *info)
{
    static const uint8_t nil[VM_UUID_SIZE];
    bool all = memcmp(wanted, nil, VM_UUID_SIZE) == 0;
    uint32_t known = self->config.peers | 1u << (self->vmid - 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < vm_count; i++) {
        const struct vm *vm = &vms[i];
        if ((known & 1u << i) == 0 ||
            (!all && memcmp(wanted, vm->config.uuid, VM_UUID_SIZE) != 0)) {
            continue;
        }
        if (info != NULL) {
            struct partition_info entry = {vm->vmid,
                                           (uint16_t)vm->vcpu_count,
                                           PARTITION_RECEIVES_REQUESTS | PARTITION_SENDS_REQUESTS |
                                               PARTITION_RECEIVES_NOTIFICATIONS | PARTITION_AARCH64,
                                           {0}};
            memcpy(entry.uuid, vm->config.uuid, all ? VM_UUID_SIZE : 0);
            memcpy(&info[count], &entry, sizeof(entry));
        }
        count++;
    }
    return count;
}

static enum ffa_error partition_info_get(struct vcpu *vcpu)
{
    uint8_t uuid[VM_UUID_SIZE];
    for (unsigned i = 0; i < VM_UUID_SIZE; i++) {
        uuid[i] = (uint8_t)(vcpu->x[1 + i / 4] >> 8 * (i % 4));
    }
    if (vcpu->x[5] > PARTITION_COUNT_ONLY) {
        return FFA_INVALID_PARAMETERS;
    }
    bool describe = vcpu->x[5] != PARTITION_COUNT_ONLY;
    uint32_t count = describe_partitions(vcpu->vm, uuid, NULL);
    if (count == 0) {
        return FFA_INVALID_PARAMETERS;
    }
    if (describe) {
        enum ffa_error error = FFA_OK;
        void *rx = ffa_rx_begin(vcpu->vm, &error);
        if (rx == NULL) {
            return error;
        }
        (void)describe_partitions(vcpu->vm, uuid, rx);
        ffa_rx_done(vcpu->vm);
    }
    ffa_result(vcpu, FFA_SUCCESS);
    vcpu->x[2] = count;
    vcpu->x[3] = describe ? sizeof(struct partition_info) : 0;
    return FFA_OK;
}

// FFA_OK: registers hold the result.
static enum ffa_error carry_out(struct vcpu *vcpu, uint32_t function)
{
    switch (function) {
    case FFA_FEATURES:
        return features(vcpu);
    case FFA_ID_GET:
        return id_get(vcpu);
    case FFA_PARTITION_INFO_GET:
        return partition_info_get(vcpu);
    case FFA_RX_RELEASE:
        return ffa_rx_release(vcpu);
    case FFA_RXTX_MAP:
        return ffa_rxtx_map(vcpu);
    case FFA_RXTX_UNMAP:
        return ffa_rxtx_unmap(vcpu);
    case FFA_MSG_WAIT:
        return ffa_msg_wait(vcpu);
    case FFA_YIELD:
        return ffa_yield(vcpu);
    case FFA_RUN:
        return ffa_run(vcpu);
    case FFA_MSG_SEND_DIRECT_REQ:
        return ffa_direct_request(vcpu);
    case FFA_MSG_SEND_DIRECT_RESP:
        return ffa_direct_response(vcpu);
    case FFA_MEM_DONATE:
        return ffa_mem_send(vcpu, FFA_DONATED);
    case FFA_MEM_LEND:
        return ffa_mem_send(vcpu, FFA_LENT);
    case FFA_MEM_SHARE:
        return ffa_mem_send(vcpu, FFA_SHARED);
    case FFA_MEM_RETRIEVE_REQ:
        return ffa_mem_retrieve(vcpu);
    case FFA_MEM_RELINQUISH:
        return ffa_mem_relinquish(vcpu);
    case FFA_MEM_RECLAIM:
        return ffa_mem_reclaim(vcpu);
    case FFA_NOTIFICATION_BIND:
        return ffa_notification_bind(vcpu);
    case FFA_NOTIFICATION_UNBIND:
        return ffa_notification_unbind(vcpu);
    case FFA_NOTIFICATION_SET:
        return ffa_notification_set(vcpu);
    case FFA_NOTIFICATION_GET:
        return ffa_notification_get(vcpu);
    case FFA_NOTIFICATION_INFO_GET:
        return ffa_notification_info_get(vcpu);
    default:
        return FFA_NOT_SUPPORTED;
    }
}

void ffa_call(struct vcpu *vcpu, uint32_t function)
{
    uint32_t call = find(function);
    enum ffa_error error = FFA_NOT_SUPPORTED;
    if (!vcpu->vm->config.ffa) {
        vcpu->x[0] = (uint64_t)SMCCC_NOT_SUPPORTED;
        return;
    }
    for (unsigned i = 1; i < 8 && (function & FFA_64) == 0; i++) {
        vcpu->x[i] &= UINT32_MAX;
    }
    if (function == FFA_VERSION) {
        version(vcpu);
        return;
    }
    if (call != CALLS && calls[call].zero_from != NEVER) {
        error = FFA_INVALID_PARAMETERS;
        if (ffa_zero_from(vcpu, calls[call].zero_from)) {
            error = carry_out(vcpu, function & ~FFA_64);
        }
    }
    if (error != FFA_OK) {
        ffa_result(vcpu, FFA_ERROR);
        vcpu->x[2] = (uint32_t)error;
    }
}
