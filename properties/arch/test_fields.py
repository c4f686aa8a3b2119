# SPDX-License-Identifier: Apache-2.0
"""Registers decoded for display: every bit belongs to a field, and known values read right."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.arch.field_tables import ISS, REGISTERS
from aether_edgecloud.emulator.arch.fields import describe_register, fields, has_fields
from aether_edgecloud.emulator.arch.sysregs import SYSREGS

KNOWN = [r.name for r in SYSREGS if has_fields(r.name)]


def test_the_registers_people_look_at_are_known() -> None:
    assert set(KNOWN) == {
        "CNTHCTL_EL2", "CNTHP_CTL_EL2", "CNTKCTL_EL1", "CNTP_CTL_EL0", "CNTV_CTL_EL0", "CPACR_EL1",
        "CPTR_EL2", "ESR_EL1", "ESR_EL2", "HCR_EL2", "HPFAR_EL2", "MAIR_EL1", "MAIR_EL2",
        "MDCR_EL2", "PAR_EL1", "SCTLR_EL1", "SCTLR_EL2", "SPSR_EL1", "SPSR_EL2", "TCR_EL1",
        "TCR_EL2", "TTBR0_EL1", "TTBR0_EL2", "TTBR1_EL1", "VTCR_EL2", "VTTBR_EL2",
    }  # fmt: skip


@given(st.sampled_from(KNOWN), st.integers(0, 2**64 - 1))
def test_fields_cover_the_value_without_overlap(name: str, value: int) -> None:
    decoded = fields(name, value)
    assert sum(field.value << field.lo for field in decoded) == value
    for upper, lower in pairwise(decoded):
        assert upper.lo > lower.hi
    for field in decoded:
        assert 0 <= field.value < 1 << (field.hi - field.lo + 1)
    assert describe_register(name, value).startswith(f"{name} = {value:#x}")


def test_layouts_have_no_overlap_and_unique_names() -> None:
    for layout in (*REGISTERS.values(), *ISS.values()):
        bits = [bit for field in layout for bit in range(field.lo, field.hi + 1)]
        assert len(bits) == len(set(bits))
        names = [field.name for field in layout if field.name != "RES1"]
        assert len(names) == len(set(names))


def value_of(register: str, value: int, field: str) -> tuple[int, str]:
    """One field's value and meaning."""
    return next((f.value, f.meaning) for f in fields(register, value) if f.name == field)


@pytest.mark.parametrize(
    ("register", "value", "field", "expected"),
    [
        ("HCR_EL2", 1 << 31, "RW", (1, "EL1 is AArch64")),
        ("HCR_EL2", 1 << 19, "TSC", (1, "SMC trapped")),
        ("HCR_EL2", 1, "VM", (1, "stage 2 on")),
        ("HCR_EL2", 0, "VM", (0, "stage 2 off")),
        ("SCTLR_EL1", 1, "M", (1, "MMU on")),
        ("SCTLR_EL2", 1 << 19, "WXN", (1, "writable is never executable")),
        ("TCR_EL1", 16 | 25 << 16, "T1SZ", (25, "39-bit input")),
        ("TCR_EL1", 2 << 30, "TG1", (2, "4 KiB")),
        ("TCR_EL1", 1 << 14, "TG0", (1, "64 KiB")),
        ("TCR_EL2", 4 << 16, "PS", (4, "44 bits")),
        ("VTCR_EL2", 24, "T0SZ", (24, "40-bit input")),
        ("VTTBR_EL2", 7 << 48 | 0x4123_4000, "VMID", (7, "")),
        ("VTTBR_EL2", 7 << 48 | 0x4123_4000, "BADDR", (0x4123_4000, "table at 0x41234000")),
        ("TTBR1_EL1", 0xABCD << 48, "ASID", (0xABCD, "")),
        ("ESR_EL2", 0x93C5804F, "EC", (0x24, "data abort from a lower EL")),
        ("ESR_EL2", 0x93C5804F, "SRT", (5, "")),
        ("ESR_EL2", 0x93C5804F, "DFSC", (0xF, "permission fault, level 3")),
        ("ESR_EL1", 0x6232F8A1, "CRn", (14, "")),
        ("ESR_EL1", 0x5A000007, "imm16", (7, "0x7")),
        ("SPSR_EL2", 0x600003C5, "M", (5, "EL1h")),
        ("SPSR_EL2", 0x600003C5, "Z", (1, "")),
        ("CPTR_EL2", 1 << 10, "TFP", (1, "SIMD and floating point trapped")),
        ("CPACR_EL1", 3 << 20, "FPEN", (3, "not trapped")),
        ("MDCR_EL2", 6, "HPMN", (6, "EL1 has 6 event counters")),
        ("CNTHCTL_EL2", 1, "EL1PCEN", (0, "physical timer trapped")),
        ("HPFAR_EL2", 0x90000, "FIPA", (0x9000, "IPA page 0x9000000")),
        ("MAIR_EL2", 0xFF, "Attr0", (0xFF, "Normal Write-Back Read-Allocate Write-Allocate")),
        ("MAIR_EL1", 0x44 << 8, "Attr1", (0x44, "Normal Non-cacheable")),
        ("MAIR_EL1", 0x04 << 56, "Attr7", (4, "Device-nGnRE")),
        ("MAIR_EL1", 0x4F, "Attr0", (0x4F, "Normal outer Non-cacheable, inner Write-Back "
                                           "Read-Allocate Write-Allocate")),
        ("CNTV_CTL_EL0", 5, "ISTATUS", (1, "condition met")),
        ("PAR_EL1", 0x4123_4800, "PA", (0x41234, "PA page 0x41234000")),
        ("PAR_EL1", 0x80F, "FST", (7, "translation fault, level 3")),
        ("HCR_EL2", 1 << 60, "RES", (1, "reserved, not zero")),
    ],
)  # fmt: skip
def test_known_values(register: str, value: int, field: str, expected: tuple[int, str]) -> None:
    got = value_of(register, value, field)
    if field == "RES":
        assert got[1] == expected[1]
    else:
        assert got == expected


def test_describe_register() -> None:
    assert describe_register("spsr_el1", 0x3C5) == (
        "SPSR_EL1 = 0x3c5: D=0x1 (debug exceptions masked), A=0x1 (SError masked), "
        "I=0x1 (IRQ masked), F=0x1 (FIQ masked), M=0x5 (EL1h)"
    )
    assert describe_register("FAR_EL1", 0x10) == "FAR_EL1 = 0x10"


def test_unknown_names_and_values_are_refused() -> None:
    with pytest.raises(KeyError):
        fields("FAR_EL1", 0)
    with pytest.raises(KeyError):
        describe_register("NO_SUCH_REGISTER", 0)
    with pytest.raises(ValueError, match="64-bit"):
        fields("HCR_EL2", 1 << 64)
