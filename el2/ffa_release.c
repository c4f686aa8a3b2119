// SPDX-License-Identifier: Apache-2.0
// What becomes of memory between VMs when one of them ends. No vCPU is loaded meanwhile, so the
// stage 2 of any VM may change.
#include <stddef.h>

#include <el2/frames.h>
#include <el2/mm.h>
#include <el2/panic.h>
#include <el2/vm.h>

// The next page between the VM that ends and a peer, both locked. False: there is none.
static bool release_between(struct vm *vm, struct vm *peer)
{
    for (uint32_t i = 0; i < FFA_TRANSACTIONS; i++) {
        struct ffa_transaction *theirs = &peer->shares.transactions[i];
        struct ffa_transaction *own = &vm->shares.transactions[i];
        if (theirs->handle != 0 && theirs->receiver == vm->vmid && theirs->mapped != 0) {
            ffa_give_back(peer, theirs, true);
            return true;
        }
        if (own->handle != 0 && own->receiver == peer->vmid) {
            if (own->mapped != 0) {
                ffa_give_back(vm, own, true);
            }
            if (own->mapped == 0) {
                own->receiver = 0; // nobody takes it up again
            }
            return true;
        }
    }
    return false;
}

// The lower of the two locks first: of two VMs that end, one gets both.
static bool release_peer(struct vm *vm, struct vm *peer, uint32_t ending)
{
    struct vm *first = peer < vm ? peer : vm;
    struct vm *second = peer < vm ? vm : peer;
    bool more = true;
    if (!ffa_lock(first, ending)) {
        return true;
    }
    if (ffa_lock(second, ending)) {
        more = release_between(vm, peer);
        ffa_unlock(second);
    }
    ffa_unlock(first);
    return more;
}

// The next page that was given to the VM goes home.
static bool release_window(struct vm *vm)
{
    uint32_t i = 0;
    while (i < FFA_WINDOW_PAGES / 64 && vm->shares.window[i] == 0) {
        i++;
    }
    if (i == FFA_WINDOW_PAGES / 64) {
        return false;
    }
    ipa_t ipa = ffa_window_ipa(i * 64 + (uint32_t)__builtin_ctzll(vm->shares.window[i]));
    struct pgt_walk walk;
    struct frame *frame = ffa_own_frame(vm, ipa, &walk);
    const struct vm *home = frame == NULL ? NULL : vm_home_of(walk.pa);
    if (home == NULL) {
        panic("a page in use of a window is not its VM's");
    }
    ffa_leave_window(vm, ipa);
    mm_scrub(walk.pa);
    frame_set(frame, OWNER_VM + home->vmid, FRAME_OWNED, 0); // only now may it be loaded there
    return true;
}

// What no peer has a part in.
static bool release_own(struct vm *vm)
{
    if (vm->shares.mailbox.mapped) {
        ffa_mailbox_unmap(vm);
        return true;
    }
    for (uint32_t i = 0; i < FFA_TRANSACTIONS; i++) {
        if (vm->shares.transactions[i].handle != 0) {
            ffa_take_back(vm, &vm->shares.transactions[i]);
            return true;
        }
    }
    return release_window(vm);
}

bool ffa_memory_release_step(struct vm *vm)
{
    uint32_t ending = 1u << (vm->vmid - 1u);
    uint32_t *peer = &vm->shares.released;
    if (*peer < vm_count) {
        // With one that is done nothing can begin anew: the VM makes no calls, offers nothing.
        if (!ffa_is_peer(vm, *peer + 1) || !release_peer(vm, &vms[*peer], ending)) {
            ++*peer;
        }
        return true;
    }
    if (!ffa_lock(vm, ending)) {
        return true;
    }
    bool more = release_own(vm);
    ffa_unlock(vm);
    if (!more) {
        *peer = 0; // for the next time
    }
    return more;
}
