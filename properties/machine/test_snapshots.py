# SPDX-License-Identifier: Apache-2.0
"""A machine that is set back goes on as it went on before, and a snapshot changes nothing."""

import ctypes as c
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode
from aether_edgecloud.emulator.cpu.hooks import HookState
from aether_edgecloud.emulator.launch import binary, target
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.core import Activity
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine import bare
from aether_edgecloud.properties.machine.snapshot_worlds import (
    WORLDS,
    find,
    first_snapshot,
    look,
    reference,
)


@dataclass(frozen=True, slots=True)
class Forward:
    """Run to a later place, `places` on."""

    places: int


@dataclass(frozen=True, slots=True)
class Between:
    """Run on by some instructions, but not to the end."""

    instructions: int


@dataclass(frozen=True, slots=True)
class Take:
    """Take a snapshot."""


@dataclass(frozen=True, slots=True)
class Back:
    """Go back (or forward) to a snapshot, counted from the one taken last."""

    which: int


STEPS = st.lists(
    st.one_of(
        st.builds(Forward, st.integers(1, 8)),
        st.builds(Between, st.integers(1, 50_000)),
        st.just(Take()),
        st.builds(Back, st.integers(0, 5)),
    ),
    min_size=3,
    max_size=12,
)


class Walk:
    """A machine that goes about between the places of a world's reference run."""

    def __init__(self, name: str) -> None:
        self.reference = reference(name)
        self.step = WORLDS[name].step
        self.machine = WORLDS[name].make()
        self.snapshots: list[tuple[int, bool, Snapshot]] = []
        self.machine.restore(first_snapshot(name))
        self.at, self.is_there = 0, True
        self.check()
        self.take()

    def check(self) -> None:
        if self.is_there:
            assert look(self.machine) == self.reference.seen[self.at]

    def forward(self, places: int) -> None:
        last = len(self.reference.places) - 1
        if self.at == last:
            return  # it may have ended
        self.at = min(self.at + places, last)
        self.machine.run(self.reference.places[self.at])
        self.is_there = True
        self.check()

    def between(self, instructions: int) -> None:
        wanted = self.machine.instructions + 1 + instructions % (4 * self.step)
        *places, last = self.reference.places[:-1]
        if wanted + self.step < last:  # a slice may end a little later
            self.machine.run(wanted)
            self.at = sum(place <= self.machine.instructions for place in places) - 1
            self.is_there = False

    def take(self) -> None:
        self.snapshots.append((self.at, self.is_there, self.machine.snapshot()))

    def back(self, which: int) -> None:
        self.at, self.is_there, snapshot = self.snapshots[-1 - which % len(self.snapshots)]
        self.machine.restore(snapshot)
        assert self.machine.instructions == snapshot.instructions
        self.check()

    def do(self, step: Forward | Between | Take | Back) -> None:
        match step:
            case Forward():
                self.forward(step.places)
            case Between():
                self.between(step.instructions)
            case Take():
                self.take()
            case Back():
                self.back(step.which)


def _go_about(name: str, steps: list[Forward | Between | Take | Back]) -> None:
    walk = Walk(name)
    for step in (*steps, Forward(2)):
        walk.do(step)
    walk.machine.close()


@pytest.mark.parametrize("name", WORLDS)
@settings(max_examples=4)
@given(STEPS)
def test_wherever_it_is_set_back_to_it_goes_on_the_same(
    name: str, steps: list[Forward | Between | Take | Back]
) -> None:
    _go_about(name, steps)


@pytest.mark.nightly
@pytest.mark.parametrize("name", WORLDS)
@settings(max_examples=50)
@given(STEPS)
def test_and_in_many_ways(name: str, steps: list[Forward | Between | Take | Back]) -> None:
    _go_about(name, steps)


def _is_in_wfi(machine: Machine) -> bool:
    return any(core.activity is Activity.WAITING for core in machine._cores)


def _has_pending(machine: Machine) -> bool:
    return any(cpu.lines.irq or cpu.lines.virq for cpu in machine.cpus)


def _has_restarted(machine: Machine) -> bool:
    return machine.console.output.count(b"crash: case 0") >= 2


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("four CPUs on and off", _is_in_wfi),
        ("four CPUs on and off", _has_pending),
        ("crashes and restarts", _has_restarted),
    ],
    ids=["in WFI", "an interrupt is pending", "after a restart"],
)
def test_at_a_place_of_interest(name: str, wanted: Callable[[Machine], bool]) -> None:
    machine = find(name, wanted)
    assert machine is not None, "no place is like that"
    before = look(machine)
    snapshot = machine.snapshot()
    assert look(machine) == before
    machine.run(machine.instructions + 150_000)
    after = look(machine)
    machine.restore(snapshot)
    assert look(machine) == before
    machine.run(snapshot.instructions + 40_001)
    machine.run(snapshot.instructions + 150_000)
    assert look(machine) == after
    machine.close()


# What may differ after a restore: where Unicorn has translated code and what was found out about
# it, counts that only tell that something may have changed, values that are worked out again when
# they are asked for, buffers for the moment.
_NOT_STATE = {
    "Engine": {
        "_context",  # a buffer
        "_covered",
        "_filled",
        "_power_on",  # never changes
        "_ram",  # compared as memory
    },
    "HookTables": {
        "actions",  # never changes
        "filled",
        "tlb",  # compared as entries
        "_block_flags",
        "_exits",  # all taken over whenever a machine stops
        "_watched",
    },
    "TranslatedCode": {"_code_pages", "_executed"},
    "EngineBuffers": {"_tlb", "_context", "_state"},
    "ExclusiveMonitor": {"_cells"},
    "RegisterBatch": {"_cells"},
    "PhysicalMemory": {"bytes", "_words", "dirty_pages"},
    "RamCopies": {"_last"},
    "GenericTimer": {"generation"},
    "Gicv2": {"_signals", "_virtual_signals"},
    "BoardDevices": {"_wiring", "_shared_levels", "now"},
    "ClockWindow": {"_now"},
    "Bytes": {"_next"},  # the source outside
    "Distributor": {"stale", "stale_virtual", "_best", "_unknown"},
    "VirtualCpuInterface": {"_asserted", "_asserted_known"},
    "_Replay": {"log"},
}
_POINTERS = {name for name, kind, *_ in HookState._fields_ if kind is c.c_void_p} | {"peers"}


def fields(thing: object, path: str, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Every value that can be reached from an object of ours, by the way there."""
    match thing:
        case None | bool() | int() | float() | str() | bytes() | range():
            yield path, thing
        case bytearray():
            yield path, bytes(thing)
        case c.Structure():
            for name, *_ in thing._fields_:
                if name not in _POINTERS:
                    value = getattr(thing, name)
                    yield f"{path}.{name}", bytes(value) if isinstance(value, c.Array) else value
        case c.Array():
            yield path, bytes(thing)
        case list() | tuple() | deque():
            for number, item in enumerate(thing):
                yield from fields(item, f"{path}[{number}]", seen)
        case dict():
            for key in thing:
                yield from fields(thing[key], f"{path}[{key!r}]", seen)
        case _ if type(thing).__module__.startswith("aether_edgecloud") and id(thing) not in seen:
            seen.add(id(thing))
            names = [
                *getattr(thing, "__dict__", {}),
                *(n for k in type(thing).__mro__ for n in getattr(k, "__slots__", ())),
            ]
            for name in names:
                if name not in _NOT_STATE.get(type(thing).__name__, set()):
                    yield from fields(getattr(thing, name, None), f"{path}.{name}", seen)


def everything(machine: Machine) -> dict[str, object]:
    found = dict(fields(machine, "machine", set()))
    for cpu in machine.cpus:
        saved = cpu.engine.save()
        found[f"tlb {id(cpu)}"] = (saved.tlb_entries, saved.tlb_large)
    return found


@pytest.mark.parametrize(
    "name",
    ["a timer and interrupts", "one that reads", "crashes and restarts", "counters, quantum 1"],
)
def test_no_field_is_forgotten(name: str) -> None:
    """Whatever a machine consists of in Python is as it was, but for what is listed."""
    machine = WORLDS[name].make()
    snapshots, found = [], []
    for place in reference(name).places[:-1:3]:
        machine.run(place)
        snapshots.append(machine.snapshot())
        found.append(everything(machine))
    for snapshot, before in reversed(list(zip(snapshots, found, strict=True))):
        machine.restore(snapshot)
        after = everything(machine)
        assert {key for key in before | after if before.get(key) != after.get(key)} == set()
    # It has looked at what moves.
    moved = {key for one in found for key in one | found[0] if one.get(key) != found[0].get(key)}
    assert len(moved) > 20
    assert "machine._cores[0].cpu.engine.state.retired" in moved
    machine.close()


def test_a_snapshot_of_another_machine_is_refused() -> None:
    bundle = target.resolve("hello").bundle
    image = binary.load(None).image
    machine = Machine(virt(64 << 20), image, bundle)
    snapshot = machine.snapshot()
    for other in (
        Machine(virt(64 << 20), image, bundle, mmu=MmuMode.NATIVE),
        Machine(virt(64 << 20), image, bundle, quantum=10),
        Machine(virt(64 << 20, 2), image, bundle),
        Machine(virt(64 << 20), image, bundle + bytes(4)),
    ):
        with pytest.raises(ValueError, match="another machine"):
            other.restore(snapshot)


STORES = f"""
    {bare.constant("x1", 0x4040_0000)}
    str x1, [x1]
    add x2, x1, #0x1000
    dc zva, x2
    add x2, x1, #0x2000
    retry: ldxr x3, [x2]
    add x3, x3, #1
    stxr w4, x3, [x2]
    cbnz w4, retry
    add x2, x1, #0x3000
    sub x2, x2, #8
    stp x2, x2, [x2]
    add x2, x1, #0x5000
    str q0, [x2]
    add x2, x1, #0x6000
    ldr x3, [x2]
"""


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
def test_every_kind_of_store_is_taken_back(mmu: MmuMode) -> None:
    """And with the model only what was stored to is looked at."""
    memory = {0x4040_0000 + n * PAGE_SIZE: b"before" * 200 for n in range(7)}
    machine = bare.boot(bare.program(STORES, el=1), mmu, memory)
    before = state_sha256(machine)
    snapshot = machine.snapshot()
    assert machine.run(bare.LIMIT).kind is StopKind.SYSTEM_OFF
    assert state_sha256(machine) != before
    dirty = np.flatnonzero(np.frombuffer(memoryview(machine.memory.dirty_pages), np.uint8))
    if mmu is MmuMode.MODEL:
        assert [int(page) - 0x400 for page in dirty] == [0, 1, 2, 3, 5]
    machine.restore(snapshot)
    assert state_sha256(machine) == before


CALLS = f"""
    {bare.constant("x10", 0x4040_0000)}
    blr x10
    mov x20, x0
    {bare.constant("x2", 0xD280_0060)}
    str w2, [x10]
    dc cvau, x10
    dsb ish
    ic ivau, x10
    dsb ish
    isb
    blr x10
    mov x21, x0
"""
_MOV_X0_1, _MOV_X0_2, _RET = 0xD280_0020, 0xD280_0040, 0xD65F_03C0


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
def test_code_goes_back_with_its_memory(mmu: MmuMode) -> None:
    code = struct.pack("<2I", _MOV_X0_1, _RET)
    machine = bare.boot(bare.program(CALLS, el=2), mmu, {0x4040_0000: code})
    snapshot = machine.snapshot()
    for _ in range(2):
        machine.run(bare.LIMIT)
        assert machine.cpu.registers()[20:22] == [1, 3]
        machine.restore(snapshot)
    machine.write_pa(0x4040_0000, struct.pack("<I", _MOV_X0_2))
    machine.run(bare.LIMIT)
    assert machine.cpu.registers()[20:22] == [2, 3]
    machine.restore(snapshot)
    assert machine.read_pa(0x4040_0000, 8) == code
    machine.run(bare.LIMIT)
    assert machine.cpu.registers()[20:22] == [1, 3]


def test_what_is_written_from_outside_is_taken_back() -> None:
    machine = WORLDS["hello"].make()
    snapshot = machine.snapshot()
    before = state_sha256(machine)
    end = machine.board.ram.stop
    machine.write_pa(end - 5000, b"x" * 5000)
    assert machine.read_pa(end - 5001, 3) == b"\0xx"
    for pa, size in ((end - 1, 2), (machine.board.ram_base - 1, 1), (0, 8)):
        with pytest.raises(ValueError, match="not all in RAM"):
            machine.write_pa(pa, bytes(size))
    machine.restore(snapshot)
    assert state_sha256(machine) == before


class _Tally:
    """An attachment."""

    def __init__(self) -> None:
        self.count = 0

    def save(self) -> object:
        return self.count

    def restore(self, state: object) -> None:
        assert isinstance(state, int)
        self.count = state


def test_what_is_attached_goes_back_too() -> None:
    machine = WORLDS["hello"].make()
    tally = _Tally()
    machine.attachments.append(tally)
    tally.count = 3
    snapshot = machine.snapshot()
    tally.count = 8
    machine.restore(snapshot)
    assert tally.count == 3


@pytest.mark.nightly
@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
def test_linux_goes_on_from_the_middle_of_its_boot(mmu: MmuMode, linux: tuple[Path, ...]) -> None:
    bundle = target.resolve("linux").bundle

    def make() -> Machine:
        return Machine(virt(512 << 20), binary.load(None).image, bundle, mmu=mmu)

    def end(machine: Machine) -> tuple[object, ...]:
        assert machine.run().kind is StopKind.SYSTEM_OFF
        return look(machine)

    middle = 400_000_000
    machine = make()
    machine.run(middle)
    first = machine.snapshot()
    machine.run(middle + 100_000_000)
    second = machine.snapshot()
    expected = end(machine)
    machine.restore(second)
    assert end(machine) == expected
    machine.restore(first)
    machine.run(middle + 50_000_000)
    machine.restore(first)
    assert end(machine) == expected
    machine.close()
    fresh = make()
    fresh.restore(second)
    assert end(fresh) == expected
    fresh.close()
    undisturbed = make()
    assert end(undisturbed) == expected
    undisturbed.close()


def test_a_fresh_machine_goes_on_from_in_front_of_an_eret() -> None:
    """Unicorn does not report the first block that an engine runs as a new one; what is noted of
    blocks is that they end in an ERET."""
    body = "movz x9, #200\nagain: subs x9, x9, #1\nb.ne again\nhvc #0"
    program = bare.program(body)
    first = bare.boot(program, MmuMode.MODEL)
    ended = bare.boot(program, MmuMode.MODEL)
    ended.run()
    by_el = ended.cpu.instructions_by_el()
    assert by_el[1] > 400
    for place in range(1, 40):
        first.run(before=place)
        fresh = bare.boot(program, MmuMode.MODEL)
        fresh.restore(first.snapshot())
        fresh.run()
        assert fresh.cpu.instructions_by_el() == by_el, place
        assert look(fresh) == look(ended), place
        fresh.close()
    first.close()
    ended.close()
