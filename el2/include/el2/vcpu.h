// SPDX-License-Identifier: Apache-2.0
// State of a virtual CPU: what a guest finds at reset, and what EL2 traps.
#ifndef EL2_VCPU_H
#define EL2_VCPU_H

#include <stdint.h>

#include <el2/sysregs.h>
#include <el2/vm.h>

// EL1h, all masked, X0 = `argument`, EL1's system registers as at reset, FP and SIMD registers 0.
void vcpu_reset(struct vcpu *vcpu, ipa_t entry, uint64_t argument);

// Traps, stage 2 and VMID of the VM on this PE.
void vcpu_load(const struct vm *vm);

// In fpsimd.S: zeros in V0-V31, FPCR and FPSR.
void fpsimd_reset(void);

// In vectors.S.
_Noreturn void guest_enter(struct vcpu *vcpu);

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
