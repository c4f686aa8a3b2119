# SPDX-License-Identifier: Apache-2.0
"""The system registers of a Cortex-A72 that EL0, EL1 and EL2 can reach, in one table
(Arm ARM, "AArch64 System Register Descriptions"; Cortex-A72 TRM for values and for the
IMPLEMENTATION DEFINED registers).

A register that is not in the table is UNDEFINED. That goes for everything of later architecture
versions, for EL3's registers, for the trace registers and for the GIC CPU interface registers
(ICC_*, ICH_*), which this CPU does not have while it drives a GICv2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto


class RegAccess(Enum):
    """Which of MRS and MSR exist for a register."""

    RW = "rw"
    RO = "ro"
    WO = "wo"


class Model(Enum):
    """Who answers an access that is allowed."""

    NATIVE = "the CPU core engine keeps it and acts on it"
    CONSTANT = "always reads as its reset value"
    TIMER = "the generic timer model"
    PMU = "the performance monitors"
    STORAGE = "keeps what was written, without effect"
    RAZ_WI = "reads as zero, writes are ignored"


class Trap(Enum):
    """A rule by which an access may trap or be UNDEFINED; traps.py evaluates it."""

    VM = auto()  # HCR_EL2.TVM (writes), HCR_EL2.TRVM (reads)
    ACR = auto()  # HCR_EL2.TACR
    ID1 = auto()  # HCR_EL2.TID1
    ID2 = auto()  # HCR_EL2.TID2
    ID3 = auto()  # HCR_EL2.TID3
    CPAC = auto()  # CPTR_EL2.TCPAC
    FP = auto()  # CPACR_EL1.FPEN, CPTR_EL2.TFP
    UMA = auto()  # SCTLR_EL1.UMA
    UCT = auto()  # SCTLR_EL1.UCT
    UCI = auto()  # SCTLR_EL1.UCI
    DZE = auto()  # SCTLR_EL1.DZE
    SET_WAY = auto()  # HCR_EL2.TSW
    POC = auto()  # HCR_EL2.TPC
    POU = auto()  # HCR_EL2.TPU
    TLB = auto()  # HCR_EL2.TTLB
    ZVA = auto()  # HCR_EL2.TDZ
    DCC = auto()  # MDSCR_EL1.TDCC
    DEBUG = auto()  # MDCR_EL2.TDA
    DEBUG_ROM = auto()  # MDCR_EL2.TDRA
    DEBUG_OS = auto()  # MDCR_EL2.TDOSA
    PMU_EN = auto()  # PMUSERENR_EL0.EN
    PMU_SW = auto()  # PMUSERENR_EL0.{EN, SW}
    PMU_CR = auto()  # PMUSERENR_EL0.EN, or CR for reads
    PMU_ER = auto()  # PMUSERENR_EL0.EN, or ER for reads
    PMU_SEL = auto()  # PMUSERENR_EL0.{EN, ER}
    PM = auto()  # MDCR_EL2.TPM
    PMCR = auto()  # MDCR_EL2.TPMCR
    CNT_FRQ = auto()  # CNTKCTL_EL1.{EL0PCTEN, EL0VCTEN}
    CNT_VCT = auto()  # CNTKCTL_EL1.EL0VCTEN
    CNT_PCT = auto()  # CNTKCTL_EL1.EL0PCTEN, CNTHCTL_EL2.EL1PCTEN
    CNT_PT = auto()  # CNTKCTL_EL1.EL0PTEN, CNTHCTL_EL2.EL1PCEN
    CNT_VT = auto()  # CNTKCTL_EL1.EL0VTEN
    SP_EL0 = auto()  # UNDEFINED while PSTATE.SP is 0


@dataclass(frozen=True, slots=True)
class SysReg:
    """A register. `access` holds from EL1 (or min_el) up; `el0_access` is what EL0 may do, if
    min_el is 0. `reset` is the value at warm reset, 0 where the architecture leaves it UNKNOWN.
    """

    name: str
    op0: int
    op1: int
    crn: int
    crm: int
    op2: int
    access: RegAccess
    min_el: int
    traps: tuple[Trap, ...]
    reset: int
    model: Model
    el0_access: RegAccess

    @property
    def encoding(self) -> tuple[int, int, int, int, int]:
        """(op0, op1, CRn, CRm, op2)."""
        return (self.op0, self.op1, self.crn, self.crm, self.op2)

    def allows(self, el: int, *, is_read: bool) -> bool:
        """Whether the access exists at `el`, traps aside."""
        access = self.el0_access if el == 0 else self.access
        return el >= self.min_el and access is not (RegAccess.WO if is_read else RegAccess.RO)


@dataclass(frozen=True, slots=True)
class SysOp:
    """A system instruction: DC, IC, AT, TLBI."""

    name: str
    op1: int
    crn: int
    crm: int
    op2: int
    min_el: int
    traps: tuple[Trap, ...]


RW, RO, WO = RegAccess.RW, RegAccess.RO, RegAccess.WO
NATIVE, CONSTANT, TIMER, PMU = Model.NATIVE, Model.CONSTANT, Model.TIMER, Model.PMU
STORAGE, RAZ_WI = Model.STORAGE, Model.RAZ_WI

NUM_BREAKPOINTS = 6
NUM_WATCHPOINTS = 4
NUM_EVENT_COUNTERS = 6


def _reg(
    name: str,
    encoding: tuple[int, int, int, int, int],
    access: RegAccess,
    *traps: Trap,
    reset: int = 0,
    model: Model = NATIVE,
    min_el: int | None = None,
    el0_access: RegAccess | None = None,
) -> SysReg:
    """A row. The lowest EL follows from op1 unless it is given (Arm ARM, "op1 encoding")."""
    lowest = {3: 0, 4: 2}.get(encoding[1], 1) if min_el is None else min_el
    return SysReg(name, *encoding, access, lowest, traps, reset, model, el0_access or access)


_ID_VALUES = {
    "ID_PFR0_EL1": 0x00000131,
    "ID_PFR1_EL1": 0x00011011,
    "ID_DFR0_EL1": 0x03010066,
    "ID_AFR0_EL1": 0,
    "ID_MMFR0_EL1": 0x10201105,
    "ID_MMFR1_EL1": 0x40000000,
    "ID_MMFR2_EL1": 0x01260000,
    "ID_MMFR3_EL1": 0x02102211,
    "ID_ISAR0_EL1": 0x02101110,
    "ID_ISAR1_EL1": 0x13112111,
    "ID_ISAR2_EL1": 0x21232042,
    "ID_ISAR3_EL1": 0x01112131,
    "ID_ISAR4_EL1": 0x00011142,
    "ID_ISAR5_EL1": 0x00011121,
    "ID_MMFR4_EL1": 0,
    "": 0,  # ID_ISAR6_EL1 of later versions
    "MVFR0_EL1": 0x10110222,
    "MVFR1_EL1": 0x12111111,
    "MVFR2_EL1": 0x00000043,
}
_AA64_ID_VALUES = {
    (4, 0): ("ID_AA64PFR0_EL1", 0x2222),
    (4, 1): ("ID_AA64PFR1_EL1", 0),
    (5, 0): ("ID_AA64DFR0_EL1", 0x10305106),
    (5, 1): ("ID_AA64DFR1_EL1", 0),
    (5, 4): ("ID_AA64AFR0_EL1", 0),
    (5, 5): ("ID_AA64AFR1_EL1", 0),
    (6, 0): ("ID_AA64ISAR0_EL1", 0x00011120),
    (6, 1): ("ID_AA64ISAR1_EL1", 0),
    (7, 0): ("ID_AA64MMFR0_EL1", 0x00001124),
    (7, 1): ("ID_AA64MMFR1_EL1", 0),
    (7, 2): ("ID_AA64MMFR2_EL1", 0),
}


def _id_registers() -> Iterator[SysReg]:
    """CRn = 0, CRm = 1..7: the AArch32 and AArch64 identification registers. Reserved ones
    read as zero and belong to TID3's group too."""
    names: dict[tuple[int, int], tuple[str, int]] = dict(_AA64_ID_VALUES)
    for index, (name, value) in enumerate(_ID_VALUES.items()):
        names[1 + index // 8, index % 8] = (name, value)
    for crm in range(1, 8):
        for op2 in range(8):
            name, value = names.get((crm, op2), ("", 0))
            yield _reg(
                name or f"S3_0_C0_C{crm}_{op2}",
                (3, 0, 0, crm, op2),
                RO,
                Trap.ID3,
                reset=value,
                model=CONSTANT,
            )


def _identification() -> Iterator[SysReg]:
    yield _reg("MIDR_EL1", (3, 0, 0, 0, 0), RO, reset=0x410FD083)
    yield _reg("MPIDR_EL1", (3, 0, 0, 0, 5), RO, reset=0x80000000)
    yield _reg("REVIDR_EL1", (3, 0, 0, 0, 6), RO, Trap.ID1, model=CONSTANT)
    yield from _id_registers()
    # CSSELR_EL1 chooses the cache: 32 KiB L1 data, 48 KiB L1 instruction, 1 MiB L2.
    yield _reg("CCSIDR_EL1", (3, 1, 0, 0, 0), RO, Trap.ID2, reset=0x701FE00A)
    yield _reg("CLIDR_EL1", (3, 1, 0, 0, 1), RO, Trap.ID2, reset=0x0A200023, model=CONSTANT)
    yield _reg("AIDR_EL1", (3, 1, 0, 0, 7), RO, Trap.ID1, model=CONSTANT)
    yield _reg("CSSELR_EL1", (3, 2, 0, 0, 0), RW, Trap.ID2)
    yield _reg("CTR_EL0", (3, 3, 0, 0, 1), RO, Trap.UCT, Trap.ID2, reset=0x8444C004, model=CONSTANT)
    # DZP is set where DC ZVA would trap: traps.dczid_value.
    yield _reg("DCZID_EL0", (3, 3, 0, 0, 7), RO, reset=4)
    yield _reg("VPIDR_EL2", (3, 4, 0, 0, 0), RW, reset=0x410FD083)
    yield _reg("VMPIDR_EL2", (3, 4, 0, 0, 5), RW, reset=0x80000000)


def _control_and_translation() -> Iterator[SysReg]:
    yield _reg("SCTLR_EL1", (3, 0, 1, 0, 0), RW, Trap.VM, reset=0x00C50838)
    yield _reg("ACTLR_EL1", (3, 0, 1, 0, 1), RW, Trap.ACR, model=RAZ_WI)
    yield _reg("CPACR_EL1", (3, 0, 1, 0, 2), RW, Trap.CPAC)
    yield _reg("TTBR0_EL1", (3, 0, 2, 0, 0), RW, Trap.VM)
    yield _reg("TTBR1_EL1", (3, 0, 2, 0, 1), RW, Trap.VM)
    yield _reg("TCR_EL1", (3, 0, 2, 0, 2), RW, Trap.VM)
    yield _reg("AFSR0_EL1", (3, 0, 5, 1, 0), RW, Trap.VM, model=RAZ_WI)
    yield _reg("AFSR1_EL1", (3, 0, 5, 1, 1), RW, Trap.VM, model=RAZ_WI)
    yield _reg("ESR_EL1", (3, 0, 5, 2, 0), RW, Trap.VM)
    yield _reg("FAR_EL1", (3, 0, 6, 0, 0), RW, Trap.VM)
    yield _reg("PAR_EL1", (3, 0, 7, 4, 0), RW)
    yield _reg("MAIR_EL1", (3, 0, 10, 2, 0), RW, Trap.VM)
    yield _reg("AMAIR_EL1", (3, 0, 10, 3, 0), RW, Trap.VM, model=RAZ_WI)
    yield _reg("VBAR_EL1", (3, 0, 12, 0, 0), RW)
    yield _reg("ISR_EL1", (3, 0, 12, 1, 0), RO)
    yield _reg("CONTEXTIDR_EL1", (3, 0, 13, 0, 1), RW, Trap.VM)
    yield _reg("TPIDR_EL1", (3, 0, 13, 0, 4), RW)
    yield _reg("TPIDR_EL0", (3, 3, 13, 0, 2), RW)
    yield _reg("TPIDRRO_EL0", (3, 3, 13, 0, 3), RW, el0_access=RO)

    yield _reg("SCTLR_EL2", (3, 4, 1, 0, 0), RW, reset=0x30C50838)
    yield _reg("ACTLR_EL2", (3, 4, 1, 0, 1), RW, model=RAZ_WI)
    yield _reg("HCR_EL2", (3, 4, 1, 1, 0), RW)
    yield _reg("MDCR_EL2", (3, 4, 1, 1, 1), RW, reset=NUM_EVENT_COUNTERS)
    yield _reg("CPTR_EL2", (3, 4, 1, 1, 2), RW, reset=0x33FF)
    yield _reg("HSTR_EL2", (3, 4, 1, 1, 3), RW)
    yield _reg("HACR_EL2", (3, 4, 1, 1, 7), RW, model=RAZ_WI)
    yield _reg("TTBR0_EL2", (3, 4, 2, 0, 0), RW)
    yield _reg("TCR_EL2", (3, 4, 2, 0, 2), RW)
    yield _reg("VTTBR_EL2", (3, 4, 2, 1, 0), RW)
    yield _reg("VTCR_EL2", (3, 4, 2, 1, 2), RW)
    yield _reg("DACR32_EL2", (3, 4, 3, 0, 0), RW)
    yield _reg("IFSR32_EL2", (3, 4, 5, 0, 1), RW)
    yield _reg("AFSR0_EL2", (3, 4, 5, 1, 0), RW, model=RAZ_WI)
    yield _reg("AFSR1_EL2", (3, 4, 5, 1, 1), RW, model=RAZ_WI)
    yield _reg("ESR_EL2", (3, 4, 5, 2, 0), RW)
    yield _reg("FPEXC32_EL2", (3, 4, 5, 3, 0), RW, Trap.FP, reset=0x700)
    yield _reg("FAR_EL2", (3, 4, 6, 0, 0), RW)
    yield _reg("HPFAR_EL2", (3, 4, 6, 0, 4), RW)
    yield _reg("MAIR_EL2", (3, 4, 10, 2, 0), RW)
    yield _reg("AMAIR_EL2", (3, 4, 10, 3, 0), RW, model=RAZ_WI)
    yield _reg("VBAR_EL2", (3, 4, 12, 0, 0), RW)
    yield _reg("TPIDR_EL2", (3, 4, 13, 0, 2), RW)


def _process_state() -> Iterator[SysReg]:
    yield _reg("SPSR_EL1", (3, 0, 4, 0, 0), RW)
    yield _reg("ELR_EL1", (3, 0, 4, 0, 1), RW)
    yield _reg("SP_EL0", (3, 0, 4, 1, 0), RW, Trap.SP_EL0)
    yield _reg("SPSel", (3, 0, 4, 2, 0), RW)
    yield _reg("CurrentEL", (3, 0, 4, 2, 2), RO)
    yield _reg("NZCV", (3, 3, 4, 2, 0), RW)
    yield _reg("DAIF", (3, 3, 4, 2, 1), RW, Trap.UMA)
    yield _reg("FPCR", (3, 3, 4, 4, 0), RW, Trap.FP)
    yield _reg("FPSR", (3, 3, 4, 4, 1), RW, Trap.FP)
    yield _reg("SPSR_EL2", (3, 4, 4, 0, 0), RW)
    yield _reg("ELR_EL2", (3, 4, 4, 0, 1), RW)
    yield _reg("SP_EL1", (3, 4, 4, 1, 0), RW)
    yield _reg("SPSR_irq", (3, 4, 4, 3, 0), RW)
    yield _reg("SPSR_abt", (3, 4, 4, 3, 1), RW)
    yield _reg("SPSR_und", (3, 4, 4, 3, 2), RW)
    yield _reg("SPSR_fiq", (3, 4, 4, 3, 3), RW)


def _timer() -> Iterator[SysReg]:
    yield _reg("CNTKCTL_EL1", (3, 0, 14, 1, 0), RW)
    # The frequency is writable only at the highest EL, which is EL3.
    yield _reg("CNTFRQ_EL0", (3, 3, 14, 0, 0), RO, Trap.CNT_FRQ, model=TIMER)
    yield _reg("CNTPCT_EL0", (3, 3, 14, 0, 1), RO, Trap.CNT_PCT, model=TIMER)
    yield _reg("CNTVCT_EL0", (3, 3, 14, 0, 2), RO, Trap.CNT_VCT, model=TIMER)
    for op2, part in enumerate(("TVAL", "CTL", "CVAL")):
        yield _reg(f"CNTP_{part}_EL0", (3, 3, 14, 2, op2), RW, Trap.CNT_PT, model=TIMER)
        yield _reg(f"CNTV_{part}_EL0", (3, 3, 14, 3, op2), RW, Trap.CNT_VT, model=TIMER)
        yield _reg(f"CNTHP_{part}_EL2", (3, 4, 14, 2, op2), RW, model=TIMER)
    yield _reg("CNTVOFF_EL2", (3, 4, 14, 0, 3), RW, model=TIMER)
    yield _reg("CNTHCTL_EL2", (3, 4, 14, 1, 0), RW, reset=3)


def _performance_monitors() -> Iterator[SysReg]:
    def pmu(
        name: str,
        encoding: tuple[int, int, int, int, int],
        access: RegAccess,
        *traps: Trap,
        reset: int = 0,
        el0_access: RegAccess | None = None,
    ) -> SysReg:
        return _reg(
            name, encoding, access, *traps, Trap.PM, reset=reset, model=PMU, el0_access=el0_access
        )

    yield pmu("PMINTENSET_EL1", (3, 0, 9, 14, 1), RW)
    yield pmu("PMINTENCLR_EL1", (3, 0, 9, 14, 2), RW)
    yield pmu("PMCR_EL0", (3, 3, 9, 12, 0), RW, Trap.PMU_EN, Trap.PMCR, reset=0x41023000)
    yield pmu("PMCNTENSET_EL0", (3, 3, 9, 12, 1), RW, Trap.PMU_EN)
    yield pmu("PMCNTENCLR_EL0", (3, 3, 9, 12, 2), RW, Trap.PMU_EN)
    yield pmu("PMOVSCLR_EL0", (3, 3, 9, 12, 3), RW, Trap.PMU_EN)
    yield pmu("PMSWINC_EL0", (3, 3, 9, 12, 4), WO, Trap.PMU_SW)
    yield pmu("PMSELR_EL0", (3, 3, 9, 12, 5), RW, Trap.PMU_SEL)
    yield pmu("PMCEID0_EL0", (3, 3, 9, 12, 6), RO, Trap.PMU_EN, reset=0x7FFF0F3F)
    yield pmu("PMCEID1_EL0", (3, 3, 9, 12, 7), RO, Trap.PMU_EN)
    yield pmu("PMCCNTR_EL0", (3, 3, 9, 13, 0), RW, Trap.PMU_CR)
    yield pmu("PMXEVTYPER_EL0", (3, 3, 9, 13, 1), RW, Trap.PMU_EN)
    yield pmu("PMXEVCNTR_EL0", (3, 3, 9, 13, 2), RW, Trap.PMU_ER)
    yield pmu("PMUSERENR_EL0", (3, 3, 9, 14, 0), RW, el0_access=RO)
    yield pmu("PMOVSSET_EL0", (3, 3, 9, 14, 3), RW, Trap.PMU_EN)
    for n in range(NUM_EVENT_COUNTERS):
        yield pmu(f"PMEVCNTR{n}_EL0", (3, 3, 14, 8, n), RW, Trap.PMU_ER)
        yield pmu(f"PMEVTYPER{n}_EL0", (3, 3, 14, 12, n), RW, Trap.PMU_EN)
    yield pmu("PMCCFILTR_EL0", (3, 3, 14, 15, 7), RW, Trap.PMU_EN)


def _debug() -> Iterator[SysReg]:
    """op0 = 2. Nothing is connected to the debug channel, and nothing debugs from outside."""
    yield _reg("OSDTRRX_EL1", (2, 0, 0, 0, 2), RW, Trap.DEBUG, model=STORAGE)
    yield _reg("MDCCINT_EL1", (2, 0, 0, 2, 0), RW, Trap.DEBUG, model=STORAGE)
    yield _reg("MDSCR_EL1", (2, 0, 0, 2, 2), RW, Trap.DEBUG)
    yield _reg("OSDTRTX_EL1", (2, 0, 0, 3, 2), RW, Trap.DEBUG, model=STORAGE)
    yield _reg("OSECCR_EL1", (2, 0, 0, 6, 2), RW, Trap.DEBUG, model=STORAGE)
    for n in range(NUM_BREAKPOINTS):
        yield _reg(f"DBGBVR{n}_EL1", (2, 0, 0, n, 4), RW, Trap.DEBUG, model=STORAGE)
        yield _reg(f"DBGBCR{n}_EL1", (2, 0, 0, n, 5), RW, Trap.DEBUG, model=STORAGE)
    for n in range(NUM_WATCHPOINTS):
        yield _reg(f"DBGWVR{n}_EL1", (2, 0, 0, n, 6), RW, Trap.DEBUG, model=STORAGE)
        yield _reg(f"DBGWCR{n}_EL1", (2, 0, 0, n, 7), RW, Trap.DEBUG, model=STORAGE)
    yield _reg("MDRAR_EL1", (2, 0, 1, 0, 0), RO, Trap.DEBUG_ROM, model=CONSTANT)
    yield _reg("OSLAR_EL1", (2, 0, 1, 0, 4), WO, Trap.DEBUG_OS)
    yield _reg("OSLSR_EL1", (2, 0, 1, 1, 4), RO, Trap.DEBUG_OS, reset=0xA)
    yield _reg("OSDLR_EL1", (2, 0, 1, 3, 4), RW, Trap.DEBUG_OS, model=STORAGE)
    yield _reg("DBGPRCR_EL1", (2, 0, 1, 4, 4), RW, Trap.DEBUG_OS, model=STORAGE)
    yield _reg("DBGCLAIMSET_EL1", (2, 0, 7, 8, 6), RW, Trap.DEBUG, reset=0xFF, model=STORAGE)
    yield _reg("DBGCLAIMCLR_EL1", (2, 0, 7, 9, 6), RW, Trap.DEBUG, model=STORAGE)
    yield _reg("DBGAUTHSTATUS_EL1", (2, 0, 7, 14, 6), RO, Trap.DEBUG, reset=0xAA, model=CONSTANT)
    yield _reg("MDCCSR_EL0", (2, 3, 0, 1, 0), RO, Trap.DCC, Trap.DEBUG, model=CONSTANT)
    yield _reg("DBGDTR_EL0", (2, 3, 0, 4, 0), RW, Trap.DCC, Trap.DEBUG, model=RAZ_WI)
    # DBGDTRRX_EL0 when read, DBGDTRTX_EL0 when written.
    yield _reg("DBGDTRRX_EL0", (2, 3, 0, 5, 0), RW, Trap.DCC, Trap.DEBUG, model=RAZ_WI)
    yield _reg("DBGVCR32_EL2", (2, 4, 0, 7, 0), RW, model=STORAGE)


def _cortex_a72() -> Iterator[SysReg]:
    """IMPLEMENTATION DEFINED registers. HCR_EL2.TIDCP covers all of CRn = 11 and 15, named or
    not, so it is no row's business. ACTLR_EL2's write permissions are not modelled: writes are
    ignored."""
    for name, encoding, reset in (
        ("L2CTLR_EL1", (3, 1, 11, 0, 2), 0),
        ("L2ECTLR_EL1", (3, 1, 11, 0, 3), 0),
        ("L2ACTLR_EL1", (3, 1, 15, 0, 0), 0),
        ("CPUACTLR_EL1", (3, 1, 15, 2, 0), 0),
        ("CPUECTLR_EL1", (3, 1, 15, 2, 1), 0),
        ("CPUMERRSR_EL1", (3, 1, 15, 2, 2), 0),
        ("L2MERRSR_EL1", (3, 1, 15, 2, 3), 0),
    ):
        yield _reg(name, encoding, RW, reset=reset, model=RAZ_WI)
    yield _reg("CBAR_EL1", (3, 1, 15, 3, 0), RO, model=CONSTANT)
    for n in range(4):
        yield _reg(f"IL1DATA{n}_EL1", (3, 0, 15, 0, n), RW, model=RAZ_WI)
    for n in range(5):
        yield _reg(f"DL1DATA{n}_EL1", (3, 0, 15, 1, n), RW, model=RAZ_WI)


SYSREGS: tuple[SysReg, ...] = (
    *_identification(),
    *_control_and_translation(),
    *_process_state(),
    *_timer(),
    *_performance_monitors(),
    *_debug(),
    *_cortex_a72(),
)


def _system_instructions() -> Iterator[SysOp]:
    for name, crm in (("IALLUIS", 1), ("IALLU", 5)):
        yield SysOp(f"IC {name}", 0, 7, crm, 0, 1, (Trap.POU,))
    yield SysOp("IC IVAU", 3, 7, 5, 1, 0, (Trap.UCI, Trap.POU))
    yield SysOp("DC IVAC", 0, 7, 6, 1, 1, (Trap.POC,))
    for name, crm in (("ISW", 6), ("CSW", 10), ("CISW", 14)):
        yield SysOp(f"DC {name}", 0, 7, crm, 2, 1, (Trap.SET_WAY,))
    yield SysOp("DC ZVA", 3, 7, 4, 1, 0, (Trap.DZE, Trap.ZVA))
    yield SysOp("DC CVAC", 3, 7, 10, 1, 0, (Trap.UCI, Trap.POC))
    yield SysOp("DC CVAU", 3, 7, 11, 1, 0, (Trap.UCI, Trap.POU))
    yield SysOp("DC CIVAC", 3, 7, 14, 1, 0, (Trap.UCI, Trap.POC))
    for op2, name in enumerate(("S1E1R", "S1E1W", "S1E0R", "S1E0W")):
        yield SysOp(f"AT {name}", 0, 7, 8, op2, 1, ())
    for op2, name in ((0, "S1E2R"), (1, "S1E2W")):
        yield SysOp(f"AT {name}", 4, 7, 8, op2, 2, ())
    for op2, name in ((4, "S12E1R"), (5, "S12E1W"), (6, "S12E0R"), (7, "S12E0W")):
        yield SysOp(f"AT {name}", 4, 7, 8, op2, 2, ())
    for suffix, crm in (("IS", 3), ("", 7)):
        for op2, name in (
            (0, "VMALLE1"), (1, "VAE1"), (2, "ASIDE1"), (3, "VAAE1"), (5, "VALE1"), (7, "VAALE1"),
        ):  # fmt: skip
            yield SysOp(f"TLBI {name}{suffix}", 0, 8, crm, op2, 1, (Trap.TLB,))
        for op2, name in (
            (0, "ALLE2"), (1, "VAE2"), (4, "ALLE1"), (5, "VALE2"), (6, "VMALLS12E1"),
        ):  # fmt: skip
            yield SysOp(f"TLBI {name}{suffix}", 4, 8, crm, op2, 2, ())
    for suffix, crm in (("IS", 0), ("", 4)):
        for op2, name in ((1, "IPAS2E1"), (5, "IPAS2LE1")):
            yield SysOp(f"TLBI {name}{suffix}", 4, 8, crm, op2, 2, ())
    # Cortex-A72: reads a RAM of a cache into IL1DATA and DL1DATA.
    yield SysOp("SYS RAMINDEX", 0, 15, 4, 0, 1, ())


SYSOPS: tuple[SysOp, ...] = tuple(_system_instructions())

_BY_ENCODING = {register.encoding: register for register in SYSREGS}
_BY_NAME = {register.name.upper(): register for register in SYSREGS}
_OP_BY_ENCODING = {(op.op1, op.crn, op.crm, op.op2): op for op in SYSOPS}


def by_encoding(op0: int, op1: int, crn: int, crm: int, op2: int) -> SysReg | None:
    """The register of an MRS or MSR, None if this CPU has none there."""
    return _BY_ENCODING.get((op0, op1, crn, crm, op2))


def by_name(name: str) -> SysReg:
    """The register of that name, in any case. Raises KeyError."""
    return _BY_NAME[name.upper()]


def sysop_by_encoding(op1: int, crn: int, crm: int, op2: int) -> SysOp | None:
    """The system instruction of a SYS, None if this CPU has none there."""
    return _OP_BY_ENCODING.get((op1, crn, crm, op2))


def is_implementation_defined(crn: int) -> bool:
    """Whether CRn, of op0 = 1 or 3, lies in the space HCR_EL2.TIDCP traps."""
    return crn in (11, 15)
