// SPDX-License-Identifier: Apache-2.0
#include <el2/memory.h>
#include <el2/vcpu.h>

// What is UNKNOWN at reset gets a fixed value too: a run depends on nothing that came before it.
static void reset_el1(void)
{
    WRITE_SYSREG(sctlr_el1, SCTLR_EL1_RESET);
    WRITE_SYSREG(tcr_el1, 0);
    WRITE_SYSREG(ttbr0_el1, 0);
    WRITE_SYSREG(ttbr1_el1, 0);
    WRITE_SYSREG(mair_el1, 0);
    WRITE_SYSREG(amair_el1, 0);
    WRITE_SYSREG(vbar_el1, 0);
    WRITE_SYSREG(cpacr_el1, 0);
    WRITE_SYSREG(esr_el1, 0);
    WRITE_SYSREG(far_el1, 0);
    WRITE_SYSREG(afsr0_el1, 0);
    WRITE_SYSREG(afsr1_el1, 0);
    WRITE_SYSREG(elr_el1, 0);
    WRITE_SYSREG(spsr_el1, 0);
    WRITE_SYSREG(sp_el0, 0);
    WRITE_SYSREG(sp_el1, 0);
    WRITE_SYSREG(par_el1, 0);
    WRITE_SYSREG(tpidr_el0, 0);
    WRITE_SYSREG(tpidrro_el0, 0);
    WRITE_SYSREG(tpidr_el1, 0);
    WRITE_SYSREG(contextidr_el1, 0);
    WRITE_SYSREG(csselr_el1, 0);
    WRITE_SYSREG(cntkctl_el1, 0);
    WRITE_SYSREG(cntp_ctl_el0, 0);
    WRITE_SYSREG(cntv_ctl_el0, 0);
    WRITE_SYSREG(cntv_cval_el0, 0);
    WRITE_SYSREG(mdscr_el1, 0);
}

void vcpu_reset(struct vcpu *vcpu, ipa_t entry, uint64_t argument)
{
    memset(vcpu->x, 0, sizeof(vcpu->x));
    vcpu->x[0] = argument;
    vcpu->pc = ipa_value(entry);
    vcpu->pstate = SPSR_DAIF | SPSR_EL1H;
    reset_el1();
    if (id_field(READ_SYSREG(id_aa64pfr0_el1), ID_AA64PFR0_FP_SHIFT) != ID_FIELD_MASK) {
        fpsimd_reset();
    }
}

void vcpu_load(const struct vm *vm)
{
    uint64_t mdcr = MDCR_GUEST;
    uint64_t pmu = id_field(READ_SYSREG(id_aa64dfr0_el1), ID_AA64DFR0_PMUVER_SHIFT);
    if (pmu != 0 && pmu != ID_FIELD_MASK) {
        // HPMN = N: no counter is set aside for EL2. TPM keeps the guest away from all of them.
        mdcr |= READ_SYSREG(pmcr_el0) >> PMCR_N_SHIFT & PMCR_N_MASK;
    }
    WRITE_SYSREG(mdcr_el2, mdcr);
    WRITE_SYSREG(vtcr_el2, pgt_vtcr_el2(&vm->stage2));
    WRITE_SYSREG(vttbr_el2, pgt_vttbr_el2(&vm->stage2));
    uint64_t lo = id_field(READ_SYSREG(id_aa64mmfr1_el1), ID_AA64MMFR1_LO_SHIFT);
    WRITE_SYSREG(hcr_el2, HCR_GUEST | (lo != 0 ? HCR_TLOR : 0)); // its registers: not there
    isb(); // all of them in force before the guest, or a TLBI for its VMID
}
