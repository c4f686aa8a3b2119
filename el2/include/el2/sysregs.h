// SPDX-License-Identifier: Apache-2.0
// System register bits that EL2 sets or reads, by their architectural names (Arm ARM D19), and the
// accessors. Also included by assembly.
#ifndef EL2_SYSREGS_H
#define EL2_SYSREGS_H

#ifdef __ASSEMBLER__
#define BIT(n) (1 << (n))
#define U64(x) x
#else
#include <stdint.h>
#define BIT(n) (UINT64_C(1) << (n))
#define U64(x) UINT64_C(x)
#endif

// SCTLR_EL2 (ELx layout; RES1 bits of Armv8.0)
#define SCTLR_M BIT(0)
#define SCTLR_C BIT(2)
#define SCTLR_SA BIT(3)
#define SCTLR_I BIT(12)
#define SCTLR_WXN BIT(19)
#define SCTLR_EL2_RES1 U64(0x30c50830)
#define SCTLR_EL2_BOOT SCTLR_EL2_RES1 // MMU, caches and checks off, little-endian
#define SCTLR_EL2_RUN (SCTLR_EL2_RES1 | SCTLR_M | SCTLR_C | SCTLR_SA | SCTLR_I | SCTLR_WXN)

// SCTLR_EL1 as a guest finds it: MMU, caches and alignment checks off, RES1 bits of Armv8.0 set
// (among them SPAN, so that PAN is left alone on exceptions).
#define SCTLR_EL1_RESET U64(0x30d00800)
#define SCTLR_EL1_PARKED (SCTLR_EL1_RESET | SCTLR_M) // with both EPD: no walk at all
#define SCTLR_EL1_SPAN BIT(23)
#define SCTLR_EL1_E0E BIT(24) // data of EL0 is big-endian
#define SCTLR_EL1_EE BIT(25)  // data of EL1 is big-endian

// TCR_EL1: walks with TTBR0 (EPD0) and TTBR1 (EPD1) disabled
#define TCR_EL1_EPD0 BIT(7)
#define TCR_EL1_EPD1 BIT(23)

// HCR_EL2
#define HCR_VM BIT(0)     // stage 2 on
#define HCR_SWIO BIT(1)   // DC ISW works as DC CISW
#define HCR_PTW BIT(2)    // a stage-1 walk that lands in Device memory faults
#define HCR_FMO BIT(3)    // physical FIQ to EL2
#define HCR_IMO BIT(4)    // physical IRQ to EL2
#define HCR_AMO BIT(5)    // physical SError to EL2
#define HCR_TID3 BIT(18)  // trap reads of the ID registers
#define HCR_TSC BIT(19)   // trap SMC
#define HCR_TIDCP BIT(20) // trap implementation-defined registers
#define HCR_TACR BIT(21)  // trap ACTLR_EL1
#define HCR_RW BIT(31)    // EL1 is AArch64
#define HCR_TLOR BIT(35)  // trap the LORegion registers (FEAT_LOR)
#define HCR_GUEST                                                                                  \
    (HCR_VM | HCR_SWIO | HCR_PTW | HCR_FMO | HCR_IMO | HCR_AMO | HCR_TID3 | HCR_TSC | HCR_TIDCP |  \
     HCR_TACR | HCR_RW)

// CPTR_EL2 (E2H = 0): RES1 bits, trace registers trapped; FP/SIMD belongs to the guest.
#define CPTR_EL2_RES1 U64(0x33ff)
#define CPTR_TTA BIT(20)
#define CPTR_GUEST (CPTR_EL2_RES1 | CPTR_TTA)

// MDCR_EL2
#define MDCR_TPMCR BIT(5)
#define MDCR_TPM BIT(6)
#define MDCR_TDA BIT(9)
#define MDCR_TDOSA BIT(10)
#define MDCR_TDRA BIT(11)
#define MDCR_GUEST (MDCR_TPMCR | MDCR_TPM | MDCR_TDA | MDCR_TDOSA | MDCR_TDRA)

#define PMCR_N_SHIFT 11
#define PMCR_N_MASK U64(0x1f)

// CNTHCTL_EL2 (E2H = 0): the guest reads the physical count; the physical timer is trapped.
#define CNTHCTL_EL1PCTEN BIT(0)

// CNTHP_CTL_EL2, CNTV_CTL_EL0
#define TIMER_ENABLE BIT(0)

// SCR_EL3: Non-secure, SMC off (there is no monitor), HVC on, EL2 is AArch64; bits 4 and 5 RES1.
#define SCR_EL3_NS BIT(0)
#define SCR_EL3_RES1 U64(0x30)
#define SCR_EL3_SMD BIT(7)
#define SCR_EL3_HCE BIT(8)
#define SCR_EL3_RW BIT(10)
#define SCR_EL3_BOOT (SCR_EL3_NS | SCR_EL3_RES1 | SCR_EL3_SMD | SCR_EL3_HCE | SCR_EL3_RW)

// SPSR_ELx, AArch64 state
#define SPSR_M_MASK U64(0xf)
#define SPSR_EL0T U64(0x0)
#define SPSR_EL1T U64(0x4)
#define SPSR_EL1H U64(0x5)
#define SPSR_EL2H U64(0x9)
#define SPSR_F BIT(6)
#define SPSR_I BIT(7)
#define SPSR_A BIT(8)
#define SPSR_D BIT(9)
#define SPSR_DAIF (SPSR_D | SPSR_A | SPSR_I | SPSR_F)
#define SPSR_BTYPE (U64(3) << 10)
#define SPSR_SS BIT(21)
#define SPSR_PAN BIT(22)
#define SPSR_DIT BIT(24)
#define SPSR_NZCV U64(0xf0000000)

// MIDR_EL1: implementer and part number. Cores that must be told to take part in coherency before
// their caches are on, by CPUECTLR_EL1.
#define MIDR_PART_SHIFT 4
#define MIDR_IMPLEMENTER_SHIFT 24
#define IMPLEMENTER_ARM 0x41
#define PART_CORTEX_A53 0xd03
#define PART_CORTEX_A72 0xd08
#define CPUECTLR_EL1 s3_1_c15_c2_1
#define CPUECTLR_SMPEN BIT(6)

// CurrentEL
#define CURRENT_EL_EL2 0x8
#define CURRENT_EL_EL3 0xc

// ESR_ELx
#define ESR_EC_SHIFT 26
#define ESR_EC_MASK U64(0x3f)
#define ESR_IL BIT(25)
#define ESR_IMM16_MASK U64(0xffff)

#define EC_UNKNOWN 0x00
#define EC_WFX 0x01
#define EC_FP 0x07
#define EC_PAUTH 0x09
#define EC_LS64 0x0a
#define EC_ILLEGAL_STATE 0x0e
#define EC_SVC64 0x15
#define EC_HVC64 0x16
#define EC_SMC64 0x17
#define EC_SYSREG 0x18
#define EC_SVE 0x19
#define EC_SME 0x1d
#define EC_IABT_LOWER 0x20
#define EC_IABT_SAME 0x21
#define EC_PC_ALIGN 0x22
#define EC_DABT_LOWER 0x24
#define EC_DABT_SAME 0x25
#define EC_SP_ALIGN 0x26
#define EC_SERROR 0x2f
#define EC_BRK64 0x3c

// ISS of a data or instruction abort
#define ISS_ISV BIT(24)
#define ISS_SAS_SHIFT 22
#define ISS_SAS_MASK U64(0x3)
#define ISS_SSE BIT(21)
#define ISS_SRT_SHIFT 16
#define ISS_SRT_MASK U64(0x1f)
#define ISS_SF BIT(15)
#define ISS_CM BIT(8)
#define ISS_S1PTW BIT(7)
#define ISS_WNR BIT(6)
#define FSC_TYPE_MASK U64(0x3c) // the fault's kind; the low two bits are its level
#define FSC_ADDRESS_SIZE U64(0x00)
#define FSC_TRANSLATION U64(0x04)
#define FSC_ACCESS_FLAG U64(0x08)
#define FSC_PERMISSION U64(0x0c)
#define FSC_SYNC_EXTERNAL U64(0x10)

// ISS of a trapped MSR, MRS or system instruction
#define ISS_SYS_READ BIT(0)
#define ISS_SYS_RT_SHIFT 5
#define ISS_SYS_RT_MASK U64(0x1f)
#define ISS_SYS_REG(op0, op1, crn, crm, op2)                                                       \
    (((op0) << 20) | ((op2) << 17) | ((op1) << 14) | ((crn) << 10) | ((crm) << 1))
#define ISS_SYS_REG_MASK ISS_SYS_REG(U64(3), U64(7), U64(15), U64(15), U64(7))

// HPFAR_EL2.FIPA holds IPA[47:12] from bit 4 up
#define HPFAR_FIPA_MASK U64(0xfffffffff0)
#define HPFAR_FIPA_TO_IPA 8

// Exception vector table of EL1
#define VECTOR_SAME_SP0 U64(0x000)
#define VECTOR_SAME_SPX U64(0x200)
#define VECTOR_LOWER_A64 U64(0x400)
#define VBAR_RES0 U64(0x7ff)

// ID registers. ..._GUEST: the fields that a guest sees; all others read as zero.
#define ID_FIELD_MASK U64(0xf)
#define ID_AA64PFR0_FP_SHIFT 16
#define ID_AA64PFR0_ADVSIMD_SHIFT 20
#define ID_AA64PFR0_FP16 U64(1)
#define ID_AA64PFR0_GUEST U64(0x0000000000ff0000)
#define ID_AA64PFR0_A64_ONLY U64(0x11) // EL1 and EL0: AArch64 only
#define ID_AA64DFR0_PMUVER_SHIFT 8
#define ID_AA64DFR0_V8 U64(6)                      // DebugVer
#define ID_AA64DFR0_GUEST U64(0x00000000f0f0f00f)  // DebugVer, BRPs, WRPs, CTX_CMPs
#define ID_AA64ISAR0_GUEST U64(0x000ffffff0fffff0) // AES to Atomic, RDM to FHM
#define ID_AA64MMFR0_GUEST U64(0x00000000ffff0fff) // all of Armv8.0 but SNSMem
#define ID_AA64MMFR0_PARANGE_40 U64(2)
#define ID_AA64MMFR0_TGRAN16_SHIFT 20
#define ID_AA64MMFR0_TGRAN4_SHIFT 28
#define ID_AA64MMFR1_GUEST U64(0x0000000000f0f00f) // HAFDBS, HPDS, PAN
#define ID_AA64MMFR1_HAFDBS_DIRTY U64(2)
#define ID_AA64MMFR1_HPDS_SHIFT 12
#define ID_AA64MMFR1_LO_SHIFT 16
#define ID_AA64MMFR1_PAN_SHIFT 20
#define ID_AA64MMFR1_XNX_SHIFT 28
#define CTR_DMINLINE_SHIFT 16
#define DCZID_DZP BIT(4)
#define OSLSR_OSLM_IMPLEMENTED BIT(3)
#define MPIDR_RES1 BIT(31)
#define MPIDR_AFFINITY U64(0xff00ffffff)

#ifndef __ASSEMBLER__

#define READ_SYSREG(name)                                                                          \
    __extension__({                                                                                \
        uint64_t value_;                                                                           \
        __asm__ volatile("mrs %0, " #name : "=r"(value_));                                         \
        value_;                                                                                    \
    })

#define WRITE_SYSREG(name, value)                                                                  \
    do {                                                                                           \
        uint64_t value_ = (value);                                                                 \
        __asm__ volatile("msr " #name ", %x0" : : "rZ"(value_) : "memory");                        \
    } while (0)

static inline void isb(void)
{
    __asm__ volatile("isb" : : : "memory");
}

static inline uint64_t id_field(uint64_t reg, unsigned shift)
{
    return (reg >> shift) & ID_FIELD_MASK;
}

#endif
#endif
