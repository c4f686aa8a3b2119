# SPDX-License-Identifier: Apache-2.0
"""Trap decisions from the Arm ARM's accessibility pseudocode, bit numbers written out here."""

from dataclasses import replace

import pytest

from aether_edgecloud.emulator.arch.decode import (
    MsrImmediate,
    PStateField,
    SysInstruction,
    SysRegAccess,
    WfxKind,
)
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.arch.sysregs import SYSOPS, SYSREGS, by_name, sysop_by_encoding
from aether_edgecloud.emulator.arch.traps import (
    Allowed,
    TrapControls,
    Trapped,
    TrapResult,
    Undefined,
    check_fp,
    check_hvc,
    check_msr_immediate,
    check_smc,
    check_svc,
    check_sys_instruction,
    check_sysreg,
    check_wfx,
    dczid_value,
)

SCTLR_ALL_EL0 = 1 << 9 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26
OPEN = TrapControls(
    cpacr_el1=3 << 20,
    cnthctl_el2=3,
    cntkctl_el1=0x303,
    sctlr_el1=SCTLR_ALL_EL0,
    pmuserenr_el0=1,
)
TGE = 1 << 27


def access(name: str, el: int, c: TrapControls, *, read: bool = True) -> TrapResult:
    """MRS or MSR of x5."""
    return check_sysreg(SysRegAccess(*by_name(name).encoding, 5, read), el, c)


def sysop(name: str, el: int, c: TrapControls) -> TrapResult:
    """A system instruction with x5."""
    op = next(op for op in SYSOPS if op.name == name)
    return check_sys_instruction(SysInstruction(op.op1, op.crn, op.crm, op.op2, 5, False), el, c)


def sysreg_trap(name: str, target: int, *, read: bool = True) -> Trapped:
    """The exception of a trapped access with x5, syndrome by the fields' bit numbers."""
    r = by_name(name)
    iss = r.op0 << 20 | r.op2 << 17 | r.op1 << 14 | r.crn << 10 | 5 << 5 | r.crm << 1 | read
    return Trapped(target, ExceptionClass.SYSREG, iss)


def test_iss_of_a_known_instruction() -> None:
    """MRS X5, CNTPCT_EL0 from EL0: Op0 3, Op2 1, Op1 3, CRn 14, Rt 5, CRm 0, read."""
    assert access("CNTPCT_EL0", 0, replace(OPEN, cnthctl_el2=2)) == Trapped(
        2, ExceptionClass.SYSREG, 0x32F8A1
    )


@pytest.mark.parametrize("el", [0, 1, 2])
def test_nothing_traps_when_everything_is_open(el: int) -> None:
    for register in SYSREGS:
        for read in (True, False):
            expected: TrapResult = Undefined()
            exists = register.access.value in ("rw", "ro" if read else "wo")
            if el == 0 and register.name in ("TPIDRRO_EL0", "PMUSERENR_EL0"):
                exists = read
            if exists and el >= {3: 0, 4: 2}.get(register.op1, 1):
                expected = Allowed()
            assert access(register.name, el, OPEN, read=read) == expected, register.name


# (control, bit, registers it traps at EL1, reads, writes)
HCR_EL2_TRAPS = [
    (
        26,
        "SCTLR_EL1 TTBR0_EL1 TTBR1_EL1 TCR_EL1 ESR_EL1 FAR_EL1 AFSR0_EL1 AFSR1_EL1 MAIR_EL1"
        " AMAIR_EL1 CONTEXTIDR_EL1",
        "w",
    ),
    (
        30,
        "SCTLR_EL1 TTBR0_EL1 TTBR1_EL1 TCR_EL1 ESR_EL1 FAR_EL1 AFSR0_EL1 AFSR1_EL1 MAIR_EL1"
        " AMAIR_EL1 CONTEXTIDR_EL1",
        "r",
    ),
    (21, "ACTLR_EL1", "rw"),
    (16, "REVIDR_EL1 AIDR_EL1", "r"),
    (17, "CTR_EL0 CCSIDR_EL1 CLIDR_EL1 CSSELR_EL1", "rw"),
    (18, "ID_PFR0_EL1 ID_ISAR5_EL1 ID_MMFR4_EL1 MVFR0_EL1 MVFR2_EL1 ID_AA64PFR0_EL1 "
         "ID_AA64MMFR0_EL1 ID_AA64DFR1_EL1 ID_AA64AFR0_EL1 S3_0_C0_C7_7", "r"),
    (20, "L2CTLR_EL1 CPUECTLR_EL1 CBAR_EL1 IL1DATA0_EL1", "rw"),
]  # fmt: skip
MDCR_EL2_TRAPS = [
    (9, "MDSCR_EL1 DBGBVR5_EL1 DBGWCR0_EL1 MDCCINT_EL1 OSECCR_EL1 DBGCLAIMSET_EL1 MDCCSR_EL0 "
        "DBGDTR_EL0 DBGAUTHSTATUS_EL1", "rw"),
    (10, "OSLAR_EL1 OSLSR_EL1 OSDLR_EL1 DBGPRCR_EL1", "rw"),
    (11, "MDRAR_EL1", "r"),
    (6, "PMCR_EL0 PMCCNTR_EL0 PMUSERENR_EL0 PMINTENSET_EL1 PMEVTYPER5_EL0 PMCCFILTR_EL0", "rw"),
    (5, "PMCR_EL0", "rw"),
]  # fmt: skip


def expand(control: str, table: list[tuple[int, str, str]]) -> list[tuple[str, int, str, str]]:
    """One case for each bit and register."""
    return [(control, bit, name, how) for bit, names, how in table for name in names.split()]


@pytest.mark.parametrize(
    ("control", "bit", "name", "how"),
    [*expand("hcr_el2", HCR_EL2_TRAPS), *expand("mdcr_el2", MDCR_EL2_TRAPS)],
)
def test_el1_accesses_trap_to_el2(control: str, bit: int, name: str, how: str) -> None:
    c = replace(OPEN, **{control: 1 << bit})
    kinds = {"ro": "r", "wo": "w", "rw": "rw"}[by_name(name).access.value]
    for read in (True, False):
        letter = "r" if read else "w"
        if letter in how and letter in kinds:
            assert access(name, 1, c, read=read) == sysreg_trap(name, 2, read=read)
        elif letter in kinds:
            assert access(name, 1, c, read=read) == Allowed()
        if letter in kinds:
            assert access(name, 2, c, read=read) == Allowed()


def test_mdcr_tde_counts_as_all_debug_traps() -> None:
    c = replace(OPEN, mdcr_el2=1 << 8)
    for name in ("MDSCR_EL1", "OSLSR_EL1", "MDRAR_EL1"):
        assert access(name, 1, c) == sysreg_trap(name, 2)


def test_tge_counts_as_tde() -> None:
    assert access("MDCCSR_EL0", 0, replace(OPEN, hcr_el2=TGE)) == sysreg_trap("MDCCSR_EL0", 2)


def test_cptr_tcpac() -> None:
    c = replace(OPEN, cptr_el2=1 << 31)
    assert access("CPACR_EL1", 1, c) == sysreg_trap("CPACR_EL1", 2)
    assert access("CPTR_EL2", 2, c) == Allowed()


@pytest.mark.parametrize(
    ("control", "cleared", "names"),
    [
        ("sctlr_el1", 1 << 9, "DAIF"),
        ("sctlr_el1", 1 << 15, "CTR_EL0"),
        ("cntkctl_el1", 0x001, "CNTPCT_EL0"),
        ("cntkctl_el1", 0x002, "CNTVCT_EL0"),
        ("cntkctl_el1", 0x003, "CNTFRQ_EL0"),
        ("cntkctl_el1", 0x100, "CNTV_TVAL_EL0 CNTV_CTL_EL0 CNTV_CVAL_EL0"),
        ("cntkctl_el1", 0x200, "CNTP_TVAL_EL0 CNTP_CTL_EL0 CNTP_CVAL_EL0"),
        ("pmuserenr_el0", 1, "PMCR_EL0 PMCCNTR_EL0 PMSELR_EL0 PMXEVTYPER_EL0 PMEVCNTR0_EL0"),
    ],
)
def test_el1_controls_trap_el0(control: str, cleared: int, names: str) -> None:
    c = replace(OPEN, **{control: getattr(OPEN, control) & ~cleared})
    for name in names.split():
        assert access(name, 0, OPEN) == Allowed()
        assert access(name, 0, c) == sysreg_trap(name, 1)
        assert access(name, 0, replace(c, hcr_el2=TGE)) == sysreg_trap(name, 2)
        assert access(name, 1, c) == Allowed()


def test_cntfrq_needs_only_one_counter_enabled() -> None:
    assert access("CNTFRQ_EL0", 0, replace(OPEN, cntkctl_el1=1)) == Allowed()
    assert access("CNTFRQ_EL0", 0, replace(OPEN, cntkctl_el1=2)) == Allowed()


def test_mdscr_tdcc() -> None:
    c = replace(OPEN, mdscr_el1=1 << 12)
    assert access("DBGDTR_EL0", 0, c) == sysreg_trap("DBGDTR_EL0", 1)
    assert access("DBGDTR_EL0", 1, c) == Allowed()


@pytest.mark.parametrize("el", [0, 1])
def test_cnthctl(el: int) -> None:
    no_counter, no_timer = replace(OPEN, cnthctl_el2=2), replace(OPEN, cnthctl_el2=1)
    assert access("CNTPCT_EL0", el, no_counter) == sysreg_trap("CNTPCT_EL0", 2)
    assert access("CNTP_CTL_EL0", el, no_counter) == Allowed()
    assert access("CNTPCT_EL0", el, no_timer) == Allowed()
    assert access("CNTP_CTL_EL0", el, no_timer) == sysreg_trap("CNTP_CTL_EL0", 2)
    assert access("CNTV_CTL_EL0", el, replace(OPEN, cnthctl_el2=0)) == Allowed()


def test_el1_controls_come_before_el2s() -> None:
    c = replace(OPEN, cntkctl_el1=0, cnthctl_el2=0)
    assert access("CNTPCT_EL0", 0, c) == sysreg_trap("CNTPCT_EL0", 1)


@pytest.mark.parametrize(
    ("bit", "readable", "writable"),
    [
        (0, {"PMCR_EL0", "PMSWINC_EL0", "PMCCNTR_EL0", "PMEVCNTR0_EL0", "PMSELR_EL0"},
            {"PMCR_EL0", "PMSWINC_EL0", "PMCCNTR_EL0", "PMEVCNTR0_EL0", "PMSELR_EL0"}),
        (1, set(), {"PMSWINC_EL0"}),
        (2, {"PMCCNTR_EL0"}, set()),
        (3, {"PMEVCNTR0_EL0", "PMXEVCNTR_EL0", "PMSELR_EL0"}, {"PMSELR_EL0"}),
    ],
)  # fmt: skip
def test_pmuserenr_bits(bit: int, readable: set[str], writable: set[str]) -> None:
    c = replace(OPEN, pmuserenr_el0=1 << bit)
    for name in ("PMCR_EL0", "PMCCNTR_EL0", "PMEVCNTR0_EL0", "PMXEVCNTR_EL0", "PMSELR_EL0"):
        for read, names in ((True, readable), (False, writable)):
            allowed = name in names or (bit == 0)
            expected = Allowed() if allowed else sysreg_trap(name, 1, read=read)
            assert access(name, 0, c, read=read) == expected, (name, read)
    expected = Allowed() if "PMSWINC_EL0" in writable else sysreg_trap("PMSWINC_EL0", 1, read=False)
    assert access("PMSWINC_EL0", 0, c, read=False) == expected


def test_el0_reads_pmuserenr_even_when_disabled() -> None:
    c = replace(OPEN, pmuserenr_el0=0)
    assert access("PMUSERENR_EL0", 0, c) == Allowed()
    assert access("PMUSERENR_EL0", 0, c, read=False) == Undefined()


@pytest.mark.parametrize(
    ("bit", "names"),
    [
        (22, "DC ISW,DC CSW,DC CISW"),
        (23, "DC IVAC,DC CVAC,DC CIVAC"),
        (24, "IC IALLU,IC IALLUIS,IC IVAU,DC CVAU"),
        (25, "TLBI VMALLE1,TLBI VAE1IS,TLBI ASIDE1,TLBI VAALE1IS"),
        (28, "DC ZVA"),
    ],
)
def test_system_instructions_trap_to_el2(bit: int, names: str) -> None:
    c = replace(OPEN, hcr_el2=1 << bit)
    for op in SYSOPS:
        iss = 1 << 20 | op.op2 << 17 | op.op1 << 14 | op.crn << 10 | 5 << 5 | op.crm << 1
        expected: TrapResult = Undefined()
        if op.min_el < 2:
            trapped = op.name in names.split(",")
            trapped |= bit == 25 and op.name.startswith("TLBI")
            expected = Trapped(2, ExceptionClass.SYSREG, iss) if trapped else Allowed()
        assert sysop(op.name, 1, c) == expected, op.name
        assert sysop(op.name, 2, c) == Allowed()


def test_el0_has_only_maintenance_by_va_and_zva() -> None:
    for op in SYSOPS:
        allowed = op.name in ("IC IVAU", "DC CVAC", "DC CVAU", "DC CIVAC", "DC ZVA")
        assert sysop(op.name, 0, OPEN) == (Allowed() if allowed else Undefined()), op.name


@pytest.mark.parametrize(("bit", "name"), [(26, "IC IVAU"), (26, "DC CVAC"), (14, "DC ZVA")])
def test_el1_controls_of_maintenance_at_el0(bit: int, name: str) -> None:
    c = replace(OPEN, sctlr_el1=OPEN.sctlr_el1 & ~(1 << bit))
    result = sysop(name, 0, c)
    assert isinstance(result, Trapped)
    assert (result.target_el, result.ec) == (1, ExceptionClass.SYSREG)
    assert sysop(name, 1, c) == Allowed()


def test_dczid_says_whether_zva_would_trap() -> None:
    assert [dczid_value(el, OPEN) for el in (0, 1, 2)] == [4, 4, 4]
    assert [dczid_value(el, replace(OPEN, hcr_el2=1 << 28)) for el in (0, 1, 2)] == [20, 20, 4]
    closed = replace(OPEN, sctlr_el1=0)
    assert [dczid_value(el, closed) for el in (0, 1, 2)] == [20, 4, 4]


@pytest.mark.parametrize("crn", [11, 15])
def test_tidcp_covers_the_whole_implementation_defined_space(crn: int) -> None:
    c = replace(OPEN, hcr_el2=1 << 20)
    unnamed = SysRegAccess(3, 7, crn, 9, 7, 5, True)
    iss = 3 << 20 | 7 << 17 | 7 << 14 | crn << 10 | 5 << 5 | 9 << 1 | 1
    assert check_sysreg(unnamed, 1, c) == Trapped(2, ExceptionClass.SYSREG, iss)
    assert check_sysreg(unnamed, 1, OPEN) == Undefined()
    assert check_sysreg(unnamed, 0, c) == Undefined()
    assert check_sysreg(unnamed, 2, c) == Undefined()
    sys = SysInstruction(5, crn, 1, 2, 5, True)
    assert isinstance(check_sys_instruction(sys, 1, c), Trapped)
    assert check_sys_instruction(sys, 1, OPEN) == Undefined()


@pytest.mark.parametrize(
    "encoding",
    [
        (3, 0, 4, 6, 0),  # ICC_PMR_EL1
        (3, 0, 12, 12, 5),  # ICC_SRE_EL1
        (3, 4, 12, 11, 0),  # ICH_HCR_EL2
        (3, 6, 1, 1, 0),  # SCR_EL3
        (2, 1, 0, 0, 1),  # TRCTRACEIDR
        (3, 0, 4, 2, 3),  # PAN, Armv8.1
        (3, 4, 2, 0, 1),  # TTBR1_EL2, Armv8.1
        (3, 5, 1, 0, 0),  # SCTLR_EL12, Armv8.1
        (2, 0, 0, 6, 4),  # DBGBVR6_EL1, which would be the seventh
        (3, 3, 14, 8, 6),  # PMEVCNTR6_EL0
        (3, 0, 0, 0, 1),  # between MIDR and MPIDR
    ],
)
def test_what_this_cpu_has_not_is_undefined(encoding: tuple[int, int, int, int, int]) -> None:
    c = replace(OPEN, hcr_el2=0x7FFF_FFFF & ~TGE, mdcr_el2=0xFFF, cptr_el2=1 << 20 | 1 << 31)
    for el in (0, 1, 2):
        assert check_sysreg(SysRegAccess(*encoding, 0, True), el, c) == Undefined()


def test_sp_el0_is_undefined_while_it_is_the_current_stack_pointer() -> None:
    sp_el0 = SysRegAccess(*by_name("SP_EL0").encoding, 5, True)
    assert check_sysreg(sp_el0, 1, OPEN, sp_sel=0) == Undefined()
    assert check_sysreg(sp_el0, 1, OPEN, sp_sel=1) == Allowed()


@pytest.mark.parametrize("kind", list(WfxKind))
def test_wfx(kind: WfxKind) -> None:
    is_wfe = kind is WfxKind.WFE
    iss = 1 << 24 | 0xE << 20 | is_wfe
    own, other = (14, 13) if is_wfe else (13, 14)
    trap = replace(OPEN, hcr_el2=1 << own)
    for el in (0, 1):
        assert check_wfx(kind, el, trap) == Trapped(2, ExceptionClass.WFX, iss)
        assert check_wfx(kind, el, replace(OPEN, hcr_el2=1 << other)) == Allowed()
    assert check_wfx(kind, 2, trap) == Allowed()
    closed = replace(trap, sctlr_el1=OPEN.sctlr_el1 & ~(1 << (18 if is_wfe else 16)))
    assert check_wfx(kind, 0, closed) == Trapped(1, ExceptionClass.WFX, iss)
    assert check_wfx(kind, 0, replace(closed, hcr_el2=TGE)) == Trapped(2, ExceptionClass.WFX, iss)
    assert check_wfx(kind, 1, replace(closed, hcr_el2=0)) == Allowed()


FP_EL1 = Trapped(1, ExceptionClass.FP_ACCESS, 0x1E00000)
FP_EL2 = Trapped(2, ExceptionClass.FP_ACCESS, 0x1E00000)


@pytest.mark.parametrize(
    ("fpen", "tfp", "el", "expected"),
    [
        (0, 0, 0, FP_EL1), (0, 0, 1, FP_EL1), (0, 0, 2, Allowed()),
        (1, 0, 0, FP_EL1), (1, 0, 1, Allowed()),
        (2, 0, 0, FP_EL1), (2, 0, 1, FP_EL1),
        (3, 0, 0, Allowed()), (3, 0, 1, Allowed()),
        (3, 1, 0, FP_EL2), (3, 1, 1, FP_EL2), (3, 1, 2, FP_EL2), (0, 1, 1, FP_EL1),
    ],
)  # fmt: skip
def test_fp(fpen: int, tfp: int, el: int, expected: TrapResult) -> None:
    c = replace(OPEN, cpacr_el1=fpen << 20, cptr_el2=tfp << 10)
    assert check_fp(el, c) == expected
    assert access("FPCR", el, c) == expected
    assert access("FPSR", el, c, read=False) == expected


def test_fp_at_el0_under_tge_is_an_unknown_reason() -> None:
    assert check_fp(0, replace(OPEN, cpacr_el1=0, hcr_el2=TGE)) == Undefined()


def test_calls() -> None:
    tsc = replace(OPEN, hcr_el2=1 << 19)
    assert check_smc(7, 0, tsc) == Undefined()
    assert check_smc(7, 1, tsc) == Trapped(2, ExceptionClass.SMC, 7)
    assert check_smc(7, 1, OPEN) == Allowed()
    assert check_smc(7, 2, tsc) == Allowed()
    assert check_hvc(7, 0) == Undefined()
    assert check_hvc(7, 1) == check_hvc(7, 2) == Trapped(2, ExceptionClass.HVC, 7)
    assert check_svc(7, 0, OPEN) == check_svc(7, 1, OPEN) == Trapped(1, ExceptionClass.SVC, 7)
    assert check_svc(7, 2, OPEN) == Trapped(2, ExceptionClass.SVC, 7)
    assert check_svc(7, 0, replace(OPEN, hcr_el2=TGE)) == Trapped(2, ExceptionClass.SVC, 7)


def test_msr_immediate() -> None:
    daifset = MsrImmediate(PStateField.DAIF_SET, 2)
    closed = replace(OPEN, sctlr_el1=0)
    # Op0 0, Op2 6, Op1 3, CRn 4, Rt 31, CRm 2, write
    iss = 6 << 17 | 3 << 14 | 4 << 10 | 31 << 5 | 2 << 1
    assert check_msr_immediate(daifset, 0, closed) == Trapped(1, ExceptionClass.SYSREG, iss)
    assert check_msr_immediate(daifset, 0, OPEN) == Allowed()
    assert check_msr_immediate(daifset, 1, closed) == Allowed()
    sp_sel = MsrImmediate(PStateField.SP_SEL, 1)
    assert check_msr_immediate(sp_sel, 0, OPEN) == Undefined()
    assert check_msr_immediate(sp_sel, 1, OPEN) == Allowed()
    assert check_msr_immediate(MsrImmediate(PStateField.PAN, 1), 1, OPEN) == Undefined()


def test_sysl_and_unknown_sys_are_undefined() -> None:
    assert check_sys_instruction(SysInstruction(0, 7, 5, 0, 5, True), 1, OPEN) == Undefined()
    assert check_sys_instruction(SysInstruction(3, 7, 12, 1, 5, False), 1, OPEN) == Undefined()
    assert sysop_by_encoding(6, 8, 7, 0) is None  # TLBI ALLE3
