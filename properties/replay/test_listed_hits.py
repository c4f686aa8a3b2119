# SPDX-License-Identifier: Apache-2.0
"""Lists of what is found before the cursor's moment, and from it on: those nearest to it if there
are more than are wanted."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator.cli import replay as command
from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.cpu.watch import CpuWatch
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay import (
    AnyOf,
    Condition,
    Direction,
    EventOf,
    Execute,
    RegisterWrite,
    Replay,
    Write,
    parse,
    scan,
)
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.views.surroundings import events_around
from aether_edgecloud.properties.replay.runs import ABORTS, HELLO, recording

EXCEPTIONS = EventOf(frozenset({EventKind.EXCEPTION}))
BARRIERS = EventOf(frozenset({EventKind.DSB}))
MOST = 3


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(HELLO, tmp_path_factory.mktemp("replay"))


@pytest.fixture
def replay(file: Path) -> Iterator[Replay]:
    opened = Replay.open(file)
    yield opened
    opened.close()


def fault(replay: Replay) -> Moment:
    """The moment after an instruction that takes an exception."""
    rows = np.flatnonzero(replay.events.kind == EventKind.EXCEPTION)
    found = replay.event_moment(int(rows[len(rows) // 2]))
    assert found.attempt == 1
    return found


def instructions_at(replay: Replay, position: int) -> tuple[Execute, Execute]:
    """The one that faults, and the first of the handler."""
    found = []
    for attempt in (0, 1):
        replay.visit(Moment(position, attempt))
        found.append(Execute(replay.machine.cpu.pc))
    return found[0], found[1]


def whats(replay: Replay) -> list[Condition]:
    """Conditions of each sort, met more than `MOST` times on both sides of the middle."""
    written = replay.symbols.address_of("console_write")
    assert written is not None
    return [
        Execute(written, el=2),
        EXCEPTIONS,
        BARRIERS,
        AnyOf((Execute(written, el=2), EXCEPTIONS, BARRIERS)),
    ]


@pytest.mark.parametrize("number", range(4))
def test_the_nearest_are_listed_in_both_directions(replay: Replay, number: int) -> None:
    what = whats(replay)[number]
    every = replay.find_all(what, 0, replay.end)
    here = every[len(every) // 2].moment
    early = [hit for hit in every if hit.moment < here]
    late = [hit for hit in every if hit.moment >= here]
    assert min(len(early), len(late)) > MOST
    replay.visit(here)
    assert replay.find_rest(what, Direction.BACK) == (early, False)
    assert replay.find_rest(what, Direction.FORWARD) == (late, False)
    assert replay.find_rest(what, Direction.BACK, most=MOST) == (early[-MOST:], True)
    assert replay.find_rest(what, Direction.FORWARD, most=MOST) == (late[:MOST], True)
    assert replay.find_rest(what, Direction.BACK, most=len(early)) == (early, False)
    assert (replay.position, replay.attempt) == here
    replay.goto(0)
    assert replay.find_rest(what, Direction.BACK) == ([], False)


def test_a_list_is_cut_at_the_moment(replay: Replay) -> None:
    """At one position: the instruction that faults at attempt 0, then the exception."""
    position, _ = fault(replay)
    what = AnyOf((instructions_at(replay, position)[0], EXCEPTIONS))
    for attempt, back, on in ((0, [], [0, 1]), (1, [0], [1])):
        replay.visit(Moment(position, attempt))
        for way, expected in ((Direction.BACK, back), (Direction.FORWARD, on)):
            hits, _ = replay.find_rest(what, way)
            assert [hit.attempt for hit in hits if hit.position == position] == expected


def test_backwards_the_later_attempt_is_nearer(replay: Replay) -> None:
    position, _ = fault(replay)
    what = AnyOf(instructions_at(replay, position))
    replay.goto(position + 1)
    found = [replay.find(what, Direction.BACK) for _ in range(2)]
    assert [hit.moment for hit in found if hit] == [Moment(position, 1), Moment(position)]


def test_what_does_not_fit_where_hits_are_kept_is_found(
    replay: Replay, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is between two checkpoints."""
    start, last = replay.end - 6_000, replay.end - 1
    console = replay.symbols.address_of("console_write")
    assert console is not None
    replay.find(Execute(console), Direction.FORWARD)
    page = replay.machine.cpu.registers()[31] & -4096
    # More than is kept; of stores more than the instructions before the stretch have.
    cases: tuple[tuple[Condition, int], ...] = (
        (RegisterWrite("X0", 0), 96),
        (Write(page, 4096), 600),
    )
    plain = [replay.find_all(what, start, last) for what, _ in cases]
    assert min(map(len, plain)) > 200
    for (what, capacity), hits in zip(cases, plain, strict=True):
        monkeypatch.setattr(scan, "CpuWatch", partial(CpuWatch, capacity=capacity))
        small = Replay.open(file)
        assert small.find_all(what, start, last) == hits
        small.goto(last + 1)
        assert small.find_rest(what, Direction.BACK, most=len(hits))[0] == hits
        small.close()


@pytest.mark.parametrize("way", ["on", "back"])
def test_a_cut_list_is_told(
    way: str, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ["--at", "0"] if way == "on" else ["--at", "end", "--back"]
    arguments = ["replay", str(file), *place, "--find", "exec:console_write", "--all"]
    assert main(arguments) == 0
    whole, said = capsys.readouterr()
    assert said == ""
    monkeypatch.setattr(command, "MOST_HITS", 3)
    assert main(arguments) == 0
    cut, said = capsys.readouterr()
    lines = whole.splitlines()
    assert len(lines) > 3
    assert cut.splitlines() == (lines[:3] if way == "on" else lines[-3:])
    assert said.startswith("aether: only the ")
    assert said.count("\n") == 1
    assert main([*arguments, "--json"]) == 0
    cut, said = capsys.readouterr()
    assert json.loads(cut)["more_hits"] is True
    assert said.count("\n") == 1
    monkeypatch.setattr(command, "MOST_HITS", len(lines))
    assert main([*arguments, "--json"]) == 0
    cut, said = capsys.readouterr()
    assert (json.loads(cut)["more_hits"], said) == (False, "")


def test_an_attempt_that_there_is_not(
    replay: Replay, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay.goto(77)
    for wanted in (Moment(5, 3), Moment(replay.end, 1), Moment(fault(replay).position, 9)):
        words = f"position {wanted.position:,} has no attempt {wanted.attempt}"
        with pytest.raises(UserError, match=words):
            replay.visit(wanted)
        assert (replay.position, replay.attempt) == (77, 0)
        assert main(["replay", f"{file}@{wanted.text}", "--json"]) == 2
        out, said = capsys.readouterr()
        assert (out, said.count("\n")) == ("", 1)
        assert words in said
    replay.visit(fault(replay))
    assert replay.attempt == 1


def test_events_are_told_with_their_attempts_and_numbers(
    replay: Replay, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = fault(replay)
    assert main(["replay", f"{file}@{there.text}", "--show", "events"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines() if line.startswith("event:")]
    assert [f"{there.position:,}.1", "exception"] in [[line[1], line[6]] for line in lines]
    for name, shown, *_ in lines:
        moment = replay.moment(name)
        assert shown == moment.shown
        assert replay.moment(shown) == moment


def test_events_around_are_parted_at_the_moment(replay: Replay) -> None:
    there = fault(replay)
    for attempt, expected in ((0, False), (1, False), (2, True)):
        where = Moment(there.position, attempt) if attempt < 2 else Moment(there.position + 1)
        replay.visit(where)
        for kinds in (None, EXCEPTIONS.kinds):
            early, late = events_around(replay, 8, 8, kinds)
            assert all(event.moment < where for event in early)
            assert all(event.moment >= where for event in late)
            assert (there in [event.moment for event in early]) is expected
            assert (there in [event.moment for event in late]) is not expected


def test_an_event_at_an_earlier_attempt_is_before(tmp_path: Path) -> None:
    replay = Replay.open(recording(ABORTS, tmp_path))
    positions = replay.events.position
    (twice,) = np.nonzero(positions[1:] == positions[:-1])
    first = next(n for n in twice.tolist() if are_apart(replay, n))
    replay.visit(replay.event_moment(first + 1))
    for kinds in (None, frozenset(EventKind)):
        early, late = events_around(replay, 8, 8, kinds)
        numbers = [event.index for event in (*early, *late)]
        assert numbers == list(range(first - 7, first + 9))
        assert early[-1].index == first
    replay.close()


def are_apart(replay: Replay, number: int) -> bool:
    """Whether an event is at an earlier attempt than the next."""
    return replay.event_moment(number) < replay.event_moment(number + 1)


def test_an_address_may_be_that_of_a_guest(replay: Replay) -> None:
    """The same VA may be code of EL2 and of a guest."""
    console = replay.symbols.address_of("console_write")
    guest = parse.condition(replay, f"exec:guest:{console:#x}")
    assert guest == AnyOf((Execute(console or 0, el=1), Execute(console or 0, el=0)))
    assert replay.find(guest, Direction.FORWARD) is None
    for text in (f"exec:el2:{console:#x}", "exec:el2:console_write", f"exec:{console:#x}"):
        assert parse.condition(replay, text) == Execute(console or 0, el=2)
    replay.visit(replay.moment("mark:guest vm0"))
    entry = replay.machine.cpu.pc
    assert replay.machine.cpu.current_el == 1
    replay.goto(0)
    hit = replay.find(parse.condition(replay, f"exec:guest:{entry:#x}"), Direction.FORWARD)
    assert hit is not None
    assert (replay.machine.cpu.current_el, replay.machine.cpu.pc) == (1, entry)
    replay.goto(0)
    assert replay.find(parse.condition(replay, f"exec:el2:{entry:#x}"), Direction.FORWARD) is None
