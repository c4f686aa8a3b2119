# SPDX-License-Identifier: Apache-2.0
"""The decoder, on tables written by hand from the Arm ARM's formats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.stage2.decode import (
    Decoded,
    Fault,
    Geometry,
    Regime,
    Shareability,
    decode,
    mair_memory_type,
    stage2_memory_type,
)

PAGE = 4096
TABLE = 0b11
ROOT, MIDDLE, LAST, SPARE = 0x8000_0000, 0x8001_0000, 0x8001_1000, 0x8001_2000
S2_RWX = 1 << 10 | 3 << 8 | 3 << 6 | 0xF << 2
EL2_RW = 1 << 54 | 1 << 10 | 3 << 8 | 1 << 6

STAGE2 = Geometry(Regime.STAGE2, ROOT, ia_bits=40, start_level=1, pa_bits=44)
EL2 = Geometry(Regime.EL2, ROOT, ia_bits=39, start_level=1, pa_bits=44)


def run(words: dict[int, int], geometry: Geometry, **more: range) -> Decoded:
    memory = range(ROOT, ROOT + 0x10_0000)
    return decode(lambda pa: words.get(pa, 0) if pa in memory else None, geometry, **more)


def only_fault(result: Decoded) -> tuple[Fault, int, int]:
    (malformed,) = result.malformed
    return malformed.fault, malformed.ia, malformed.level


def test_empty_tree() -> None:
    result = run({}, STAGE2)
    assert (result.leaves, result.malformed) == ((), ())
    assert [table.pa for table in result.tables] == [ROOT, ROOT + PAGE]
    assert [table.ia for table in result.tables] == [0, 1 << 39]


def test_block_sizes_and_addresses() -> None:
    words = {
        ROOT + 8: 0x40_0000_0000 | S2_RWX | 1,
        ROOT + PAGE: MIDDLE | TABLE,
        MIDDLE + 8 * 511: LAST | TABLE,
        MIDDLE: 0x4020_0000 | S2_RWX | 1,
        LAST + 8 * 511: 0x1234_5000 | S2_RWX | 3,
    }
    result = run(words, STAGE2)
    assert [(leaf.ia, leaf.size, leaf.pa, leaf.levels) for leaf in result.leaves] == [
        (1 << 30, 1 << 30, 0x40_0000_0000, (1,)),
        (1 << 39, 1 << 21, 0x4020_0000, (2,)),
        ((1 << 39) + (1 << 30) - PAGE, PAGE, 0x1234_5000, (3,)),
    ]
    assert not result.malformed
    assert {table.pa for table in result.tables} == {ROOT, ROOT + PAGE, MIDDLE, LAST}


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("tables", [1, 2, 16])
def test_every_start_level_with_concatenation(level: int, tables: int) -> None:
    shift = (39, 30, 21, 12)[level]
    geometry = Geometry(Regime.STAGE2, ROOT, shift + 9 + tables.bit_length() - 1, level, pa_bits=48)
    last = tables * 512 - 1
    words = {ROOT + 8 * last: MIDDLE | TABLE if level < 3 else 0x9000_3000 | S2_RWX | 3}
    result = run(words, geometry)
    assert len(result.tables) == tables + (level < 3)
    if level == 3:
        assert result.leaves[0].ia == last << 12
    else:
        assert result.tables[-1].ia == last << shift


def test_merge_of_neighbours() -> None:
    words = {
        ROOT: MIDDLE | TABLE,
        MIDDLE + 8: LAST | TABLE,
        MIDDLE + 16: 0x4040_0000 | S2_RWX | 1,
        **{LAST + 8 * index: 0x4020_0000 + index * PAGE | S2_RWX | 3 for index in range(512)},
    }
    words[LAST + 8 * 7] ^= 1 << 7
    words[LAST + 8 * 9] += 16 * PAGE
    regions = run(words, STAGE2).regions
    assert [(r.ia, r.size, r.pa, r.write, r.levels) for r in regions] == [
        (0x20_0000, 7 * PAGE, 0x4020_0000, True, (3,)),
        (0x20_7000, PAGE, 0x4020_7000, False, (3,)),
        (0x20_8000, PAGE, 0x4020_8000, True, (3,)),
        (0x20_9000, PAGE, 0x4021_9000, True, (3,)),
        (0x20_A000, 0x3F_6000, 0x4020_A000, True, (2, 3)),
    ]


@pytest.mark.parametrize(
    ("xn", "xnx", "el1", "el0"),
    [
        (0b00, False, True, True),
        (0b10, False, False, False),
        (0b01, False, True, True),
        (0b00, True, True, True),
        (0b01, True, False, True),
        (0b10, True, False, False),
        (0b11, True, True, False),
    ],
)
def test_stage2_execute_never(xn: int, xnx: bool, el1: bool, el0: bool) -> None:
    geometry = Geometry(Regime.STAGE2, ROOT, 39, 1, pa_bits=44, xnx=xnx)
    (leaf,) = run({ROOT: S2_RWX | xn << 53 | 1}, geometry).leaves
    assert (leaf.exec_el1, leaf.exec_el0) == (el1, el0)


@given(st.integers(0, 15), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_stage2_attributes(memattr: int, s2ap: int, sh: int, af: bool) -> None:
    descriptor = 1 | memattr << 2 | s2ap << 6 | sh << 8 | af << 10
    result = run({ROOT: descriptor}, STAGE2)
    if memattr in (4, 8, 12):
        assert only_fault(result) == (Fault.MEMORY_TYPE, 0, 1)
        return
    (leaf,) = result.leaves
    assert (leaf.read, leaf.write) == (bool(s2ap & 1), bool(s2ap & 2))
    assert (leaf.shareability, leaf.af) == (Shareability(sh), af)
    assert leaf.memory == stage2_memory_type(memattr)
    assert leaf.memory.is_device == (memattr < 4)


def test_memory_type_names() -> None:
    names = [str(stage2_memory_type(value)) for value in (0, 1, 2, 3, 5, 10, 15, 13, 7)]
    assert names == [
        *("Device-nGnRnE", "Device-nGnRE", "Device-nGRE", "Device-GRE"),
        *("Normal NC", "Normal WT", "Normal WB"),
        *("Normal outer WB inner NC", "Normal outer NC inner WB"),
    ]
    mair = [str(mair_memory_type(value)) for value in (0x00, 0x04, 0x44, 0xFF, 0xBB, 0x77, 0x4F)]
    assert mair == [
        *("Device-nGnRnE", "Device-nGnRE", "Normal NC", "Normal WB", "Normal WT"),
        *("Normal WB transient", "Normal outer NC inner WB"),
    ]
    assert mair_memory_type(0x01) is None
    assert mair_memory_type(0xF0) is None


def test_el2_permissions() -> None:
    words = {
        ROOT: EL2_RW | 1,
        ROOT + 8: EL2_RW | 1 << 7 | 1,
        ROOT + 16: EL2_RW & ~(1 << 54) | 1 << 7 | 1,
        ROOT + 24: EL2_RW & ~(1 << 54) | 2 << 2 | 1,
    }
    leaves = run(words, EL2).leaves
    assert [(leaf.read, leaf.write, leaf.exec_el1, leaf.exec_el0) for leaf in leaves] == [
        (True, True, False, False),
        (True, False, False, False),
        (True, False, True, False),
        (True, True, True, False),
    ]
    assert [leaf.memory.name for leaf in leaves][2:] == ["Normal WB", "Device-nGnRnE"]
    wxn = Geometry(Regime.EL2, ROOT, 39, 1, pa_bits=44, wxn=True)
    assert [leaf.exec_el1 for leaf in run(words, wxn).leaves] == [False, False, True, False]


def test_el2_hierarchical_attributes() -> None:
    """APTable[1] forbids writes and XNTable execution in all that is below."""
    for bits, write, execute in ((0, True, True), (1 << 62, False, True), (1 << 60, True, False)):
        words = {
            ROOT: MIDDLE | TABLE | bits,
            MIDDLE: LAST | TABLE,
            LAST: EL2_RW & ~(1 << 54) | 3,
        }
        (leaf,) = run(words, EL2).leaves
        assert (leaf.write, leaf.exec_el1) == (write, execute)


def test_reserved_encodings() -> None:
    deep = Geometry(Regime.EL2, ROOT, 48, 0, pa_bits=44)
    assert only_fault(run({ROOT: EL2_RW | 1}, deep)) == (Fault.RESERVED, 0, 0)
    words = {ROOT: MIDDLE | TABLE, MIDDLE: LAST | TABLE, LAST + 8: S2_RWX | 1}
    assert only_fault(run(words, STAGE2)) == (Fault.RESERVED, PAGE, 3)


def test_loop_and_shared_branch() -> None:
    loop = {ROOT: MIDDLE | TABLE, MIDDLE: ROOT | TABLE}
    assert only_fault(run(loop, STAGE2)) == (Fault.SHARED, 0, 2)
    shared = {ROOT: MIDDLE | TABLE, ROOT + 8: MIDDLE | TABLE}
    assert only_fault(run(shared, STAGE2)) == (Fault.SHARED, 1 << 30, 1)


def test_tables_outside_pool_and_memory() -> None:
    pool = range(ROOT, ROOT + 0x1_1000)
    inside = {ROOT: MIDDLE | TABLE}
    assert not run(inside, STAGE2, pool=pool).malformed
    assert only_fault(run({ROOT: LAST | TABLE}, STAGE2, pool=pool))[0] is Fault.OUTSIDE_POOL
    assert only_fault(run({ROOT: 0x1000 | TABLE}, STAGE2)) == (Fault.NO_MEMORY, 0, 1)
    nowhere = Geometry(Regime.EL2, 0x1000, 39, 1, pa_bits=44)
    assert only_fault(run({}, nowhere)) == (Fault.NO_MEMORY, 0, 0)


def test_output_address_size() -> None:
    small = Geometry(Regime.STAGE2, ROOT, 36, 1, pa_bits=36)
    assert only_fault(run({ROOT: 1 << 36 | S2_RWX | 1}, small)) == (Fault.OUTPUT_SIZE, 0, 1)
    assert only_fault(run({ROOT: 1 << 36 | TABLE}, small)) == (Fault.OUTPUT_SIZE, 0, 1)


def test_garbage_ends() -> None:
    """Memory full of one word, a valid table descriptor anywhere: reported, and finished."""
    result = decode(lambda pa: ROOT | TABLE, STAGE2)
    assert len(result.tables) == 2
    assert {malformed.fault for malformed in result.malformed} == {Fault.SHARED}


@pytest.mark.parametrize(
    ("vtcr", "vttbr"),
    [(1 << 14 | 24, ROOT), (2 << 6 | 40, ROOT), (1 << 6 | 24, ROOT | 0x1000), (7 << 16, 0)],
)
def test_registers_that_make_no_geometry(vtcr: int, vttbr: int) -> None:
    with pytest.raises(ValueError, match=r"VTCR_EL2|VTTBR_EL2|PS"):
        Geometry.stage2(vtcr, vttbr)
