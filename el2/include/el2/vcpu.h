// SPDX-License-Identifier: Apache-2.0
// State of a virtual CPU: what a guest finds at reset, what EL2 traps, and the switch.
#ifndef EL2_VCPU_H
#define EL2_VCPU_H

#include <el2/sysregs.h>
#include <el2/vm.h>

// EL1h, all masked, X0 = `argument`, EL1's system registers as at reset, FP and SIMD registers 0.
// Not of a vCPU that is loaded.
void vcpu_reset(struct vcpu *vcpu, uint64_t entry, uint64_t argument);

// Once on each pCPU: traps and what no VM has its own value of.
void vcpu_init_cpu(void);

// Registers of this PE to and from a vCPU. Between the two the EL1 regime cannot be used.
void vcpu_save(struct vcpu *vcpu);
void vcpu_load(struct vcpu *vcpu);

// Something has changed for `target` that it must look at now: if it is in its slot on another
// pCPU, and has a while left there, that pCPU leaves the guest (or its sleep) for EL2. Else the
// start of its next slot will do. Store what changed first.
void vcpu_kick(const struct vcpu *target);

// In vectors.S: back to the guest that the pCPU has loaded.
_Noreturn void guest_enter(void);

// The same for sched_wait(): the caller's stack is given up.
_Noreturn void guest_wait(void);

// Registers by number as an instruction means it: 31 is XZR.
static inline uint64_t vcpu_get(const struct vcpu *vcpu, uint64_t number)
{
    return number < 31 ? vcpu->x[number] : 0;
}

static inline void vcpu_set(struct vcpu *vcpu, uint64_t number, uint64_t value)
{
    if (number < 31) {
        vcpu->x[number] = value;
    }
}

// Past an instruction that was emulated.
static inline void vcpu_skip(struct vcpu *vcpu)
{
    vcpu->pc += 4;
    vcpu->pstate &= ~(SPSR_SS | SPSR_BTYPE);
}

#endif
