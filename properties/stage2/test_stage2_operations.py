# SPDX-License-Identifier: Apache-2.0
"""The C page-table library against its specification, over sequences of operations.

After every operation: same status as the specification; the decode of memory is the specification's
set of leaves; the events keep the page-table-entry protocol; the tables form a tree inside the pool
and all other pages of the pool are free. An operation that fails has changed nothing.
"""

import itertools
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from aether_edgecloud.stage2.decode import Leaf as DecodedLeaf
from aether_edgecloud.stage2.decode import Shareability
from aether_edgecloud.stage2.host import ROOT_AREA, SPACES_MAX, Arena
from aether_edgecloud.stage2.protocol import EventKind, Monitor, Rule, Space
from aether_edgecloud.stage2.spec import (
    LEVEL_SHIFT,
    PAGE,
    AddressSpace,
    Attr,
    Config,
    Leaf,
    Memory,
    Perm,
    Pool,
    Regime,
    Status,
)

MIB2 = 1 << 21
GIB = 1 << 30

RWX = Perm(True, True, True, True)
RW = Perm(True, True, False, False)
RO = Perm(True, False, False, False)
NONE = Perm(False, False, False, False)
EL2_RX = Perm(True, False, True, False)
WB_RWX = Attr(RWX, Memory.NORMAL_WB)
WB_RW = Attr(RW, Memory.NORMAL_WB)

RESERVED = 0b10
"""The word of a reserved page: not valid, and not 0."""

MEMORY_NAMES = {
    Memory.NORMAL_WB: "Normal WB",
    Memory.NORMAL_NC: "Normal NC",
    Memory.DEVICE_nGnRnE: "Device-nGnRnE",
    Memory.DEVICE_nGnRE: "Device-nGnRE",
}


def expected(leaf: Leaf) -> tuple[object, ...]:
    perm, memory = leaf.attr.perm, leaf.attr.type
    shareability = Shareability.INNER if memory is Memory.NORMAL_WB else Shareability.OUTER
    return (
        *(leaf.ia, leaf.size, leaf.pa, (leaf.level,)),
        *(perm.read, perm.write, perm.exec, perm.exec_el0),
        *(MEMORY_NAMES[memory], shareability, True),
    )


def decoded(leaf: DecodedLeaf) -> tuple[object, ...]:
    return (
        *(leaf.ia, leaf.size, leaf.pa, leaf.levels),
        *(leaf.read, leaf.write, leaf.exec_el1, leaf.exec_el0),
        *(leaf.memory.name, leaf.shareability, leaf.af),
    )


class Bench:
    """The library, the specification and the monitor side by side."""

    def __init__(self, configs: list[Config], pool_pages: int, base: int = 0x4000_0000) -> None:
        self.arena = Arena(pool_pages, base)
        assert self.arena.pool_status is Status.OK
        self.monitor = Monitor(annotations=False)
        self.pool = Pool(pool_pages)
        self.pool_pages = pool_pages
        self.spaces = [AddressSpace(config, self.pool) for config in configs]
        # Some other VM is loaded, as far as the library knows.
        self.arena.vttbr = self.monitor.vttbr = 0x00EE_0000_0BAD_0000
        self.monitor.end_of_operation()
        for number, config in enumerate(configs):
            assert self.arena.init(number, config) is Status.OK
            self.monitor.feed(self.arena.take_events())
            self.monitor.watch(Space(config, self.arena.root_of(number)))
            self.monitor.end_of_operation()
        self.check()

    def map(self, number: int, ia: int, pa: int, size: int, attr: Attr) -> Status:
        before = self.arena.snapshot()
        got = self.arena.map(number, ia, pa, size, attr)
        return self._judge(got, self.spaces[number].map(ia, pa, size, attr), before)

    def unmap(self, number: int, ia: int, size: int) -> Status:
        before = self.arena.snapshot()
        got = self.arena.unmap(number, ia, size)
        return self._judge(got, self.spaces[number].unmap(ia, size), before)

    def protect(self, number: int, ia: int, size: int, perm: Perm) -> Status:
        before = self.arena.snapshot()
        got = self.arena.protect(number, ia, size, perm)
        return self._judge(got, self.spaces[number].protect(ia, size, perm), before)

    def reserve(self, number: int, ia: int, size: int) -> Status:
        before = self.arena.snapshot()
        got = self.arena.reserve(number, ia, size)
        return self._judge(got, self.spaces[number].reserve(ia, size), before)

    def fill(self, number: int, ia: int, pa: int, size: int, attr: Attr) -> Status:
        before, free = self.arena.snapshot(), self.arena.free_pages
        got = self.arena.fill(number, ia, pa, size, attr)
        assert self.arena.free_pages == free
        return self._judge(got, self.spaces[number].fill(ia, pa, size, attr), before)

    def hold(self, number: int, ia: int, size: int) -> Status:
        before, free = self.arena.snapshot(), self.arena.free_pages
        got = self.arena.hold(number, ia, size)
        assert self.arena.free_pages == free
        return self._judge(got, self.spaces[number].hold(ia, size), before)

    def clear(self, number: int) -> None:
        self.arena.clear(number)
        self.spaces[number].clear()
        self._watch_events()

    def _judge(self, got: Status, wanted: Status, before: bytes) -> Status:
        assert got is wanted
        if got is not Status.OK:
            assert self.arena.snapshot() == before
            assert self.arena.free_pages == self.pool.free
            assert not self.arena.take_events()
        self._watch_events()
        return got

    def _watch_events(self) -> None:
        self.monitor.feed(self.arena.take_events())
        self.monitor.end_of_operation()
        assert not self.monitor.violations, str(self.monitor.violations[0])
        assert self.monitor.in_place == 0

    def check(self) -> None:
        assert self.arena.gaps_intact
        assert self.arena.free_pages == self.pool.free
        used: list[int] = []
        for number, space in enumerate(self.spaces):
            tree = self.arena.decode(number, space.config)
            assert not tree.malformed
            assert [decoded(leaf) for leaf in tree.leaves] == [
                expected(leaf) for _, leaf in sorted(space.leaves.items())
            ]
            assert self._reserved(number, [t.pa for t in tree.tables if t.level == 3]) == len(
                space.reserved
            )
            own = [table.pa for table in tree.tables if table.level > space.config.start_level]
            assert len(own) == len(space.tables())
            used += own
        assert len(set(used)) == len(used)
        assert all(pa in self.arena.pool for pa in used)
        assert self.pool.free + len(used) == self.pool_pages
        assert not self.arena.take_events()

    def _reserved(self, number: int, last_level: list[int]) -> int:
        """Invalid words other than 0 in tables of the last level; all of them reserved pages."""
        words = [word for pa in last_level for word in struct.unpack("=512Q", self.arena.page(pa))]
        found = [word for word in words if word and not word & 1]
        assert set(found) <= {RESERVED}
        for ia in self.spaces[number].reserved:
            assert self.arena.walk(number, ia)[1].descriptor == RESERVED
        return len(found)

    def close(self) -> None:
        """Every table page comes home when all is unmapped."""
        for number in range(len(self.spaces)):
            self.clear(number)
        assert self.arena.free_pages == self.pool_pages
        self.check()
        self.arena.close()


STAGE2_CONFIGS = st.builds(
    Config,
    regime=st.just(Regime.STAGE2),
    ia_bits=st.sampled_from([25, 32, 34, 35, 39, 40, 42, 43, 44, 48]),
    pa_bits=st.just(48),
    vmid=st.just(3),
    xnx=st.booleans(),
    pages_only=st.sampled_from([False, False, True]),
)
EL2_CONFIGS = st.builds(
    Config,
    regime=st.just(Regime.EL2),
    ia_bits=st.sampled_from([25, 30, 31, 39, 40, 48]),
    pa_bits=st.sampled_from([40, 44, 48]),
)
PERMS = st.builds(Perm, *[st.booleans()] * 4)
ATTRS = st.builds(Attr, PERMS, st.sampled_from(Memory))
EVERY_ATTR = [
    Attr(Perm(*bits), memory)
    for bits in itertools.product((True, False), repeat=4)
    for memory in Memory
]
SIZES = (
    *(PAGE, 2 * PAGE, 3 * PAGE, MIB2 - PAGE, MIB2, MIB2 + PAGE, 3 * MIB2),
    *(GIB, GIB - PAGE, GIB - MIB2, GIB + PAGE, 2 * GIB + MIB2 + PAGE, 1 << 39),
)
SMALL_SIZES = tuple(size for size in SIZES if size <= 3 * MIB2)
HOSTILE_NUMBERS = st.integers(0, (1 << 64) - 1) | st.sampled_from(
    (
        *(0, 1, 8, PAGE - 1, PAGE, PAGE + 8, MIB2, GIB, 1 << 39, 1 << 47, 1 << 48, 1 << 63),
        *((1 << 40) - PAGE, (1 << 48) - PAGE, (1 << 64) - GIB, (1 << 64) - PAGE, (1 << 64) - 1),
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """One operation; `picks` choose among what is sensible when it is carried out."""

    operation: str
    space: int
    picks: tuple[int, ...]
    attr: Attr
    numbers: tuple[int, int, int]


STEPS = st.builds(
    Step,
    operation=st.sampled_from(
        [
            *["map"] * 4,
            *["unmap"] * 3,
            *["protect"] * 3,
            *["beyond unmap", "beyond protect", "clear", "walk"],
            *["hostile map", "hostile unmap", "hostile protect"],
            *["reserve", "reserve", "fill", "fill", "hold", "hold"],
            *["beyond fill", "beyond hold", "map reserved", "unmap reserved"],
            *["hostile reserve", "hostile fill", "hostile hold"],
        ]
    ),
    space=st.integers(0, 2),
    picks=st.tuples(*[st.integers(0, 63)] * 4),
    attr=ATTRS,
    numbers=st.tuples(*[HOSTILE_NUMBERS] * 3),
)


def runs(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours joined: start, end."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def mapped(space: AddressSpace) -> list[tuple[int, int]]:
    return runs((leaf.ia, leaf.end) for leaf in space.leaves.values())


def by_pages(space: AddressSpace) -> list[tuple[int, int]]:
    return runs((leaf.ia, leaf.end) for leaf in space.leaves.values() if leaf.level == 3)


def reserved(space: AddressSpace) -> list[tuple[int, int]]:
    return runs((ia, ia + PAGE) for ia in space.reserved)


T = TypeVar("T")


def pick(choices: Sequence[T], number: int) -> T:
    return choices[number % len(choices)]


def address(bits: int, picked: int) -> int:
    """Near what matters: 0, entry boundaries of all levels, the end of the address space."""
    anchors = [0, GIB, 1 << bits - 1, 1 << bits, 3 * MIB2, GIB + MIB2, 2 * GIB, 1 << 39]
    offsets = [0, 0, -PAGE, PAGE, -MIB2, -2 * PAGE, 0, MIB2]
    return max(pick(anchors, picked // 8) + pick(offsets, picked), 0) % (1 << bits)


def part(found: list[tuple[int, int]], picks: tuple[int, ...]) -> tuple[int, int]:
    """A part of one of some ranges, cut at, before and after entry boundaries."""
    if not found:
        return 0, PAGE
    start, end = pick(found, picks[0])
    skips = [0, PAGE, end - start - PAGE, MIB2, GIB, MIB2 + PAGE, GIB - PAGE]
    ia = start + pick([skip for skip in skips if 0 <= skip < end - start], picks[1])
    rest = end - ia
    sizes = [PAGE, rest, MIB2, rest - PAGE, 2 * PAGE, MIB2 - PAGE, GIB, GIB + PAGE]
    return ia, pick([size for size in sizes if 0 < size <= rest], picks[2])


def check_walk(bench: Bench, number: int, ia: int) -> Status:
    space = bench.spaces[number]
    status, walk = bench.arena.walk(number, ia)
    found = space.lookup(ia)
    if ia >> space.config.ia_bits:
        assert status is Status.RANGE
    elif found is None:
        assert status is Status.ABSENT
        assert walk.descriptor & 1 == 0
    else:
        leaf = next(leaf for leaf in space.leaves.values() if leaf.ia <= ia < leaf.end)
        assert status is Status.OK
        assert (walk.pa, walk.attr) == found
        assert (walk.level, walk.size) == (leaf.level, leaf.size)
    return status


def carry_out(bench: Bench, step: Step) -> Status:
    number, picks = step.space, step.picks
    if step.operation not in ("map", "hostile map", "reserve", "hostile reserve"):
        # Where there is something, if anywhere.
        full = [i for i, space in enumerate(bench.spaces) if space.leaves or space.reserved]
        number = pick(full or [number], number)
    space = bench.spaces[number]
    config = space.config
    good = pick([attr for attr in EVERY_ATTR if config.allows(attr)], picks[3])
    ia, pa, size = step.numbers
    match step.operation:
        case "map":
            ia = address(config.ia_bits, picks[0])
            fitting = [size for size in SIZES if ia + size <= 1 << config.ia_bits]
            size = pick(fitting, picks[1])
            pa = ia if picks[2] % 2 else address(config.pa_bits, picks[2])
            return bench.map(number, ia, pa, size, good)
        case "unmap":
            return bench.unmap(number, *part(mapped(space), picks))
        case "protect":
            return bench.protect(number, *part(mapped(space), picks), good.perm)
        case "beyond unmap":
            return bench.unmap(number, part(mapped(space), picks)[0], pick(SIZES, picks[3]))
        case "beyond protect":
            ia, _ = part(mapped(space), picks)
            return bench.protect(number, ia, pick(SIZES, picks[3]), step.attr.perm)
        case "hostile map":
            return bench.map(number, ia, pa, size, step.attr)
        case "hostile unmap":
            return bench.unmap(number, ia, size)
        case "hostile protect":
            return bench.protect(number, ia, size, step.attr.perm)
        case "walk":
            inside, length = part(mapped(space), picks)
            check_walk(bench, number, inside)
            check_walk(bench, number, inside + length - 1)
            return check_walk(bench, number, ia)
        case "reserve":
            ia = address(config.ia_bits, picks[0])
            fitting = [size for size in SMALL_SIZES if ia + size <= 1 << config.ia_bits]
            return bench.reserve(number, ia, pick(fitting, picks[1]))
        case "fill":
            ia, size = part(reserved(space), picks)
            return bench.fill(number, ia, address(config.pa_bits, picks[3]), size, good)
        case "hold":
            return bench.hold(number, *part(by_pages(space), picks))
        case "beyond fill":
            ia, _ = part(reserved(space), picks)
            return bench.fill(number, ia, 0, pick(SMALL_SIZES, picks[3]), step.attr)
        case "beyond hold":
            return bench.hold(number, part(mapped(space), picks)[0], pick(SIZES, picks[3]))
        case "map reserved":
            ia, size = part(reserved(space), picks)
            return bench.map(number, max(ia - PAGE, 0), 0, size, good)
        case "unmap reserved":
            ia, size = part(reserved(space), picks)
            if picks[3] % 2:
                return bench.protect(number, ia, size, good.perm)
            return bench.unmap(number, ia, size)
        case "hostile reserve":
            return bench.reserve(number, ia, size)
        case "hostile fill":
            return bench.fill(number, ia, pa, size, step.attr)
        case "hostile hold":
            return bench.hold(number, ia, size)
        case _:
            bench.clear(number)
            return Status.OK


@given(
    first=STAGE2_CONFIGS,
    el2=EL2_CONFIGS,
    pool_pages=st.sampled_from([16, 9, 6, 4, 3, 2, 1]),
    base=st.sampled_from([0x4000_0000, 0xFF_FFC0_0000]),
    steps=st.lists(STEPS, min_size=8, max_size=15),
)
def test_random_sequences(
    first: Config, el2: Config, pool_pages: int, base: int, steps: list[Step]
) -> None:
    """Three address spaces on one pool: two stage 2 with unlike geometry, and EL2."""
    second = Config(Regime.STAGE2, ia_bits=40, pa_bits=44, vmid=255)
    bench = Bench([first, second, el2], pool_pages, base)
    for step in steps:
        status = carry_out(bench, step)
        event(f"{step.operation} {status.name}")
        if status is Status.OK:  # else nothing has changed: bench has seen to it
            bench.check()
    bench.close()


def stage2(ia_bits: int = 40, **more: bool) -> Config:
    return Config(Regime.STAGE2, ia_bits=ia_bits, pa_bits=48, vmid=7, **more)


def levels(bench: Bench, number: int = 0) -> list[tuple[int, int]]:
    """How many leaves of which level, in the order of their addresses."""
    leaves = [leaf for _, leaf in sorted(bench.spaces[number].leaves.items())]
    groups = itertools.groupby(leaf.level for leaf in leaves)
    return [(level, len(list(group))) for level, group in groups]


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


def test_pages_only() -> None:
    """Leaves stand at level 3 only, and no operation on what is mapped ever takes a table."""
    bench = Bench([stage2(40, pages_only=True)], 4)
    assert bench.map(0, GIB, GIB, 3 * MIB2, WB_RWX) is Status.OK
    assert levels(bench) == [(3, 3 * 512)]
    assert bench.arena.free_pages == 0
    assert bench.protect(0, GIB + MIB2 - PAGE, 2 * PAGE, RO) is Status.OK
    assert bench.hold(0, GIB + PAGE, MIB2) is Status.OK
    assert bench.unmap(0, GIB + 2 * MIB2, MIB2) is Status.OK
    bench.check()
    bench.close()


def test_a_reserved_page_is_neither_mapped_nor_free() -> None:
    bench = Bench([stage2(40)], 8)
    assert bench.reserve(0, MIB2 - PAGE, 2 * PAGE) is Status.OK
    assert bench.arena.walk(0, MIB2)[0] is Status.ABSENT
    for ia in (MIB2 - PAGE, MIB2):
        assert bench.map(0, ia, 0, PAGE, WB_RWX) is Status.EXISTS
        assert bench.reserve(0, ia, PAGE) is Status.EXISTS
        assert bench.unmap(0, ia, PAGE) is Status.ABSENT
        assert bench.protect(0, ia, PAGE, RO) is Status.ABSENT
        assert bench.hold(0, ia, PAGE) is Status.ABSENT
    for ia, size in ((MIB2 - 2 * PAGE, 2 * PAGE), (MIB2, 2 * PAGE), (0, PAGE)):
        assert bench.fill(0, ia, 0, size, WB_RWX) is Status.ABSENT
    bench.check()
    bench.close()


def test_memory_comes_and_goes_without_a_table_page() -> None:
    bench = Bench([stage2(40)], 3)
    assert bench.reserve(0, MIB2 - PAGE, 2 * PAGE) is Status.OK
    assert bench.arena.free_pages == 0
    for pa in (0, 0x4000_1000):
        assert bench.fill(0, MIB2 - PAGE, pa, 2 * PAGE, WB_RWX) is Status.OK
        assert bench.fill(0, MIB2, pa, PAGE, WB_RWX) is Status.ABSENT
        assert bench.hold(0, MIB2 - PAGE, PAGE) is Status.OK
        assert bench.hold(0, MIB2 - PAGE, 2 * PAGE) is Status.ABSENT
        assert bench.hold(0, MIB2, PAGE) is Status.OK
        bench.check()
    bench.close()


def test_only_pages_can_be_held_not_blocks() -> None:
    bench = Bench([stage2(40)], 4)
    assert bench.map(0, MIB2, MIB2, MIB2 + PAGE, WB_RWX) is Status.OK
    for ia, size in ((MIB2, MIB2), (MIB2, PAGE), (2 * MIB2 - PAGE, 2 * PAGE)):
        assert bench.hold(0, ia, size) is Status.ABSENT
    assert bench.hold(0, 2 * MIB2, PAGE) is Status.OK
    bench.check()
    bench.close()


def test_a_reserved_page_keeps_its_tables() -> None:
    """Unmapping all around it gives no table back; the last one does when it goes, too."""
    bench = Bench([stage2(40)], 4)
    assert bench.map(0, 0, 0, 2 * PAGE, WB_RWX) is Status.OK
    assert bench.hold(0, 0, PAGE) is Status.OK
    assert bench.unmap(0, PAGE, PAGE) is Status.OK
    assert bench.arena.free_pages == 2
    assert bench.fill(0, 0, 0, PAGE, WB_RWX) is Status.OK
    assert bench.unmap(0, 0, PAGE) is Status.OK
    assert bench.arena.free_pages == 4
    bench.close()


@pytest.mark.parametrize(("ia", "size", "need"), [(0, PAGE, 2), (GIB - PAGE, 2 * PAGE, 4)])
def test_exact_need_of_a_reservation(ia: int, size: int, need: int) -> None:
    for pool_pages, status in ((need - 1, Status.NO_MEMORY), (need, Status.OK)):
        bench = Bench([stage2(40)], pool_pages)
        assert bench.reserve(0, ia, size) is status
        bench.check()
        bench.close()


def test_write_xor_execute_at_el2() -> None:
    bench = Bench([Config(Regime.EL2, ia_bits=39)], 8)
    for perm in (Perm(True, True, True, False), Perm(True, False, False, True), NONE):
        assert bench.map(0, 0, 0, PAGE, Attr(perm, Memory.NORMAL_WB)) is Status.BAD_ATTR
    assert bench.map(0, 0, 0, PAGE, Attr(EL2_RX, Memory.NORMAL_WB)) is Status.OK
    assert bench.protect(0, 0, PAGE, Perm(True, True, True, False)) is Status.BAD_ATTR
    assert bench.protect(0, 0, PAGE, RW) is Status.OK
    bench.check()
    bench.close()


def test_device_memory_is_never_executable() -> None:
    bench = Bench([stage2(40), Config(Regime.EL2, ia_bits=39)], 8)
    for number, perm in ((0, Perm(True, False, True, True)), (1, EL2_RX)):
        for memory in (Memory.DEVICE_nGnRnE, Memory.DEVICE_nGnRE):
            ia = memory * MIB2
            assert bench.map(number, ia, ia, PAGE, Attr(perm, memory)) is Status.BAD_ATTR
            assert bench.map(number, ia, ia, PAGE, Attr(RO, memory)) is Status.OK
            assert bench.protect(number, ia, PAGE, perm) is Status.BAD_ATTR
    bench.close()


def test_execute_at_one_level_needs_xnx() -> None:
    el1, el0 = Perm(True, False, True, False), Perm(True, False, False, True)
    plain = Bench([stage2(40)], 8)
    xnx = Bench([stage2(40, xnx=True)], 8)
    for index, perm in enumerate((el1, el0)):
        attr = Attr(perm, Memory.NORMAL_WB)
        assert plain.map(0, index * PAGE, 0, PAGE, attr) is Status.BAD_ATTR
        assert xnx.map(0, index * PAGE, 0, PAGE, attr) is Status.OK
    xnx.check()
    assert [xnx.arena.walk(0, ia)[1].descriptor >> 53 & 3 for ia in (0, PAGE)] == [0b11, 0b01]
    plain.close()
    xnx.close()


@pytest.mark.parametrize(
    ("attr", "bits"),
    [
        (Attr(RWX, Memory.NORMAL_WB), 0x7FF),
        (Attr(RW, Memory.NORMAL_NC), 1 << 54 | 0x6D7),
        (Attr(RO, Memory.DEVICE_nGnRE), 1 << 54 | 0x647),
        (Attr(NONE, Memory.DEVICE_nGnRnE), 1 << 54 | 0x603),
    ],
)
def test_stage2_descriptor_bits(attr: Attr, bits: int) -> None:
    """Against the format in the Arm ARM: XN 54, AF 10, SH 9:8, S2AP 7:6, MemAttr 5:2, type 1:0."""
    bench = Bench([stage2(40)], 8)
    assert bench.map(0, 0, 0x4000_0000, PAGE, attr) is Status.OK
    assert bench.arena.walk(0, 0)[1].descriptor == 0x4000_0000 | bits
    bench.close()


@pytest.mark.parametrize(
    ("attr", "bits"),
    [
        (Attr(RW, Memory.NORMAL_WB), 1 << 54 | 0x743),
        (Attr(EL2_RX, Memory.NORMAL_WB), 0x7C3),
        (Attr(RO, Memory.NORMAL_NC), 1 << 54 | 0x6C7),
        (Attr(RW, Memory.DEVICE_nGnRnE), 1 << 54 | 0x64B),
        (Attr(RW, Memory.DEVICE_nGnRE), 1 << 54 | 0x64F),
    ],
)
def test_el2_descriptor_bits(attr: Attr, bits: int) -> None:
    """XN 54, AF 10, SH 9:8, AP[2:1] 7:6 with AP[1] RES1, AttrIndx 4:2 into 0x040044ff."""
    bench = Bench([Config(Regime.EL2, ia_bits=39)], 8)
    assert bench.map(0, 0, 0x4000_0000, PAGE, attr) is Status.OK
    assert bench.arena.walk(0, 0)[1].descriptor == 0x4000_0000 | bits
    bench.close()


def test_each_space_has_its_own_tables_and_vmid() -> None:
    first, second = stage2(40), Config(Regime.STAGE2, ia_bits=36, pa_bits=48, vmid=9)
    bench = Bench([first, second], 16)
    for number in (0, 1):
        assert bench.map(number, 0, number * GIB, MIB2, WB_RWX) is Status.OK
    assert bench.unmap(0, PAGE, PAGE) is Status.OK
    assert bench.arena.walk(1, PAGE)[0] is Status.OK
    bench.check()
    bench.close()


def test_init_removes_what_an_earlier_owner_of_the_vmid_left_in_tlbs() -> None:
    arena = Arena(4)
    assert arena.init(0, stage2(40)) is Status.OK
    kinds = [event.kind for event in arena.take_events()]
    for earlier, later in itertools.pairwise(
        [
            EventKind.ZERO,
            EventKind.DSB_ISHST,
            EventKind.SET_VTTBR,
            EventKind.TLBI_VMALLS12E1IS,
            EventKind.DSB_ISH,
        ]
    ):
        assert kinds.index(earlier) < kinds.index(later)
    assert arena.vttbr == 0
    arena.close()


def test_monitor_sees_a_root_that_was_not_cleared() -> None:
    """The checks of this file have teeth: a watched root that no event cleared is reported."""
    monitor = Monitor()
    monitor.watch(Space(stage2(40), 0x4000_0000))
    assert {violation.rule for violation in monitor.violations} == {Rule.NOT_CLEARED}


def test_roots_and_pools_that_are_refused() -> None:
    arena = Arena(4)
    assert arena.pool_init(0x4004_0800, 1) is Status.UNALIGNED
    assert arena.pool_init(0x4004_0000, 0) is Status.RANGE
    assert arena.pool_init((1 << 48) - PAGE, 2) is Status.RANGE
    assert arena.init(0, stage2(40), 0x4000_1000) is Status.UNALIGNED
    assert arena.init(0, stage2(40), 1 << 48) is Status.RANGE
    assert arena.pool_init(0x4004_0000, 4) is Status.OK
    for pa_bits, status in ((32, Status.RANGE), (36, Status.OK)):
        beyond = Arena(2, base=(1 << 32) - SPACES_MAX * ROOT_AREA)
        config = Config(Regime.STAGE2, ia_bits=32, pa_bits=pa_bits, vmid=1)
        assert beyond.init(0, config) is status
        beyond.close()
    assert not [event for event in arena.take_events() if event.kind is not EventKind.WRITE]
    arena.close()


def test_level_sizes() -> None:
    assert [1 << shift for shift in LEVEL_SHIFT] == [1 << 39, GIB, MIB2, PAGE]
