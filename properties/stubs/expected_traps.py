# SPDX-License-Identifier: Apache-2.0
"""What the stub `traps` should see: from the Arm ARM, and the guest ABI for what the hypervisor
decides (physical timer, PMU, implementation defined registers: UNDEFINED; debug registers and
ACTLR_EL1: read as zero, writes ignored; set/way maintenance: allowed).
"""

from aether_edgecloud.properties.stubs.expect import (
    Argument,
    Bits,
    Expect,
    Level,
    at_el0,
    raises,
    reads,
    runs,
    undefined,
)

EC_WFX = 0x01
EC_FP = 0x07
EC_ILLEGAL_STATE = 0x0E
EC_SVC = 0x15
EC_SYSREG = 0x18
EC_PC_ALIGNMENT = 0x22
EC_SP_ALIGNMENT = 0x26
EC_BRK = 0x3C
CONDITION_ALWAYS = 0x1E << 20  # CV = 1, COND = 0b1110
IL = 1 << 20  # in an SPSR
NOT_SUPPORTED = (1 << 64) - 1


def _each(prefix: str, names: str, expect: Expect) -> dict[str, Expect]:
    return {f"{prefix}{name}": expect for name in names.split()}


def _sysreg_iss(op0: int, op1: int, crn: int, crm: int, op2: int, *, rt: int, read: bool) -> int:
    return op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | int(read)


TIMER = {
    **_each("mrs-", "cntp_ctl_el0 cntp_cval_el0 cntp_tval_el0", undefined()),
    **_each("msr-", "cntp_ctl_el0 cntp_cval_el0 cntp_tval_el0", undefined()),
    **_each("mrs-", "cntv_ctl_el0 cntv_cval_el0 cntv_tval_el0", reads()),
    **_each("msr-", "cntv_ctl_el0 cntv_cval_el0 cntv_tval_el0 cntkctl_el1", runs()),
    **_each("mrs-", "cntpct_el0 cntvct_el0 cntkctl_el1", reads()),
    "mrs-cntfrq_el0": runs(62_500_000),
    "msr-cntfrq_el0": undefined(),
    "mrs-cntps_ctl_el1": undefined(),
}

DEBUG = {
    **_each("mrs-", "mdscr_el1 dbgbcr0_el1 dbgbvr0_el1 dbgwcr0_el1 dbgwvr0_el1", runs(0)),
    **_each("mrs-", "dbgbcr5_el1 dbgwcr3_el1 mdccint_el1 mdccsr_el0", runs(0)),
    **_each("msr-", "mdscr_el1 dbgbcr0_el1 dbgbvr0_el1 dbgwcr0_el1 dbgwvr0_el1", runs()),
    **_each("msr-", "oslar_el1 osdlr_el1", runs()),
    # OS lock: implemented (OSLM = 0b10) or not at all; never locked after OSLAR was cleared.
    "mrs-oslsr_el1": runs(Bits(0, ~0x8)),
    **_each("mrs-", "osdlr_el1 mdrar_el1 dbgauthstatus_el1 dbgclaimset_el1", reads()),
    "mrs-dbgprcr_el1": reads(),
}

PMU = {
    **_each("mrs-", "pmcr_el0 pmcntenset_el0 pmcntenclr_el0 pmovsclr_el0 pmselr_el0", undefined()),
    **_each("mrs-", "pmceid0_el0 pmccntr_el0 pmxevtyper_el0 pmuserenr_el0", undefined()),
    **_each("mrs-", "pmintenset_el1 pmevcntr0_el0 pmevtyper0_el0 pmccfiltr_el0", undefined()),
    **_each("msr-", "pmcr_el0 pmcntenclr_el0 pmuserenr_el0 pmccfiltr_el0 pmswinc_el0", undefined()),
}

IDENTIFICATION = {
    "mrs-midr_el1": runs(0x410F_D083),
    "mrs-mpidr_el1": runs(Bits(0x8000_0000, 0xFF_80FF_FFFF)),
    # EL1 and EL0 exist, in AArch64; FP and SIMD do; no EL2 or EL3 for a guest, no GIC registers.
    "mrs-id_aa64pfr0_el1": runs(Bits(0x0000_0011, 0xFFFF_FFCC)),
    "mrs-id_aa64dfr0_el1": runs(Bits(0, 0xF00)),  # PMUVer: there is no PMU
    "mrs-id_aa64mmfr0_el1": runs(Bits(2, 0xF)),  # PARange: 40 bits, the IPA space
    **_each("mrs-", "revidr_el1 aidr_el1 ctr_el0 dczid_el0 clidr_el1 ccsidr_el1", reads()),
    **_each("mrs-", "id_aa64pfr1_el1 id_aa64dfr1_el1 id_aa64afr0_el1 id_aa64afr1_el1", runs(0)),
    **_each("mrs-", "id_aa64isar0_el1", runs(Bits(0x1_0000, 0xFFFF_FFFF_FFFF_0000))),  # CRC32
    **_each("mrs-", "id_aa64isar1_el1 id_aa64mmfr1_el1", runs(0)),
    **_each("mrs-", "id_pfr0_el1 id_pfr1_el1 id_dfr0_el1 id_afr0_el1 id_mmfr0_el1", reads()),
    **_each("mrs-", "id_isar0_el1 id_isar5_el1 mvfr0_el1 mvfr1_el1 mvfr2_el1", reads()),
    # The ID space reads as zero where it is not allocated.
    **_each("mrs-id_reserved_", "0_3_7 0_4_3 0_7_7", runs(0)),
    **_each("msr-", "midr_el1 id_aa64pfr0_el1", undefined()),
    "mrs-csselr_el1": reads(),
    "msr-csselr_el1": runs(),
}

EL1_STATE = {
    "mrs-sctlr_el1": runs(0x30D0_0800),
    # It exists on every CPU, and tells a guest nothing.
    "mrs-actlr_el1": runs(0),
    "msr-actlr_el1": runs(),
    **_each("mrs-", "cpacr_el1 ttbr0_el1 ttbr1_el1 tcr_el1 mair_el1 amair_el1", reads()),
    **_each("mrs-", "afsr0_el1 afsr1_el1 par_el1 contextidr_el1 vbar_el1", reads()),
    "mrs-isr_el1": runs(0),
    **_each("mrs-", "tpidr_el0 tpidrro_el0 tpidr_el1 sp_el0", reads()),
    "mrs-currentel": runs(0x4),
    "mrs-spsel": runs(1),
    "mrs-daif": runs(0),
    "mrs-nzcv": runs(0xA000_0000),
    **_each("msr-", "contextidr_el1 afsr0_el1 afsr1_el1 amair_el1 tpidr_el0 tpidrro_el0", runs()),
}

IMPLEMENTATION = {
    **_each("mrs-", "cpuactlr_el1 cpuectlr_el1 cpumerrsr_el1 l2ctlr_el1 l2ectlr_el1", undefined()),
    **_each("mrs-", "s3_0_c15_c0_0", undefined()),
    **_each("msr-", "cpuactlr_el1 cpuectlr_el1 l2ctlr_el1", undefined()),
    **_each("sys", "-imp-def l-imp-def", undefined()),
}

_EL2_READ = (
    "hcr_el2 vttbr_el2 vtcr_el2 sctlr_el2 actlr_el2 esr_el2 elr_el2 spsr_el2 far_el2 hpfar_el2 "
    "vbar_el2 tcr_el2 ttbr0_el2 mair_el2 tpidr_el2 hstr_el2 vpidr_el2 vmpidr_el2 cptr_el2 "
    "mdcr_el2 cnthctl_el2 cntvoff_el2 cnthp_ctl_el2 sp_el1 hacr_el2 dacr32_el2 fpexc32_el2 "
    "scr_el3 sctlr_el3 vbar_el3 elr_el3 sctlr_el12 cntv_ctl_el02 rvbar_el1 rmr_el1"
)
_EL2_WRITE = (
    "hcr_el2 vttbr_el2 vtcr_el2 vbar_el2 sctlr_el2 cnthctl_el2 cntvoff_el2 mdcr_el2 cptr_el2 "
    "tpidr_el2 vmpidr_el2 elr_el2 spsr_el2 scr_el3"
)
_ABSENT_READ = (
    "trblimitr_el1 pmscr_el1 zcr_el1 lorc_el1 trcidr0 trcprgctlr trfcr_el1 erridr_el1 disr_el1 "
    "apiakeylo_el1 pan uao ssbs dit tco rndr gcr_el1 mpam1_el1 amcr_el0 scxtnum_el1 cntpctss_el0 "
    "icc_sre_el1 icc_pmr_el1 icc_iar1_el1 unallocated"
)
HIGHER_AND_ABSENT = {
    **_each("mrs-", _EL2_READ, undefined()),
    **_each("msr-", _EL2_WRITE, undefined()),
    **_each("tlbi-", "alle1 alle2 alle3 vae2 ipas2e1is vmalls12e1is vmalle1os rvae1", undefined()),
    **_each("at-", "s1e2r s12e1r s1e3r s1e1rp", undefined()),
    **_each("mrs-", _ABSENT_READ, undefined()),
    **_each("msr-", "icc_sgi1r_el1 icc_eoir1_el1 pan-immediate", undefined()),
    **_each("", "dc-cvap ldadd cas ldapr ldlar irg braa sve-rdvl", undefined()),
    **_each("", "dcps1 dcps2 dcps3 drps", undefined()),
}

CALLS = {
    "svc-0": raises(EC_SVC, 0, elr=4),
    "svc-ffff": raises(EC_SVC, 0xFFFF, elr=4),
    "brk-0": raises(EC_BRK, 0),
    "brk-ffff": raises(EC_BRK, 0xFFFF),
    # Halting debug is not enabled: HLT is UNDEFINED.
    **_each("", "hlt-0 hlt-ffff udf-0 udf-ffff", undefined()),
    **_each("hvc-", "1 ffff", runs(NOT_SUPPORTED)),
    "smc-0": runs(0x1_0001),
    **_each("smc-", "1 ffff", undefined(elr=4, changed=1)),
}

HINTS = {
    **_each("", "nop yield sev-wfe sevl-wfe hint-unallocated paciasp-as-hint", runs()),
    **_each("", "esb-as-hint dsb-isb clrex", runs()),
    "crc32": reads(),
}

MAINTENANCE = {
    **_each("dc-", "isw csw cisw ivac cvac cvau civac", runs()),
    # Stage 1 off makes memory Device, and DC ZVA to Device memory an alignment fault.
    "dc-zva": raises(0x25, 1 << 6 | 0x21, far=Argument()),
    **_each("ic-", "ivau iallu ialluis", runs()),
    **_each("tlbi-", "vmalle1 vmalle1is vae1is aside1 vaale1", runs()),
    # PAR_EL1: F = 0, SH = 0b10 and ATTR = 0 for Device memory; bit 11 RES1; NS unknown.
    **_each("at-s1", "e1r e0w", runs(Bits(0x4030_0900, ~(1 << 9)))),
}


def _illegal(level: Level = Level.EL1H) -> Expect:
    taken = raises(EC_ILLEGAL_STATE, level=level)
    return Expect(taken.exception, level, spsr=Bits(level.pstate | IL))


STATES = {
    **_each("eret-to-", "el2h el2t el3h el1-reserved el0-sp1 aarch32-svc", _illegal()),
    "eret-with-il": _illegal(),
    "eret-to-el0-with-il": _illegal(Level.EL0),
    "eret-to-el1t": runs(level=Level.EL1T),
    **_each("sp-", "alignment alignment-store", raises(EC_SP_ALIGNMENT, elr=4, level=Level.EL1T)),
    **_each("sp-", "alignment-off alignment-good", runs(level=Level.EL1T)),
    "pc-alignment-2": raises(EC_PC_ALIGNMENT, elr=Argument(), far=Argument()),
    "pc-alignment-1": raises(EC_PC_ALIGNMENT, elr=Argument(), far=Argument()),
    "pc-alignment-blr": raises(EC_PC_ALIGNMENT, elr=Argument(), far=Argument(), changed=1 << 30),
    "sp-el0-while-in-use": undefined(level=Level.EL1T),
    "daif-set-and-clear": runs(0x3C0),
}

_CLOSED = {
    "mrs-daif": _sysreg_iss(3, 3, 4, 2, 1, rt=0, read=True),
    "msr-daif": _sysreg_iss(3, 3, 4, 2, 1, rt=1, read=False),
    "daifset": _sysreg_iss(0, 3, 4, 3, 6, rt=31, read=False),
    "daifclr": _sysreg_iss(0, 3, 4, 15, 7, rt=31, read=False),
    "mrs-ctr_el0": _sysreg_iss(3, 3, 0, 0, 1, rt=0, read=True),
    "mrs-cntfrq_el0": _sysreg_iss(3, 3, 14, 0, 0, rt=0, read=True),
    "mrs-cntpct_el0": _sysreg_iss(3, 3, 14, 0, 1, rt=0, read=True),
    "mrs-cntvct_el0": _sysreg_iss(3, 3, 14, 0, 2, rt=0, read=True),
    "mrs-cntv_ctl_el0": _sysreg_iss(3, 3, 14, 3, 1, rt=0, read=True),
    "msr-cntv_cval_el0": _sysreg_iss(3, 3, 14, 3, 2, rt=31, read=False),
    "mrs-cntp_ctl_el0": _sysreg_iss(3, 3, 14, 2, 1, rt=0, read=True),
    "msr-cntp_tval_el0": _sysreg_iss(3, 3, 14, 2, 0, rt=31, read=False),
    "mrs-pmccntr_el0": _sysreg_iss(3, 3, 9, 13, 0, rt=0, read=True),
    "dc-cvac": _sysreg_iss(1, 3, 7, 10, 1, rt=1, read=False),
    "dc-cvau": _sysreg_iss(1, 3, 7, 11, 1, rt=1, read=False),
    "dc-civac": _sysreg_iss(1, 3, 7, 14, 1, rt=1, read=False),
    "dc-zva": _sysreg_iss(1, 3, 7, 4, 1, rt=1, read=False),
    "ic-ivau": _sysreg_iss(1, 3, 7, 5, 1, rt=1, read=False),
}

EL0 = {
    "el0-svc-0": raises(EC_SVC, 0, elr=4),
    "el0-svc-1234": raises(EC_SVC, 0x1234, elr=4),
    "el0-brk-7": raises(EC_BRK, 7),
    **_each("el0-", "hlt-0 udf-0 eret", undefined()),
    **_each("el0-", "hvc-0 smc-0", undefined(elr=4, changed=1)),
    **_each("el0-mrs-", "sctlr_el1 vbar_el1 hcr_el2 midr_el1 id_aa64pfr0_el1", undefined()),
    **_each("el0-mrs-", "actlr_el1 currentel mdscr_el1 cntkctl_el1 oslsr_el1", undefined()),
    **_each("el0-mrs-", "dczid_el0 tpidr_el0 tpidrro_el0", reads()),
    "el0-msr-tpidr_el0": runs(),
    "el0-msr-tpidrro_el0": undefined(),
    "el0-mrs-nzcv": runs(0xA000_0000),
    **_each("el0-mrs-", "cpuectlr_el1 imp-def", undefined()),
    **_each("el0-", "tlbi-vmalle1 ic-iallu dc-isw dc-ivac at-s1e0r msr-spsel", undefined()),
    "el0-sp-alignment": raises(EC_SP_ALIGNMENT, elr=4),
    "el0-sp-alignment-off": runs(),
    "el0-pc-alignment": raises(EC_PC_ALIGNMENT, elr=Argument(), far=Argument()),
    "el0-closed-wfi": raises(EC_WFX, CONDITION_ALWAYS),
    "el0-closed-wfe": raises(EC_WFX, CONDITION_ALWAYS | 1, elr=4),
    **{f"el0-closed-{name}": raises(EC_SYSREG, iss) for name, iss in _CLOSED.items()},
    "el0-closed-mrs-mdccsr_el0": runs(0),
    "el0-open-wfe": runs(),
    "el0-open-daif": runs(0x3C0),
    **_each("el0-open-mrs-", "ctr_el0 cntvct_el0 cntpct_el0 cntv_ctl_el0", reads()),
    **_each("el0-open-", "mrs-cntp_ctl_el0 msr-cntp_cval_el0", undefined()),
    **_each("el0-open-", "dc-cvac dc-cvau dc-civac ic-ivau", runs()),
}

FLOATING_POINT = {
    **_each("fp-trapped-", "fmov ldr-q mrs-fpcr", raises(EC_FP, CONDITION_ALWAYS)),
    "el0-fp-trapped-fmov": at_el0(raises(EC_FP, CONDITION_ALWAYS)),
    "fp-el1-only-fmov": reads(),
    "el0-fp-el1-only-fmov": at_el0(raises(EC_FP, CONDITION_ALWAYS)),
    "fp-round-trip": reads(),
    "el0-fp-round-trip": at_el0(reads()),
    "fp-add": runs(0x400E_0000_0000_0000),  # 1.5 + 2.25
    "simd-add": runs(0x0505_0505_0505_0505),
    "fpcr-fpsr": runs(0x0300_0000, changed=0b101, x2=0),
    # x0 has a bit for each vector register that did not survive. The comparison sets the flags.
    "fp-kept-over-exits": Expect(
        changed=None, registers={0: Bits(0)}, spsr=Bits(Level.EL1H.pstate, 0x0FFF_FFFF)
    ),
}

TRAPS = {
    **TIMER,
    **DEBUG,
    **PMU,
    **IDENTIFICATION,
    **EL1_STATE,
    **IMPLEMENTATION,
    **HIGHER_AND_ABSENT,
    **CALLS,
    **HINTS,
    **MAINTENANCE,
    **STATES,
    **{name: at_el0(expect) for name, expect in EL0.items()},
    **FLOATING_POINT,
}
