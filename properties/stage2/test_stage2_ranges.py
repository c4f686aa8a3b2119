# SPDX-License-Identifier: Apache-2.0
"""Ranges of all kinds: their ends, the blocks they need, and the pages of tables that they cost."""

import pytest

from aether_edgecloud.properties.stage2.test_stage2_operations import (
    GIB,
    MIB2,
    RO,
    RW,
    RWX,
    WB_RW,
    WB_RWX,
    Bench,
    levels,
    stage2,
)
from aether_edgecloud.stage2.spec import (
    PAGE,
    Attr,
    Config,
    Memory,
    Regime,
    Status,
)


def test_first_and_last_page_of_the_address_space() -> None:
    bench = Bench([stage2(40)], 8)
    last = (1 << 40) - PAGE
    assert bench.map(0, 0, 0x8000_0000, PAGE, WB_RWX) is Status.OK
    assert bench.map(0, last, 0x8000_1000, PAGE, WB_RWX) is Status.OK
    bench.check()
    assert bench.arena.walk(0, (1 << 40) - 1)[1].pa == 0x8000_1FFF
    assert bench.arena.walk(0, 1 << 40)[0] is Status.RANGE
    assert bench.unmap(0, last, PAGE) is Status.OK
    bench.check()
    assert bench.map(0, last, 0, 2 * PAGE, WB_RWX) is Status.RANGE
    assert bench.map(0, 1 << 40, 0, PAGE, WB_RWX) is Status.RANGE
    bench.close()


def test_sizes_that_overflow() -> None:
    bench = Bench([stage2(48)], 8)
    for ia, size in [(PAGE, (1 << 64) - PAGE), ((1 << 64) - PAGE, PAGE), (0, 1 << 63)]:
        assert bench.map(0, ia, 0, size, WB_RWX) is Status.RANGE
        assert bench.unmap(0, ia, size) is Status.RANGE
        assert bench.protect(0, ia, size, RO) is Status.RANGE
        assert bench.reserve(0, ia, size) is Status.RANGE
        assert bench.fill(0, ia, 0, size, WB_RWX) is Status.RANGE
        assert bench.hold(0, ia, size) is Status.RANGE
    assert bench.map(0, 0, (1 << 64) - PAGE, PAGE, WB_RWX) is Status.RANGE
    assert bench.map(0, 0, (1 << 48) - PAGE, 2 * PAGE, WB_RWX) is Status.RANGE
    assert bench.map(0, 0, 0, 0, WB_RWX) is Status.RANGE
    bench.close()


def test_largest_blocks_that_alignment_allows() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, GIB - MIB2 - PAGE, 5 * GIB - MIB2 - PAGE, 2 * GIB, WB_RWX) is Status.OK
    assert levels(bench) == [(3, 1), (2, 1), (1, 1), (2, 510), (3, 511)]
    bench.check()
    bench.close()


def test_blocks_need_both_addresses_aligned() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, 0, MIB2 // 2, MIB2, WB_RWX) is Status.OK
    assert levels(bench) == [(3, 512)]
    assert bench.map(0, GIB, MIB2, GIB, WB_RWX) is Status.OK
    assert levels(bench) == [(3, 512), (2, 512)]
    bench.check()
    bench.close()


def test_no_block_at_level_0() -> None:
    bench = Bench([stage2(48), Config(Regime.EL2, ia_bits=48, pa_bits=48)], 8)
    for number in (0, 1):
        assert bench.map(number, 1 << 39, 1 << 39, 1 << 39, WB_RW) is Status.OK
        assert levels(bench, number) == [(1, 512)]
    bench.check()
    bench.close()


def test_every_page_of_a_range_is_looked_at() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, 3 * PAGE, 0, PAGE, WB_RW) is Status.OK
    assert bench.map(0, 0, 0, 4 * PAGE, WB_RW) is Status.EXISTS
    assert bench.map(0, 0, 0, 3 * PAGE, WB_RW) is Status.OK
    assert bench.map(0, 5 * PAGE, 0, PAGE, WB_RW) is Status.OK
    for size in (5 * PAGE, 6 * PAGE):
        assert bench.unmap(0, 0, size) is Status.ABSENT
        assert bench.protect(0, 0, size, RO) is Status.ABSENT
    assert bench.protect(0, 0, 4 * PAGE, RO) is Status.OK
    bench.check()
    bench.close()


def test_split_of_a_1g_block() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, GIB, GIB, GIB, WB_RWX) is Status.OK
    assert levels(bench) == [(1, 1)]
    assert bench.protect(0, GIB + 5 * MIB2 + 7 * PAGE, PAGE, RO) is Status.OK
    assert levels(bench) == [(2, 5), (3, 512), (2, 506)]
    bench.check()
    assert bench.arena.free_pages == 6
    assert bench.unmap(0, GIB, GIB) is Status.OK
    assert bench.arena.free_pages == 8
    bench.close()


def test_split_of_a_2m_block_at_both_ends() -> None:
    bench = Bench([stage2(40)], 8)
    device = Attr(RW, Memory.DEVICE_nGnRE)
    assert bench.map(0, 0x900_0000, 0x900_0000, 4 * MIB2, device) is Status.OK
    assert bench.unmap(0, 0x900_0000 + PAGE, 4 * MIB2 - 2 * PAGE) is Status.OK
    assert levels(bench) == [(3, 2)]
    bench.check()
    assert bench.arena.free_pages == 8 - 1 - 2
    bench.close()


def test_both_ends_in_one_block_share_tables() -> None:
    for pool_pages, status in [(1, Status.NO_MEMORY), (2, Status.OK)]:
        bench = Bench([stage2(40)], pool_pages)
        assert bench.map(0, 0, 0, GIB, WB_RWX) is Status.OK
        assert bench.unmap(0, PAGE, PAGE) is status
        bench.check()
        bench.close()


def test_split_keeps_every_attribute_bit() -> None:
    """Bits that the library does not know (software, DBM, contiguous excepted) pass a split too."""
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, 0, 0x4000_0000, GIB, Attr(RWX, Memory.NORMAL_NC)) is Status.OK
    root = bench.arena.root_of(0)
    descriptor = bench.arena.walk(0, 0)[1].descriptor | 0xD << 55 | 1 << 51 & 0 | 1 << 11
    bench.arena.poke(root, descriptor)
    assert bench.arena.protect(0, PAGE, PAGE, RO) is Status.OK
    attributes = descriptor & ~0x0000_FFFF_FFFF_F003
    for ia, level in [(0, 3), (MIB2 - PAGE, 3), (MIB2, 2), (GIB - 1, 2)]:
        walk = bench.arena.walk(0, ia)[1]
        assert walk.descriptor & ~0x0000_FFFF_FFFF_F003 == attributes
        assert walk.level == level
    changed = bench.arena.walk(0, PAGE)[1].descriptor ^ attributes
    assert changed & ~0x0000_FFFF_FFFF_F003 == 1 << 7 | 1 << 54
    bench.arena.close()


def test_across_concatenated_root_tables() -> None:
    bench = Bench([stage2(40)], 8)
    middle = 1 << 39
    assert bench.map(0, middle - PAGE, 0x4000_0000, 2 * PAGE, WB_RWX) is Status.OK
    bench.check()
    assert bench.arena.walk(0, middle)[1].pa == 0x4000_1000
    assert bench.arena.free_pages == 4
    assert bench.map(0, middle + GIB, 0, 1 << 38, WB_RWX) is Status.OK
    assert bench.unmap(0, middle - PAGE, 2 * PAGE) is Status.OK
    bench.check()
    bench.close()


@pytest.mark.parametrize("regime", Regime)
@pytest.mark.parametrize("ia_bits", range(25, 49))
def test_every_input_size(regime: Regime, ia_bits: int) -> None:
    config = Config(regime, ia_bits=ia_bits, pa_bits=48, vmid=0)
    bench = Bench([config], 9)
    last = (1 << ia_bits) - PAGE
    for ia in (0, last // 2 & -PAGE, last):
        assert bench.map(0, ia, 0x4000_0000 + ia % GIB, PAGE, WB_RW) is Status.OK
        bench.check()
    assert bench.map(0, last + PAGE, 0, PAGE, WB_RW) is Status.RANGE
    bench.close()


def test_exhausted_pool_changes_nothing_and_exact_need_suffices() -> None:
    bench = Bench([stage2(40)], 2)
    assert bench.map(0, GIB - PAGE, 0, 2 * PAGE, WB_RWX) is Status.NO_MEMORY
    assert bench.map(0, GIB, 0, 2 * PAGE, WB_RWX) is Status.OK
    assert bench.arena.free_pages == 0
    bench.check()
    assert bench.map(0, GIB + 2 * PAGE, 0, PAGE, WB_RWX) is Status.OK
    assert bench.unmap(0, GIB, 3 * PAGE) is Status.OK
    assert bench.arena.free_pages == 2
    bench.close()


@pytest.mark.parametrize(
    ("ia", "size", "need"),
    [
        (0, PAGE, 2),  # only the end is inside the block
        (GIB - PAGE, PAGE, 2),  # only the start
        (PAGE, GIB - 2 * PAGE, 3),  # both, below different entries of level 2
        (MIB2, GIB - 2 * MIB2, 1),
        (PAGE, PAGE, 2),
        (PAGE, MIB2 - PAGE, 2),
        (0, GIB, 0),
    ],
)
def test_exact_need_of_a_split(ia: int, size: int, need: int) -> None:
    for pool_pages in range(max(need - 1, 1), need + 2):
        bench = Bench([stage2(40)], pool_pages)
        assert bench.map(0, 0, 0, GIB, WB_RWX) is Status.OK
        status = Status.OK if pool_pages >= need else Status.NO_MEMORY
        assert bench.unmap(0, ia, size) is status
        bench.check()
        bench.close()


@pytest.mark.parametrize(("ia", "size", "need"), [(0, PAGE, 2), (GIB - PAGE, 2 * PAGE, 4)])
def test_exact_need_of_a_map(ia: int, size: int, need: int) -> None:
    for pool_pages, status in ((need - 1, Status.NO_MEMORY), (need, Status.OK)):
        bench = Bench([stage2(40)], pool_pages)
        assert bench.map(0, ia, 0, size, WB_RWX) is status
        bench.check()
        bench.close()


def test_huge_range_without_memory_ends_soon() -> None:
    bench = Bench([stage2(48)], 4)
    assert bench.map(0, 0, PAGE, (1 << 48) - PAGE, WB_RWX) is Status.NO_MEMORY
    bench.close()
