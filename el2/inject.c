// SPDX-License-Identifier: Apache-2.0
#include <el2/inject.h>
#include <el2/sysregs.h>
#include <el2/vcpu.h>

static bool from_el0(const struct vcpu *vcpu)
{
    return (vcpu->pstate & SPSR_M_MASK) == SPSR_EL0T;
}

static uint64_t vector(const struct vcpu *vcpu)
{
    uint64_t vbar = READ_SYSREG(vbar_el1) & ~VBAR_RES0;
    switch (vcpu->pstate & SPSR_M_MASK) {
    case SPSR_EL0T:
        return vbar + VECTOR_LOWER_A64;
    case SPSR_EL1T:
        return vbar + VECTOR_SAME_SP0;
    default:
        return vbar + VECTOR_SAME_SPX;
    }
}

static void enter_el1(struct vcpu *vcpu, uint64_t ec, uint64_t iss)
{
    uint64_t pstate = SPSR_DAIF | SPSR_EL1H;
    pstate |= vcpu->pstate & (SPSR_NZCV | SPSR_PAN | SPSR_DIT);
    if (id_field(READ_SYSREG(id_aa64mmfr1_el1), ID_AA64MMFR1_PAN_SHIFT) != 0 &&
        (READ_SYSREG(sctlr_el1) & SCTLR_EL1_SPAN) == 0) {
        pstate |= SPSR_PAN;
    }
    WRITE_SYSREG(spsr_el1, vcpu->pstate);
    WRITE_SYSREG(elr_el1, vcpu->pc);
    WRITE_SYSREG(esr_el1, ec << ESR_EC_SHIFT | ESR_IL | iss);
    vcpu->pc = vector(vcpu);
    vcpu->pstate = pstate;
}

void inject_undefined(struct vcpu *vcpu)
{
    enter_el1(vcpu, EC_UNKNOWN, 0);
}

void inject_external_abort(struct vcpu *vcpu, uint64_t esr, uint64_t far, ipa_t ipa)
{
    bool fetch = (esr >> ESR_EC_SHIFT & ESR_EC_MASK) == EC_IABT_LOWER;
    uint64_t iss = FSC_SYNC_EXTERNAL;
    uint64_t ec;
    if (fetch) {
        if (vcpu->pc == vector(vcpu)) {
            vm_crash(vcpu, "its exception vector is not in its memory", ipa);
        }
        ec = from_el0(vcpu) ? EC_IABT_LOWER : EC_IABT_SAME;
    } else {
        ec = from_el0(vcpu) ? EC_DABT_LOWER : EC_DABT_SAME;
        iss |= esr & (ISS_WNR | ISS_CM);
    }
    WRITE_SYSREG(far_el1, far);
    enter_el1(vcpu, ec, iss);
}
