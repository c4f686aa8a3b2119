# SPDX-License-Identifier: Apache-2.0
"""A run that is traced is the run that it is without, and the trace is what happened in it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.trace import Chunk, Selection, Trace, TraceRecorder
from aether_edgecloud.emulator.trace.chunk import EXCEPTION, NO_ADDRESS
from aether_edgecloud.emulator.trace.columns import Columns
from aether_edgecloud.emulator.trace.operations import PSTATE, SP, V
from aether_edgecloud.emulator.trace.stretch import Stretch
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import LOAD, assemble
from aether_edgecloud.properties.machine.smp import add, start_all, wait_for

LIMIT = 3_000_000
HELLO_FROM = 900_000
"""Late in EL2's boot; the guest and its exits follow."""


def hello() -> Machine:
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    return Machine(virt(), image, target.resolve("hello").bundle)


def trace(machine: Machine, until: int, selection: Selection | None = None) -> list[Chunk]:
    """What is told of the machine from here on, in small chunks."""
    found: list[Columns] = []
    recorder = TraceRecorder(machine, found.append, selection or Selection(), chunk=1 << 14)
    machine.run(until)
    recorder.close()
    return [Chunk(columns) for columns in found if columns.instructions]


@dataclass
class Traced:
    """The end of hello's run."""

    machine: Machine
    begin: int
    chunks: list[Chunk]


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    machine = hello()
    machine.run(HELLO_FROM)
    begin = machine.instructions
    yield Traced(machine, begin, trace(machine, LIMIT))
    machine.close()


def test_a_traced_run_is_the_run(traced: Traced) -> None:
    plain = hello()
    assert plain.run(LIMIT).kind is StopKind.SYSTEM_OFF
    assert traced.machine.instructions == plain.instructions
    assert traced.machine.console.output == plain.console.output
    assert state_sha256(traced.machine) == state_sha256(plain)
    assert traced.machine.cpu.instructions_by_el() == plain.cpu.instructions_by_el()
    plain.close()


def test_every_instruction_is_told_once(traced: Traced) -> None:
    positions = np.concatenate([chunk.position for chunk in traced.chunks])
    expected = np.arange(traced.begin, traced.machine.instructions)
    assert len(traced.chunks) > 3
    assert np.array_equal(positions, expected.astype(np.uint64))
    by_el = np.sum([np.bincount(chunk.el, minlength=3) for chunk in traced.chunks], axis=0)
    _, el1, el2 = traced.machine.cpu.instructions_by_el()
    assert (by_el[0], by_el[1]) == (0, el1)
    assert by_el[2] == el2 - traced.begin


def test_registers_at_any_instruction_are_the_machines(traced: Traced) -> None:
    """Around exceptions, and elsewhere."""
    exceptions = {
        int(event["position"])
        for chunk in traced.chunks
        for event in chunk.events
        if event["kind"] == EXCEPTION
    }
    assert len(exceptions) > 50
    places = {p + d for p in sorted(exceptions)[::12] for d in (-1, 1, 2)}
    places |= set(range(traced.begin + 5, traced.machine.instructions, 20_011))
    replay = Replay.live(hello())
    for place in sorted(places - exceptions):
        replay.goto(place)
        chunk = next(c for c in traced.chunks if c.position[-1] >= place)
        index = int(np.flatnonzero(chunk.position == place)[0])
        told, cpu = chunk.registers_before(index), replay.machine.cpus[replay.cpu]
        assert told[: SP + 1] == cpu.registers(), place
        assert int(chunk.pc[index]) == cpu.pc
        assert told[PSTATE] == cpu.access.pstate.to_spsr(), place
        vectors = [int(text, 16) for text in cpu.engine.read_vectors()]
        assert [told[V + 2 * n] | told[V + 2 * n + 1] << 64 for n in range(32)] == vectors
        assert int(chunk.word[index]) == cpu.engine.fetch_word(cpu.pc)
    replay.close()


def test_the_stores_that_are_told_are_those_that_memory_shows() -> None:
    machine = hello()
    machine.run(HELLO_FROM)
    ram, base = bytearray(machine.memory.bytes), machine.board.ram_base
    read = 0
    for chunk in trace(machine, LIMIT):
        a = chunk.accesses
        assert (a.pa != NO_ADDRESS).all()
        inside = (a.pa >= base) & (a.pa < base + len(ram))
        for k in np.flatnonzero(inside).tolist():
            start, size = int(a.pa[k]) - base, int(a.size[k])
            data = a.words[k].tobytes()[:size]
            if a.is_store[k]:
                ram[start : start + size] = data
            else:
                assert ram[start : start + size] == data, hex(int(a.va[k]))
                read += 1
    assert read > 1_000
    assert bytes(machine.memory.bytes) == bytes(ram)
    machine.close()


@pytest.mark.parametrize(
    "selection",
    [
        Selection(els=frozenset({1})),
        Selection(els=frozenset({2})),
        Selection(vm=1),
        Selection(begin=950_001, end=960_003),
        Selection(begin=943_333, end=985_555, els=frozenset({2}), vm=1),
    ],
    ids=["EL1", "EL2", "VM 1", "positions", "all of them"],
)
def test_a_selection_is_that_part_of_the_whole(traced: Traced, selection: Selection) -> None:
    machine = hello()
    machine.run(HELLO_FROM)
    some = trace(machine, LIMIT, selection)
    assert state_sha256(machine) == state_sha256(traced.machine)
    machine.close()

    def rows(chunks: list[Chunk], *, choose: bool) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for chunk in chunks:
            wanted = (chunk.position >= selection.begin) & (chunk.position < selection.end)
            wanted &= np.isin(chunk.el, list(selection.els))
            if selection.vm is not None:
                wanted &= chunk.vm == selection.vm
            assert choose or wanted.all()
            columns = (chunk.position, chunk.pc, chunk.word, chunk.el, chunk.vm, chunk.cpu)
            found += zip(*(column[wanted].tolist() for column in columns), strict=True)
            w = chunk.writes
            kept = wanted[w.instruction]
            at = chunk.position[w.instruction[kept]].tolist()
            found += zip(at, w.register[kept].tolist(), w.value[kept].tolist(), strict=True)
        return sorted(found, key=repr)

    told = rows(some, choose=False)
    assert told
    assert told == rows(traced.chunks, choose=True)


TWO = start_all(2) + "".join(add() for _ in range(40)) + wait_for(8, 1)
SECOND = "".join(add() for _ in range(40)) + add(8)


@pytest.mark.parametrize("quantum", [7, 100, 1000])
def test_several_cpus(quantum: int) -> None:
    plain = smp.machine(TWO, SECOND, 2, MmuMode.MODEL, quantum=quantum)
    traced = smp.machine(TWO, SECOND, 2, MmuMode.MODEL, quantum=quantum)
    plain.run(LIMIT)
    chunks = trace(traced, LIMIT)
    assert state_sha256(traced) == state_sha256(plain)
    position = np.concatenate([chunk.position for chunk in chunks])
    cpu = np.concatenate([chunk.cpu for chunk in chunks])
    assert np.array_equal(position, np.arange(traced.instructions).astype(np.uint64))
    assert [int((cpu == n).sum()) for n in (0, 1)] == [c.retired for c in traced.cpus]
    plain.close()
    traced.close()


LONG = 700
"""Instructions of a block that Unicorn translates as several when it calls back at each."""
LONG_BLOCKS = f"""
    movz x0, #0x4100, lsl #16
    mov x1, #40
again:
    {"ldr x2, [x0], #8; str x2, [x0]; add x3, x3, x2; " * (LONG // 3)}
    movz x0, #0x4100, lsl #16
    subs x1, x1, #1
    b.ne again
    movz x0, #0x8400, lsl #16
    movk x0, #8
    smc #0
    b .
"""


def test_blocks_end_where_they_end_untraced() -> None:
    """Where a run can be stopped, and interrupts are taken, does not change."""

    def machine() -> Machine:
        return Machine(virt(64 << 20), BootImage(assemble(LONG_BLOCKS), 1 << 16))

    def stops(machine: Machine) -> list[tuple[int, int]]:
        found = []
        for until in range(0, 31_000, 97):
            stop = machine.run(max(until, machine.instructions))
            found.append((stop.instructions, stop.pc))
        return found

    plain, traced = machine(), machine()
    expected = stops(plain)
    assert len({pc for _, pc in expected}) > 2
    assert all(pc >= LOAD for _, pc in expected)
    found: list[Columns] = []
    recorder = TraceRecorder(traced, found.append)
    assert stops(traced) == expected
    recorder.close()
    assert sum(columns.instructions for columns in found) == traced.instructions
    assert state_sha256(traced) == state_sha256(plain)
    sizes = {int(n) for columns in found for n in columns.block_counts}
    whole = {b - a for (a, _), (b, _) in itertools.pairwise(expected)}
    assert max(sizes) < max(whole)  # or nothing has been tried
    plain.close()
    traced.close()


def test_a_stretch_begins_and_ends_where_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "stretch.trace"
    machine = hello()
    stretch = Stretch(machine, file, Selection(begin=940_123, end=951_234), {"target": "hello"})
    assert stretch.run(LIMIT).kind is StopKind.SYSTEM_OFF
    stretch.finish()
    with Trace.open(file) as found:
        assert found.lost is None
        assert len(found) == 951_234 - 940_123
        positions = np.concatenate([chunk.position for chunk in found])
        assert (positions[0], positions[-1]) == (940_123, 951_233)
        assert found.registers(950_000)["pc"] == int(
            next(found.chunks_in(950_000, 950_001)).pc[950_000 - 940_123]
        )
    machine.close()
