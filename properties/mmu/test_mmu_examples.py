# SPDX-License-Identifier: Apache-2.0
"""Worked examples of translation: levels, granules, ranges, tags, faults, what is off."""

import pytest

from aether_edgecloud.emulator.arch.mmu import (
    Access,
    Fault,
    FaultKind,
    Granule,
    MmuRegisters,
    Translation,
    encode_ldfsc,
    translate,
)
from aether_edgecloud.emulator.arch.mmu_descriptor import (
    DescriptorType,
    decode_descriptor_type,
)
from aether_edgecloud.emulator.arch.mmu_regime import s1_start_level

from .small_tables import (
    HCR_DC,
    HCR_PTW,
    HCR_TGE,
    HCR_VM,
    L2,
    PS_44,
    ROOT,
    S2_L2,
    S2_L3,
    S2_ROOT,
    SCTLR_C,
    SCTLR_EE,
    SCTLR_I,
    SCTLR_M,
    TG1_4K,
    Words,
    el2,
    el10,
    s1,
    s1_page,
    s2,
    s2_identity,
    table,
    two_stage,
)

K = FaultKind
READ, WRITE, FETCH = Access.READ, Access.WRITE, Access.FETCH
TCR = 25 | 25 << 16 | TG1_4K << 30 | PS_44 << 32
PAGE = s1_page(s1(0x8000))


def go(
    registers: MmuRegisters, words: dict[int, int], va: int = 0, el: int = 1, access: Access = READ
) -> Translation | Fault:
    return translate(registers, Words(words), va, el, access)


def pa(result: Translation | Fault) -> int:
    assert isinstance(result, Translation), result
    return result.pa


# -- status codes (Arm ARM, ESR_ELx.DFSC)

FSC = {
    (K.ADDRESS_SIZE, 0): 0b000000,
    (K.ADDRESS_SIZE, 3): 0b000011,
    (K.TRANSLATION, 0): 0b000100,
    (K.TRANSLATION, 1): 0b000101,
    (K.TRANSLATION, 2): 0b000110,
    (K.TRANSLATION, 3): 0b000111,
    (K.ACCESS_FLAG, 1): 0b001001,
    (K.ACCESS_FLAG, 3): 0b001011,
    (K.PERMISSION, 1): 0b001101,
    (K.PERMISSION, 2): 0b001110,
    (K.PERMISSION, 3): 0b001111,
    (K.SYNC_EXTERNAL, 2): 0b010000,
    (K.SYNC_EXTERNAL_ON_WALK, 0): 0b010100,
    (K.SYNC_EXTERNAL_ON_WALK, 3): 0b010111,
    (K.SYNC_PARITY, 1): 0b011000,
    (K.SYNC_PARITY_ON_WALK, 1): 0b011101,
    (K.ALIGNMENT, 3): 0b100001,
    (K.TLB_CONFLICT, 1): 0b110000,
    (K.EXCLUSIVE, 1): 0b110101,
}


@pytest.mark.parametrize(("kind", "level"), FSC)
def test_fault_status_codes(kind: FaultKind, level: int) -> None:
    assert encode_ldfsc(kind, level) == FSC[kind, level] == Fault(kind, level, 1).fsc


def test_hpfar_is_defined_only_after_some_stage_2_faults() -> None:
    assert Fault(K.TRANSLATION, 3, 2, False, 0x12_3456_7000).ipa_valid
    assert Fault(K.ACCESS_FLAG, 3, 2, False, 0x1000).ipa_valid
    assert Fault(K.ADDRESS_SIZE, 3, 2, False, 0x1000).ipa_valid
    assert not Fault(K.PERMISSION, 3, 2, False, 0x1000).ipa_valid
    assert Fault(K.PERMISSION, 3, 2, True, 0x1000).ipa_valid
    assert not Fault(K.TRANSLATION, 3, 1).ipa_valid
    assert Fault(K.TRANSLATION, 3, 2, False, 0x12_3456_7ABC).hpfar_el2 == 0x12_3456_70


# -- descriptors


@pytest.mark.parametrize("granule", Granule)
def test_descriptor_types(granule: Granule) -> None:
    blocks = {Granule.KB4: (1, 2), Granule.KB16: (2,), Granule.KB64: (2,)}[granule]
    for level in range(4):
        types = [decode_descriptor_type(low, granule, level) for low in range(4)]
        assert types[0b00] is types[0b10] is DescriptorType.INVALID
        assert types[0b11] is (DescriptorType.PAGE if level == 3 else DescriptorType.TABLE)
        assert types[0b01] is (DescriptorType.BLOCK if level in blocks else DescriptorType.INVALID)


def test_reserved_encodings_are_translation_faults() -> None:
    assert go(el10(), s1_page(s1(0x8000) & ~0b10)) == Fault(K.TRANSLATION, 3, 1)
    four_levels = el10(tcr_el1=16 | PS_44 << 32)
    assert go(four_levels, {ROOT: s1(0, level=0)}) == Fault(K.TRANSLATION, 0, 1)
    level1_64k = el10(tcr_el1=16 | 0b01 << 14 | PS_44 << 32)
    assert go(level1_64k, {ROOT: s1(0, level=1)}) == Fault(K.TRANSLATION, 1, 1)


# -- stage-1 geometry: T0SZ to start level, by granule (Arm ARM D8.2)

START_LEVELS = {
    Granule.KB4: {16: 0, 24: 0, 25: 1, 33: 1, 34: 2, 39: 2},
    Granule.KB16: {16: 0, 17: 1, 27: 1, 28: 2, 38: 2, 39: 3},
    Granule.KB64: {16: 1, 21: 1, 22: 2, 34: 2, 35: 3, 39: 3},
}


@pytest.mark.parametrize("granule", Granule)
def test_start_levels(granule: Granule) -> None:
    for t0sz, level in START_LEVELS[granule].items():
        assert s1_start_level(granule, 64 - t0sz) == level


@pytest.mark.parametrize(
    ("tg0", "t0sz", "indices", "offset_bits"),
    (
        (0b00, 16, ((39, 9), (30, 9), (21, 9), (12, 9)), 12),
        (0b00, 25, ((30, 9), (21, 9), (12, 9)), 12),
        (0b00, 28, ((30, 6), (21, 9), (12, 9)), 12),
        (0b00, 39, ((21, 4), (12, 9)), 12),
        (0b01, 16, ((42, 6), (29, 13), (16, 13)), 16),
        (0b01, 35, ((16, 13),), 16),
        (0b10, 16, ((47, 1), (36, 11), (25, 11), (14, 11)), 14),
        (0b10, 39, ((14, 11),), 14),
    ),
)
def test_pages_of_every_shape(
    tg0: int, t0sz: int, indices: tuple[tuple[int, int], ...], offset_bits: int
) -> None:
    """Walk to a page by hand: the index fields are those of the Arm ARM's figures."""
    va = 0x0000_9A5B_C6D7_E8F8 & (1 << 64 - t0sz) - 1
    base = 0x100_0000
    words = {}
    for i, (low, bits) in enumerate(indices):
        slot = base + 0x10_0000 * i + 8 * (va >> low & (1 << bits) - 1)
        last = i == len(indices) - 1
        words[slot] = s1(0x800_0000) if last else table(base + 0x10_0000 * (i + 1))
    registers = MmuRegisters(
        sctlr_el1=SCTLR_M,
        tcr_el1=t0sz | tg0 << 14 | PS_44 << 32,
        ttbr0_el1=base,
        granules=tuple(Granule),
    )
    result = go(registers, words, va)
    assert pa(result) == 0x800_0000 | va & (1 << offset_bits) - 1
    assert isinstance(result, Translation) and result.page_size == 1 << offset_bits


@pytest.mark.parametrize(("level", "size"), ((1, 1 << 30), (2, 1 << 21)))
def test_blocks(level: int, size: int) -> None:
    va = 0x1234_5678 & size - 1
    words = {ROOT: s1(size, 1)} if level == 1 else {ROOT: table(L2), L2: s1(size, 2)}
    result = go(el10(), words, va)
    assert pa(result) == size | va
    assert isinstance(result, Translation) and result.page_size == size
    assert result.stage1_leaf is not None and result.stage1_leaf.level == level


def test_res0_bits_of_a_block_address_are_ignored() -> None:
    assert pa(go(el10(), {ROOT: s1(1 << 30 | 0x1000, 1)}, 0x10)) == 1 << 30 | 0x10


def test_table_base_is_aligned_to_the_table() -> None:
    """A table of 64 entries (T0SZ = 28) is aligned to 512 bytes; CnP and ASID are not address."""
    registers = el10(tcr_el1=28 | PS_44 << 32, ttbr0_el1=0xABCD << 48 | ROOT | 0x200 | 0x1)
    assert pa(go(registers, {ROOT + 0x200: s1(1 << 30, 1)})) == 1 << 30


@pytest.mark.parametrize(("t0sz", "effective"), ((0, 16), (15, 16), (40, 39), (63, 39)))
def test_txsz_out_of_range_is_forced(t0sz: int, effective: int) -> None:
    registers = el10(tcr_el1=t0sz | PS_44 << 32)
    assert go(registers, {}, 1 << 64 - effective) == Fault(K.TRANSLATION, 0, 1)
    level = s1_start_level(Granule.KB4, 64 - effective)
    assert go(registers, {}, (1 << 64 - effective) - 8) == Fault(K.TRANSLATION, level, 1)


def test_granule_that_is_not_there_is_taken_as_4k() -> None:
    for tg0 in (0b10, 0b11):  # 16K, which Cortex-A72 has not, and the reserved encoding
        assert pa(go(el10(tcr_el1=TCR | tg0 << 14), PAGE, 0x10)) == 0x8010


# -- ranges


def test_both_ranges() -> None:
    other = 0x7_0000
    registers = el10(ttbr1_el1=other)
    words = PAGE | {other + 8 * 511: s1(1 << 30, 1)}
    assert pa(go(registers, words, 0x10)) == 0x8010
    assert pa(go(registers, words, 0xFFFF_FFFF_C000_0010)) == 1 << 30 | 0x10
    for between in (1 << 39, 1 << 54, 1 << 55, 1 << 63, 0xFFFF_FF7F_FFFF_FFF8):
        assert go(registers, words, between) == Fault(K.TRANSLATION, 0, 1)


def test_epd() -> None:
    upper = 0xFFFF_FF80_0000_0000
    epd0, epd1 = el10(tcr_el1=TCR | 1 << 7), el10(tcr_el1=TCR | 1 << 23)
    assert go(epd0, PAGE, 0) == Fault(K.TRANSLATION, 0, 1)
    assert pa(go(epd0, PAGE, upper)) == 0x8000
    assert go(epd1, PAGE, upper) == Fault(K.TRANSLATION, 0, 1)
    assert pa(go(epd1, PAGE, 0)) == 0x8000


def test_top_byte_ignore() -> None:
    tagged, upper = 0x5A << 56, 0x5A << 56 | 0x00FF_FF80_0000_0000
    assert go(el10(), PAGE, tagged) == Fault(K.TRANSLATION, 0, 1)
    tbi0, tbi1 = el10(tcr_el1=TCR | 1 << 37), el10(tcr_el1=TCR | 1 << 38)
    assert pa(go(tbi0, PAGE, tagged)) == pa(go(tbi1, PAGE, upper)) == 0x8000
    assert go(tbi0, PAGE, upper) == go(tbi1, PAGE, tagged) == Fault(K.TRANSLATION, 0, 1)
    assert go(tbi0, PAGE, tagged | 1 << 54) == Fault(K.TRANSLATION, 0, 1)
    at_el2 = el2(tcr_el2=25 | PS_44 << 16 | 1 << 20)
    assert pa(go(at_el2, PAGE, tagged, el=2)) == 0x8000
    assert go(el2(), PAGE, tagged, el=2) == Fault(K.TRANSLATION, 0, 1)


def test_el2_has_no_upper_range() -> None:
    assert go(el2(), PAGE, 0xFFFF_FF80_0000_0000, el=2) == Fault(K.TRANSLATION, 0, 1)


def test_asid_and_vmid() -> None:
    registers = el10(ttbr0_el1=0x1234 << 48, ttbr1_el1=0x5678 << 48, vttbr_el2=0xAB << 48)
    assert (registers.asid, registers.vmid) == (0x34, 0xAB)
    a1, wide = 1 << 22, 1 << 36
    assert el10(ttbr1_el1=0x5678 << 48, tcr_el1=a1).asid == 0x78
    assert el10(ttbr1_el1=0x5678 << 48, tcr_el1=a1 | wide).asid == 0x5678


def test_not_global() -> None:
    for ng in (0, 1):
        result = go(el10(), s1_page(s1(0x8000, ng=ng)))
        assert isinstance(result, Translation) and result.not_global == bool(ng)


def test_el3_is_refused() -> None:
    with pytest.raises(ValueError, match="EL3"):
        go(el10(), PAGE, el=3)


# -- output size


@pytest.mark.parametrize(
    ("ips", "bits"), ((0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 44), (7, 44))
)
def test_output_address_size(ips: int, bits: int) -> None:
    """IPS 5 (48 bits) and the reserved 7 are capped by the 44-bit PA of the CPU."""
    registers = el10(tcr_el1=25 | ips << 32)
    top, beyond = 1 << bits - 1, 1 << bits
    assert pa(go(registers, s1_page(s1(top)))) == top
    assert go(registers, s1_page(s1(beyond))) == Fault(K.ADDRESS_SIZE, 3, 1)
    assert go(registers, {ROOT: table(beyond)}) == Fault(K.ADDRESS_SIZE, 1, 1)
    assert go(el10(tcr_el1=25 | ips << 32, ttbr0_el1=beyond), {}) == Fault(K.ADDRESS_SIZE, 0, 1)


def test_address_size_comes_before_access_flag_and_permission() -> None:
    registers = el10(tcr_el1=25)
    assert go(registers, s1_page(s1(1 << 32, af=0))) == Fault(K.ADDRESS_SIZE, 3, 1)
    assert go(registers, s1_page(s1(0, af=0, ap=0b10)), access=WRITE) == Fault(K.ACCESS_FLAG, 3, 1)


def test_external_abort() -> None:
    words = {ROOT: table(L2), L2: table(1 << 40)}
    assert go(el10(), words) == Fault(K.SYNC_EXTERNAL_ON_WALK, 3, 1)
    words = s1_page(s1(0x8000)) | {S2_ROOT: table(1 << 40)}
    expected = Fault(K.SYNC_EXTERNAL_ON_WALK, 2, 2, True, ROOT)
    assert go(two_stage(), words) == expected


# -- stage 2


@pytest.mark.parametrize(
    ("tg0", "t0sz", "sl0", "start", "first_bits"),
    (
        (0b00, 20, 2, 0, 5),
        (0b00, 21, 1, 1, 13),  # sixteen concatenated tables
        (0b00, 24, 1, 1, 10),  # two of them: the 40-bit IPA that many use
        (0b00, 25, 1, 1, 9),
        (0b00, 33, 1, 1, 1),
        (0b00, 30, 0, 2, 13),
        (0b00, 34, 0, 2, 9),
        (0b01, 20, 2, 1, 2),
        (0b01, 21, 2, 1, 1),
        (0b01, 22, 1, 2, 13),
        (0b01, 35, 0, 3, 13),
        (0b10, 20, 2, 1, 8),
        (0b10, 24, 1, 2, 15),
        (0b10, 39, 0, 3, 11),
    ),
)
def test_stage_2_start_levels(tg0: int, t0sz: int, sl0: int, start: int, first_bits: int) -> None:
    registers = MmuRegisters(
        hcr_el2=HCR_VM,
        vtcr_el2=t0sz | sl0 << 6 | tg0 << 14 | PS_44 << 16,
        vttbr_el2=0x100_0000,
        granules=tuple(Granule),
    )
    ipa = (1 << 64 - t0sz) - 8  # all index bits set
    slot = 0x100_0000 + 8 * ((1 << first_bits) - 1)
    words = {slot: s2(0x800_0000, 3)} if start == 3 else {slot: table(0x800_0000)}
    result = go(registers, words, ipa)
    if start == 3:
        assert pa(result) & ~0xFFFF == 0x800_0000
    else:
        assert result == Fault(K.TRANSLATION, start + 1, 2, False, ipa)
    if t0sz > 20:  # the next IPA is still an address of stage 1, which is off
        beyond = 1 << 64 - t0sz
        assert go(registers, words, beyond) == Fault(K.TRANSLATION, 0, 2, False, beyond)


@pytest.mark.parametrize(
    ("tg0", "t0sz", "sl0", "pa_bits"),
    (
        (0b00, 20, 1, 44),  # 44 - 30 = 14 index bits: 32 tables
        (0b00, 34, 1, 44),  # one entry only
        (0b00, 25, 0, 44),
        (0b00, 25, 3, 44),  # reserved
        (0b00, 22, 2, 42),  # level 0 needs more than 42 bits of PA
        (0b01, 22, 2, 42),
        (0b10, 24, 2, 40),
        (0b01, 25, 3, 44),
        (0b00, 19, 2, 44),  # 45 bits of IPA on 44 bits of PA
        (0b00, 24, 1, 36),
    ),
)
def test_stage_2_that_does_not_fit(tg0: int, t0sz: int, sl0: int, pa_bits: int) -> None:
    registers = MmuRegisters(
        hcr_el2=HCR_VM,
        vtcr_el2=t0sz | sl0 << 6 | tg0 << 14 | 5 << 16,
        vttbr_el2=S2_ROOT,
        pa_bits=pa_bits,
        granules=tuple(Granule),
    )
    assert go(registers, {}, 0x1000) == Fault(K.TRANSLATION, 0, 2, False, 0x1000)


def test_stage_2_fault_carries_the_ipa() -> None:
    words = s1_page(s1(0x4000_0000)) | s2_identity()
    assert go(two_stage(), words, 0xABC) == Fault(K.TRANSLATION, 1, 2, False, 0x4000_0ABC)
    fault = go(two_stage(), PAGE | {S2_ROOT: 0}, 0x18)
    assert fault == Fault(K.TRANSLATION, 1, 2, True, ROOT)


def test_stage_1_walk_needs_read_permission_only() -> None:
    words = PAGE | s2_identity(2)
    words[S2_L2] = s2(0, 2, s2ap=0b01, xn=0b10)
    assert pa(go(two_stage(), words)) == 0x8000
    words[S2_L2] = s2(0, 2, s2ap=0b10)
    assert go(two_stage(), words, access=WRITE) == Fault(K.PERMISSION, 2, 2, True, ROOT)


def test_protected_table_walk() -> None:
    words = PAGE | s2_identity(memattr=0b0001)
    assert pa(go(two_stage(), words)) == 0x8000
    protected = two_stage(hcr_el2=HCR_VM | HCR_PTW)
    assert go(protected, words) == Fault(K.PERMISSION, 1, 2, True, ROOT)


def test_page_size_is_that_of_the_smaller_leaf() -> None:
    for level, size in ((1, 1 << 21), (2, 1 << 21), (3, 1 << 12)):
        words = {ROOT: table(L2), L2: s1(0, 2)} | s2_identity(level)
        result = go(two_stage(), words, 0x8000)
        assert isinstance(result, Translation) and result.page_size == size
    result = go(two_stage(), PAGE | s2_identity(1))
    assert isinstance(result, Translation) and result.page_size == 1 << 12
    result = go(two_stage(sctlr_el1=0), s2_identity(1))
    assert isinstance(result, Translation) and result.page_size == 1 << 30


def test_ipa_and_pa_differ() -> None:
    words = s1_page(s1(0x40_0000)) | s2_identity(2)
    words[S2_L2 + 16] = s2(0x1_2340_0000, 2)
    result = go(two_stage(), words, 0x567)
    assert isinstance(result, Translation)
    assert (result.ipa, result.pa) == (0x40_0567, 0x1_2340_0567)


def test_contiguous_hint_changes_nothing_else() -> None:
    with_hint = go(two_stage(), s1_page(s1(0x8000, contiguous=1)) | s2_identity(3, contiguous=1))
    assert isinstance(with_hint, Translation)
    assert (with_hint.pa, with_hint.page_size) == (0x8000, 0x1000)
    assert with_hint.stage1_leaf is not None and with_hint.stage1_leaf.contiguous
    assert with_hint.stage2_leaf is not None and with_hint.stage2_leaf.contiguous


def test_contiguous_groups() -> None:
    assert [Granule.KB4.contiguous_entries(level) for level in (1, 2, 3)] == [16, 16, 16]
    assert [Granule.KB16.contiguous_entries(level) for level in (2, 3)] == [32, 128]
    assert [Granule.KB64.contiguous_entries(level) for level in (2, 3)] == [32, 32]


# -- what is off


def test_stage_1_off_is_the_identity_within_the_pa_size() -> None:
    off = MmuRegisters()
    for el in (0, 1, 2):
        assert pa(go(off, {}, (1 << 44) - 8, el)) == (1 << 44) - 8
        for beyond in (1 << 44, 1 << 55, 1 << 63):
            assert go(off, {}, beyond, el) == Fault(K.ADDRESS_SIZE, 0, 1)
    assert go(off, {}, 0x5A << 56 | 0x1000) == Fault(K.ADDRESS_SIZE, 0, 1)
    assert pa(go(MmuRegisters(tcr_el1=1 << 37), {}, 0x5A << 56 | 0x1000)) == 0x1000
    assert pa(go(MmuRegisters(tcr_el2=1 << 20), {}, 0x5A << 56 | 0x1000, el=2)) == 0x1000


def test_default_cacheable_turns_stage_1_off_and_stage_2_on() -> None:
    registers = two_stage(hcr_el2=HCR_DC)
    assert pa(go(registers, s2_identity(), 0x1234_5678)) == 0x1234_5678
    assert go(registers, {}, 0x1234) == Fault(K.TRANSLATION, 1, 2, False, 0x1234)


def test_tge_turns_stage_1_off() -> None:
    assert pa(go(el10(hcr_el2=HCR_TGE), PAGE, 0x1238, el=0)) == 0x1238
    assert pa(go(el2(hcr_el2=HCR_TGE), PAGE, 0x38, el=2)) == 0x8038


def test_stage_2_is_not_for_el2() -> None:
    assert pa(go(el2(hcr_el2=HCR_VM, vtcr_el2=25 | 1 << 6), PAGE, el=2)) == 0x8000


# -- the rest


def test_big_endian_tables() -> None:
    def swapped(words: dict[int, int]) -> dict[int, int]:
        return {at: int.from_bytes(w.to_bytes(8, "little"), "big") for at, w in words.items()}

    on = SCTLR_M | SCTLR_C | SCTLR_I
    assert pa(go(el10(sctlr_el1=on | SCTLR_EE), swapped(PAGE))) == 0x8000
    words = PAGE | swapped(s2_identity())
    assert pa(go(two_stage(sctlr_el2=SCTLR_EE), words)) == 0x8000
    assert pa(go(el2(sctlr_el2=on | SCTLR_EE), swapped(PAGE), el=2)) == 0x8000


def test_recorded_walks() -> None:
    words = PAGE | s2_identity(3)
    result = translate(two_stage(), Words(words), 0x8, 1, READ, record_walks=True)
    assert isinstance(result, Translation)
    # Two levels of stage 2 above its level 3 for each of three stage-1 tables, and for the page.
    stage2 = [(2, 1), (2, 2), (2, 3)]
    steps = [(step.stage, step.level) for step in result.walks]
    assert steps == [*stage2, (1, 1), *stage2, (1, 2), *stage2, (1, 3), *stage2]
    assert result.walks[3].address == result.walks[3].pa == ROOT
    assert result.walks[3].descriptor == table(L2)
    assert result.walks[12].input_address == 0x8008
    assert result.walks[14].pa == S2_L3 + 8 * 8
    assert translate(two_stage(), Words(words), 0x8, 1, READ).walks == ()
    fault = translate(two_stage(), Words({}), 0x8, 1, READ, record_walks=True)
    assert [step.pa for step in fault.walks] == [S2_ROOT]
