// SPDX-License-Identifier: Apache-2.0
#include <el2/psci.h>
#include <el2/hypercall.h>
#include <el2/sched.h>
#include <el2/sysregs.h>
#include <el2/vcpu.h>

#define PSCI_1_1 0x10001
#define PSCI_SUCCESS 0
#define PSCI_NOT_SUPPORTED (-1)
#define PSCI_INVALID_PARAMETERS (-2)
#define PSCI_ALREADY_ON (-4)
#define PSCI_ON_PENDING (-5)
#define PSCI_INVALID_ADDRESS (-9)
#define PSCI_AFFINITY_ON 0
#define PSCI_AFFINITY_OFF 1
#define PSCI_AFFINITY_ON_PENDING 2
#define PSCI_NO_MIGRATION 2 // a trusted OS is not present
#define POWER_STATE_POWERDOWN BIT(16)
#define SMCCC_64 BIT(30)

static int64_t features(uint32_t function)
{
    switch (function) {
    case PSCI_VERSION:
    case PSCI_CPU_SUSPEND_32:
    case PSCI_CPU_SUSPEND_64:
    case PSCI_CPU_OFF:
    case PSCI_CPU_ON_32:
    case PSCI_CPU_ON_64:
    case PSCI_AFFINITY_INFO_32:
    case PSCI_AFFINITY_INFO_64:
    case PSCI_MIGRATE_INFO_TYPE:
    case PSCI_SYSTEM_OFF:
    case PSCI_SYSTEM_RESET:
    case PSCI_FEATURES:
    case SMCCC_VERSION:
        return PSCI_SUCCESS;
    default:
        return PSCI_NOT_SUPPORTED;
    }
}

// Standby may end at any time, so it ends at once. There is nothing to power down to.
static int64_t suspend(uint64_t power_state)
{
    return (power_state & POWER_STATE_POWERDOWN) != 0 ? PSCI_INVALID_PARAMETERS : PSCI_SUCCESS;
}

// MPIDR_EL1 of vCPU i has affinity 0.0.0.i.
static bool is_vcpu(const struct vm *vm, uint64_t target)
{
    return target < vm->vcpu_count;
}

// Levels above 0 are optional since PSCI 1.0.
static int64_t affinity_info(struct vm *vm, uint64_t target, uint64_t level)
{
    static const int8_t info[] = {
        [VCPU_OFF] = PSCI_AFFINITY_OFF,
        [VCPU_ON_PENDING] = PSCI_AFFINITY_ON_PENDING,
        [VCPU_ON] = PSCI_AFFINITY_ON,
    };
    if (!is_vcpu(vm, target) || level != 0) {
        return PSCI_INVALID_PARAMETERS;
    }
    spin_lock(&vm->lock);
    enum vcpu_power power = vm->vcpus[target].power;
    spin_unlock(&vm->lock);
    return info[power];
}

static int64_t cpu_on(struct vm *vm, uint64_t target, uint64_t entry, uint64_t context)
{
    if (!is_vcpu(vm, target)) {
        return PSCI_INVALID_PARAMETERS;
    }
    struct vcpu *vcpu = &vm->vcpus[target];
    int64_t result = PSCI_SUCCESS;
    spin_lock(&vm->lock);
    if (vcpu->power == VCPU_ON) {
        result = PSCI_ALREADY_ON;
    } else if (vcpu->power == VCPU_ON_PENDING) {
        result = PSCI_ON_PENDING;
    } else if (entry % 4 != 0 || !vm_has_memory(vm, ipa_of(entry), 4)) {
        result = PSCI_INVALID_ADDRESS;
    } else {
        vcpu->entry = entry;
        vcpu->context = context;
        vcpu->power = VCPU_ON_PENDING;
    }
    spin_unlock(&vm->lock);
    vcpu_kick(vcpu);
    return result;
}

static _Noreturn void cpu_off(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    bool last = true;
    ffa_vcpu_off(vcpu);
    spin_lock(&vm->lock);
    vcpu->power = VCPU_OFF;
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        last = last && vm->vcpus[i].power == VCPU_OFF;
    }
    spin_unlock(&vm->lock);
    if (last) {
        vm_off(vcpu);
    }
    sched_park();
}

void psci_call(struct vcpu *vcpu, uint32_t function)
{
    uint64_t mask = (function & SMCCC_64) != 0 ? UINT64_MAX : UINT32_MAX;
    uint64_t x1 = vcpu->x[1] & mask;
    uint64_t x2 = vcpu->x[2] & mask;
    int64_t result;
    switch (function) {
    case PSCI_VERSION:
        result = PSCI_1_1;
        break;
    case PSCI_CPU_SUSPEND_32:
    case PSCI_CPU_SUSPEND_64:
        result = suspend(x1);
        break;
    case PSCI_CPU_ON_32:
    case PSCI_CPU_ON_64:
        result = cpu_on(vcpu->vm, x1, x2, vcpu->x[3] & mask);
        break;
    case PSCI_AFFINITY_INFO_32:
    case PSCI_AFFINITY_INFO_64:
        result = affinity_info(vcpu->vm, x1, x2);
        break;
    case PSCI_MIGRATE_INFO_TYPE:
        result = PSCI_NO_MIGRATION;
        break;
    case PSCI_FEATURES:
        result = features((uint32_t)x1);
        break;
    case PSCI_SYSTEM_RESET:
        vm_reset(vcpu);
    case PSCI_CPU_OFF:
        cpu_off(vcpu);
    case PSCI_SYSTEM_OFF:
        vm_off(vcpu);
    default:
        result = PSCI_NOT_SUPPORTED;
    }
    vcpu->x[0] = (uint64_t)result;
}
