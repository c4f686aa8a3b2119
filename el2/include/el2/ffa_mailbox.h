// SPDX-License-Identifier: Apache-2.0
// The RX and TX buffers of FF-A partitions. EL2 has them mapped, TX for reading only, from RXTX_MAP
// to RXTX_UNMAP or the end of the VM's life; their frames are FRAME_MAILBOX meanwhile, and stay
// mapped in the VM. RX is the VM's from when EL2 has filled it until RX_RELEASE or MSG_WAIT.
#ifndef EL2_FFA_MAILBOX_H
#define EL2_FFA_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/ffa.h>
#include <stage2/addr.h>

struct vcpu;
struct vm;

struct ffa_mailbox {
    bool mapped;
    bool rx_full; // RX is the VM's; by ffa_rx_full() and ffa_set_rx_full() only
    pa_t tx, rx;
};

// MSG_WAIT stores without the share lock. Acquire: the VM has read RX before EL2 writes to it.
static inline bool ffa_rx_full(const struct ffa_mailbox *mailbox)
{
    return __atomic_load_n(&mailbox->rx_full, __ATOMIC_ACQUIRE);
}

static inline void ffa_set_rx_full(struct ffa_mailbox *mailbox, bool full)
{
    __atomic_store_n(&mailbox->rx_full, full, __ATOMIC_RELEASE);
}

// Calls: what EL2 answers with is in the caller's registers after FFA_OK. That registers which must
// be zero are has been checked (ffa.c).

// X1: TX, X2: RX, X3: pages of each. INVALID_PARAMETERS: X3 is not 1, an IPA is not aligned, they
// are the same, or one is not memory that is mapped and the VM's own. DENIED: there is a mailbox,
// or one is shared.
enum ffa_error ffa_rxtx_map(struct vcpu *vcpu);

// X1: 0, or the caller's id in bits 31 to 16. INVALID_PARAMETERS: another, or no mailbox.
enum ffa_error ffa_rxtx_unmap(struct vcpu *vcpu);

// DENIED: RX is not the VM's.
enum ffa_error ffa_rx_release(struct vcpu *vcpu);

// RX for EL2 to write 4 KiB to, and not to read from. NULL: *error says why (INVALID_PARAMETERS: no
// mailbox; BUSY: RX is the VM's, or the share lock is not free). Else the VM's share lock is held
// until ffa_rx_done(), which gives RX to the VM.
void *ffa_rx_begin(struct vm *vm, enum ffa_error *error);
void ffa_rx_done(struct vm *vm);

// With the share lock held. The mailbox is mapped.
void ffa_mailbox_unmap(struct vm *vm);

#endif
