# SPDX-License-Identifier: Apache-2.0
"""Which accesses go through the caches (Arm ARM D8, memory types and their combination; SCTLR_ELx.C
and .I, HCR_EL2.CD, .ID and .DC)."""

import pytest

from aether_edgecloud.emulator.arch.mmu import Leaf, MmuRegisters, Translation
from aether_edgecloud.emulator.arch.mmu_attributes import NORMAL_NON_CACHEABLE
from aether_edgecloud.emulator.arch.mmu_regime import (
    HCR_CD,
    HCR_DC,
    HCR_ID,
    HCR_VM,
    SCTLR_C,
    SCTLR_I,
    SCTLR_M,
)
from aether_edgecloud.emulator.cpu.views import DATA_PAST, FETCH_PAST, view_of

PA = 0x4000_0000
BOTH = DATA_PAST | FETCH_PAST
WB, NC, DEVICE = 0xFF, 0x44, 0x00
S2_WB, S2_NC, S2_DEVICE = 0b1111 << 2, 0b0101 << 2, 0b0001 << 2
ON = SCTLR_M | SCTLR_C | SCTLR_I


def view(registers: MmuRegisters, el: int, *, stage1: bool, stage2: int | None = None) -> int:
    """Of a page that stage 1 maps with MAIR attribute 0, and stage 2 with a MemAttr in place."""
    leaf1 = Leaf(PA, 3, 4096, 0) if stage1 else None
    leaf2 = None if stage2 is None else Leaf(PA, 3, 4096, stage2)
    translation = Translation(PA, PA, 4096, 7, NORMAL_NON_CACHEABLE, leaf1, leaf2)
    return view_of(registers.regime(el), translation)


@pytest.mark.parametrize("el", [1, 2])
@pytest.mark.parametrize(
    ("mair", "sctlr", "expected"),
    [
        (WB, ON, 0),
        (NC, ON, BOTH),
        (DEVICE, ON, BOTH),
        (WB, ON & ~SCTLR_C, DATA_PAST),
        (WB, ON & ~SCTLR_I, FETCH_PAST),
    ],
)
def test_stage_1(el: int, mair: int, sctlr: int, expected: int) -> None:
    registers = MmuRegisters(sctlr_el1=sctlr, mair_el1=mair, sctlr_el2=sctlr, mair_el2=mair)
    assert view(registers, el, stage1=True) == expected


@pytest.mark.parametrize("el", [1, 2])
def test_without_translation(el: int) -> None:
    """Data is Device memory; fetches are cacheable if SCTLR_ELx.I says so."""
    for i, expected in ((0, BOTH), (SCTLR_I, DATA_PAST)):
        registers = MmuRegisters(sctlr_el1=i | SCTLR_C, sctlr_el2=i | SCTLR_C)
        assert view(registers, el, stage1=False) == expected


@pytest.mark.parametrize(
    ("hcr", "stage2", "expected"),
    [
        (HCR_VM, S2_WB, 0),
        (HCR_VM, S2_NC, BOTH),
        (HCR_VM, S2_DEVICE, BOTH),
        (HCR_VM | HCR_CD, S2_WB, DATA_PAST),
        (HCR_VM | HCR_ID, S2_WB, FETCH_PAST),
        (HCR_VM | HCR_CD | HCR_ID, S2_WB, BOTH),
    ],
)
def test_both_stages(hcr: int, stage2: int, expected: int) -> None:
    registers = MmuRegisters(sctlr_el1=ON, mair_el1=WB, hcr_el2=hcr)
    assert view(registers, 1, stage1=True, stage2=stage2) == expected
    uncached = MmuRegisters(sctlr_el1=ON, mair_el1=NC, hcr_el2=hcr)
    assert view(uncached, 1, stage1=True, stage2=stage2) == BOTH


def test_default_cacheable() -> None:
    """HCR_EL2.DC: a guest with its MMU off is Normal Write-Back."""
    plain = MmuRegisters(hcr_el2=HCR_VM)
    assert view(plain, 1, stage1=False, stage2=S2_WB) == BOTH
    default = MmuRegisters(hcr_el2=HCR_VM | HCR_DC)
    assert view(default, 1, stage1=False, stage2=S2_WB) == 0
