// SPDX-License-Identifier: Apache-2.0
#include <el2/gic.h>
#include <el2/memory.h>
#include <el2/vcpu.h>

// In switch.S and fpsimd.S.
void el1_park(void);
void el1_save(struct el1_state *el1);
void el1_load(const struct el1_state *el1, uint64_t vttbr, uint64_t cntvoff, uint64_t vmpidr);
void fpsimd_save(struct fp_state *fp);
void fpsimd_load(const struct fp_state *fp);

// What is UNKNOWN at reset gets a fixed value too: a run depends on nothing that came before it.
void vcpu_reset(struct vcpu *vcpu, uint64_t entry, uint64_t argument)
{
    memset(vcpu->x, 0, sizeof(vcpu->x));
    memset(&vcpu->el1, 0, sizeof(vcpu->el1));
    memset(&vcpu->fp, 0, sizeof(vcpu->fp));
    vcpu->x[0] = argument;
    vcpu->pc = entry;
    vcpu->pstate = SPSR_DAIF | SPSR_EL1H;
    vcpu->el1.sctlr = SCTLR_EL1_RESET;
}

void vcpu_init_cpu(void)
{
    uint64_t mdcr = MDCR_GUEST;
    uint64_t pmu = id_field(READ_SYSREG(id_aa64dfr0_el1), ID_AA64DFR0_PMUVER_SHIFT);
    if (pmu != 0 && pmu != ID_FIELD_MASK) {
        // HPMN = N: no counter is set aside for EL2. TPM keeps the guest away from all of them.
        mdcr |= READ_SYSREG(pmcr_el0) >> PMCR_N_SHIFT & PMCR_N_MASK;
    }
    WRITE_SYSREG(mdcr_el2, mdcr);
    WRITE_SYSREG(mdscr_el1, 0);                           // trapped
    WRITE_SYSREG(cntp_ctl_el0, 0);                        // trapped
    WRITE_SYSREG(vtcr_el2, pgt_vtcr_el2(&vms[0].stage2)); // the same for all
    el1_park();
    uint64_t lo = id_field(READ_SYSREG(id_aa64mmfr1_el1), ID_AA64MMFR1_LO_SHIFT);
    WRITE_SYSREG(hcr_el2, HCR_GUEST | (lo != 0 ? HCR_TLOR : 0)); // its registers: not there
    isb();
    // A pending SError is of the boot, and is taken here rather than blamed on a guest.
    __asm__ volatile("dsb sy\n msr daifclr, #4\n isb\n msr daifset, #4" : : : "memory");
}

static bool has_fp(void)
{
    return id_field(READ_SYSREG(id_aa64pfr0_el1), ID_AA64PFR0_FP_SHIFT) != ID_FIELD_MASK;
}

void vcpu_save(struct vcpu *vcpu)
{
    vgic_save(vcpu);
    el1_save(&vcpu->el1);
    if (has_fp()) {
        fpsimd_save(&vcpu->fp);
    }
}

void vcpu_load(struct vcpu *vcpu)
{
    const struct vm *vm = vcpu->vm;
    el1_load(&vcpu->el1, pgt_vttbr_el2(&vm->stage2), vm->cntvoff, MPIDR_RES1 | vcpu->index);
    if (vcpu->shares_cpu) {
        // The other's translations carry the same VMID, and perhaps the same ASIDs.
        __asm__ volatile("isb\n tlbi vmalle1\n dsb nsh" : : : "memory"); // done before the guest
    }
    if (has_fp()) {
        fpsimd_load(&vcpu->fp);
    }
    vgic_load(vcpu);
}
