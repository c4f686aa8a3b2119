# SPDX-License-Identifier: Apache-2.0
"""The trap model against what Unicorn raises by itself: every register and system instruction,
at every EL, read and written, under every control. Where they differ, DIFFERENCES says why."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from aether_edgecloud.emulator.arch.decode import SysInstruction, SysRegAccess, WfxKind, decode
from aether_edgecloud.emulator.arch.esr import ExceptionClass, syndrome
from aether_edgecloud.emulator.arch.exceptions import SyncKind, route_synchronous
from aether_edgecloud.emulator.arch.sysregs import SYSOPS, SYSREGS
from aether_edgecloud.emulator.arch.traps import (
    Allowed,
    TrapControls,
    Trapped,
    TrapResult,
    check_hvc,
    check_smc,
    check_svc,
    check_sys_instruction,
    check_sysreg,
    check_wfx,
)
from aether_edgecloud.properties.arch.native_cpu import DATA, How, NativeCpu, NativeResult

SCTLR_ALL_EL0 = 1 << 9 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26
OPEN = {
    "cpacr_el1": 3 << 20,
    "cnthctl_el2": 3,
    "cntkctl_el1": 0x303,
    "sctlr_el1": SCTLR_ALL_EL0,
    "pmuserenr_el0": 1,
}
HCR_BITS = {
    "TWI": 13, "TWE": 14, "TID0": 15, "TID1": 16, "TID2": 17, "TID3": 18, "TSC": 19, "TIDCP": 20,
    "TACR": 21, "TSW": 22, "TPC": 23, "TPU": 24, "TTLB": 25, "TVM": 26, "TGE": 27, "TDZ": 28,
    "TRVM": 30,
}  # fmt: skip
MDCR_BITS = {"TPMCR": 5, "TPM": 6, "TDE": 8, "TDA": 9, "TDOSA": 10, "TDRA": 11}
VARIATIONS: dict[str, dict[str, int]] = {
    "open": {},
    **{name: {"hcr_el2": 1 << bit} for name, bit in HCR_BITS.items()},
    **{name: {"mdcr_el2": 1 << bit} for name, bit in MDCR_BITS.items()},
    "TFP": {"cptr_el2": 1 << 10},
    "TTA": {"cptr_el2": 1 << 20},
    "TCPAC": {"cptr_el2": 1 << 31},
    "FPEN=0": {"cpacr_el1": 0},
    "FPEN=1": {"cpacr_el1": 1 << 20},
    "EL1PCTEN=0": {"cnthctl_el2": 2},
    "EL1PCEN=0": {"cnthctl_el2": 1},
    "EL0PCTEN=0": {"cntkctl_el1": 0x302},
    "EL0VCTEN=0": {"cntkctl_el1": 0x301},
    "EL0PCTEN=EL0VCTEN=0": {"cntkctl_el1": 0x300},
    "EL0VTEN=0": {"cntkctl_el1": 0x203},
    "EL0PTEN=0": {"cntkctl_el1": 0x103},
    **{
        f"{name}=0": {"sctlr_el1": SCTLR_ALL_EL0 & ~(1 << bit)}
        for name, bit in {"UMA": 9, "DZE": 14, "UCT": 15, "UCI": 26}.items()
    },
    "PMUSERENR=0": {"pmuserenr_el0": 0},
    "PMUSERENR=SW": {"pmuserenr_el0": 2},
    "PMUSERENR=CR": {"pmuserenr_el0": 4},
    "PMUSERENR=ER": {"pmuserenr_el0": 8},
    "TDCC": {"mdscr_el1": 1 << 12},
    "TGE, PMUSERENR=0": {"hcr_el2": 1 << 27, "pmuserenr_el0": 0},
}


@dataclass(frozen=True, slots=True)
class Case:
    """One instruction of the table."""

    name: str
    word: int
    is_read: bool


def cases() -> Iterator[Case]:
    """Everything in the table, with x0, which holds an address."""
    for register in SYSREGS:
        op0, op1, crn, crm, op2 = register.encoding
        base = 0xD500_0000 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
        yield Case(register.name, base | 1 << 21, True)
        yield Case(register.name, base, False)
    for op in SYSOPS:
        base = 0xD508_0000 | op.op1 << 16 | op.crn << 12 | op.crm << 8 | op.op2 << 5
        yield Case(op.name, base, False)


def expected(result: TrapResult, el: int, hcr: int) -> tuple[int, int] | None:
    """(target EL, ESR), None if the instruction runs."""
    if isinstance(result, Allowed):
        return None
    if isinstance(result, Trapped):
        return result.target_el, syndrome(result.ec, result.iss)
    target = route_synchronous(SyncKind.GENERAL, el, hcr)
    return target, syndrome(ExceptionClass.UNKNOWN)


def measured(result: NativeResult) -> tuple[int, int] | None:
    """The same of what Unicorn did."""
    if result.how is How.RAN:
        return None
    assert result.how is How.INTR, result
    return result.target_el, result.syndrome


NO_FP_TRAPS = "Unicorn's fp_exception_el always says 0: no SIMD or floating point ever traps"
ABSENT = "Unicorn does not have the register and is UNDEFINED, before any trap"
TIDCP = "Unicorn does not implement HCR_EL2.TIDCP"
# (name, name of the control or None for all of them) -> why Unicorn differs from the Arm ARM
DIFFERENCES: dict[tuple[str, str | None], str] = {
    **{
        (name, control): NO_FP_TRAPS
        for name in ("FPCR", "FPSR")
        for control in ("TFP", "FPEN=0", "FPEN=1")
    },
    ("FPEXC32_EL2", "TFP"): "Unicorn's ISS for it has bits of the AArch32 coprocessor field",
    ("CNTPCT_EL0", "EL1PCTEN=0"): "from EL0 Unicorn looks at EL1PCEN",
    ("CNTPCT_EL0", "EL1PCEN=0"): "from EL0 Unicorn looks at EL1PCEN",
    ("PMCR_EL0", "TPMCR"): "Unicorn does not implement MDCR_EL2.TPMCR for AArch64",
    **{
        (f"PMEVCNTR{n}_EL0", "PMUSERENR=ER"): "Unicorn knows PMUSERENR_EL0.ER for PMXEVCNTR only"
        for n in range(4)
    },
    **{
        (f"PM{kind}{n}_EL0", None): "Unicorn has four event counters, Cortex-A72 six"
        for kind in ("EVCNTR", "EVTYPER")
        for n in (4, 5)
    },
    **{
        (name, None): ABSENT
        for name in (
            "OSDTRRX_EL1", "OSDTRTX_EL1", "OSECCR_EL1", "DBGPRCR_EL1", "DBGCLAIMSET_EL1",
            "DBGCLAIMCLR_EL1", "DBGAUTHSTATUS_EL1", "MDCCSR_EL0", "DBGDTR_EL0", "DBGDTRRX_EL0",
            "L2CTLR_EL1", "L2ECTLR_EL1", "L2ACTLR_EL1", "CPUACTLR_EL1", "CPUECTLR_EL1",
            "CPUMERRSR_EL1", "L2MERRSR_EL1", "SYS RAMINDEX",
            *(f"IL1DATA{n}_EL1" for n in range(4)), *(f"DL1DATA{n}_EL1" for n in range(5)),
        )
    },
    ("CBAR_EL1", "TIDCP"): TIDCP,
}  # fmt: skip


@cache
def case_list() -> tuple[Case, ...]:
    """The cases, once."""
    return tuple(cases())


def compare(native: NativeCpu, el: int) -> set[tuple[str, str]]:
    """(register, control) of everything that differs at `el`."""
    differing = set()
    for name, variation in VARIATIONS.items():
        if "TGE" in name and el == 1:
            continue  # EL1 does not exist then
        values = {**OPEN, **variation}
        controls = TrapControls(**values)
        for case in case_list():
            instruction = decode(case.word)
            if isinstance(instruction, SysRegAccess):
                result = check_sysreg(instruction, el, controls)
            else:
                assert isinstance(instruction, SysInstruction)
                result = check_sys_instruction(instruction, el, controls)
            step = native.step(case.word, el, values, x0=DATA)
            if expected(result, el, controls.hcr_el2) != measured(step):
                differing.add((case.name, name))
    return differing


@pytest.fixture(scope="module")
def differing(native: NativeCpu) -> set[tuple[str, str]]:
    """Everything that differs."""
    return set().union(*(compare(native, el) for el in (0, 1, 2)))


def test_every_difference_is_known(differing: set[tuple[str, str]]) -> None:
    unknown = {
        (name, control)
        for name, control in differing
        if (name, control) not in DIFFERENCES and (name, None) not in DIFFERENCES
    }
    assert unknown == set()


def test_every_known_difference_is_still_there(differing: set[tuple[str, str]]) -> None:
    """A newer Unicorn may make a work-around unnecessary."""
    names = {name for name, _ in differing}
    gone = {key for key in DIFFERENCES if (key not in differing if key[1] else key[0] not in names)}
    assert gone == set()


@pytest.mark.parametrize("el", [0, 1, 2])
@pytest.mark.parametrize("control", ["open", "TSC", "TWI", "TGE"])
def test_calls_and_wfi(native: NativeCpu, el: int, control: str) -> None:
    if control == "TGE" and el == 1:
        return
    values = {**OPEN, **VARIATIONS[control]}
    c = TrapControls(**values)
    hcr = c.hcr_el2
    svc = native.step(0xD400_0001 | 0x1234 << 5, el, values)
    assert measured(svc) == expected(check_svc(0x1234, el, c), el, hcr)
    hvc = native.step(0xD400_0002 | 0x1234 << 5, el, values)
    assert measured(hvc) == expected(check_hvc(0x1234, el), el, hcr)
    smc = native.step(0xD400_0003 | 0x1234 << 5, el, values)
    result = check_smc(0x1234, el, c)
    if isinstance(result, Allowed):
        assert measured(smc) == (3, syndrome(ExceptionClass.SMC, 0x1234))
    else:
        assert measured(smc) == expected(result, el, hcr)
        assert smc.pc == 0  # the SMC itself is the return address
    wfi = native.step(0xD503_207F, el, values)
    assert measured(wfi) == expected(check_wfx(WfxKind.WFI, el, c), el, hcr)


@pytest.mark.parametrize(
    ("word", "control", "value"),
    [
        (0x1E604020, "cpacr_el1", 0),  # fmov d0, d1
        (0x1E604020, "cptr_el2", 1 << 10),
        (0x3DC003E0, "cpacr_el1", 0),  # ldr q0, [sp]
        (0xD503205F, "hcr_el2", 1 << 14),  # wfe
        (0xD503205F, "sctlr_el1", 0),
    ],
)
def test_what_the_machine_has_to_raise_itself(
    native: NativeCpu, word: int, control: str, value: int
) -> None:
    """SIMD, floating point and WFE never trap in Unicorn; a newer one may."""
    assert native.step(word, 0, {**OPEN, control: value}).how is How.RAN
