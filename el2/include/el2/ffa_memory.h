// SPDX-License-Identifier: Apache-2.0
// Memory between VMs by FF-A: offered by SHARE, LEND or DONATE, taken up by RETRIEVE_REQ, given
// back by RELINQUISH, taken back by RECLAIM.
//
// A transaction belongs to its sender. Its life:
//   send      every page must be RAM that is mapped in the sender, owned by it, and FRAME_OWNED.
//             SHARE: FRAME_SHARED, mapped as before. LEND and DONATE: FRAME_LENT, and reserved in
//             the sender's stage 2; zeroed then, if the sender asks for it.
//   retrieve  the pages are mapped one after the other at the lowest free place of the receiver's
//             window; SHARE, LEND: the frames' borrower. DONATE: the frames are the receiver's,
//             FRAME_OWNED, and the transaction is over.
//   relinquish  reserved again in the receiver's window, no borrower; can be retrieved again.
//   reclaim   FRAME_OWNED, mapped in the sender with the rights it had; the transaction is over.
// Handle: bit 63, a count that is never used again in bits 62 to 16, the sender's id in bits 15 to
// 8, the record in bits 7 to 0.
//
// Errors beyond those of the standard's tables: a handle of a VM that is no peer is unknown
// (INVALID_PARAMETERS). To zero what was granted for reading only is DENIED. A composite descriptor
// stands at a multiple of 8.
//
// Locks. Each VM has a share lock: its transactions, its mailbox, its window, and the frames it
// owns change only under it, and the entries of its stage 2 only under it or while it is loaded. A
// call takes the caller's, then perhaps the owner's; it waits for none: BUSY. In a call the stage 2
// of the caller changes and no other. Frames of a transaction are found by a walk of the sender's
// stage 2.
//
// Whatever a call refuses it has refused before it changes anything.
#ifndef EL2_FFA_MEMORY_H
#define EL2_FFA_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/ffa.h>
#include <el2/ffa_descriptor.h>
#include <el2/ffa_mailbox.h>
#include <el2/manifest.h>
#include <stage2/pgtable.h>

struct frame;
struct vcpu;
struct vm;

#define FFA_TRANSACTIONS 8u // of a sender
#define FFA_WINDOW_PAGES (FFA_WINDOW_SIZE / PAGE_SIZE)

// What a call takes at most on its pCPU, but for its pages, and for each of them, zeroed. A call
// that does not fit into what is left of the slot changes nothing and is made again in the next
// one; one that fits into none of the vCPU's slots is NO_MEMORY. All calls about the same pages
// need the same time: who has retrieved can relinquish.
#define FFA_CALL_US 80u
#define FFA_PAGE_US 23u

// In the numbers of RETRIEVE_REQ's flags.
enum ffa_mem_kind {
    FFA_SHARED = 1,
    FFA_LENT = 2,
    FFA_DONATED = 3,
};

struct ffa_page {
    ipa_t ipa; // in the sender
    pa_t pa;
    struct pgt_attr attr; // that the sender had
};

struct ffa_transaction {
    uint64_t handle; // 0: not in use
    uint64_t tag;
    enum ffa_mem_kind kind;
    uint16_t receiver; // 0: nobody any more, the sender's VM has ended
    bool writable;     // granted
    bool written;      // taken up for writing
    uint32_t window_page;
    uint32_t mapped; // the first so many pages are mapped in the receiver
    uint32_t page_count;
    struct ffa_page pages[FFA_MAX_PAGES];
};

struct ffa_vm_memory {
    uint32_t lock;     // 1: held
    uint32_t wanted;   // by VMs that end, a bit each: calls stay away
    uint32_t released; // of a VM that ends: with so many VMs it is done
    uint64_t handles;
    struct ffa_mailbox mailbox;
    uint64_t window[FFA_WINDOW_PAGES / 64]; // a bit for each page that is in use
    struct ffa_transaction transactions[FFA_TRANSACTIONS];
};

// FFA_OK: the results are in the caller's registers.
enum ffa_error ffa_mem_send(struct vcpu *vcpu, enum ffa_mem_kind kind);
enum ffa_error ffa_mem_retrieve(struct vcpu *vcpu);
enum ffa_error ffa_mem_relinquish(struct vcpu *vcpu);
enum ffa_error ffa_mem_reclaim(struct vcpu *vcpu);

// Of a VM none of whose vCPUs runs any more, on a pCPU that has no vCPU loaded: one step of giving
// back all that it has of others, and taking back what others have of it. What it was given is
// zeroed and goes to the VM whose manifest has it, which finds it when it is loaded the next time.
// A step takes less than a page's worth of zeroing. False: all is done.
bool ffa_memory_release_step(struct vm *vm);

// The share lock. Of two the order does not matter to calls, which wait for none. `ending`: the bit
// of the VM that ends, 0 for calls. False: not free.
bool ffa_lock(struct vm *vm, uint32_t ending);
void ffa_unlock(struct vm *vm);

// For ffa_release.c, with the locks of all VMs that are concerned.

static inline ipa_t ffa_window_ipa(uint32_t page)
{
    return ipa_of(FFA_WINDOW_IPA + page * PAGE_SIZE);
}

// A page of the window is unmapped, and free.
void ffa_leave_window(struct vm *vm, ipa_t ipa);

// The last page that the receiver has is unmapped there; `clean`: to the point of coherency, if the
// receiver could write it.
void ffa_give_back(struct vm *owner, struct ffa_transaction *transaction, bool clean);

// The last page is wholly the owner's again; with the last of all the transaction ends.
void ffa_take_back(struct vm *owner, struct ffa_transaction *transaction);

// The frame behind a page of the VM, where it is mapped and RAM of its own; else NULL.
struct frame *ffa_own_frame(const struct vm *vm, ipa_t ipa, struct pgt_walk *walk);

#endif
