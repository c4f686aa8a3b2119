# SPDX-License-Identifier: Apache-2.0
"""What searches are told by the C hooks (`watch.c`), against the same from each instruction."""

import ctypes as c
import functools
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode
from aether_edgecloud.emulator.cpu.watch import (
    ALL_LEVELS,
    ANY_VMID,
    MOST_SP,
    READS,
    WRITES,
    CpuWatch,
    Sought,
    SoughtCode,
    SoughtRange,
    SoughtRegister,
    SoughtSysreg,
)
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.snapshot_worlds import Counters, Vms, World, first_entry
from aether_edgecloud.properties.machine.watch_twin import (
    Instruction,
    Window,
    Written,
    hits,
    in_order,
)

EXAMPLES = settings().max_examples // 7
MUCH, LITTLE = 1 << 16, 7
"""How many hits are kept."""


@dataclass(frozen=True, slots=True)
class Accesses:
    """Accesses of all sizes on two CPUs: to code, across lines and pages, whole lines zeroed."""

    def make(self) -> Machine:
        """At reset."""
        body = """
            mov x10, #40
            add x11, x20, #0xff0
            adr x12, {label}
            {label}: ldr x0, [x12]
            ldrb w0, [x12, #9]
            str x10, [x11, #12]
            ldr x1, [x11, #13]
            ldp x2, x3, [x11, #16]
            stp w10, w1, [x11], #4
            str q0, [x11, #8]
            ldr q1, [x11, #3]
            ldrsh w4, [x11, #-1]
            add x13, x20, #0x1000
            dc zva, x13
            strb w10, [x13, #63]
            msr tpidr_el0, x10
            subs x10, x10, #1
            b.ne {label}
        """
        first = smp.start(1) + body.format(label="here")
        return smp.machine(first, body.format(label="there"), 2, MmuMode.MODEL, quantum=30)


# Of VMs, a stretch begins so many instructions from the first guest's entry.
WORLDS: dict[str, tuple[World | Accesses, int, int]] = {
    "accesses": (Accesses(), 0, 1_200),
    "hello": (Vms((("hello", (0,)),)), -15_000, 12_000),
    "interrupts": (Vms((("gic", (0,)),)), 140_000, 8_000),
    "two CPUs": (Vms((("observer:pair", (0, 1)),), cpus=2, quantum=200, seed=7), 24_500, 8_000),
    "counters": (Counters(2, 50), 0, 2_300),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a world's run, and what each CPU did in it."""

    start: Snapshot
    end: int
    state: str
    done: tuple[list[Instruction], ...]

    @property
    def length(self) -> int:
        """In instructions."""
        return self.end - self.start.instructions


@functools.cache
def stretch(name: str) -> Stretch:
    """Of a world by name."""
    world, start, length = WORLDS[name]
    if isinstance(world, Vms):
        start += first_entry(world)
    machine = world.make()
    if start:
        machine.run(start)
    snapshot = machine.snapshot()
    written = Written(machine)
    end = machine.run(machine.instructions + length).instructions
    state = state_sha256(machine)
    machine.close()
    return Stretch(snapshot, end, state, tuple(written.cpus))


class Searcher:
    """A machine that seeks."""

    def __init__(self, world: World | Accesses, capacity: int) -> None:
        self.machine = world.make()
        self._pages = (c.c_uint8 * (self.machine.board.ram_size // PAGE_SIZE))()
        self.watches = [CpuWatch(cpu, self._pages, capacity) for cpu in self.machine.cpus]

    def run(self, part: Stretch, sought: Sought, window: Window, *, keeps_last: bool) -> None:
        """Go through the stretch."""
        base = self.machine.board.ram_base
        c.memset(self._pages, 0, len(self._pages))
        for wanted in sought.ranges:
            for page in range(wanted.start // PAGE_SIZE, (wanted.end - 1) // PAGE_SIZE + 1):
                self._pages[page - base // PAGE_SIZE] |= wanted.accesses
        self.machine.restore(part.start)
        for watch in self.watches:
            watch.seek(sought, base)
            watch.begin(
                nearest=window.nearest,
                farthest=window.farthest,
                keeps_last=keeps_last,
                is_exact=window.is_exact,
            )
        stop = self.machine.run(before=part.end)
        assert (stop.kind, stop.instructions) == (StopKind.LIMIT, part.end)


@functools.cache
def searcher(name: str, capacity: int) -> Searcher:
    """For a world by name."""
    return Searcher(WORLDS[name][0], capacity)


def _codes(done: list[Instruction]) -> st.SearchStrategy[SoughtCode]:
    pc = st.sampled_from(sorted({one.pc for one in done}))
    sp = st.sampled_from(sorted({one.sp for one in done}))
    return st.builds(
        SoughtCode,
        pc,
        st.just(0),
        levels=st.just(ALL_LEVELS) | st.integers(0, ALL_LEVELS),
        vmid=st.just(ANY_VMID) | st.sampled_from(sorted({one.vmid for one in done})),
        sp_least=st.just(0) | sp,
        sp_most=st.just(MOST_SP) | sp,
    )


def _ranges(done: list[Instruction]) -> st.SearchStrategy[SoughtRange]:
    addresses = sorted({access.address for one in done for access in one.accesses})
    return st.builds(
        lambda at, back, size, accesses: SoughtRange(at - back, at - back + size, accesses, 0),
        st.sampled_from(addresses),
        st.integers(0, 8),
        st.sampled_from((1, 1, 4, 8, 8, 64, PAGE_SIZE)),
        st.sampled_from((READS, WRITES, READS | WRITES)),
    )


def _sysregs(done: list[Instruction]) -> st.SearchStrategy[SoughtSysreg]:
    keys = sorted({one.written[0] for one in done if one.written is not None})
    return st.sampled_from(keys or [reg.VTTBR_EL2.key]).map(lambda key: SoughtSysreg(key, 0))


def _numbered(
    ranges: list[SoughtRange],
    codes: list[SoughtCode],
    sysregs: list[SoughtSysreg],
    register: reg.CoreRegister | None,
) -> Sought:
    return Sought(
        tuple(replace(one, id=n) for n, one in enumerate(ranges)),
        tuple(replace(one, id=10 + n) for n, one in enumerate(codes)),
        tuple(replace(one, id=20 + n) for n, one in enumerate(sysregs)),
        None if register is None else SoughtRegister(register, 30),
    )


@functools.cache
def soughts(name: str) -> st.SearchStrategy[Sought]:
    """Some of each in what a world does, with numbers that tell them apart."""
    done = [one for cpu in stretch(name).done for one in cpu]
    return st.builds(
        _numbered,
        st.lists(_ranges(done), max_size=3),
        st.lists(_codes(done), max_size=4),
        st.lists(_sysregs(done), max_size=2),
        st.none() | st.sampled_from(reg.X),
    )


def _draw(data: st.DataObject, name: str, *, with_ranges: bool = True) -> tuple[Sought, Window]:
    """Something to seek, and a window that begins or ends where it is."""
    part = stretch(name)
    sought = data.draw(soughts(name))
    if not with_ranges:
        sought = replace(sought, ranges=())
    window = Window(part.end, 0, 2 * part.length, data.draw(st.booleans()))
    places = {hit.ahead for done in part.done for hit in hits(done, sought, window)}
    place = st.sampled_from(sorted(places or {0}))
    window = replace(window, nearest=data.draw(st.just(0) | place))
    return sought, replace(window, farthest=data.draw(st.just(window.farthest) | place))


@pytest.mark.parametrize("name", WORLDS)
@given(st.data())
@settings(max_examples=EXAMPLES)
def test_all_that_is_sought_is_found(name: str, data: st.DataObject) -> None:
    """In the order of the run, whatever else is sought at the same time."""
    part = stretch(name)
    sought, window = _draw(data, name)
    with_watches = searcher(name, MUCH)
    with_watches.run(part, sought, window, keeps_last=False)
    for watch, done in zip(with_watches.watches, part.done, strict=True):
        assert not watch.is_overfull
        expected = in_order(hits(done, sought, window), sought)
        assert in_order(watch.found(), sought) == expected


@given(st.data())
@settings(max_examples=EXAMPLES)
def test_of_much_the_first_or_the_last_is_kept(data: st.DataObject) -> None:
    part = stretch("two CPUs")
    sought, window = _draw(data, "two CPUs", with_ranges=False)
    keeps_last = data.draw(st.booleans())
    with_watches = searcher("two CPUs", LITTLE)
    with_watches.run(part, sought, window, keeps_last=keeps_last)
    for watch, done in zip(with_watches.watches, part.done, strict=True):
        wanted = hits(done, sought, window)
        assert watch.is_overfull == (len(wanted) > LITTLE)
        assert list(watch.found()) == (wanted[-LITTLE:] if keeps_last else wanted[:LITTLE])


def test_nothing_changes_in_the_run() -> None:
    """Though all memory is watched, exactly."""
    part = stretch("counters")
    machine = searcher("counters", LITTLE).machine
    base = machine.board.ram_base
    ram = SoughtRange(base, base + machine.board.ram_size, READS | WRITES, 0)
    window = Window(part.end, 0, part.length, True)
    searcher("counters", LITTLE).run(part, Sought((ram,)), window, keeps_last=True)
    assert state_sha256(machine) == part.state
