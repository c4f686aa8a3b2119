# SPDX-License-Identifier: Apache-2.0
"""Memory types: MAIR bytes, stage-2 MemAttr, their combination, and what control bits force."""

from itertools import product

import pytest

from aether_edgecloud.emulator.arch.mmu import Access, Fault, FaultKind, MmuRegisters, translate
from aether_edgecloud.emulator.arch.mmu_attributes import (
    DeviceType,
    MemoryAttributes,
    MemoryType,
    Shareability,
    combine_s1s2,
    s1_attr_decode,
    s2_attr_decode,
    walk_attr_decode,
)

from .small_tables import (
    HCR_CD,
    HCR_DC,
    HCR_ID,
    HCR_VM,
    SCTLR_C,
    SCTLR_I,
    SCTLR_M,
    Words,
    el10,
    s1,
    s1_page,
    s2_identity,
    two_stage,
)

NSH, OSH, ISH = 0b00, 0b10, 0b11
# MAIR byte, SH: in words.
S1 = {
    (0x00, ISH): "Device-nGnRnE",
    (0x04, ISH): "Device-nGnRE",
    (0x08, NSH): "Device-nGRE",
    (0x0C, NSH): "Device-GRE",
    (0x44, NSH): "Normal NC OSH",
    (0x44, ISH): "Normal NC OSH",
    (0xFF, ISH): "Normal WB-RWA ISH",
    (0xFF, OSH): "Normal WB-RWA OSH",
    (0xFF, NSH): "Normal WB-RWA NSH",
    (0xFF, 0b01): "Normal WB-RWA NSH",  # reserved SH
    (0xEE, ISH): "Normal WB-RA ISH",
    (0xDD, ISH): "Normal WB-WA ISH",
    (0xCC, ISH): "Normal WB ISH",
    (0xBB, ISH): "Normal WT-RWA ISH",
    (0x88, ISH): "Normal WT ISH",
    (0x77, ISH): "Normal WB-RWA-transient ISH",
    (0x33, ISH): "Normal WT-RWA-transient ISH",
    (0xF4, ISH): "Normal inner NC outer WB-RWA ISH",
    (0x4F, ISH): "Normal inner WB-RWA outer NC ISH",
    (0x01, ISH): "Device-nGnRnE",  # reserved
    (0xF0, ISH): "Device-nGnRnE",  # reserved
    (0x40, ISH): "Device-nGnRnE",  # reserved
}
S2 = {
    (0b0000, ISH): "Device-nGnRnE",
    (0b0001, ISH): "Device-nGnRE",
    (0b0010, ISH): "Device-nGRE",
    (0b0011, ISH): "Device-GRE",
    (0b0101, NSH): "Normal NC OSH",
    (0b1010, ISH): "Normal WT-RWA ISH",
    (0b1111, OSH): "Normal WB-RWA OSH",
    (0b1111, NSH): "Normal WB-RWA NSH",
    (0b0111, ISH): "Normal inner WB-RWA outer NC ISH",
    (0b1101, ISH): "Normal inner NC outer WB-RWA ISH",
    (0b0100, ISH): "Device-nGnRnE",  # reserved
}
# Stage-1 MAIR byte and SH, stage-2 MemAttr and SH: both together.
COMBINED = {
    (0xFF, ISH, 0b1111, ISH): "Normal WB-RWA ISH",
    (0xFF, NSH, 0b1111, ISH): "Normal WB-RWA ISH",
    (0xFF, ISH, 0b1111, NSH): "Normal WB-RWA ISH",
    (0xFF, NSH, 0b1111, NSH): "Normal WB-RWA NSH",
    (0xFF, ISH, 0b1111, OSH): "Normal WB-RWA OSH",
    (0xFF, OSH, 0b1111, NSH): "Normal WB-RWA OSH",
    (0xFF, ISH, 0b1010, ISH): "Normal WT-RWA ISH",
    (0xBB, ISH, 0b1111, ISH): "Normal WT-RWA ISH",
    (0xEE, ISH, 0b1010, ISH): "Normal WT-RA ISH",  # hints are stage 1's
    (0xFF, NSH, 0b0101, NSH): "Normal NC OSH",
    (0x44, NSH, 0b1111, NSH): "Normal NC OSH",
    (0x4F, NSH, 0b1111, NSH): "Normal inner WB-RWA outer NC NSH",
    (0x4F, NSH, 0b1101, NSH): "Normal NC OSH",
    (0x77, ISH, 0b1111, ISH): "Normal WB-RWA-transient ISH",
    (0xFF, ISH, 0b0001, NSH): "Device-nGnRE",
    (0x04, ISH, 0b1111, NSH): "Device-nGnRE",
    (0x0C, ISH, 0b0001, NSH): "Device-nGnRE",
    (0x04, ISH, 0b0011, NSH): "Device-nGnRE",
    (0x00, ISH, 0b0011, NSH): "Device-nGnRnE",
    (0x08, ISH, 0b0011, NSH): "Device-nGRE",
}
ON = SCTLR_M | SCTLR_C | SCTLR_I


def attributes(registers: MmuRegisters, words: dict[int, int], access: Access) -> str:
    result = translate(registers, Words(words), 0, 1, access)
    assert not isinstance(result, Fault), result
    return str(result.attributes)


@pytest.mark.parametrize(("attr", "sh"), S1)
def test_mair(attr: int, sh: int) -> None:
    assert str(s1_attr_decode(attr, sh, True)) == S1[attr, sh]
    for index in range(8):
        words = s1_page(s1(0x8000, attr_index=index, sh=sh))
        registers = el10(mair_el1=attr << 8 * index)
        assert attributes(registers, words, Access.READ) == S1[attr, sh]


@pytest.mark.parametrize(("attr", "sh"), S2)
def test_stage_2_memattr(attr: int, sh: int) -> None:
    assert str(s2_attr_decode(attr, sh, True)) == S2[attr, sh]


@pytest.mark.parametrize("fields", COMBINED)
def test_combination(fields: tuple[int, int, int, int]) -> None:
    s1_attr, s1_sh, s2_attr, s2_sh = fields
    words = s1_page(s1(0x8000, sh=s1_sh)) | s2_identity(memattr=s2_attr, sh=s2_sh)
    assert attributes(two_stage(mair_el1=s1_attr), words, Access.READ) == COMBINED[fields]


def test_combination_is_never_weaker_than_either_stage() -> None:
    def strength(a: MemoryAttributes) -> tuple[int, int, int]:
        if a.device is not None:
            return (a.device.value, 0, 0)
        return (4, a.inner.attrs.value, a.outer.attrs.value)

    stage1 = [s1_attr_decode(attr, sh, True) for attr, sh in product(range(256), range(4))]
    stage2 = [s2_attr_decode(attr, sh, True) for attr, sh in product(range(16), range(4))]
    for a, b in product(stage1[::3], stage2):
        combined = strength(combine_s1s2(a, b))
        for one in (strength(a), strength(b)):
            assert all(c <= o for c, o in zip(combined, one, strict=True))


def test_device_is_outer_shareable() -> None:
    for device in DeviceType:
        found = s1_attr_decode(device.value << 2, NSH, True)
        assert (found.device, found.memory_type) == (device, MemoryType.DEVICE)
        assert found.shareability is Shareability.OUTER_SHAREABLE and not found.cacheable


def test_par_attr_gives_back_the_mair_byte() -> None:
    for attr in range(256):
        found = s1_attr_decode(attr, ISH, True)
        outer, inner = attr >> 4, attr & 0xF
        reserved = inner & 0b11 != 0 if outer == 0 else inner == 0
        assert found.par_attr == (0 if reserved else attr)


def test_caches_off_at_stage_1() -> None:
    """SCTLR_EL1.C governs data, .I fetches; Device stays Device."""
    words = s1_page(s1(0x8000, ap=0b10))
    no_c, no_i = el10(sctlr_el1=ON & ~SCTLR_C), el10(sctlr_el1=ON & ~SCTLR_I)
    assert attributes(no_c, words, Access.READ) == "Normal NC OSH"
    assert attributes(no_c, words, Access.FETCH) == "Normal WB-RWA ISH"
    assert attributes(no_i, words, Access.READ) == "Normal WB-RWA ISH"
    assert attributes(no_i, words, Access.FETCH) == "Normal NC OSH"
    device = el10(sctlr_el1=ON & ~SCTLR_C, mair_el1=0x04)
    assert attributes(device, words, Access.READ) == "Device-nGnRE"


def test_caches_off_at_stage_2() -> None:
    """HCR_EL2.CD governs data, .ID fetches."""
    words = s1_page(s1(0x8000, ap=0b10)) | s2_identity()
    cd, id_ = two_stage(hcr_el2=HCR_VM | HCR_CD), two_stage(hcr_el2=HCR_VM | HCR_ID)
    assert attributes(cd, words, Access.READ) == "Normal NC OSH"
    assert attributes(cd, words, Access.FETCH) == "Normal WB-RWA ISH"
    assert attributes(id_, words, Access.READ) == "Normal WB-RWA ISH"
    assert attributes(id_, words, Access.FETCH) == "Normal NC OSH"


def test_stage_1_off() -> None:
    for cached in (0, SCTLR_I):
        off = MmuRegisters(sctlr_el1=cached | SCTLR_C)
        assert attributes(off, {}, Access.READ) == "Device-nGnRnE"
        fetch = "Normal WT-RA OSH" if cached else "Normal NC OSH"
        assert attributes(off, {}, Access.FETCH) == fetch


def test_stage_1_off_under_stage_2() -> None:
    off = two_stage(sctlr_el1=SCTLR_I)
    words = s2_identity(sh=NSH)
    assert attributes(off, words, Access.READ) == "Device-nGnRnE"
    assert attributes(off, words, Access.FETCH) == "Normal WT-RA OSH"
    default_cacheable = two_stage(hcr_el2=HCR_DC)
    assert attributes(default_cacheable, words, Access.READ) == "Normal WB-RWA NSH"
    for memattr, combined in ((0b0101, "Normal NC OSH"), (0b0001, "Device-nGnRE")):
        assert attributes(default_cacheable, s2_identity(memattr=memattr), Access.READ) == combined


@pytest.mark.parametrize("stage", (1, 2))
def test_fetch_from_device_memory(stage: int) -> None:
    """As from Normal Non-cacheable memory, or (IMPLEMENTATION DEFINED) a Permission fault."""
    mair, memattr = (0x04, 0b1111) if stage == 1 else (0xFF, 0b0001)
    words = s1_page(s1(0x8000, ap=0b10)) | s2_identity(memattr=memattr)
    registers = two_stage(mair_el1=mair)
    assert attributes(registers, words, Access.READ) == "Device-nGnRE"
    assert attributes(registers, words, Access.FETCH) == "Normal NC OSH"
    strict = two_stage(mair_el1=mair, device_fetch_faults=True)
    ipa = None if stage == 1 else 0x8000
    expected = Fault(FaultKind.PERMISSION, 3 if stage == 1 else 1, stage, False, ipa)
    assert translate(strict, Words(words), 0, 1, Access.FETCH) == expected
    data = translate(strict, Words(words), 0, 1, Access.READ)
    assert not isinstance(data, Fault) and not data.executable


def test_walk_attributes() -> None:
    """SH, ORGN and IRGN of TCR_ELx and VTCR_EL2; SCTLR_ELx.C and HCR_EL2.CD turn caching off."""
    assert str(walk_attr_decode(ISH, 0b01, 0b01, True)) == "Normal WB-RWA ISH"
    assert str(walk_attr_decode(ISH, 0b10, 0b10, True)) == "Normal WT-RA ISH"
    assert str(walk_attr_decode(ISH, 0b11, 0b11, True)) == "Normal WB-RA ISH"
    assert str(walk_attr_decode(ISH, 0b00, 0b00, True)) == "Normal NC OSH"
    assert str(walk_attr_decode(ISH, 0b01, 0b01, False)) == "Normal NC OSH"
    rgn = 0b01 << 8 | 0b01 << 10 | 0b11 << 12
    regime = two_stage(tcr_el1=25 | rgn | 25 << 16, vtcr_el2=25 | 1 << 6 | rgn).el10
    assert str(regime.stage1.low.walk_attributes) == "Normal WB-RWA ISH"
    assert regime.stage1.high is not None
    assert str(regime.stage1.high.walk_attributes) == "Normal NC OSH"
    assert regime.stage2 is not None
    assert str(regime.stage2.params.walk_attributes) == "Normal WB-RWA ISH"
