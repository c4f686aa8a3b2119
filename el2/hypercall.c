// SPDX-License-Identifier: Apache-2.0
#include <el2/console.h>
#include <el2/ffa.h>
#include <el2/hypercall.h>
#include <el2/psci.h>
#include <el2/version.h>
#include <el2/vm_control.h>

#define SMCCC_1_2 0x10002
#define OWNER_MASK 0x3f000000u
#define OWNER_STANDARD 0x04000000u
#define FAST_CALL 0x80000000u
#define VENDOR_CALLS 10u

// 4ae7a4b5-8e70-4d2c-9b38-5d1c6f0e2a91, in the byte order of the SMC Calling Convention.
#define UID_0 0xb5a4e74au
#define UID_1 0x2c4d708eu
#define UID_2 0x1c5d389bu
#define UID_3 0x912a0e6fu

static int64_t arch_features(uint32_t function)
{
    return function == SMCCC_VERSION || function == SMCCC_ARCH_FEATURES ? SMCCC_SUCCESS
                                                                        : SMCCC_NOT_SUPPORTED;
}

static int64_t aether_features(uint32_t function)
{
    bool known = function == AETHER_VERSION || function == AETHER_FEATURES ||
                 function == AETHER_CONSOLE_WRITE ||
                 (function >= AETHER_VM_INFO && function <= AETHER_VM_DESTROY);
    return known ? SMCCC_SUCCESS : SMCCC_NOT_SUPPORTED;
}

// X1 bytes, eight in each of X2-X7, lowest first. All of them or none. Not inlined: the registers
// it needs would be saved for every call.
static __attribute__((noinline)) int64_t console_write(struct vcpu *vcpu)
{
    uint64_t count = vcpu->x[1];
    if (count > AETHER_CONSOLE_WRITE_MAX) {
        return SMCCC_INVALID_PARAMETER;
    }
    struct console *console = console_of(vcpu->vm);
    spin_lock(&console->lock);
    bool room = console_room(console) >= count;
    for (uint64_t i = 0; room && i < count; i++) {
        (void)console_put(console, (uint8_t)(vcpu->x[2 + i / 8] >> 8 * (i % 8)));
    }
    spin_unlock(&console->lock);
    return room ? SMCCC_SUCCESS : AETHER_BUSY;
}

// Of whole ranges of functions.
static void other_call(struct vcpu *vcpu, uint32_t function)
{
    uint32_t narrow = function & ~FFA_64;
    if (narrow >= FFA_FIRST && narrow <= FFA_LAST) {
        ffa_call(vcpu, function);
    } else if ((function & (FAST_CALL | OWNER_MASK)) == (FAST_CALL | OWNER_STANDARD)) {
        psci_call(vcpu, function);
    } else if (function >= AETHER_VM_INFO && function <= AETHER_VM_DESTROY) {
        vm_control(vcpu, function);
    } else {
        vcpu->x[0] = (uint64_t)SMCCC_NOT_SUPPORTED;
    }
}

void hypercall(struct vcpu *vcpu)
{
    uint32_t function = (uint32_t)vcpu->x[0];
    int64_t result = SMCCC_NOT_SUPPORTED;
    switch (function) {
    case AETHER_VERSION:
        result = AETHER_VERSION_MAJOR << 16 | AETHER_VERSION_MINOR;
        break;
    case AETHER_FEATURES:
        result = aether_features((uint32_t)vcpu->x[1]);
        break;
    case AETHER_CONSOLE_WRITE:
        result = console_write(vcpu);
        break;
    case VENDOR_HYP_CALL_COUNT:
        result = VENDOR_CALLS;
        break;
    case VENDOR_HYP_CALL_UID:
        vcpu->x[1] = UID_1;
        vcpu->x[2] = UID_2;
        vcpu->x[3] = UID_3;
        result = UID_0;
        break;
    case VENDOR_HYP_REVISION:
        vcpu->x[1] = AETHER_VERSION_MINOR;
        result = AETHER_VERSION_MAJOR;
        break;
    case SMCCC_VERSION:
        result = SMCCC_1_2;
        break;
    case SMCCC_ARCH_FEATURES:
        result = arch_features((uint32_t)vcpu->x[1]);
        break;
    default:
        other_call(vcpu, function);
        return;
    }
    vcpu->x[0] = (uint64_t)result;
}
