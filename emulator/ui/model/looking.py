# SPDX-License-Identifier: Apache-2.0
"""Commands for what is shown of the moment, and those of the cursor keys."""

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.conditions import Direction
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.views.maps import Map
from aether_edgecloud.emulator.replay.views.memory import Space, memory
from aether_edgecloud.emulator.ui.model import moves, words
from aether_edgecloud.emulator.ui.model.commands import Action, Answer, Ask
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.row import (
    Address,
    Instruction,
    Mapped,
    Place,
    Register,
)
from aether_edgecloud.emulator.ui.model.session import Session
from aether_edgecloud.emulator.ui.model.timeline import Span

_TOP = 1 << 64
_WORD = 4
_POINTER = 8
_FAR = 5000
"""Events that the cursor of their pane goes away from the moment."""


def choose(pane: Pane) -> Action:
    """Show a pane and give it the keys."""

    def act(session: Session, progress: Progress) -> Answer:
        session.looking.choose(pane)
        return Answer()

    return act


def next_pane(by: int) -> Action:
    """The next or previous of the panes shown."""

    def act(session: Session, progress: Progress) -> Answer:
        looking = session.looking
        order = [pane for pane in Pane if pane in looking.heights] or list(Pane)
        index = order.index(looking.pane) if looking.pane in order else 0
        looking.choose(order[(index + by) % len(order)])
        return Answer()

    return act


def zoom(session: Session, progress: Progress) -> Answer:
    """The pane alone, or beside the others."""
    session.looking.zoomed = not session.looking.zoomed
    return Answer()


def next_cpu(session: Session, progress: Progress) -> Answer:
    """Another CPU at the same moment."""
    count = len(session.replay.machine.cpus)
    number = (session.cpu.cpu + 1) % count
    session.looking.cpu = None if number == session.replay.cpu else number
    session.looking.code = None
    return Answer(f"CPU {number} of {count}")


def to_pc(session: Session, progress: Progress) -> Answer:
    """All cursors back to the moment."""
    session.settle()
    session.looking.memory = None
    return Answer()


def _memory(session: Session, said: str, progress: Progress) -> Answer:
    session.looking.memory = words.address(session, said, session.memory_at.space)
    session.looking.choose(Pane.MEMORY)
    return Answer()


MEMORY = Ask("memory at", _memory, lambda session: str(session.memory_at))


def _code(session: Session, said: str, progress: Progress) -> Answer:
    where = words.address(session, said)
    if where.space is not Space.VA:
        raise UserError("code is shown by VA", fix="use the memory pane (m) for IPA and PA")
    session.looking.code = where.value & ~(_WORD - 1)
    session.looking.choose(Pane.CODE)
    return Answer()


CODE = Ask("code at", _code, lambda session: f"{session.code_at:#x}")


def _kinds(session: Session, said: str, progress: Progress) -> Answer:
    session.kinds = words.kinds(said)
    session.looking.event = 0
    return Answer(f"events: {words.kinds_in_words(session.kinds)}")


KINDS = Ask("events to list and go to", _kinds, lambda session: words.kinds_in_words(session.kinds))


def zoom_timeline(*, deeper: bool) -> Action:
    """A shorter or a longer part of the run."""

    def act(session: Session, progress: Progress) -> Answer:
        replay = session.replay
        session.span = session.span.zoom(replay.position, replay.end, deeper=deeper)
        return Answer()

    return act


def whole_timeline(session: Session, progress: Progress) -> Answer:
    """All of the run."""
    session.span = Span(0, session.replay.end + 1)
    return Answer()


def shift_timeline(by: int) -> Action:
    """Half of what it shows on or back; the moment stays."""

    def act(session: Session, progress: Progress) -> Answer:
        span = session.span
        start = span.start + by * max(1, span.size // 2)
        session.span = Span.within(start, span.size, session.replay.end + 1)
        return Answer()

    return act


# The cursor keys. `by` counts rows.


def move(by: int) -> Action:
    """The pane's cursor, up or down."""

    def act(session: Session, progress: Progress) -> Answer:
        _move(session, by)
        return Answer()

    return act


def page(by: int) -> Action:
    """By what the pane shows."""

    def act(session: Session, progress: Progress) -> Answer:
        _move(session, by * max(1, session.looking.heights.get(session.looking.pane, 2) - 1))
        return Answer()

    return act


def edge(by: int) -> Action:
    """To the first or last row of a list; of the console, its beginning or end."""
    return move(by * (1 << 20))


def sideways(by: int) -> Action:
    """The memory cursor, by a byte; in a list, to what stands beside on the line."""

    def act(session: Session, progress: Progress) -> Answer:
        if session.looking.pane is Pane.REGISTERS:
            cursor = session.looking.cursor(Pane.REGISTERS)
            beside = len(cursor.rows[cursor.index].others) if cursor.rows else 0
            cursor.column = max(0, min(cursor.column + by, beside))
        if session.looking.pane is Pane.MEMORY:
            where = session.memory_at
            session.looking.memory = Address(where.space, (where.value + by) % _TOP)
        return Answer()

    return act


def _move(session: Session, by: int) -> None:
    looking = session.looking
    match looking.pane:
        case Pane.CODE:
            looking.code = max(0, min(session.code_at + by * _WORD, _TOP - _WORD))
        case Pane.MEMORY:
            where = session.memory_at
            value = where.value + by * looking.across
            looking.memory = Address(where.space, max(0, min(value, _TOP - 1)))
        case Pane.EVENTS:
            looking.event = max(-_FAR, min(looking.event + by, _FAR))
        case Pane.CONSOLE:
            looking.console_up = max(0, looking.console_up - by)
        case pane:
            cursor = looking.cursor(pane)
            stops = [n for n, row in enumerate(cursor.rows) if row.subject is not None]
            if stops:
                near = min(range(len(stops)), key=lambda n: abs(stops[n] - cursor.index))
                cursor.index = stops[max(0, min(near + by, len(stops) - 1))]
                cursor.subject = cursor.rows[cursor.index].subject


def enter(session: Session, progress: Progress) -> Answer:
    """What is natural for the row under the cursor."""
    match session.subject():
        case Place() as place:
            return moves.goto(session, place, progress)
        case Instruction(va) if session.looking.pane is Pane.CODE:
            if va == session.cpu.pc and session.looking.code is None:
                return Answer("the CPU is here; x goes to the next time it is")
            return moves.search(session, moves.here(session), Direction.FORWARD, progress)
        case Instruction(va):
            session.looking.code = va
            return Answer()
        case Register(_, value):
            session.looking.memory = Address(Space.VA, value)
            session.looking.choose(Pane.MEMORY)
            return Answer()
        case Mapped(which, ia, _):
            space = Space.IPA if which is Map.STAGE2 else Space.VA
            session.looking.memory = Address(space, ia)
            session.looking.choose(Pane.MEMORY)
            return Answer()
        case Address() as where if session.looking.pane is Pane.MEMORY:
            view = memory(
                session.replay, where.value, _POINTER, where.space, cpu=session.looking.cpu
            )
            if len(view.data) < _POINTER or None in view.data:
                return Answer("there are no 8 bytes here to follow")
            value = int.from_bytes(bytes(b for b in view.data if b is not None), "little")
            session.looking.memory = Address(where.space, value)
            return Answer()
        case Address() as where:
            session.looking.memory = where
            session.looking.choose(Pane.MEMORY)
            return Answer()
    return Answer()


def click(pane: Pane, row: int) -> Action:
    """The pane has the keys, and its cursor is on the row of that number, if it can be."""

    def act(session: Session, progress: Progress) -> Answer:
        looking = session.looking
        looking.choose(pane)
        filled = looking.drawn.get(pane)
        if filled is None or not 0 <= row < len(filled.rows):
            return Answer()
        match filled.rows[row].subject:
            case Instruction(va) if pane is Pane.CODE:
                looking.code = va
            case Address() as where if pane is Pane.MEMORY:
                looking.memory = where
            case Place() if pane is Pane.EVENTS and filled.cursor is not None:
                looking.event += row - filled.cursor
            case None:
                pass
            case subject:
                cursor = looking.cursor(pane)
                cursor.subject = subject
        return Answer()

    return act


def scroll(pane: Pane, by: int) -> Action:
    """The mouse's wheel over a pane."""

    def act(session: Session, progress: Progress) -> Answer:
        session.looking.choose(pane)
        _move(session, by)
        return Answer()

    return act
