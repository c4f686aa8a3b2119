// SPDX-License-Identifier: Apache-2.0
#include <el2/psci.h>
#include <el2/hypercall.h>
#include <el2/sysregs.h>

#define PSCI_1_1 0x10001
#define PSCI_SUCCESS 0
#define PSCI_NOT_SUPPORTED (-1)
#define PSCI_INVALID_PARAMETERS (-2)
#define PSCI_ALREADY_ON (-4)
#define PSCI_AFFINITY_ON 0
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

// The VM has one vCPU, with affinity 0.0.0.0. Levels above 0 are optional since PSCI 1.0.
static int64_t affinity_info(uint64_t target, uint64_t level)
{
    return target == 0 && level == 0 ? PSCI_AFFINITY_ON : PSCI_INVALID_PARAMETERS;
}

static int64_t cpu_on(uint64_t target)
{
    return target == 0 ? PSCI_ALREADY_ON : PSCI_INVALID_PARAMETERS;
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
        result = cpu_on(x1);
        break;
    case PSCI_AFFINITY_INFO_32:
    case PSCI_AFFINITY_INFO_64:
        result = affinity_info(x1, x2);
        break;
    case PSCI_MIGRATE_INFO_TYPE:
        result = PSCI_NO_MIGRATION;
        break;
    case PSCI_FEATURES:
        result = features((uint32_t)x1);
        break;
    case PSCI_SYSTEM_RESET:
        vm_reset(vcpu->vm);
        return;        // X0 is the reset vCPU's
    case PSCI_CPU_OFF: // the VM's last
    case PSCI_SYSTEM_OFF:
        vm_off(vcpu->vm);
    default:
        result = PSCI_NOT_SUPPORTED;
    }
    vcpu->x[0] = (uint64_t)result;
}
