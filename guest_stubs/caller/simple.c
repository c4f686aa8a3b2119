// SPDX-License-Identifier: Apache-2.0
// Questions, refusals, and what nobody has heard of. Nothing here uses the mailbox.
#include "caller.h"

#define NOT_SUPPORTED (-1)
#define INVALID_PARAMETER (-3)
#define FFA_FAIL(result) ((result) < 0)
#define VERSION_1_1 0x10001
#define PSCI_INVALID (-2)
#define PSCI_CPU_ON 0x84000003UL
#define PSCI_AFFINITY_INFO 0x84000004UL
#define PSCI_MIGRATE_INFO_TYPE 0x84000006UL
#define PSCI_CPU_SUSPEND 0x84000001UL
#define PSCI_FEATURES 0x8400000AUL
#define SMCCC_VERSION 0x80000000UL
#define SMCCC_ARCH_FEATURES 0x80000001UL
#define AETHER_FEATURES 0x86000001UL
#define AETHER_VM_INFO 0xC6000010UL
#define VM_CALLS 7

static int64_t ask(struct caller *by, uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3)
{
    struct smccc args = {{function, x1, x2, x3}};
    return make(by, &args);
}

static int64_t ask_with_odd_rest(struct caller *by, uint64_t function, uint64_t x1)
{
    struct smccc args = {{function, x1}};
    for (unsigned i = 2; i < 8; i++) {
        args.x[i] = odd_value(by);
    }
    return make(by, &args);
}

static uint64_t wide(struct caller *by, uint64_t function)
{
    return pick(by, 2) == 0 ? function : function | FFA_64;
}

// A number that no standard and no vendor has given to anything here.
static uint64_t unknown(struct caller *by)
{
    static const uint8_t ffa[] = {0x6a, 0x6e, 0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x7d,
                                  0x7e, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89};
    const uint64_t any = by->random >> 32;
    switch (pick(by, 6)) {
    case 0: // PSCI
        return wide(by, 0x84000000 | (0xb + pick(by, 0x55)));
    case 1: // FF-A
        return wide(by, 0x84000000 | (pick(by, 4) == 0 ? 0x8a + pick(by, 0x66)
                                                       : ffa[pick(by, sizeof(ffa))]));
    case 2: // other standard services
        return wide(by, 0x840000f0 + (any & 0x7fff));
    case 3: // other owners
        return wide(by, 0x87000000 + (any & 0x38ffffff));
    case 4: // yielding calls
        return any & 0x7fffffff;
    default: // of the hypervisor's own range
        return wide(by, 0x86000020 + (any & 0x7fff));
    }
}

static void unknown_call(struct caller *by)
{
    struct smccc args = {{unknown(by) | odd_value(by) << 32}};
    for (unsigned i = 1; i < 8; i++) {
        args.x[i] = odd_value(by);
    }
    if (pick(by, 16) == 0) {
        make_oddly(by, &args);
        return;
    }
    const uint64_t function = args.x[0];
    expect(by, "unknown function", make(by, &args) == NOT_SUPPORTED, function);
}

static void vendor(struct caller *by)
{
    static const uint64_t known[] = {AETHER_VERSION, 0x8600ff00, 0x8600ff01, 0x8600ff03};
    switch (pick(by, 4)) {
    case 0:
        (void)ask_with_odd_rest(by, AETHER_FEATURES, unknown(by));
        break;
    case 1: {
        const uint64_t count = pick(by, 2) == 0 ? 0 : AETHER_CONSOLE_WRITE_MAX + 1 + by->random / 2;
        const int64_t result = ask_with_odd_rest(by, AETHER_CONSOLE_WRITE, count);
        expect(by, "no bytes", result == (count == 0 ? 0 : INVALID_PARAMETER), count);
        break;
    }
    case 2:
        expect(by, "vendor", ask_with_odd_rest(by, known[pick(by, 4)], odd_value(by)) >= 0, 0);
        break;
    default:
        expect(by, "no manager",
               ask_with_odd_rest(by, AETHER_VM_INFO + pick(by, VM_CALLS), odd_value(by)) < 0, 0);
    }
}

static void psci(struct caller *by)
{
    const uint64_t target = pick(by, 2) == 0 ? pick(by, world.vcpus) : world.vcpus + by->random;
    switch (pick(by, 6)) {
    case 0:
        expect(by, "PSCI version", ask_with_odd_rest(by, PSCI_VERSION, 0) == VERSION_1_1, 0);
        break;
    case 1:
        (void)ask_with_odd_rest(by, PSCI_FEATURES,
                                pick(by, 2) == 0 ? 0x84000000 + pick(by, 16) : unknown(by));
        break;
    case 2: {
        const int64_t result = ask(by, PSCI_AFFINITY_INFO | FFA_64, target, pick(by, 3), 0);
        const bool bad = target >= world.vcpus;
        expect(by, "affinity", bad ? result == PSCI_INVALID : result >= PSCI_INVALID, target);
        break;
    }
    case 3: {
        const uint64_t nobody = world.vcpus + by->random % 0xfffffff0;
        const int64_t result = ask(by, wide(by, PSCI_CPU_ON), nobody, (uint64_t)_start, 0);
        expect(by, "nobody is on", result == PSCI_INVALID, nobody);
        break;
    }
    case 4: {
        const uint64_t entry = pick(by, 2) == 0 ? (uint64_t)_start + 2 : odd_value(by) & 0xfff;
        const int64_t result = ask(by, wide(by, PSCI_CPU_ON), pick(by, world.vcpus), entry, 0);
        expect(by, "bad entry", result < 0, (uint64_t)result);
        break;
    }
    default:
        (void)ask_with_odd_rest(by, pick(by, 2) == 0 ? PSCI_MIGRATE_INFO_TYPE : PSCI_CPU_SUSPEND,
                                pick(by, 2) << 16);
    }
}

static void discovery(struct caller *by)
{
    static const uint64_t one_argument[] = {FFA_ID_GET, FFA_RX_RELEASE, FFA_MSG_WAIT,
                                            FFA_NOTIFICATION_INFO_GET, FFA_MEM_RELINQUISH};
    switch (pick(by, 5)) {
    case 0:
        (void)ask_with_odd_rest(by, FFA_VERSION, pick(by, 2) == 0 ? VERSION_1_1 : odd_value(by));
        break;
    case 1:
        (void)ask(by, FFA_FEATURES, pick(by, 2) == 0 ? unknown(by) : FFA_ERROR + pick(by, 0x28), 0,
                  0);
        break;
    case 2:
        (void)ask(by, FFA_ID_GET, 0, 0, 0);
        break;
    case 3: { // how many partitions have that UUID
        const bool nil = pick(by, 2) == 0;
        struct smccc args = {{FFA_PARTITION_INFO_GET, nil ? 0 : odd_value(by), 0, 0, 0, 1}};
        (void)make(by, &args);
        break;
    }
    default: { // a register that must be zero
        const uint64_t function = one_argument[pick(by, 5)];
        struct smccc args = {{function}};
        args.x[1 + pick(by, 7)] = UINT64_C(1) << pick(by, 32);
        expect(by, "must be zero", FFA_FAIL(make(by, &args)), function);
    }
    }
}

// Its own bits and the peer's; mostly what may be.
static void notification(struct caller *by)
{
    static const uint64_t functions[] = {FFA_NOTIFICATION_BIND, FFA_NOTIFICATION_UNBIND,
                                         FFA_NOTIFICATION_SET, FFA_NOTIFICATION_GET,
                                         FFA_NOTIFICATION_INFO_GET};
    const uint64_t function = functions[pick(by, 5)];
    struct smccc args = {{function}};
    if (function == FFA_NOTIFICATION_GET) {
        args.x[1] = world.self;
        args.x[2] = 2;
    } else if (function != FFA_NOTIFICATION_INFO_GET) {
        const bool set = function == FFA_NOTIFICATION_SET;
        args.x[1] = set ? world.self << 16 | world.peer : world.peer << 16 | world.self;
        args.x[3 + pick(by, 2)] = UINT64_C(1) << pick(by, 32);
    }
    if (pick(by, 8) == 0) {
        args.x[1 + pick(by, 7)] ^= odd_value(by);
    }
    (void)make(by, &args);
}

// Calls about memory, with nothing that could be meant.
static void aimless(struct caller *by)
{
    const uint64_t handle = odd_value(by);
    switch (pick(by, 4)) {
    case 0: { // two lengths
        const uint64_t function = wide(by, OFFER_DONATE + pick(by, 4));
        const uint64_t length = odd_value(by);
        expect(by, "two lengths", FFA_FAIL(ask(by, function, length, length ^ 1, 0)), length);
        break;
    }
    case 1:
        expect(by, "no handle", FFA_FAIL(ask(by, FFA_MEM_RECLAIM, handle & 0xffffffff, 0, 0)),
               handle);
        break;
    case 2:
        expect(by, "no page",
               FFA_FAIL(ask(by, wide(by, FFA_RXTX_MAP), handle | 1, odd_value(by), 1)), handle);
        break;
    default:
        expect(by, "nothing awaited", FFA_FAIL(ask(by, FFA_RUN, handle | 0xff, 0, 0)), handle);
    }
}

void simple_call(struct caller *by)
{
    const uint64_t what = pick(by, 16);
    if (what < 3) {
        unknown_call(by);
    } else if (what < 5) {
        vendor(by);
    } else if (what < 8) {
        psci(by);
    } else if (what == 8) {
        expect(by, "SMCCC", ask_with_odd_rest(by, SMCCC_VERSION, 0) == 0x10002, 0);
    } else if (what == 9) {
        (void)ask_with_odd_rest(by, SMCCC_ARCH_FEATURES, 0x80000000 + pick(by, 3));
    } else if (what < 12) {
        discovery(by);
    } else if (what < 14) {
        notification(by);
    } else {
        aimless(by);
    }
}
