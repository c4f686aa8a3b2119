// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/ffa_message.h>
#include <el2/memory.h>
#include <el2/sched.h>
#include <el2/vcpu.h>

enum ffa_inbox {
    INBOX_SHUT,
    INBOX_OPEN,    // for a request of any peer
    INBOX_FILLING, // a peer writes to it
    INBOX_FULL,
    // and above: the vCPU whose answer it is open for
};

#define ID_SHIFT 16u
#define CALL_SHIFT 20u // which request of its sender: an answer to a former one is none to this
#define CALL_MASK 0xfff00000u

static ffa_vcpu_id id_of(const struct vcpu *vcpu)
{
    return (uint32_t)vcpu->vm->vmid << ID_SHIFT | vcpu->index;
}

static ffa_vcpu_id without_call(uint32_t id)
{
    return id & ~CALL_MASK;
}

static struct vcpu *vcpu_of(uint32_t id)
{
    return &vms[(without_call(id) >> ID_SHIFT) - 1].vcpus[id & 0xffff];
}

bool ffa_is_peer(const struct vm *vm, uint32_t id)
{
    return id >= 1 && id <= vm_count && (vm->config.peers & 1u << (id - 1)) != 0;
}

static bool change(struct ffa_vcpu *ffa, uint32_t from, uint32_t to)
{
    // Both sides store their own inbox before they look at the other's: sequentially consistent.
    return __atomic_compare_exchange_n(&ffa->inbox, &from, to, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

// Into an inbox that is in state `from`. False: it is not.
static bool put(struct vcpu *to, uint32_t from, ffa_vcpu_id sender, const uint64_t message[8])
{
    struct ffa_vcpu *ffa = &to->ffa;
    if (!change(ffa, from, INBOX_FILLING)) {
        return false;
    }
    memcpy(ffa->message, message, sizeof(ffa->message));
    ffa->sender = sender;
    __atomic_store_n(&ffa->inbox, INBOX_FULL, __ATOMIC_RELEASE);
    vcpu_kick(to);
    return true;
}

// An answer of `by` to a request: for its sender, if that still waits for it.
static void answer(uint32_t request, ffa_vcpu_id by, const uint64_t message[8])
{
    (void)put(vcpu_of(request), by | (request & CALL_MASK), by, message);
}

// What `request` awaits of `by` will never come. Its sender may have ended meanwhile.
static void abort_request(uint32_t request, ffa_vcpu_id by)
{
    static const uint64_t aborted[8] = {FFA_ERROR, 0, (uint32_t)FFA_ABORTED};
    answer(request, by, aborted);
}

// For its own vCPU, of which no answer is expected. False: a peer still writes what nobody wants.
static bool set_inbox(struct ffa_vcpu *ffa, uint32_t state)
{
    if (__atomic_load_n(&ffa->inbox, __ATOMIC_ACQUIRE) == INBOX_FILLING) {
        return false;
    }
    __atomic_store_n(&ffa->inbox, state, __ATOMIC_SEQ_CST); // before the other's is looked at
    return true;
}

static _Noreturn void wait(struct vcpu *vcpu)
{
    vcpu->ffa.blocked = true;
    guest_wait();
}

enum ffa_error ffa_msg_wait(struct vcpu *vcpu)
{
    if (vcpu->ffa.called != 0 || vcpu->ffa.answers != 0) {
        return FFA_DENIED;
    }
    if (!set_inbox(&vcpu->ffa, INBOX_OPEN)) {
        return FFA_BUSY;
    }
    // RX is released. Without the share lock: whoever holds it fills RX before this, or after.
    ffa_set_rx_full(&vcpu->vm->shares.mailbox, false);
    wait(vcpu);
}

// X0 to X2 of a message, in calls of both widths: the function, who it is from and for, nothing.
static bool check_message(struct vcpu *vcpu)
{
    vcpu->x[0] &= UINT32_MAX;
    vcpu->x[1] &= UINT32_MAX;
    return ffa_high_id(vcpu->x[1]) == vcpu->vm->vmid &&
           ffa_is_peer(vcpu->vm, ffa_low_id(vcpu->x[1])) && vcpu->x[2] == 0;
}

enum ffa_error ffa_direct_request(struct vcpu *vcpu)
{
    if (!check_message(vcpu)) {
        return FFA_INVALID_PARAMETERS;
    }
    if (vcpu->ffa.called != 0) {
        return FFA_DENIED;
    }
    struct vm *vm = &vms[ffa_low_id(vcpu->x[1]) - 1];
    uint32_t call = ++vcpu->ffa.calls << CALL_SHIFT;
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        uint32_t target = id_of(&vm->vcpus[i]) | call;
        if (!set_inbox(&vcpu->ffa, target)) {
            return FFA_BUSY;
        }
        // If its VM ends at this moment the answer to what was not sent is there: ABORTED.
        if (put(&vm->vcpus[i], INBOX_OPEN, id_of(vcpu) | call, vcpu->x) ||
            !change(&vcpu->ffa, target, INBOX_SHUT)) {
            vcpu->ffa.called = target;
            wait(vcpu);
        }
    }
    return FFA_BUSY;
}

enum ffa_error ffa_direct_response(struct vcpu *vcpu)
{
    uint32_t request = vcpu->ffa.answers;
    if (!check_message(vcpu) ||
        (request != 0 && without_call(request) >> ID_SHIFT != ffa_low_id(vcpu->x[1]))) {
        return FFA_INVALID_PARAMETERS;
    }
    if (request == 0 || vcpu->ffa.called != 0) {
        return FFA_DENIED;
    }
    if (!set_inbox(&vcpu->ffa, INBOX_OPEN)) {
        return FFA_BUSY;
    }
    answer(request, id_of(vcpu), vcpu->x);
    vcpu->ffa.answers = 0;
    wait(vcpu);
}

// X2, X3: a time to be resumed after, which the schedule decides.
enum ffa_error ffa_yield(struct vcpu *vcpu)
{
    if (vcpu->x[1] != 0) {
        return FFA_INVALID_PARAMETERS;
    }
    ffa_result(vcpu, FFA_SUCCESS);
    sched_yield_slot();
}

enum ffa_error ffa_run(struct vcpu *vcpu)
{
    ffa_vcpu_id target = (ffa_vcpu_id)vcpu->x[1];
    uint32_t id = ffa_high_id(target);
    if (!ffa_is_peer(vcpu->vm, id) || ffa_low_id(target) >= vms[id - 1].vcpu_count) {
        return FFA_INVALID_PARAMETERS;
    }
    if (vcpu->ffa.called == 0 || without_call(vcpu->ffa.called) != target) {
        return FFA_DENIED;
    }
    wait(vcpu);
}

bool ffa_wait_ends(struct vcpu *vcpu)
{
    struct ffa_vcpu *ffa = &vcpu->ffa;
    uint32_t inbox = __atomic_load_n(&ffa->inbox, __ATOMIC_ACQUIRE);
    if (inbox == INBOX_FULL) {
        memcpy(vcpu->x, ffa->message, sizeof(ffa->message));
        ffa->answers = ffa->called != 0 ? ffa->answers : ffa->sender;
        ffa->called = 0;
        __atomic_store_n(&ffa->inbox, INBOX_SHUT, __ATOMIC_RELAXED);
    } else if (vgic_signals(vcpu) && inbox != INBOX_FILLING &&
               (inbox != INBOX_OPEN || change(ffa, INBOX_OPEN, INBOX_SHUT))) {
        ffa_result(vcpu, FFA_INTERRUPT);
        vcpu->x[1] = ffa->called != 0 ? without_call(ffa->called) : id_of(vcpu);
    } else {
        return false; // also when a message is about to be there
    }
    ffa->blocked = false;
    return true;
}

void ffa_vcpu_off(struct vcpu *vcpu)
{
    struct ffa_vcpu *ffa = &vcpu->ffa;
    if (ffa->answers != 0) {
        abort_request(ffa->answers, id_of(vcpu));
    }
    if (ffa->called != 0) {
        (void)change(ffa, ffa->called, INBOX_SHUT); // an answer that is there waits for set_inbox()
    }
    ffa->answers = 0;
    ffa->called = 0;
}

bool ffa_messages_release(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct ffa_vcpu *ffa = &vm->vcpus[i].ffa;
        uint32_t inbox = __atomic_load_n(&ffa->inbox, __ATOMIC_ACQUIRE);
        if (inbox == INBOX_FILLING || !change(ffa, inbox, INBOX_SHUT)) {
            return true;
        }
        ffa->blocked = false;
        ffa->called = 0;
        ffa->answers = 0;
    }
    for (uint32_t i = 0; i < vm_count; i++) {
        for (uint32_t j = 0; j < vms[i].vcpu_count && ffa_is_peer(vm, i + 1); j++) {
            struct vcpu *peer = &vms[i].vcpus[j];
            uint32_t inbox = __atomic_load_n(&peer->ffa.inbox, __ATOMIC_SEQ_CST);
            if (without_call(inbox) >> ID_SHIFT == vm->vmid) {
                abort_request(id_of(peer) | (inbox & CALL_MASK), without_call(inbox));
            }
        }
    }
    return false;
}
