// SPDX-License-Identifier: Apache-2.0
#include <el2/ffa.h>
#include <el2/hypercall.h>
#include <el2/vm_control.h>

// From which states, a bit each, to which.
static const struct {
    uint16_t from;
    uint8_t to;
} moves[] = {
    [AETHER_VM_CREATE - AETHER_VM_INFO] = {1u << VM_ABSENT | 1u << VM_DOWN, VM_LOADING},
    [AETHER_VM_START - AETHER_VM_INFO] = {1u << VM_READY, VM_RUNNING},
    [AETHER_VM_PAUSE - AETHER_VM_INFO] = {1u << VM_RUNNING, VM_PAUSED},
    [AETHER_VM_RESUME - AETHER_VM_INFO] = {1u << VM_PAUSED, VM_RUNNING},
    [AETHER_VM_STOP - AETHER_VM_INFO] = {1u << VM_RUNNING | 1u << VM_PAUSED | 1u << VM_READY,
                                         VM_STOPPING},
    [AETHER_VM_DESTROY - AETHER_VM_INFO] = {1u << VM_DOWN | 1u << VM_READY, VM_SCRUBBING},
};

static int64_t control(struct vcpu *vcpu, uint32_t function)
{
    uint64_t id = vcpu->x[1];
    if (id < 1 || id > vm_count || !ffa_zero_from(vcpu, 2)) {
        return SMCCC_INVALID_PARAMETER;
    }
    if ((vcpu->vm->config.manages & 1u << (id - 1)) == 0) {
        return AETHER_DENIED;
    }
    struct vm *vm = &vms[id - 1];
    if (function == AETHER_VM_INFO) {
        vcpu->x[1] = __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE);
        vcpu->x[2] = vm->end;
        vcpu->x[3] = vm->telemetry->restarts;
        return SMCCC_SUCCESS;
    }
    uint32_t move = function - AETHER_VM_INFO;
    uint32_t from = moves[move].from;
    enum vm_state to = (enum vm_state)moves[move].to;
    bool moved = vm_move(vm, from, to);
    // A VM that ends again and again may be met in such a state whenever it is looked at.
    if (!moved && function == AETHER_VM_STOP && vm_stop_later(vm)) {
        (void)vm_move(vm, from, to);
        moved = true;
    }
    return moved ? SMCCC_SUCCESS : AETHER_BAD_STATE;
}

void vm_control(struct vcpu *vcpu, uint32_t function)
{
    vcpu->x[0] = (uint64_t)control(vcpu, function);
}
