# SPDX-License-Identifier: Apache-2.0
"""Searches for events stop at each of them, once, in both directions, and where the rule says: what
leads to another EL is at the first moment after it, what an instruction does at the moment before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.recording.events import ON_DEMAND, EventKind
from aether_edgecloud.emulator.replay import AnyOf, Direction, EventOf, Execute, Replay
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.views.registers import registers
from aether_edgecloud.properties.replay.runs import ABORTS, HELLO, SMP, TRAPS, Run, recording

SLOTS = 12
ENTRIES = (EventKind.EXCEPTION, EventKind.INTERRUPT, EventKind.HYPERCALL)
VECTORS = 0x800


@contextmanager
def replay_of(run: Run, folder: Path) -> Iterator[Replay]:
    replay = Replay.open(recording(run, folder))
    yield replay
    replay.close()


def stretch(replay: Replay, kind: EventKind) -> tuple[int, int]:
    """Positions of about `SLOTS` events of a kind in the middle of all."""
    places = replay.events.position[replay.events.kind == kind]
    middle = max(len(places) - SLOTS, 0) // 2
    found = places[middle : middle + SLOTS]
    return int(found[0]), int(found[-1])


def one_by_one(
    replay: Replay, what: EventOf, first: int, last: int, way: Direction
) -> list[Moment]:
    """Where searches stop in [first, last], in their order."""
    if way is Direction.FORWARD:
        replay.goto(max(first - 1, 0))
    elif last == replay.end:
        replay.goto(last)
    else:
        replay.goto(last + 1)
    found = []
    while (hit := replay.find(what, way)) is not None and first <= hit.position <= last:
        assert (replay.position, replay.attempt) == (hit.position, hit.attempt)
        found.append(Moment(hit.position, hit.attempt))
    return found


@pytest.mark.parametrize("run", [HELLO, TRAPS, SMP], ids=lambda run: run.guest)
def test_forwards_and_backwards_are_the_same_and_what_was_recorded(
    run: Run, tmp_path: Path
) -> None:
    with replay_of(run, tmp_path) as replay:
        events = replay.events
        for kind in sorted(set(EventKind) - ON_DEMAND):
            if kind not in events.kind:
                continue
            what = EventOf(frozenset({kind}))
            first, last = stretch(replay, kind)
            rows = (events.kind == kind) & (events.position >= first) & (events.position <= last)
            every = replay.find_all(what, first, last)
            assert [hit.position for hit in every] == events.position[rows].tolist()
            places = sorted({Moment(hit.position, hit.attempt) for hit in every})
            # A search finds what is at another moment than the cursor.
            forward = one_by_one(replay, what, first, last, Direction.FORWARD)
            assert forward == [place for place in places if place > (0, 0)]
            back = one_by_one(replay, what, first, last, Direction.BACK)
            assert back[::-1] == [place for place in places if place < (replay.end, 0)]


@pytest.mark.parametrize("run", [TRAPS, ABORTS, SMP], ids=lambda run: run.guest)
def test_entries_are_at_the_first_moment_after_them(run: Run, tmp_path: Path) -> None:
    with replay_of(run, tmp_path) as replay:
        for index in some_of_each_class(replay):
            moment = replay.event_moment(index)
            assert is_in_vector(replay, index, moment)
            replay.goto(moment.position, attempt=moment.attempt)
            replay.step(-1)
            assert not is_in_vector(replay, index, Moment(replay.position, replay.attempt))


def some_of_each_class(replay: Replay) -> list[int]:
    """Numbers of events of entry: two of every class and pair of levels."""
    chosen: dict[tuple[int, int], list[int]] = {}
    events = replay.events
    for index in np.flatnonzero(np.isin(events.kind, np.array(ENTRIES, np.uint8))).tolist():
        levels = int(events.c[index]) if events.kind[index] != EventKind.HYPERCALL else -1
        chosen.setdefault((int(events.kind[index]), levels), []).append(index)
    return sorted(index for group in chosen.values() for index in (group[0], group[-1]))


def is_in_vector(replay: Replay, index: int, moment: Moment) -> bool:
    """Whether the event's CPU stands before the first instruction of its handler."""
    events = replay.events
    replay.goto(moment.position, attempt=moment.attempt)
    assert (replay.position, replay.attempt) == moment
    is_call = events.kind[index] == EventKind.HYPERCALL
    level = 2 if is_call else int(events.c[index]) >> 4 & 15
    names = (f"VBAR_EL{level}", f"ELR_EL{level}")
    view = registers(replay, cpu=int(events.cpu[index]), system=names, changes=False)
    vectors, elr = (register.value for register in view.system)
    offset = view.pc - (vectors & ~(VECTORS - 1))
    is_entry = 0 <= offset < VECTORS and not offset % 0x80
    return view.el == level and is_entry and elr == int(events.b[index])


def test_from_the_faulting_instruction_the_exception_is_next(tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        what = EventOf(frozenset({EventKind.EXCEPTION}))
        hit = replay.find(what, Direction.FORWARD)
        assert hit is not None
        assert (hit.attempt, replay.machine.cpu.current_el) == (1, 2)
        assert replay.step(-1)
        assert (replay.position, replay.attempt) == (hit.position, 0)
        assert replay.machine.cpu.current_el == 1
        assert replay.find(what, Direction.FORWARD) == hit
        assert replay.find(what, Direction.BACK) is None


@pytest.mark.parametrize("run", [HELLO, TRAPS, SMP], ids=lambda run: run.guest)
def test_what_an_instruction_does_is_before_it(run: Run, tmp_path: Path) -> None:
    with replay_of(run, tmp_path) as replay:
        events = replay.events
        for kind in (EventKind.SYSREG_WRITE, EventKind.TLBI):
            rows = np.flatnonzero(events.kind == kind)
            tried = np.flatnonzero(np.isin(events.position[rows], exceptions(replay)))
            for index in [*rows[:: len(rows) // 10 + 1].tolist(), *rows[tried[:5]].tolist()]:
                moment = replay.event_moment(index)
                replay.goto(moment.position, attempt=moment.attempt)
                assert replay.cpu == events.cpu[index]
                assert replay.machine.cpus[replay.cpu].pc == events.c[index]


def exceptions(replay: Replay) -> list[int]:
    events = replay.events
    found: list[int] = events.position[events.kind == EventKind.EXCEPTION].tolist()
    return found


def test_what_is_found_on_demand(tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        what = EventOf(frozenset({EventKind.DSB}))
        every = replay.find_all(what, 0, replay.end)
        last = every[:SLOTS][-1].position
        places = sorted({Moment(hit.position, hit.attempt) for hit in every[:SLOTS]})
        assert one_by_one(replay, what, 0, last, Direction.FORWARD) == places
        assert one_by_one(replay, what, 0, last, Direction.BACK)[::-1] == places
        for place in places[:5]:
            replay.goto(place.position, attempt=place.attempt)
            word = replay.machine.cpu.engine.fetch_word(replay.machine.cpu.pc)
            assert word is not None
            assert word & 0xFFFF_F0FF == 0xD503_309F


def test_the_nearest_of_an_event_and_an_instruction(tmp_path: Path) -> None:
    """At one position: the instruction that faults, then the exception."""
    with replay_of(HELLO, tmp_path) as replay:
        what = EventOf(frozenset({EventKind.EXCEPTION}))
        hit = replay.find(what, Direction.FORWARD)
        assert hit is not None
        replay.step(-1)
        faulting = Execute(replay.machine.cpu.pc)
        replay.step(-1)
        both = AnyOf((what, faulting))
        found = [replay.find(both, Direction.FORWARD) for _ in range(2)]
        assert [(one.position, one.attempt) for one in found if one] == [
            (hit.position, 0),
            (hit.position, 1),
        ]
        replay.step()
        found = [replay.find(both, Direction.BACK) for _ in range(2)]
        assert [one.attempt for one in found if one] == [1, 0]


def test_the_runs_have_what_is_tested(tmp_path: Path) -> None:
    """Classes that are attempts, that retire, and that are found before an instruction."""
    found: set[int] = set()
    for run in (TRAPS, ABORTS):
        with replay_of(run, tmp_path) as replay:
            events = replay.events
            assert EventKind.INTERRUPT in events.kind
            classes = events.c[events.kind == EventKind.EXCEPTION] >> np.uint64(8)
            found |= set(classes.tolist())
    assert {
        ExceptionClass.SVC,
        ExceptionClass.ILLEGAL_STATE,
        ExceptionClass.PC_ALIGNMENT,
        ExceptionClass.INSTRUCTION_ABORT_LOWER,
        ExceptionClass.INSTRUCTION_ABORT_SAME,
        ExceptionClass.DATA_ABORT_LOWER,
        ExceptionClass.SYSREG,
    } <= found


@pytest.mark.parametrize("name", ["event", "attempt"])
def test_a_place_may_name_an_attempt(name: str, tmp_path: Path) -> None:
    with replay_of(HELLO, tmp_path) as replay:
        index = int(np.flatnonzero(replay.events.kind == EventKind.EXCEPTION)[0])
        moment = replay.event_moment(index)
        assert moment.attempt == 1
        text = moment.text if name == "attempt" else f"event:{index}"
        assert replay.moment(text) == moment
        assert replay.place(f"event:{index}") == moment.position
