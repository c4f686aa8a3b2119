// SPDX-License-Identifier: Apache-2.0
#include <el2/gic.h>
#include <el2/hypercall.h>
#include <el2/inject.h>
#include <el2/mmio.h>
#include <el2/sched.h>
#include <el2/sysregs.h>
#include <el2/traps.h>
#include <el2/vcpu.h>

static void update_interrupts(struct vcpu *vcpu)
{
    if (vgic_changed(&vcpu->vgic)) {
        vgic_enter(vcpu);
    }
}

// EL2 has worked for the vCPU since `since`.
static void count_time(struct vcpu *vcpu, uint64_t since)
{
    uint64_t *ticks = &vcpu->telemetry->el2_ticks;
    *(volatile uint64_t *)ticks = *ticks + READ_SYSREG(cntpct_el0) - since;
}

void trap_synchronous(struct vcpu *vcpu)
{
    uint64_t since = READ_SYSREG(cntpct_el0);
    uint64_t esr = READ_SYSREG(esr_el2);
    int32_t offset = trap_table[esr >> ESR_EC_SHIFT & ESR_EC_MASK];
    if (offset == 0) {
        vm_crash(vcpu, "an exception that nothing handles", ipa_of(0));
    }
    uintptr_t handler = (uintptr_t)trap_table + (uintptr_t)offset;
    ((trap_handler *)handler)(vcpu, esr);
    count_time(vcpu, since);
}

void trap_interrupt(struct vcpu *vcpu)
{
    uint64_t since = READ_SYSREG(cntpct_el0);
    uint32_t iar = gic_acknowledge();
    uint32_t intid = iar & GIC_INTID_MASK;
    if (intid >= GIC_FIRST_SPECIAL) {
        return; // gone again
    }
    gic_drop(iar);
    if (intid == GIC_PPI_VIRTUAL_TIMER) {
        telemetry_exit(vcpu, TELEMETRY_EXIT_IRQ_TIMER);
        vgic_physical(vcpu, intid);
    } else if (intid == GIC_SGI_KICK) {
        telemetry_exit(vcpu, TELEMETRY_EXIT_IRQ_KICK);
        gic_deactivate(iar);
        if (!vm_is_running(vcpu->vm)) {
            sched_park();
        }
    } else if (intid == GIC_PPI_HYP_TIMER) {
        telemetry_exit(vcpu, TELEMETRY_EXIT_IRQ_SLOT);
        gic_deactivate(iar);
        sched_slot_end();
    } else if (intid == GIC_PPI_MAINTENANCE) {
        telemetry_exit(vcpu, TELEMETRY_EXIT_IRQ_MAINTENANCE);
        vgic_maintenance(vcpu);
        vgic_enter(vcpu);
        gic_deactivate(iar);
    } else {
        telemetry_exit(vcpu, TELEMETRY_EXIT_IRQ_FORWARDED);
        vgic_physical(vcpu, intid);
    }
    update_interrupts(vcpu);
    count_time(vcpu, since);
}

void trap_serror(struct vcpu *vcpu)
{
    telemetry_exit(vcpu, TELEMETRY_EXIT_SERROR);
    vm_crash(vcpu, "SError", ipa_of(0));
}

void trap_aarch32(struct vcpu *vcpu)
{
    vm_crash(vcpu, "AArch32 is not supported", ipa_of(0));
}

// Of a register or instruction that is trapped because EL2 does not keep its state for a guest.
void trap_undefined(struct vcpu *vcpu, uint64_t esr)
{
    (void)esr;
    telemetry_exit(vcpu, TELEMETRY_EXIT_OTHER);
    inject_undefined(vcpu);
}

void trap_hvc(struct vcpu *vcpu, uint64_t esr)
{
    telemetry_exit(vcpu, TELEMETRY_EXIT_HVC);
    if ((esr & ESR_IMM16_MASK) != 0) {
        vcpu->x[0] = (uint64_t)SMCCC_NOT_SUPPORTED;
        return;
    }
    hypercall(vcpu);
}

// The return address of a trapped SMC is the SMC itself.
void trap_smc(struct vcpu *vcpu, uint64_t esr)
{
    telemetry_exit(vcpu, TELEMETRY_EXIT_SMC);
    if ((esr & ESR_IMM16_MASK) != 0) {
        inject_undefined(vcpu);
        return;
    }
    vcpu_skip(vcpu);
    hypercall(vcpu);
}

// Does HPFAR_EL2 hold the IPA? Not for permission faults.
static bool has_ipa(uint64_t esr)
{
    uint64_t type = esr & FSC_TYPE_MASK;
    return type == FSC_TRANSLATION || type == FSC_ACCESS_FLAG || type == FSC_ADDRESS_SIZE;
}

static ipa_t fault_ipa(uint64_t far)
{
    uint64_t page = (READ_SYSREG(hpfar_el2) & HPFAR_FIPA_MASK) << HPFAR_FIPA_TO_IPA;
    return ipa_of(page | (far & PAGE_MASK));
}

// Of all that a stage-2 walk can report, the guest is to blame only for these.
static void check_abort(struct vcpu *vcpu, uint64_t esr)
{
    if (!has_ipa(esr) && (esr & FSC_TYPE_MASK) != FSC_PERMISSION) {
        vm_crash(vcpu, "an abort that is not its own", ipa_of(0));
    }
}

void trap_instruction_abort(struct vcpu *vcpu, uint64_t esr)
{
    uint64_t far = READ_SYSREG(far_el2);
    telemetry_exit(vcpu, TELEMETRY_EXIT_INSTRUCTION_ABORT);
    check_abort(vcpu, esr);
    inject_external_abort(vcpu, esr, far, has_ipa(esr) ? fault_ipa(far) : ipa_of(0));
}

void trap_data_abort(struct vcpu *vcpu, uint64_t esr)
{
    uint64_t far = READ_SYSREG(far_el2);
    ipa_t ipa = ipa_of(0);
    check_abort(vcpu, esr);
    if (has_ipa(esr)) {
        ipa = fault_ipa(far);
        if ((esr & ISS_S1PTW) == 0) {
            if (mmio_access(vcpu, esr, ipa)) {
                update_interrupts(vcpu);
                return;
            }
            if ((esr & ISS_CM) != 0) { // maintenance where no cache holds anything
                vcpu_skip(vcpu);
                return;
            }
        }
    }
    inject_external_abort(vcpu, esr, far, ipa);
}
