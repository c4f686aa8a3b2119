# SPDX-License-Identifier: Apache-2.0
"""The system register table: encodings against an assembler, values against a second CPU model."""

import re

import pytest
from keystone import KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN, Ks

from aether_edgecloud.emulator.arch.decode import SysInstruction, SysRegAccess, decode
from aether_edgecloud.emulator.arch.sysregs import (
    SYSOPS,
    SYSREGS,
    Model,
    RegAccess,
    SysOp,
    SysReg,
    by_encoding,
    by_name,
    sysop_by_encoding,
)
from aether_edgecloud.properties.arch.native_cpu import How, NativeCpu

KS = Ks(KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN)

# Names the assembler does not know: Cortex-A72's own, reserved ones.
UNKNOWN_TO_THE_ASSEMBLER = re.compile(
    r"S3_.*|L2\w+|CPU\w+|CBAR_EL1|[ID]L1DATA\d_EL1|PMCEID[01]_EL0|ID_AA64MMFR2_EL1"
)
# CCSIDR depends on CSSELR, CNTFRQ on the board, PMCR and PMCEID on the model of the counters.
NOT_COMPARED = re.compile(r"PM\w+|CNT\w+|CurrentEL|DAIF|SPSel|SP_EL[01]|NZCV|FPEXC32_EL2|FPCR|FPSR")


def assemble(text: str) -> int:
    encoding, _ = KS.asm(text)
    return int.from_bytes(bytes(encoding), "little")


def test_names_and_encodings_are_unique() -> None:
    assert len({register.encoding for register in SYSREGS}) == len(SYSREGS)
    assert len({register.name.upper() for register in SYSREGS}) == len(SYSREGS)
    assert len({(op.op1, op.crn, op.crm, op.op2) for op in SYSOPS}) == len(SYSOPS)


def test_lookups() -> None:
    for register in SYSREGS:
        assert by_encoding(*register.encoding) is register
        assert by_name(register.name.lower()) is register
    for op in SYSOPS:
        assert sysop_by_encoding(op.op1, op.crn, op.crm, op.op2) is op
    with pytest.raises(KeyError):
        by_name("SCTLR_EL3")


@pytest.mark.parametrize(
    "register",
    [r for r in SYSREGS if not UNKNOWN_TO_THE_ASSEMBLER.fullmatch(r.name)],
    ids=lambda register: register.name,
)
def test_encodings_are_the_assemblers(register: SysReg) -> None:
    if register.access is not RegAccess.WO:
        instruction = decode(assemble(f"mrs x7, {register.name}"))
        assert instruction == SysRegAccess(*register.encoding, 7, True)
    if register.access is not RegAccess.RO:
        name = "dbgdtrtx_el0" if register.name == "DBGDTRRX_EL0" else register.name
        instruction = decode(assemble(f"msr {name}, x7"))
        assert instruction == SysRegAccess(*register.encoding, 7, False)


@pytest.mark.parametrize(
    "op",
    # The assembler has no name for Cortex-A72's own.
    [op for op in SYSOPS if not op.name.startswith("SYS")],
    ids=lambda op: op.name,
)
def test_system_instructions_are_the_assemblers(op: SysOp) -> None:
    whole = op.name.split()[1].startswith(("ALL", "VMALL", "IALL"))
    instruction = decode(assemble(op.name if whole else f"{op.name}, x7"))
    assert instruction == SysInstruction(op.op1, op.crn, op.crm, op.op2, 31 if whole else 7, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIDR_EL1", 0x410FD083),
        ("CTR_EL0", 0x8444C004),
        ("CLIDR_EL1", 0x0A200023),
        ("ID_AA64PFR0_EL1", 0x2222),
        ("ID_AA64DFR0_EL1", 0x10305106),
        ("ID_AA64ISAR0_EL1", 0x11120),
        ("ID_AA64MMFR0_EL1", 0x1124),
        ("SCTLR_EL2", 0x30C50838),
    ],
)
def test_values_of_the_technical_reference_manual(name: str, value: int) -> None:
    assert by_name(name).reset == value


def test_debug_and_pmu_sizes_agree_with_the_id_registers() -> None:
    dfr0 = by_name("ID_AA64DFR0_EL1").reset
    assert ((dfr0 >> 12) & 0xF) + 1 == sum(r.name.startswith("DBGBVR") for r in SYSREGS)
    assert ((dfr0 >> 20) & 0xF) + 1 == sum(r.name.startswith("DBGWVR") for r in SYSREGS)
    counters = sum(r.name.startswith("PMEVCNTR") for r in SYSREGS)
    assert (by_name("PMCR_EL0").reset >> 11) & 0x1F == counters
    assert by_name("MDCR_EL2").reset & 0x1F == counters


def test_reset_values_against_unicorn(native: NativeCpu) -> None:
    missing = absent(native)
    native.reset()
    differences = set()
    for register in SYSREGS:
        if register.model not in (Model.NATIVE, Model.CONSTANT) or register in missing:
            continue
        if NOT_COMPARED.fullmatch(register.name) or register.access is RegAccess.WO:
            continue
        if native.read(register.encoding) != register.reset:
            differences.add(register.name)
    # Unicorn starts EL2's at zero, though they have RES1 bits and MDCR_EL2.HPMN is PMCR_EL0.N.
    assert differences == {"SCTLR_EL2", "CPTR_EL2", "MDCR_EL2"}


def absent(native: NativeCpu) -> set[SysReg]:
    """Registers on which Unicorn is UNDEFINED at EL2 where the table has them."""
    result = set()
    for register in SYSREGS:
        is_read = register.access is not RegAccess.WO
        op0, op1, crn, crm, op2 = register.encoding
        word = 0xD500_0000 | is_read << 21 | op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
        if native.step(word, 2).how is not How.RAN:
            result.add(register)
    return result


def test_everything_native_exists_in_unicorn(native: NativeCpu) -> None:
    assert [r.name for r in absent(native) if r.model is Model.NATIVE] == []
