// SPDX-License-Identifier: Apache-2.0
// System registers that trap: ID registers are answered without what a guest does not get, debug
// registers read as zero and ignore writes, the rest is UNDEFINED.
#include <el2/inject.h>
#include <el2/sysregs.h>
#include <el2/traps.h>
#include <el2/vcpu.h>

#define ACTLR_EL1 ISS_SYS_REG(3, 0, 1, 0, 1)
#define OSLSR_EL1 ISS_SYS_REG(2, 0, 1, 1, 4)
#define MDCCSR_EL0 ISS_SYS_REG(2, 3, 0, 1, 0)
#define ID_AA64PFR0_EL1 ISS_SYS_REG(3, 0, 0, 4, 0)
#define ID_AA64DFR0_EL1 ISS_SYS_REG(3, 0, 0, 5, 0)
#define ID_AA64ISAR0_EL1 ISS_SYS_REG(3, 0, 0, 6, 0)
#define ID_AA64MMFR0_EL1 ISS_SYS_REG(3, 0, 0, 7, 0)
#define ID_AA64MMFR1_EL1 ISS_SYS_REG(3, 0, 0, 7, 1)

// Groups of encodings: these bits of the ISS must have this value.
#define ID_GROUP_MASK ISS_SYS_REG(3, 7, 15, 0, 0)
#define ID_GROUP ISS_SYS_REG(3, 0, 0, 0, 0) // CRm 1 to 7; HCR_EL2.TID3 traps no others
#define DEBUG_GROUP_MASK ISS_SYS_REG(3, 7, 0, 0, 0)
#define DEBUG_GROUP ISS_SYS_REG(2, 0, 0, 0, 0)

// The field is unsigned but for 0xf, which says "not implemented" where there is such a value.
static uint64_t at_most(uint64_t value, unsigned shift, uint64_t most)
{
    uint64_t field = id_field(value, shift);
    if (field == ID_FIELD_MASK || field <= most) {
        return value;
    }
    return (value & ~(ID_FIELD_MASK << shift)) | most << shift;
}

// What is not named here, by register, field and value, is not there.
static uint64_t id_register(uint64_t reg)
{
    uint64_t value;
    switch (reg) {
    case ID_AA64PFR0_EL1:
        value = READ_SYSREG(id_aa64pfr0_el1) & ID_AA64PFR0_GUEST;
        value = at_most(value, ID_AA64PFR0_FP_SHIFT, ID_AA64PFR0_FP16);
        return at_most(value, ID_AA64PFR0_ADVSIMD_SHIFT, ID_AA64PFR0_FP16) | ID_AA64PFR0_A64_ONLY;
    case ID_AA64DFR0_EL1:
        return at_most(READ_SYSREG(id_aa64dfr0_el1) & ID_AA64DFR0_GUEST, 0, ID_AA64DFR0_V8);
    case ID_AA64ISAR0_EL1:
        return READ_SYSREG(id_aa64isar0_el1) & ID_AA64ISAR0_GUEST;
    case ID_AA64MMFR0_EL1:
        value = at_most(READ_SYSREG(id_aa64mmfr0_el1) & ID_AA64MMFR0_GUEST, 0,
                        ID_AA64MMFR0_PARANGE_40); // the IPA space
        value = at_most(value, ID_AA64MMFR0_TGRAN16_SHIFT, 1);
        return at_most(value, ID_AA64MMFR0_TGRAN4_SHIFT, 0); // no 52-bit addresses
    case ID_AA64MMFR1_EL1:
        value = at_most(READ_SYSREG(id_aa64mmfr1_el1) & ID_AA64MMFR1_GUEST, 0,
                        ID_AA64MMFR1_HAFDBS_DIRTY);
        value = at_most(value, ID_AA64MMFR1_HPDS_SHIFT, 2);
        return at_most(value, ID_AA64MMFR1_PAN_SHIFT, 2);
    default:
        return 0;
    }
}

// Is the register emulated? Then *value is what it reads as; writes are ignored.
static bool emulated(uint64_t reg, bool read, uint64_t *value)
{
    *value = 0;
    if ((reg & ID_GROUP_MASK) == ID_GROUP) {
        *value = id_register(reg);
        return read;
    }
    if (reg == OSLSR_EL1) {
        *value = OSLSR_OSLM_IMPLEMENTED; // not locked
        return read;
    }
    return (reg & DEBUG_GROUP_MASK) == DEBUG_GROUP || reg == MDCCSR_EL0 || reg == ACTLR_EL1;
}

void trap_sysreg(struct vcpu *vcpu, uint64_t esr)
{
    bool read = (esr & ISS_SYS_READ) != 0;
    uint64_t value;
    telemetry_exit(vcpu, TELEMETRY_EXIT_SYSREG);
    if (!emulated(esr & ISS_SYS_REG_MASK, read, &value)) {
        inject_undefined(vcpu);
        return;
    }
    if (read) {
        vcpu_set(vcpu, esr >> ISS_SYS_RT_SHIFT & ISS_SYS_RT_MASK, value);
    }
    vcpu_skip(vcpu);
}
