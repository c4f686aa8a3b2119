# SPDX-License-Identifier: Apache-2.0
"""Steps over calls and exceptions and out of functions, in both directions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay import (
    Direction,
    EventOf,
    Execute,
    Replay,
    StepOut,
    StepOver,
)
from aether_edgecloud.properties.replay.runs import HELLO, recording, truth

START, LENGTH = 900_000, 60_000


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Replay]:
    """The run of `hello`."""
    found = Replay.open(recording(HELLO, tmp_path))
    yield found
    found.close()


def pc(replay: Replay) -> int:
    return replay.machine.cpu.pc


def sp(replay: Replay) -> int:
    return replay.machine.cpu.registers()[31]


def calls(replay: Replay, count: int) -> Iterator[int]:
    """Positions of calls at EL2."""
    words: dict[int, int] = {}
    for one in truth(HELLO, START, LENGTH).tried:
        if one.pc not in words:
            data = replay.machine.read_pa(one.pc, 4) if one.pc in replay.program.image else b""
            words[one.pc] = int.from_bytes(data, "little")
        if words[one.pc] >> 26 == 0b100101 and one.moment.position > START:
            yield one.moment.position
            count -= 1
        if not count:
            return


def test_over_a_call_and_back(replay: Replay) -> None:
    replay.goto(START)
    for position in calls(replay, 5):
        replay.goto(position)
        call, stack = pc(replay), sp(replay)
        hit = replay.find(StepOver(), Direction.FORWARD)
        assert hit is not None
        assert (pc(replay), sp(replay)) == (call + 4, stack)
        assert replay.position > position + 1
        back = replay.find(StepOver(), Direction.BACK)
        assert back is not None
        assert (replay.position, pc(replay)) == (position, call)


def test_over_any_other_instruction_is_one_step(replay: Replay) -> None:
    with_calls = set(calls(replay, 1))
    for position in range(START, START + 8):
        if position in with_calls:
            continue
        replay.goto(position)
        replay.find(StepOver(), Direction.FORWARD)
        assert replay.position == position + 1


def test_out_of_a_function_and_back_to_its_call(replay: Replay) -> None:
    replay.goto(START)
    for position in calls(replay, 4):
        replay.goto(position)
        call, stack = pc(replay), sp(replay)
        replay.step(3)
        inside = replay.position
        hit = replay.find(StepOut(), Direction.FORWARD)
        assert hit is not None
        assert (pc(replay), sp(replay)) == (call + 4, stack)
        replay.goto(inside)
        assert replay.find(StepOut(), Direction.BACK) is not None
        assert (replay.position, pc(replay)) == (position, call)


def test_over_a_hypercall_and_back(replay: Replay) -> None:
    replay.goto(START)
    hit = replay.find(EventOf(frozenset({EventKind.HYPERCALL})), Direction.FORWARD)
    assert hit is not None
    replay.step(-1)
    position, call = replay.position, pc(replay)
    assert replay.machine.cpu.current_el == 1
    assert replay.find(StepOver(), Direction.FORWARD) is not None
    assert (pc(replay), replay.machine.cpu.current_el) == (call + 4, 1)
    assert replay.find(StepOver(), Direction.BACK) is not None
    assert (replay.position, pc(replay)) == (position, call)


def test_out_of_a_handler_to_what_was_interrupted(replay: Replay) -> None:
    replay.goto(START)
    hit = replay.find(EventOf(frozenset({EventKind.HYPERCALL})), Direction.FORWARD)
    assert hit is not None
    replay.step(-1)
    call = pc(replay)
    replay.step(2)
    assert replay.machine.cpu.current_el == 2
    assert replay.find(StepOut(), Direction.FORWARD) is not None
    assert (pc(replay), replay.machine.cpu.current_el) == (call + 4, 1)


def test_the_ends_of_the_run(replay: Replay) -> None:
    replay.goto(0)
    assert not replay.step(-1)
    assert replay.find(StepOver(), Direction.BACK) is None
    replay.goto(replay.end)
    assert not replay.step()
    assert replay.find(StepOver(), Direction.FORWARD) is None
    assert replay.position == replay.end
    replay.goto(replay.end - 2)
    assert not replay.step(5)
    assert replay.position == replay.end


@pytest.mark.parametrize("position", [-1, 1 << 40])
def test_there_is_no_position_outside_the_run(replay: Replay, position: int) -> None:
    replay.goto(1_000)
    with pytest.raises(UserError):
        replay.goto(position)
    assert replay.position == 1_000


@pytest.mark.parametrize(
    ("text", "position"),
    [("1_000", 1_000), ("1,000", 1_000), ("+5", 905), ("-5", 895), ("0%", 0), ("mark:reset", 0)],
)
def test_places_as_a_user_writes_them(replay: Replay, text: str, position: int) -> None:
    replay.goto(900)
    assert replay.place(text) == position


def test_more_places(replay: Replay) -> None:
    assert replay.place("end") == replay.place("100%") == replay.end
    assert replay.place("50%") == round(replay.end / 2)
    assert replay.place("event:3") == int(replay.events.position[3])


@pytest.mark.parametrize("text", ["", "x", "101%", "event:9999999", "mark:none", "--5", "1e3"])
def test_places_that_are_none(replay: Replay, text: str) -> None:
    with pytest.raises(UserError):
        replay.place(text)


def test_a_breakpoint_on_a_vector_is_met(replay: Replay) -> None:
    """Its first instruction has the position of the one that took the exception, or the next."""
    replay.goto(START)
    entry = replay.find(EventOf(frozenset({EventKind.HYPERCALL})), Direction.FORWARD)
    assert entry is not None
    vector = pc(replay)
    replay.goto(START)
    hit = replay.find(Execute(vector), Direction.FORWARD)
    assert hit is not None
    assert pc(replay) == vector
