# SPDX-License-Identifier: Apache-2.0
"""The whole screen at one moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.views.backtrace import backtrace, stack
from aether_edgecloud.emulator.replay.views.code import disassembly
from aether_edgecloud.emulator.replay.views.maps import Map, stage1_of, translation_map
from aether_edgecloud.emulator.replay.views.memory import memory
from aether_edgecloud.emulator.replay.views.surroundings import console_at, events_around
from aether_edgecloud.emulator.ui.model import (
    code,
    happenings,
    maps,
    registers,
    styles,
    timeline,
    walks,
    words,
)
from aether_edgecloud.emulator.ui.model import memory as memory_pane
from aether_edgecloud.emulator.ui.model import (
    stack as stack_pane,
)
from aether_edgecloud.emulator.ui.model.layout import TITLES, Box, Layout, Pane, lay_out
from aether_edgecloud.emulator.ui.model.row import Filled, Mapped, Row, is_same, window
from aether_edgecloud.emulator.ui.model.session import RECORDED_KINDS, Cursor, Session
from aether_edgecloud.emulator.ui.model.table import COMMANDS

_FIRST = ("help", "quit", "step", "over", "out", "event", "write", "go to", "search")
_STACK_WORDS = 64
_CONSOLE = 1 << 16
"""Bytes of the console's output that can be scrolled through."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A screen. `focus` has the keys."""

    layout: Layout
    status: Text
    panes: Mapping[Pane, Filled]
    timeline: Sequence[Text]
    focus: Pane


def draw(session: Session, width: int, height: int) -> Shown:
    """The screen of a session for a terminal of that many columns and rows."""
    looking = session.looking
    layout = lay_out(width, height, looking.recent, zoomed=looking.zoomed)
    looking.heights = {box.pane: box.height - 1 for box in layout.boxes}
    panes: dict[Pane, Filled] = {}
    for box in layout.boxes:
        try:
            panes[box.pane] = _FILLERS[box.pane](session, box)
        except UserError as error:
            panes[box.pane] = Filled(_title(box.pane), [Row(Text(str(error), styles.ALARM))])
    looking.drawn = panes
    here = timeline.Here(
        session.replay.position,
        session.cpu.cpu,
        [mark.moment.position for mark in session.bookmarks.all()],
    )
    lanes = timeline.draw(session.timeline, session.span, here, (width, layout.timeline))
    return Shown(layout, status(session, width), panes, lanes, looking.pane)


def status(session: Session, width: int) -> Text:
    """Where in the run this is, and what the CPU shown is doing."""
    replay, cpu = session.replay, session.cpu
    share = 100 * replay.position / replay.end if replay.end else 0.0
    where = cpu.symbol or f"{cpu.pc:#x}"
    vm = f" {cpu.vm or f'VM {cpu.vmid}'}" if cpu.vmid else ""
    cpus = f" CPU {cpu.cpu}" if len(replay.machine.cpus) > 1 else ""
    moment = f"{session.moment.shown} of {replay.end:,} {share:.2f}%"
    line = f"{moment} |{cpus} EL{cpu.el}{vm} | {where}"
    name = replay.title.rpartition("/")[2]
    if len(line) + len(name) + 2 <= width:
        line = f"{name}  {line}"
    text = Text(line, style=styles.CURRENT)
    text.truncate(width, pad=True)
    return text


def lines(filled: Filled, width: int, *, has_keys: bool) -> list[Text]:
    """A pane as it is drawn: its title, then its rows."""
    title = Text(f"─ {filled.title} ", styles.CURRENT if has_keys else styles.DIM)
    title.truncate(width, overflow="ellipsis")
    title.append("─" * (width - title.cell_len), styles.DIM)
    drawn = [title]
    for number, row in enumerate(filled.rows):
        text = row.text
        if number == filled.cursor:
            text = text.copy()
            text.truncate(width, pad=True)
            start, end = _cell(row, filled.column, width)
            text.stylize(styles.CURRENT if has_keys else styles.CURSOR, start, end)
        drawn.append(text)
    return drawn


def _cell(row: Row, column: int, width: int) -> tuple[int, int]:
    """The part of a row that its subject of that column takes."""
    if not row.others:
        return 0, width
    across = 1 + len(row.others)
    cell = (row.text.cell_len + 1) // across
    start = min(column, across - 1) * cell
    return start, start + cell - 1


def keys(width: int) -> Text:
    """The keys to begin with, as many as fit."""
    line = Text()
    named = {command.name: command for command in COMMANDS}
    for command in map(named.__getitem__, _FIRST):
        word = f" {command.keys[0]} {command.name} "
        if line.cell_len + len(word) > width:
            break
        line.append(f" {command.keys[0]}", styles.NAME)
        line.append(f" {command.name} ", styles.DIM)
    return line


def _title(pane: Pane, more: str = "") -> str:
    return f"{pane.value} {TITLES[pane]}" + (f"  {more}" if more else "")


def _code(session: Session, box: Box) -> Filled:
    cpu, at, height = session.cpu, session.code_at, box.height - 1
    stops = frozenset(stop.va for stop in session.stops if stop.va is not None)
    around = disassembly(session.replay, at=at, before=height, after=height, cpu=cpu.cpu)
    title = _title(box.pane, f"EL{cpu.el} {cpu.symbol or ''}".rstrip())
    return code.fill(around, code.Code(at, stops), title, height)


def _listed(session: Session, box: Box, rows: list[Row], more: str = "") -> Filled:
    """A pane that is a list: its cursor stays on what it was on."""
    cursor = session.looking.cursor(box.pane)
    cursor.rows = rows
    on = _cursor_row(cursor)
    shown = window(rows, on, cursor.top, box.height - 1)
    cursor.top = shown.start
    return Filled(
        _title(box.pane, more),
        [rows[n] for n in shown],
        None if on is None else on - shown.start,
        cursor.column,
    )


def _cursor_row(cursor: Cursor) -> int | None:
    same = (n for n, row in enumerate(cursor.rows) if is_same(row.subject, cursor.subject))
    stops = (n for n, row in enumerate(cursor.rows) if row.subject is not None)
    near = min(stops, key=lambda n: abs(n - cursor.index), default=None)
    found = next(same, near)
    if found is not None:
        cursor.index, cursor.subject = found, cursor.rows[found].subject
    return found


def _registers(session: Session, box: Box) -> Filled:
    rows = registers.rows(session.cpu, box.width)
    more = ", ".join(filter(None, (_who(session), registers.changes(session.cpu))))
    return _listed(session, box, rows, more)


def _who(session: Session) -> str:
    cpu = session.cpu
    if len(session.replay.machine.cpus) == 1:
        return ""
    return f"CPU {cpu.cpu}" + ("" if cpu.cpu == session.replay.cpu else f" ({cpu.activity})")


def _stack(session: Session, box: Box) -> Filled:
    cpu = session.looking.cpu
    frames = backtrace(session.replay, cpu=cpu)
    return _listed(
        session, box, stack_pane.rows(frames, stack(session.replay, _STACK_WORDS, cpu=cpu))
    )


def _memory(session: Session, box: Box) -> Filled:
    cursor, height = session.memory_at, box.height - 1
    across = session.looking.across = memory_pane.bytes_across(box.width)
    first = memory_pane.first_of(cursor.value, across, height)
    view = memory(
        session.replay,
        first,
        across * height,
        cursor.space,
        cpu=session.looking.cpu,
        changes=True,
    )
    more = f"{cursor} {memory_pane.where(view, cursor.value)}"
    return memory_pane.fill(view, cursor.value, box.width, _title(box.pane, more))


def _stage2(session: Session, box: Box) -> Filled:
    view = translation_map(session.replay, Map.STAGE2, cpu=session.looking.cpu)
    return _map(session, box, maps.rows([view], box.width))


def _stage1(session: Session, box: Box) -> Filled:
    return _map(
        session,
        box,
        maps.rows(
            stage1_of(session.replay, cpu=session.looking.cpu, kept=session.kept_maps), box.width
        ),
    )


def _map(session: Session, box: Box, rows: list[Row]) -> Filled:
    """The regions; below them the entries that a walk to the one under the cursor reads."""
    cursor = session.looking.cursor(box.pane)
    filled = _listed(session, box, rows)
    subject = cursor.subject
    if not isinstance(subject, Mapped):
        return filled
    steps = walks.entries(session.replay, session.cpu.cpu, subject.which, subject.ia)
    below = maps.entries(steps, box.width)
    if not below or box.height - 1 < 2 * len(below):
        return filled
    upper = Box(box.pane, box.x, box.y, box.width, box.height - len(below))
    filled = _listed(session, upper, rows)
    blank = [Row(Text())] * (upper.height - 1 - len(filled.rows))
    return Filled(filled.title, [*filled.rows, *blank, *below], filled.cursor)


def _events(session: Session, box: Box) -> Filled:
    looking, height = session.looking, box.height - 1
    reach = height + abs(looking.event)
    kinds = None if session.kinds >= RECORDED_KINDS else session.kinds
    before, after = events_around(session.replay, reach, reach, kinds)
    looking.event = max(-len(before), min(looking.event, len(after) - 1))
    every = [*before, *after]
    on = len(before) + looking.event
    top = max(0, min(on - height // 2, len(every) - height))
    rows = [
        happenings.event_row(event, session.replay.position) for event in every[top : top + height]
    ]
    more = "" if kinds is None else words.kinds_in_words(session.kinds)
    return Filled(_title(box.pane, more), rows, on - top if 0 <= on < len(every) else None)


def _console(session: Session, box: Box) -> Filled:
    looking, height = session.looking, box.height - 1
    lines = happenings.console_lines(console_at(session.replay, _CONSOLE))
    rows = happenings.wrapped(lines, box.width)
    looking.console_up = min(looking.console_up, max(0, len(rows) - height))
    end = len(rows) - looking.console_up
    return Filled(_title(box.pane), rows[max(0, end - height) : end])


def _marks(session: Session, box: Box) -> Filled:
    replay = session.replay
    stops = [stop.words for stop in session.stops]
    kept = session.bookmarks.all()
    rows = happenings.marks(replay.marks, kept, stops, replay.notes, session.moment)
    return _listed(session, box, rows)


_FILLERS: Mapping[Pane, Callable[[Session, Box], Filled]] = {
    Pane.CODE: _code,
    Pane.REGISTERS: _registers,
    Pane.STACK: _stack,
    Pane.MEMORY: _memory,
    Pane.STAGE2: _stage2,
    Pane.STAGE1: _stage1,
    Pane.EVENTS: _events,
    Pane.CONSOLE: _console,
    Pane.MARKS: _marks,
}
