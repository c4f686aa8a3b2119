// SPDX-License-Identifier: Apache-2.0
// Static time slots. A slot begins with a window of fixed length for EL2's own work, after which
// the vCPU is entered at the same tick of every frame, whatever ran before it.
#ifndef EL2_SCHED_H
#define EL2_SCHED_H

#include <el2/cpu.h>
#include <el2/manifest.h>

// The table of slots of every CPU, once all VMs are there.
void sched_init(const struct schedule_config *schedule);

// The first frame of this pCPU begins at `start`. Never returns.
_Noreturn void sched_run(uint64_t start);

// The hypervisor timer of this pCPU has fired: the slot ends. These two do not return; the stack is
// given up when a guest is entered.
_Noreturn void sched_slot_end(void);

// Give up the guest that is loaded; its slot goes on without it.
_Noreturn void sched_park(void);

// By guest_wait(): sleeps in the slots of the guest that is loaded until it has a message.
_Noreturn void sched_wait(void);

// Are so many ticks of the system counter left of the slot?
bool sched_has_time(uint64_t ticks);

// The rest of the slot passes; in the next one the guest that is loaded goes on.
_Noreturn void sched_yield_slot(void);

#endif
