# SPDX-License-Identifier: Apache-2.0
"""Every instruction of a run can be reached, and is the one that ran there: against a run in which
Unicorn calls back at each instruction."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aether_edgecloud.emulator.cpu.hooks import NEVER
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.recording.checkpoints import MemoryCheckpoints
from aether_edgecloud.emulator.replay.cursor import Cursor
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.snapshots import Snapshots
from aether_edgecloud.properties.machine.hooks_twin import PythonHooks
from aether_edgecloud.properties.replay.runs import HELLO, SMP, SMP_1, TRAPS, Run, Tried, truth

STRETCHES = {
    "one CPU": (HELLO, 900_000, 60_000),
    "exceptions": (TRAPS, 1_060_000, 60_000),
    "two CPUs": (SMP, 920_000, 40_000),
    "turns of one instruction": (SMP_1, 920_000, 20_000),
}


@contextmanager
def cursor_of(run: Run, start: int, length: int) -> Iterator[tuple[Cursor, tuple[Tried, ...]]]:
    """A cursor in a stretch of a run, and all there is in it."""
    known = truth(run, start, length)
    machine = run.machine()
    checkpoints = MemoryCheckpoints()
    checkpoints.add(machine.snapshot())
    checkpoints.add(known.start)
    yield Cursor(machine, Snapshots(checkpoints)), known.tried
    machine.close()


def at(cursor: Cursor) -> Tried:
    """Where a cursor is."""
    arrival = cursor.at
    return Tried(arrival.moment, cursor.machine.cpus[arrival.cpu].pc, arrival.cpu)


@pytest.mark.parametrize("name", STRETCHES)
def test_a_jump_arrives_at_the_instruction(name: str) -> None:
    with cursor_of(*STRETCHES[name]) as (cursor, tried):
        again = [one for one in tried if one.moment.attempt]
        assert again or name != "exceptions"
        for one in (*again[:10], *random.Random(1).sample(tried, 25)):
            cursor.go(one.moment)
            assert at(cursor) == one


@pytest.mark.parametrize("name", STRETCHES)
def test_steps_go_through_all_instructions_in_both_directions(name: str) -> None:
    with cursor_of(*STRETCHES[name]) as (cursor, tried):
        again = [n for n, one in enumerate(tried) if one.moment.attempt]
        for start in (*again[:3], *random.Random(2).sample(range(20, len(tried) - 20), 3)):
            cursor.go(tried[start - 5].moment)
            for one in tried[start - 4 : start + 6]:
                assert cursor.forward()
                assert at(cursor) == one
            for one in reversed(tried[start - 5 : start + 5]):
                assert cursor.back()
                assert at(cursor) == one


@pytest.mark.parametrize("name", ["two CPUs", "turns of one instruction"])
def test_steps_of_one_cpu_leave_out_the_others(name: str) -> None:
    with cursor_of(*STRETCHES[name]) as (cursor, tried):
        for cpu in (0, 1):
            own = [one for one in tried if one.cpu == cpu]
            turns = [
                n
                for n in range(2, len(own) - 2)
                if own[n + 1].moment.position > own[n].moment.position + 1
            ]
            for n in turns[:3]:
                cursor.go(own[n].moment)
                assert cursor.forward_on(cpu)
                assert at(cursor) == own[n + 1]
                assert cursor.back_on(cpu)
                assert at(cursor) == own[n]


def test_looking_changes_nothing() -> None:
    run, start, length = STRETCHES["exceptions"]
    known = truth(run, start, length)
    with cursor_of(run, start, length) as (cursor, tried):
        for one in random.Random(3).sample(tried, 10):
            cursor.go(one.moment)
        machine = cursor.machine
        machine.restore(known.start)
        machine.run(until=known.end)
        seen = state_sha256(machine)
    other = run.machine()
    other.run(until=known.end)
    assert state_sha256(other) == seen
    other.close()


def test_the_hooks_stop_where_their_python_twin_does() -> None:
    run = HELLO
    ordinary = run.machine()
    twin = Machine(
        ordinary.board,
        ordinary.image,
        ordinary.setup.initrd,
        hooks=PythonHooks(),
        quantum=run.quantum,
    )
    for position in (0, 7, 100, 101, 1_000, 2_222):
        stops = [machine.run(before=position) for machine in (ordinary, twin)]
        assert stops[0] == stops[1]
        assert stops[0].instructions <= position
        states = [machine.cpu.state for machine in (ordinary, twin)]
        assert states[0].watch_size == states[1].watch_size
        assert position < stops[0].instructions + states[0].watch_size // 4
    for machine in (ordinary, twin):
        cpu = machine.cpu
        ahead = int(cpu.state.watch_size) // 4 - 1
        cpu.state.peek_pass, cpu.state.peek_inside = 1, cpu.retired + ahead
        hook = cpu.engine.hook_instruction("aether_on_peeked", cpu.pc + 4 * ahead)
        stop = machine.run(before=0)
        cpu.engine.unhook(hook)
        assert stop.instructions == cpu.state.peek_inside
    assert ordinary.cpu.pc == twin.cpu.pc
    assert ordinary.cpu.state.peek_at != NEVER
    ordinary.close()
    twin.close()


def test_the_end_of_a_run_can_be_reached() -> None:
    machine = HELLO.machine()
    checkpoints = MemoryCheckpoints()
    checkpoints.add(machine.snapshot())
    end = machine.run()
    cursor = Cursor(machine, Snapshots(checkpoints))
    arrival = cursor.go(Moment(end.instructions))
    assert arrival.stop is end.kind
    assert machine.cpu.pc == end.pc
    assert not cursor.forward()
    assert cursor.back()
    assert cursor.moment.position == end.instructions - 1
    machine.close()
