// SPDX-License-Identifier: Apache-2.0
// Notifications: 64 bits of each partition, each bound to one peer that may set it. All are global,
// none is of one vCPU.
#include <el2/ffa_message.h>
#include <el2/vcpu.h>

#define FLAG_PER_VCPU BIT(0)
#define GET_FLAGS 0xfu // of secure partitions, VMs, the SPM and the hypervisor
#define GET_FROM_VMS BIT(1)
#define INFO_LISTS_SHIFT 7u

static bool try_lock(struct ffa_notifications *notifications)
{
    return __atomic_exchange_n(&notifications->lock, 1, __ATOMIC_ACQUIRE) == 0;
}

static enum ffa_error unlock(struct ffa_notifications *notifications, enum ffa_error error)
{
    __atomic_store_n(&notifications->lock, 0, __ATOMIC_RELEASE);
    return error;
}

static uint64_t bitmap(const struct vcpu *vcpu)
{
    return vcpu->x[4] << 32 | vcpu->x[3];
}

static enum ffa_error success(struct vcpu *vcpu)
{
    ffa_result(vcpu, FFA_SUCCESS);
    return FFA_OK;
}

// X1 and X2 of a call of `self` about notifications that it sends to, or gets from, `peer`.
static enum ffa_error check(const struct vcpu *vcpu, uint32_t self, uint32_t peer)
{
    if (self != vcpu->vm->vmid || !ffa_is_peer(vcpu->vm, peer) || bitmap(vcpu) == 0) {
        return FFA_INVALID_PARAMETERS;
    }
    return FFA_OK;
}

enum ffa_error ffa_notification_bind(struct vcpu *vcpu)
{
    struct ffa_notifications *own = &vcpu->vm->notifications;
    uint32_t sender = ffa_high_id(vcpu->x[1]);
    uint64_t bits = bitmap(vcpu);
    uint64_t bound = 0;
    enum ffa_error error = check(vcpu, ffa_low_id(vcpu->x[1]), sender);
    if (error != FFA_OK || vcpu->x[2] > FLAG_PER_VCPU) {
        return FFA_INVALID_PARAMETERS;
    }
    if (vcpu->x[2] == FLAG_PER_VCPU) {
        return FFA_NOT_SUPPORTED;
    }
    if (!try_lock(own)) {
        return FFA_BUSY;
    }
    for (uint32_t i = 0; i < VM_MAX; i++) {
        bound |= own->bound[i];
    }
    if ((bound & bits) != 0) {
        return unlock(own, FFA_DENIED);
    }
    own->bound[sender - 1] |= bits;
    (void)unlock(own, FFA_OK);
    return success(vcpu);
}

enum ffa_error ffa_notification_unbind(struct vcpu *vcpu)
{
    struct ffa_notifications *own = &vcpu->vm->notifications;
    uint32_t sender = ffa_high_id(vcpu->x[1]);
    uint64_t bits = bitmap(vcpu);
    enum ffa_error error = check(vcpu, ffa_low_id(vcpu->x[1]), sender);
    if (error != FFA_OK || vcpu->x[2] != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    if (!try_lock(own)) {
        return FFA_BUSY;
    }
    if ((bits & (~own->bound[sender - 1] | own->pending)) != 0) {
        return unlock(own, FFA_DENIED);
    }
    own->bound[sender - 1] &= ~bits;
    (void)unlock(own, FFA_OK);
    return success(vcpu);
}

enum ffa_error ffa_notification_set(struct vcpu *vcpu)
{
    uint32_t receiver = ffa_low_id(vcpu->x[1]);
    uint64_t bits = bitmap(vcpu);
    enum ffa_error error = check(vcpu, ffa_high_id(vcpu->x[1]), receiver);
    if ((vcpu->x[2] & FLAG_PER_VCPU) != 0) {
        return FFA_NOT_SUPPORTED;
    }
    if (error != FFA_OK || vcpu->x[2] != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    struct vm *vm = &vms[receiver - 1];
    struct ffa_notifications *theirs = &vm->notifications;
    if (!try_lock(theirs)) {
        return FFA_BUSY;
    }
    if ((bits & ~theirs->bound[vcpu->vm->vmid - 1]) != 0) {
        return unlock(theirs, FFA_DENIED);
    }
    if ((bits & ~theirs->pending) != 0) { // else the interrupt is on its way, or taken
        theirs->pending |= bits;
        vgic_send_notification(&vm->vcpus[0]);
    }
    (void)unlock(theirs, FFA_OK);
    return success(vcpu);
}

enum ffa_error ffa_notification_get(struct vcpu *vcpu)
{
    struct ffa_notifications *own = &vcpu->vm->notifications;
    uint64_t flags = vcpu->x[2];
    uint64_t pending = 0;
    if (ffa_low_id(vcpu->x[1]) != vcpu->vm->vmid ||
        ffa_high_id(vcpu->x[1]) >= vcpu->vm->vcpu_count || (flags & ~(uint64_t)GET_FLAGS) != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    if (!try_lock(own)) {
        return FFA_BUSY;
    }
    if ((flags & GET_FROM_VMS) != 0) {
        pending = own->pending;
        own->pending = 0;
        own->told = 0;
    }
    (void)unlock(own, FFA_OK);
    ffa_result(vcpu, FFA_SUCCESS);
    vcpu->x[4] = (uint32_t)pending;
    vcpu->x[5] = pending >> 32;
    return FFA_OK;
}

// One list of one id, the caller's own: who schedules a VM is EL2, not another VM.
enum ffa_error ffa_notification_info_get(struct vcpu *vcpu)
{
    struct ffa_notifications *own = &vcpu->vm->notifications;
    if (!try_lock(own)) {
        return FFA_BUSY;
    }
    bool news = (own->pending & ~own->told) != 0;
    own->told = own->pending;
    (void)unlock(own, FFA_OK);
    if (!news) {
        return FFA_NO_DATA;
    }
    ffa_result(vcpu, FFA_SUCCESS | ((uint32_t)vcpu->x[0] & FFA_64));
    vcpu->x[2] = 1u << INFO_LISTS_SHIFT;
    vcpu->x[3] = vcpu->vm->vmid;
    return FFA_OK;
}

bool ffa_notifications_release(struct vm *vm)
{
    for (uint32_t i = 0; i < vm_count; i++) {
        struct ffa_notifications *other = &vms[i].notifications;
        bool own = &vms[i] == vm;
        if (!own && !ffa_is_peer(vm, i + 1)) {
            continue;
        }
        if (!try_lock(other)) {
            return true;
        }
        uint64_t gone = own ? UINT64_MAX : other->bound[vm->vmid - 1];
        for (uint32_t j = 0; j < VM_MAX; j++) {
            other->bound[j] &= ~gone;
        }
        other->pending &= ~gone;
        other->told &= ~gone;
        (void)unlock(other, FFA_OK);
    }
    return false;
}
