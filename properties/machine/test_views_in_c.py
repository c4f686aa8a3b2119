# SPDX-License-Identifier: Apache-2.0
"""The two views of RAM (`views.c`) against their twin: fills, stores and maintenance in any order,
and an adversary that answers anything; and laws that both obey."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu.engine_stop import Fill
from aether_edgecloud.emulator.cpu.hooks import LINE_SIZE, PAGE_SIZE
from aether_edgecloud.emulator.cpu.views import (
    OWNER,
    PAGE_LINES,
    SWEEP_DEFERRED,
    Invalidation,
    Look,
    Maintain,
    PageBit,
)
from aether_edgecloud.properties.machine.views_twin import (
    BOTH,
    CACHES,
    Granted,
    RamTwin,
    Translation,
)
from aether_edgecloud.properties.machine.views_world import (
    ATTENTION_CACHES,
    BY_SET_WAY,
    CODE_WORDS,
    CPUS,
    DSB,
    LINES,
    OPS,
    PAGES,
    RAM_BASE,
    RAM_SIZE,
    Answer,
    World,
    key_of,
)

WORDS = (
    *(DSB, 0xD503_3BBF, 0xD503_309F),  # dsb sy; dmb ish; dsb #0
    *(0xD503_3A9F, 0xD503_3FDF, 0xD503_9F9F),  # dsb ishst; isb; none of these
    *(0xF940_0020, 0xA900_0020, 0xD50B_7421, 0xD50B_7E21),  # ldr; stp; dc zva, x1; dc civac, x1
    *(0x1400_0001, 0xD65F_03C0, 0xD400_0001, 0xD51B_E021),  # b; ret; svc; msr
)
VM, SWIO, DC, TSW, TPC = 1 << 0, 1 << 1, 1 << 12, 1 << 22, 1 << 23
STEPS = 60


def random_place(source: random.Random) -> int:
    view = source.choice((0, PageBit.CACHED, PageBit.CACHED, PageBit.MEMORY))
    return view | source.choice((0, 0, PageBit.LINES, PageBit.SPLIT, PageBit.SPLIT | PageBit.LINES))


def random_line(source: random.Random) -> int:
    """The same ones again and again, the last of a page among them."""
    favourite = source.choice((0, 1, PAGE_LINES - 1, PAGE_LINES, LINES - 1))
    return favourite if source.random() < 0.8 else source.randrange(LINES)


def random_ram(source: random.Random) -> RamTwin:
    """RAM of which most lines are as `agreed` has them."""

    def lines() -> set[int]:
        return {random_line(source) % PAGE_LINES for _ in range(source.randrange(6))}

    ram = bytearray(source.randbytes(RAM_SIZE))
    agreed = bytearray(ram)
    for line in (random_line(source) for _ in range(8)):
        agreed[line * LINE_SIZE + source.randrange(LINE_SIZE)] ^= 1
    return RamTwin(
        RAM_BASE,
        ram,
        bytearray(source.randbytes(RAM_SIZE)),
        agreed,
        [random_place(source) | source.randrange(16) * PageBit.WRITTEN for _ in range(PAGES)],
        [source.random() < 0.5 for _ in range(PAGES)],
        [lines() for _ in range(PAGES)],
        [lines() for _ in range(PAGES)],
        source.choice((None, [source.random() < 0.5 for _ in range(PAGES)])),
        {line for line in range(LINES) if source.random() < 0.5},
    )


def random_answers(source: random.Random) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            random_place(source),
            source.choice((0, source.randrange(16) * PageBit.WRITTEN)),
            source.getrandbits(64) & source.getrandbits(64),
            source.random() < 0.5,
        )
        for _ in range(source.choice((0, 7)))
    )


def random_code(source: random.Random) -> dict[int, int]:
    """Two pages of it, sparse, dense where the pages meet."""
    meet = PAGE_SIZE // 4
    places = [source.randrange(40) for _ in range(source.choice((0, 6)))]
    places += [source.randrange(meet - 8, meet + 12) for _ in range(6)]
    return {place: source.choice(WORDS) for place in places}


def operand_of(level: int, number: int, way: int) -> int:
    ways = CACHES[level % 2][1] if level < 2 else 2
    return way << 32 - (ways - 1).bit_length() | number * LINE_SIZE | level << 1


def random_step(source: random.Random, world: World) -> None:
    """Something happens in C and in Python, with the same result."""
    cpu = source.randrange(CPUS)
    both = in_c, twin = world.in_c[cpu], world.in_python[cpu]
    line = random_line(source)
    match source.choice(("block", "fill", "fill", "store", "look", "IC", "DC", "DC", "DC")):
        case "block" if source.random() < 0.3:  # the same
            in_c.pc = twin.pc = in_c.state.block_pc + 4 * source.randrange(8)
        case "block":
            first = source.choice((source.randrange(12), PAGE_SIZE // 4 - source.randrange(6)))
            first = source.choice((first, first, CODE_WORDS - 1))
            bounds = world.at(cpu, first, source.randrange(1, 20), source.randrange(4))
            if twin.waits or source.random() < 0.3:
                in_c.begin_block(*bounds)
                twin.begin_block(*bounds)
        case "fill":
            in_c.views.probes = twin.probes = source.choice((0, 0, 1))
            page = source.choice((line // PAGE_LINES, source.randrange(-1, PAGES + 1)))
            pa = RAM_BASE + page * PAGE_SIZE
            view = source.choice((0, 0, 1, 2, 3))
            e = Translation(0xFFFF_0000_0000_0000 + pa, pa, source.randrange(3), view)
            access, granted = source.choice(list(Fill)), Granted(pa, source.choice((1, 3, 7)))
            filled = [views.fill(e, access, granted) for views in both]
            assert filled[0] == filled[1]
        case "store":
            offset = min(line * LINE_SIZE + source.randrange(LINE_SIZE), RAM_SIZE - 8)
            size, value = source.choice((1, 2, 4, 8)), source.getrandbits(64)
            if source.random() < 0.5:
                for views in both:
                    views.write_lines(offset, size, value)
                assert in_c.read_lines(offset, size) == twin.read_lines(offset, size)
            else:
                world.store(offset, value.to_bytes(8, "little")[:size])
                in_c.note_store(offset)
                twin.note_store(offset)
        case "look":
            names = {id(world.ram.ram): "ram", id(world.ram.memory): "memory"}
            assert in_c.seen(line) == names[id(twin.seen(line))]
            assert in_c.to_store(line) == names[id(twin.to_store(line))]
            assert in_c.is_plain(line * LINE_SIZE) == twin.is_plain(line * LINE_SIZE)
        case "IC":
            if source.random() < 0.75:
                in_c.invalidate_instructions(line)
                twin.invalidate_instructions(line)
            else:
                whose = source.choice(list(Invalidation))
                in_c.invalidate_all_instructions(whose)
                twin.invalidate_all_instructions(whose)
        case "DC":
            in_c.state.el = twin.el = source.randrange(3)
            hcr_el2 = source.choice((0, 0, *(bit for bit in (VM, SWIO, DC, TSW, TPC))))
            in_c.state.hcr_el2 = twin.hcr_el2 = hcr_el2
            name = source.choice(list(OPS))
            slot = (source.randrange(4), source.randrange(4), source.randrange(2))
            operand = operand_of(*slot) | source.getrandbits(1) << 32
            va = line * LINE_SIZE + source.randrange(LINE_SIZE)
            is_ram = source.random() < 0.9
            for views in both:
                views.maintain(name, key_of(name), operand, va if is_ram else None)


def check_owners(world: World) -> None:
    """What waits has an owner, who waits for a barrier, and is in its queue alone, once. Who has a
    translation that somebody has to ask for is told of the next block."""
    deferred = world.ram_in_c.shared.deferred
    for page in np.flatnonzero(deferred[:, :OWNER].any(axis=1)).tolist():
        owner = world.in_c[int(deferred[page, OWNER]) - 1]
        assert deferred[page, OWNER] and page in owner.queue()
        assert owner.state.attention & ATTENTION_CACHES
    for in_c in world.in_c:
        assert (deferred[in_c.queue(), OWNER] == in_c.views.number).all()
        assert len(set(in_c.queue())) == len(in_c.queue())
        assert not in_c.views.probed or in_c.state.attention & ATTENTION_CACHES


@pytest.mark.parametrize("seed", range(4))
def test_the_twin_agrees(seed: int) -> None:
    source = random.Random(seed)
    for _ in range(50):
        code = {**random_code(source), CODE_WORDS - 1: DSB}
        world = World(random_ram(source), random_answers(source), code)
        for _ in range(STEPS):
            random_step(source, world)
            world.compare()
            check_owners(world)
        for cpu, (in_c, twin) in enumerate(zip(world.in_c, world.in_python, strict=True)):
            assert in_c.swept() == twin.swept
            in_c.begin_block(*world.at(cpu, CODE_WORDS - 1, 1, 0))  # a DSB
            assert not in_c.state.attention & ATTENTION_CACHES and in_c.queue() == []
        assert not world.ram_in_c.shared.deferred.any()


seeds = st.integers(0, (1 << 32) - 1)
lines = st.integers(0, LINES - 1)


@given(seeds, lines, st.integers(0, 3), st.integers(0, 2))
def test_what_a_load_may_write_is_where_a_store_goes(
    seed: int, line: int, view: int, el: int
) -> None:
    """A permission to write that comes with a load is one that a store need not ask for."""
    world = World(random_ram(random.Random(seed)))
    in_c, page = world.in_c[0], line // PAGE_LINES
    pa = RAM_BASE + page * PAGE_SIZE
    e, granted = Translation(pa, pa, el, view), Granted(pa, 7)
    loaded = in_c.fill(e, Fill.READ, granted)
    told, bits = len(world.told[0]), world.ram_in_c.pages[page]
    stored = in_c.fill(e, Fill.WRITE, granted)
    if loaded.permissions & 2:
        assert stored == loaded
        assert (len(world.told[0]), world.ram_in_c.pages[page]) == (told, bits)
    assert in_c.fill(e, Fill.WRITE, granted) == stored


@given(seeds, lines, st.sampled_from([name for name in OPS if name not in BY_SET_WAY]))
def test_maintenance_changes_one_line_at_most(seed: int, line: int, name: str) -> None:
    """With a barrier ahead, where it takes no choice: RAM stays, and `agreed` has RAM's line, or
    what it had."""
    ram = random_ram(random.Random(seed))
    page, at = line // PAGE_LINES, slice(line * LINE_SIZE, (line + 1) * LINE_SIZE)
    ram.has_agreed[page] = True
    world = World(ram, code={2: DSB})
    there, before = world.ram_in_c, world.ram_in_c.agreed.raw
    world.in_c[0].maintain(name, key_of(name), 0, line * LINE_SIZE)
    now = there.agreed.raw
    assert there.ram.raw == bytes(ram.ram)
    assert now[at] in (before[at], there.ram.raw[at])
    assert (now[: at.start], now[at.stop :]) == (before[: at.start], before[at.stop :])
    if name == "DC CIVAC" and not world.told[0]:
        assert now[at] == there.ram.raw[at]


@pytest.mark.parametrize(
    ("names", "effect"),
    (
        (("DC CISW",), BOTH),
        (("DC ISW",), Maintain.INVALIDATE),
        (("DC CISW", "DC CSW"), Maintain.CLEAN),
        (("DC ISW", "DC CSW"), 0),
    ),
)
@pytest.mark.parametrize("waits", (False, True))
def test_a_sweep_names_every_set_and_way(names: tuple[str, ...], effect: int, waits: bool) -> None:
    """In any order, some of them twice; what only some of the operations did has not been done."""
    order = random.Random(7)
    slots = [
        (level, number, way)
        for level, (sets, ways) in enumerate(CACHES)
        for number in range(sets)
        for way in range(ways)
    ]
    order.shuffle(slots)
    ram, memory, agreed = (bytearray(RAM_SIZE) for _ in range(3))
    none: list[set[int]] = [set() for _ in range(PAGES)]
    world = World(
        RamTwin(RAM_BASE, ram, memory, agreed, [0] * PAGES, [False] * PAGES, none, none),
        (Answer(0, 0, 0, True),) if waits else (),
        {CODE_WORDS - 1 if waits else 2: DSB},
    )
    for n, slot in enumerate([*slots[:50], *slots]):
        assert world.told[0] == []
        name = names[n % len(names)]
        for each in (world.in_c[0], world.in_python[0]):
            each.maintain(name, key_of(name), operand_of(*slot), None)
    both = world.in_c[0], world.in_python[0]
    if waits:
        assert world.told[0] == [(Look.DEFER, 0, 0), (Look.SWEEP, 0, effect | SWEEP_DEFERRED)]
        world.compare()
        bounds = world.at(0, CODE_WORDS - 1, 1, 0)
        for each in both:
            each.begin_block(*bounds)
        assert world.told[0][2:] == [(Look.COMPLETE, 0, 0)]
    else:
        assert world.told[0] == [(Look.SWEEP, 0, effect)]
    world.compare()
