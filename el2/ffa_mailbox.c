// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/frames.h>
#include <el2/mm.h>
#include <el2/vm.h>

#define RXTX_UNMAP_ID_MASK UINT64_C(0xffff0000)

static uint32_t index_of(const struct vm *vm)
{
    return vm->vmid - 1u;
}

static enum ffa_error done(struct vcpu *vcpu)
{
    ffa_result(vcpu, FFA_SUCCESS);
    return FFA_OK;
}

static enum ffa_error map(struct vm *vm, ipa_t tx, ipa_t rx)
{
    struct ffa_mailbox *mailbox = &vm->shares.mailbox;
    struct pgt_walk tx_walk;
    struct pgt_walk rx_walk;
    struct frame *tx_frame = ffa_own_frame(vm, tx, &tx_walk);
    struct frame *rx_frame = ffa_own_frame(vm, rx, &rx_walk);
    if (tx_frame == NULL || rx_frame == NULL) {
        return FFA_INVALID_PARAMETERS;
    }
    if (mailbox->mapped || tx_frame->state != FRAME_OWNED || rx_frame->state != FRAME_OWNED) {
        return FFA_DENIED;
    }
    unsigned owner = OWNER_VM + vm->vmid;
    frame_set(tx_frame, owner, FRAME_MAILBOX, 0);
    frame_set(rx_frame, owner, FRAME_MAILBOX, 0);
    (void)mm_window_open(MM_WINDOW_TX + index_of(vm), tx_walk.pa, MM_READ_ONLY);
    (void)mm_window_open(MM_WINDOW_RX + index_of(vm), rx_walk.pa, MM_READ_WRITE);
    mailbox->mapped = true;
    mailbox->tx = tx_walk.pa;
    mailbox->rx = rx_walk.pa;
    ffa_set_rx_full(mailbox, false);
    return FFA_OK;
}

void ffa_mailbox_unmap(struct vm *vm)
{
    struct ffa_mailbox *mailbox = &vm->shares.mailbox;
    mm_window_close(MM_WINDOW_TX + index_of(vm));
    mm_window_close(MM_WINDOW_RX + index_of(vm));
    frame_set(frame_of(mailbox->tx), OWNER_VM + vm->vmid, FRAME_OWNED, 0);
    frame_set(frame_of(mailbox->rx), OWNER_VM + vm->vmid, FRAME_OWNED, 0);
    mailbox->mapped = false;
    ffa_set_rx_full(mailbox, false);
}

enum ffa_error ffa_rxtx_map(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t tx = vcpu->x[1];
    uint64_t rx = vcpu->x[2];
    if (((tx | rx) & PAGE_MASK) != 0 || tx == rx || vcpu->x[3] != 1) {
        return FFA_INVALID_PARAMETERS;
    }
    if (!ffa_lock(vm, 0)) {
        return FFA_BUSY;
    }
    enum ffa_error error = map(vm, ipa_of(tx), ipa_of(rx));
    ffa_unlock(vm);
    return error == FFA_OK ? done(vcpu) : error;
}

enum ffa_error ffa_rxtx_unmap(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    uint64_t x1 = vcpu->x[1];
    if ((x1 & ~RXTX_UNMAP_ID_MASK) != 0 || (x1 != 0 && ffa_high_id(x1) != vm->vmid)) {
        return FFA_INVALID_PARAMETERS;
    }
    if (!ffa_lock(vm, 0)) {
        return FFA_BUSY;
    }
    bool mapped = vm->shares.mailbox.mapped;
    if (mapped) {
        ffa_mailbox_unmap(vm);
    }
    ffa_unlock(vm);
    return mapped ? done(vcpu) : FFA_INVALID_PARAMETERS;
}

enum ffa_error ffa_rx_release(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (!ffa_lock(vm, 0)) {
        return FFA_BUSY;
    }
    bool full = ffa_rx_full(&vm->shares.mailbox);
    ffa_set_rx_full(&vm->shares.mailbox, false);
    ffa_unlock(vm);
    return full ? done(vcpu) : FFA_DENIED;
}

void *ffa_rx_begin(struct vm *vm, enum ffa_error *error)
{
    *error = FFA_BUSY;
    if (!ffa_lock(vm, 0)) {
        return NULL;
    }
    const struct ffa_mailbox *mailbox = &vm->shares.mailbox;
    if (mailbox->mapped && !ffa_rx_full(mailbox)) {
        *error = FFA_OK;
        return mm_window(MM_WINDOW_RX + index_of(vm));
    }
    if (!mailbox->mapped) {
        *error = FFA_INVALID_PARAMETERS;
    }
    ffa_unlock(vm);
    return NULL;
}

void ffa_rx_done(struct vm *vm)
{
    ffa_set_rx_full(&vm->shares.mailbox, true);
    ffa_unlock(vm);
}
