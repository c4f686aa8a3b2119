// SPDX-License-Identifier: Apache-2.0
// Direct messages between vCPUs of partitions, and notifications. Nothing here waits for another
// VM: a message is put into a vCPU's inbox by whoever moves the inbox's state first, and a lock
// that is taken is FFA_BUSY.
#ifndef EL2_FFA_MESSAGE_H
#define EL2_FFA_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <el2/ffa.h>
#include <el2/manifest.h>

struct vm;
struct vcpu;

// A vCPU as FFA_RUN names it: VMID << 16 | index. 0: nobody.
typedef uint32_t ffa_vcpu_id;

struct ffa_vcpu {
    // A request: who has sent it, or who is to answer it, and in bits 31 to 20 its number.
    uint32_t inbox;      // enum ffa_inbox, or the request whose answer may be put into it
    uint32_t sender;     // of what is in it: a request, or the vCPU that answers
    uint64_t message[8]; // X0 to X7 on their way to the guest
    bool blocked;        // the guest waits for the inbox; this and the next three: its pCPU only
    uint32_t called;     // the request it has sent that has no answer yet
    uint32_t answers;    // the request it has not answered yet
    uint32_t calls;      // requests it has sent, in all its lives
};

// Of a partition as a receiver of notifications.
struct ffa_notifications {
    uint32_t lock;
    uint64_t bound[VM_MAX]; // which notifications each other VM may set, by its index
    uint64_t pending;
    uint64_t told; // of these, the ones that FFA_NOTIFICATION_INFO_GET has told of
};

// FFA_OK is never returned by these five: they do not return once the vCPU waits.
enum ffa_error ffa_msg_wait(struct vcpu *vcpu);
enum ffa_error ffa_yield(struct vcpu *vcpu); // until its next slot
enum ffa_error ffa_direct_request(struct vcpu *vcpu);
enum ffa_error ffa_direct_response(struct vcpu *vcpu);
enum ffa_error ffa_run(struct vcpu *vcpu);

// For the pCPU of a loaded vCPU that is blocked: can its guest go on now? Then X0 to X7 say why.
bool ffa_wait_ends(struct vcpu *vcpu);

// The vCPU is switched off: who waits for its answer is told.
void ffa_vcpu_off(struct vcpu *vcpu);

enum ffa_error ffa_notification_bind(struct vcpu *vcpu);
enum ffa_error ffa_notification_unbind(struct vcpu *vcpu);
enum ffa_error ffa_notification_set(struct vcpu *vcpu);
enum ffa_error ffa_notification_get(struct vcpu *vcpu);
enum ffa_error ffa_notification_info_get(struct vcpu *vcpu);

// A life of the VM is over, all its vCPUs are parked. True: a peer was in the way, call again.
bool ffa_messages_release(struct vm *vm);
bool ffa_notifications_release(struct vm *vm);

// A bit of vm->config.peers.
bool ffa_is_peer(const struct vm *vm, uint32_t id);

#endif
