# SPDX-License-Identifier: Apache-2.0
"""Commands ask the replay for the right thing, and say what came of it."""

from collections.abc import Callable

import pytest
from rich.text import Text

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.recording.recording import Mark
from aether_edgecloud.emulator.replay.conditions import (
    Access,
    AnyOf,
    Condition,
    Direction,
    EventOf,
    Execute,
    Hit,
    RegisterWrite,
    StepOut,
    StepOver,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.emulator.replay.difference import Difference, DifferentRegister
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import SILENT, Cancelled
from aether_edgecloud.emulator.replay.views.maps import Map
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model import comparing, moves
from aether_edgecloud.emulator.ui.model.commands import Answer, Ask, Group, Screen, by_key
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.row import Address, Filled, Mapped, Place, Register, Row
from aether_edgecloud.emulator.ui.model.session import RECORDED_KINDS, Session
from aether_edgecloud.emulator.ui.model.table import COMMANDS
from aether_edgecloud.emulator.ui.model.timeline import Span
from aether_edgecloud.properties.ui import stand_in
from aether_edgecloud.properties.ui.stand_in import PC, StandIn

_NAMED = {command.name: command for command in COMMANDS}


def do(session: Session, name: str, said: str | None = None) -> Answer:
    """A command by name; what it asks is answered with what it proposes, or with `said`."""
    does = _NAMED[name].does
    if isinstance(does, Ask):
        return does.action(session, does.proposed(session) if said is None else said, SILENT)
    assert not isinstance(does, Screen)
    return does(session, SILENT)


def test_every_key_has_one_command() -> None:
    keys = by_key(COMMANDS)
    assert len(keys) == sum(len(command.keys) for command in COMMANDS)
    assert len(_NAMED) == len(COMMANDS)
    with pytest.raises(ValueError, match="s is both"):
        by_key([COMMANDS[0], COMMANDS[0]])


def test_upper_case_goes_back_where_lower_case_goes_on() -> None:
    keys = by_key(COMMANDS)
    for command in COMMANDS:
        if command.group in (Group.STEP, Group.FIND) and command.keys[0].isupper():
            assert keys[command.keys[0].lower()].group is command.group
    pairs = [k for k in keys if len(k) == 1 and k.islower() and k.upper() in keys]
    assert {*"snocexwrt"} <= set(pairs)


_AT = Execute(PC, vmid=None, el=2)
_SEARCHES: dict[str, tuple[Condition, Direction]] = {
    "over": (StepOver(), Direction.FORWARD),
    "over back": (StepOver(), Direction.BACK),
    "out": (StepOut(), Direction.FORWARD),
    "out back": (StepOut(), Direction.BACK),
    "event": (EventOf(RECORDED_KINDS), Direction.FORWARD),
    "event back": (EventOf(RECORDED_KINDS), Direction.BACK),
    "execution": (_AT, Direction.FORWARD),
    "execution back": (_AT, Direction.BACK),
    "write": (Write(stand_in.SP + (1 << 30)), Direction.FORWARD),
    "last write": (Write(stand_in.SP + (1 << 30)), Direction.BACK),
    "register write": (RegisterWrite("x0"), Direction.FORWARD),
    "last register write": (RegisterWrite("x0"), Direction.BACK),
}


@pytest.mark.parametrize("name", _SEARCHES)
def test_a_search_goes_where_it_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch, StandIn([Hit(700, "found it", attempt=1)]))
    session.looking.code = PC
    answer = do(session, name)
    assert replay.asked == [_SEARCHES[name]]
    assert answer.words == "found it"
    assert session.history.places[session.history.index] == Place(700, 1)
    assert session.looking.code is None  # the code pane is at the PC again


@pytest.mark.parametrize("name", _SEARCHES)
def test_a_search_without_a_hit_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch, StandIn([None]))
    answer = do(session, name)
    edge = "end" if _SEARCHES[name][1] is Direction.FORWARD else "beginning"
    assert answer.words == f"nothing found up to the {edge} of the run"
    assert session.history.places == [Place(100)]


def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch)
    do(session, "step")
    assert replay.position == 101
    do(session, "step back")
    assert replay.position == 100
    # One entry of the history, however many steps.
    assert session.history.places == [Place(100)]
    replay.position = 0
    assert do(session, "step back").words == "this is the beginning of the run"
    replay.position = stand_in.END
    assert do(session, "step").words == "this is the end of the run"


def test_a_guests_instruction_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another VM has other code at the same address."""
    view = stand_in.cpu_view(el=1, vmid=2)
    session, replay = stand_in.session(monkeypatch, StandIn([None]), view)
    do(session, "execution")
    assert replay.asked[0] == (Execute(PC, vmid=2, el=1), Direction.FORWARD)


def test_all_executions_of_what_the_timeline_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = StandIn(all_hits=[Hit(5, "first"), Hit(70, "second", attempt=2)])
    session, _ = stand_in.session(monkeypatch, replay)
    session.span = Span(0, 200)
    answer = do(session, "all executions")
    assert replay.asked == [(_AT, 0, 199)]
    assert [choice.words.split() for choice in answer.choices] == [
        ["5", "first"],
        ["70.2", "second"],
    ]
    answer.choices[1].action(session, SILENT)
    assert (replay.position, replay.attempt) == (70, 2)
    replay.all_hits = []
    assert "not executed" in do(session, "all executions").words


def test_breakpoints_and_watchpoints_are_found_together(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch, StandIn([None, None, None]))
    assert "no breakpoint" in do(session, "continue").words
    do(session, "breakpoint")
    do(session, "continue")
    do(session, "watchpoint", "va:0x1000 16 rw")
    do(session, "continue back")
    watched = Access(0x4000_1000, 16)
    assert replay.asked == [
        (_AT, Direction.FORWARD),
        (AnyOf((_AT, watched)), Direction.BACK),
    ]
    do(session, "breakpoint")  # the same again takes it away
    do(session, "continue")
    assert replay.asked[-1] == (watched, Direction.FORWARD)
    (choice,) = do(session, "clear").choices
    choice.action(session, SILENT)
    assert session.stops == []
    assert "no breakpoint" in do(session, "clear").words


@pytest.mark.parametrize("said", ["", "0x10 bytes", "0x10 8 9", "0x10 r w", "0x10 0", "0x10 9999"])
def test_what_is_no_watchpoint(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    with pytest.raises(UserError):
        do(session, "watchpoint", said)
    assert session.stops == []


def test_a_byte_that_is_not_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    with pytest.raises(UserError, match="not mapped here; give its PA"):
        do(session, "write", "va:0xffff800000000000")


def test_an_entry_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch, StandIn([None]))
    do(session, "table write", "pa:0x47000008")
    assert replay.asked == [(TableEntryWrite(0x4700_0008), Direction.FORWARD)]


def _cursor_on(session: Session, pane: Pane, row: Row) -> None:
    session.looking.choose(pane)
    session.looking.drawn = {pane: Filled("", [row], 0)}


_PROPOSALS: dict[str, tuple[str, Pane, Row]] = {
    "x7": ("register write", Pane.REGISTERS, Row(Text(), Register("x7", 0))),
    "ipa:0x40000000": ("table write", Pane.STAGE2, Row(Text(), Mapped(Map.STAGE2, 1 << 30, 0))),
    "va:0x40000000": ("table write", Pane.STAGE1, Row(Text(), Mapped(Map.STAGE1_LOW, 1 << 30, 0))),
}


@pytest.mark.parametrize("proposed", _PROPOSALS)
def test_questions_propose_what_the_cursor_is_on(
    proposed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = stand_in.session(monkeypatch)
    name, pane, row = _PROPOSALS[proposed]
    _cursor_on(session, pane, row)
    ask = _NAMED[name].does
    assert isinstance(ask, Ask)
    assert ask.proposed(session) == proposed


def test_go_back_and_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch)
    do(session, "go to", "500")
    do(session, "step")
    do(session, "go to", "900")
    do(session, "back")
    assert replay.position == 501
    do(session, "back")
    assert replay.position == 100
    assert do(session, "back").words == "no place was visited before"
    do(session, "forward")
    do(session, "forward")
    assert replay.position == 900
    assert do(session, "forward").words == "no place was left behind"


def test_work_that_is_ended_leaves_the_history_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch)
    do(session, "go to", "500")
    replay.cancels = True
    for name in ("back", "go to"):
        with pytest.raises(Cancelled):
            do(session, name, "900")
    assert session.history.places == [Place(100), Place(500)]
    assert session.history.index == 1
    assert replay.position == 500


def test_bookmarks_are_places_to_go_to(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch)
    do(session, "bookmark", "odd write")
    do(session, "go to", "500")
    do(session, "go to", "odd write")
    assert replay.position == 100
    offered = do(session, "bookmarks").choices
    assert [choice.words.split(maxsplit=1) for choice in offered] == [
        ["100", "odd write"],
        ["0", "reset"],
        ["900", "guest 1"],
    ]
    offered[2].action(session, SILENT)
    assert replay.position == 900


def test_a_bookmark_is_of_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch, StandIn(position=2_000, attempt=1))
    assert do(session, "bookmark", "").words == "bookmark 2000.1 at 2,000.1"
    replay.attempt = 0
    assert do(session, "bookmark", "call").words == "bookmark call at 2,000"
    do(session, "go to", "#2000.1")
    assert (replay.position, replay.attempt) == (2_000, 1)
    offered = do(session, "bookmarks").choices
    assert [choice.words.split()[0] for choice in offered[:2]] == ["2,000", "2,000.1"]
    offered[0].action(session, SILENT)
    offered[1].action(session, SILENT)
    assert session.history.places[-2:] == [Place(2_000), Place(2_000, 1)]


def test_a_bookmark_that_is_there_is_renamed_or_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    ask = _NAMED["bookmark"].does
    assert isinstance(ask, Ask)
    assert ask.question(session) == "name of the bookmark"
    assert ask.proposed(session) == ""
    do(session, "bookmark", "odd")
    assert ask.question(session) == "new name of the bookmark (empty or the same clears it)"
    assert ask.proposed(session) == "odd"
    assert do(session, "bookmark", " even ").words == "bookmark odd at 100 is now even"
    assert session.bookmarks.named("even") == Moment(100)
    assert do(session, "bookmark", " even").words == "no bookmark at 100 any more"
    do(session, "bookmark", "odd")
    assert do(session, "bookmark", " ").words == "no bookmark at 100 any more"
    assert session.bookmarks.all() == ()


def test_a_bookmark_that_cannot_be_kept_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    with pytest.raises(UserError, match="printable"):
        do(session, "bookmark", "one\x07two")
    assert session.bookmarks.all() == ()


def test_search_finds_symbols_and_then_events_from_here_on(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = [(50, EventKind.TLBI, 0), (150, EventKind.MMIO, 1), (160, EventKind.TLBI, 1)]
    session, replay = stand_in.session(monkeypatch, StandIn(events=stand_in.said(happened)))
    found = do(session, "search", "T").choices
    assert [choice.words.split()[:2] for choice in found] == [
        ["vectors", "0x40080000"],
        ["trap", "0x40080100"],
        ["160", "tlbi"],
        ["50", "tlbi"],
    ]
    found[1].action(session, SILENT)
    assert session.code_at == 0x4008_0100
    assert session.memory_at == Address(Space.VA, 0x4008_0100)
    found[2].action(session, SILENT)
    assert replay.position == 160
    assert "no symbol and no event" in do(session, "search", "zzz").words
    assert do(session, "search", " ").choices == ()


def test_search_tells_of_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = [(1_500, EventKind.MMIO, 1)]
    session, replay = stand_in.session(monkeypatch, StandIn(events=stand_in.said(happened)))
    monkeypatch.setattr(
        replay, "event_moment", lambda number: Moment(int(replay.events.position[number]), 3)
    )
    (choice,) = do(session, "search", "mmio").choices
    assert choice.words.split()[0] == "1,500.3"


def test_search_in_events_of_the_chosen_kinds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    happened = [(50, EventKind.TLBI, 0), (150, EventKind.MMIO, 1)]
    session, _ = stand_in.session(monkeypatch, StandIn(events=stand_in.said(happened)))
    do(session, "event kinds", "mmio")
    assert [choice.words.split()[1] for choice in do(session, "search", "number").choices] == [
        "mmio"
    ]


def test_search_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient:
        def at(self, done: int, total: int) -> None:
            raise Cancelled

    happened = [(50, EventKind.TLBI, 0)]
    session, _ = stand_in.session(monkeypatch, StandIn(events=stand_in.said(happened)))
    ask = _NAMED["search"].does
    assert isinstance(ask, Ask)
    with pytest.raises(Cancelled):
        ask.action(session, "x", Impatient())


def test_the_link_names_file_and_position(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    assert session.link == "runs/boot.aet@100"


_ENTERED: dict[str, tuple[Pane, Row, Callable[[Session, StandIn], bool]]] = {
    "an event": (Pane.EVENTS, Row(Text(), Place(77)), lambda s, r: r.position == 77),
    "a register": (
        Pane.REGISTERS,
        Row(Text(), Register("x1", 0x5000)),
        lambda s, r: s.memory_at == Address(Space.VA, 0x5000) and s.looking.pane is Pane.MEMORY,
    ),
    "a region": (
        Pane.STAGE2,
        Row(Text(), Mapped(Map.STAGE2, 0x6000, 0)),
        lambda s, r: s.memory_at == Address(Space.IPA, 0x6000),
    ),
    "a word of the stack": (
        Pane.STACK,
        Row(Text(), Address(Space.VA, 0x7000)),
        lambda s, r: s.memory_at == Address(Space.VA, 0x7000) and s.looking.pane is Pane.MEMORY,
    ),
}


@pytest.mark.parametrize("what", _ENTERED)
def test_enter_does_what_is_natural(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, replay = stand_in.session(monkeypatch)
    pane, row, is_done = _ENTERED[what]
    _cursor_on(session, pane, row)
    do(session, "enter")
    assert is_done(session, replay)


def test_a_difference_is_a_list_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = stand_in.session(monkeypatch)
    registers = (DifferentRegister(0, "X3", 1, 2), DifferentRegister(1, "X0", 7, None))
    answer = comparing.told(Difference(1234, registers, (0x4000_0000,), True, "b"))
    assert answer.words == "they part at 1,234, where the other run ends"
    assert [choice.words.split() for choice in answer.choices] == [
        ["CPU", "0", "X3", f"{1:016x}", "|", f"{2:016x}"],
        ["CPU", "1", "X0", f"{7:016x}", "|", "none"],
        ["memory", "at", "PA", "0x40000000"],
    ]
    answer.choices[2].action(session, SILENT)
    assert session.memory_at == Address(Space.PA, 0x4000_0000)
    assert session.looking.pane is Pane.MEMORY


def test_opening_goes_to_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    replay = StandIn(
        marks=[Mark(0, "reset"), Mark(77, "failed: two-roots: words"), Mark(80, "end")]
    )
    session, _ = stand_in.session(monkeypatch, replay)
    assert moves.begin(None)(session, SILENT).words == "failed: two-roots: words"
    assert replay.position == 77
    assert session.history.places == [Place(77)]
    moves.begin(Moment(5))(session, SILENT)
    assert replay.position == 5
