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

from hypothesis import event, given
from hypothesis import strategies as st

from aether_edgecloud.stage2.decode import Leaf as DecodedLeaf
from aether_edgecloud.stage2.decode import Shareability
from aether_edgecloud.stage2.host import Arena
from aether_edgecloud.stage2.protocol import Monitor, Space
from aether_edgecloud.stage2.spec import (
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
