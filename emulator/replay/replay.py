# SPDX-License-Identifier: Apache-2.0
"""A run as a line of positions along which a cursor moves."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.stop import StopKind
from aether_edgecloud.emulator.recording.events import Events
from aether_edgecloud.emulator.recording.recording import (
    FAILED,
    ConsoleChunk,
    Mark,
    Recording,
)
from aether_edgecloud.emulator.replay.compile import Compiled, compile_conditions
from aether_edgecloud.emulator.replay.conditions import (
    Condition,
    Direction,
    Hit,
    StepOut,
    StepOver,
)
from aether_edgecloud.emulator.replay.cursor import Cursor
from aether_edgecloud.emulator.replay.event_search import EventSearch, nearest
from aether_edgecloud.emulator.replay.finder import Finder
from aether_edgecloud.emulator.replay.moments import Moment, Span
from aether_edgecloud.emulator.replay.program import NO_PROGRAM, Program, SourceLine, Symbols
from aether_edgecloud.emulator.replay.progress import SILENT, Progress
from aether_edgecloud.emulator.replay.scan import Scanner
from aether_edgecloud.emulator.replay.snapshots import Snapshots
from aether_edgecloud.emulator.replay.source import LiveRun, RecordedRun, Source
from aether_edgecloud.emulator.replay.steps import Stepper
from aether_edgecloud.emulator.replay.views.backtrace import callers

_LIVE_PIECE = 4_000_000
"""What a search in a run that is not known yet goes on by."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_ATTEMPT = re.compile(r"(.+)\.([0-9]{1,3})")
_PLACES = "12_345, 40%, event:N, mark:NAME, end; from the cursor +N, -N"
T = TypeVar("T")


def whole(text: str) -> int | None:
    """A decimal number of at most 18 digits, `_` and `,` between them left out; None for others."""
    digits = re.sub("[_,]", "", text)
    return int(digits) if text[:1] not in ("_", ",") and _NUMBER.fullmatch(digits) else None


MOST_HITS = 10_000
"""Places that are listed at a time, unless more are asked for."""


class Replay:
    """A cursor in a run. Views of the machine at the cursor are in `replay.views`.

    A position is a number of instructions that all CPUs have retired. The cursor stands before an
    instruction that is tried next. An instruction that takes an exception does not retire: the
    next one, the first of the handler, has the same position and the next `attempt`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._snapshots = Snapshots(source.checkpoints, source.final)
        self._cursor = Cursor(source.machine(), self._snapshots)
        self._event_search = EventSearch(source, self._snapshots)
        self._scanner: Scanner | None = None
        self._program: Program | None = None

    @classmethod
    def open(cls, path: Path, *, any_emulator: bool = False) -> "Replay":
        """A recording in a file, cursor at 0. UserError for a bad file, and for one that another
        version of the emulator made, unless `any_emulator`: the run may then differ."""
        return cls(RecordedRun(Recording.open(path, any_emulator=any_emulator)))

    @classmethod
    def live(
        cls,
        machine: Machine,
        *,
        title: str = "",
        vms: Sequence[str] = (),
        program: Program = NO_PROGRAM,
    ) -> "Replay":
        """A machine at reset, whose run is not known yet: `end` grows as the cursor goes on, to
        where the machine stops. The machine is used up."""
        return cls(LiveRun(machine, title, vms, program))

    @property
    def position(self) -> int:
        """Where the cursor is."""
        return self._cursor.moment.position

    @property
    def attempt(self) -> int:
        """How often an instruction was tried at this position before: 0 but for exceptions."""
        return self._cursor.moment.attempt

    @property
    def cpu(self) -> int:
        """Whose instruction is next."""
        return self._cursor.at.cpu

    @property
    def machine(self) -> Machine:
        """As it is at the cursor: to look at, never to run or change."""
        return self._cursor.machine

    @property
    def end(self) -> int:
        """The last position. Of a live run: the last that has been seen."""
        return self._source.end

    @property
    def is_complete(self) -> bool:
        """Whether the run is known to its end."""
        return self._source.is_complete

    @property
    def stop(self) -> StopKind | None:
        """Why the run ended; None if that is not known."""
        return self._source.stop

    @property
    def title(self) -> str:
        """The recording's path, or what a live run was called."""
        return self._source.title

    @property
    def run_id(self) -> str:
        """The same for the same run, as recorded; empty for a live run."""
        return self._source.run_id

    @property
    def vms(self) -> Sequence[str]:
        """Names of VMs; VMID n is number n - 1."""
        return self._source.vms

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know of the file."""
        return self._source.notes

    @property
    def events(self) -> Events:
        """What is known to have happened."""
        return self._source.events

    @property
    def marks(self) -> Sequence[Mark]:
        """Positions with names."""
        return self._source.marks

    @property
    def failure(self) -> Mark | None:
        """Where the test that wrote the recording failed, and how."""
        return next((mark for mark in self.marks if mark.text.startswith(FAILED)), None)

    @property
    def console(self) -> Sequence[ConsoleChunk]:
        """All output of the run."""
        return self._source.console

    @property
    def program(self) -> Program:
        """The binary at EL2."""
        if self._program is None:
            self._program = self._source.program()
        return self._program

    @property
    def symbols(self) -> Symbols:
        """Of the binary at EL2."""
        return self.program.symbols

    def source_line(self, va: int) -> SourceLine | None:
        """Of an address in the EL2 binary."""
        return self.program.line(va)

    def goto(self, position: int, *, attempt: int = 0, progress: Progress | None = None) -> None:
        """Go to a position, to the attempt that retires if there are not so many. UserError if the
        run does not have it."""
        progress = progress or SILENT
        if position < 0:
            raise UserError("there is no position before 0")
        self._source.extend(position, progress)
        if position > self.end:
            raise UserError(
                f"position {position} is past the end of the run", fix=f"its end is {self.end}"
            )
        self._safely(lambda: self._go(Moment(position, attempt), progress))

    def visit(self, moment: Moment, progress: Progress | None = None) -> None:
        """Go to exactly this moment, as a user has named it. UserError if the run does not have
        it."""

        def move() -> None:
            self.goto(moment.position, attempt=moment.attempt, progress=progress)
            if self._cursor.moment != moment:
                there = f"{moment.position:,}"
                raise UserError(
                    f"position {there} has no attempt {moment.attempt}", fix=f"use {there}"
                )

        self._safely(move)

    def step(self, count: int = 1, *, cpu: int | None = None) -> bool:
        """`count` instructions on, or back if it is negative, counting those of CPU `cpu` only
        where it is given; one that takes an exception counts. False if the run begins or ends
        before that; the cursor is there then."""
        return self._safely(lambda: self._step(count, cpu))

    def find(
        self, what: Condition, direction: Direction, progress: Progress | None = None
    ) -> Hit | None:
        """The nearest place after (before) the cursor where the condition is met; goes there. None
        if there is none, and the cursor stays. UserError for a condition that makes no sense."""
        here = self._cursor.moment
        hit: Hit | None = None
        try:
            hit = self._find(what, direction, progress or SILENT)
        finally:
            self._cursor.go(here if hit is None else hit.moment)
        return hit

    def find_all(
        self,
        what: Condition,
        first: int,
        last: int,
        progress: Progress | None = None,
        *,
        most: int = MOST_HITS,
    ) -> list[Hit]:
        """All places at positions in [first, last] where it is met, or the first `most`; the
        cursor stays."""
        progress = progress or SILENT
        self._source.extend(last, progress)
        span = Span.of(max(first, 0), min(last, self.end))
        return self._all(what, span, Direction.FORWARD, most, progress)

    def find_rest(
        self,
        what: Condition,
        direction: Direction,
        progress: Progress | None = None,
        *,
        most: int = MOST_HITS,
    ) -> tuple[list[Hit], bool]:
        """All places from the cursor's moment on, or all before it; if there are more than `most`
        those nearest to the cursor. In the order of the run, and whether some are left out. The
        cursor stays."""
        is_forward, here = direction is Direction.FORWARD, self._cursor.moment
        span = Span.before(here) if not is_forward else Span(here, Span.of(0, self.end).last)
        hits = self._all(what, span, direction, most + 1, progress or SILENT)
        is_more = len(hits) > most
        if is_more:
            hits = hits[:most] if is_forward else hits[1:]
        return hits, is_more

    def _all(
        self, what: Condition, span: Span, direction: Direction, most: int, progress: Progress
    ) -> list[Hit]:
        compiled = compile_conditions(what, self.machine, self.cpu)
        if span.last < span.first:
            return []
        here = self._cursor.moment
        hits: list[Hit] = []
        try:
            if compiled.needs_scan:
                hits = self._finder().all(compiled, span, direction, most, progress)
        finally:
            self._cursor.go(here)
        for event in compiled.events:
            hits += self._event_search.all(event, span, direction, most, progress)
        hits.sort(key=lambda hit: hit.moment)
        return hits[:most] if direction is Direction.FORWARD else hits[-most:]

    def moment(self, text: str) -> Moment:
        """What a user writes: a `place`, of an event its very moment, or `12_345.1` with the number
        of an attempt. UserError for anything else."""
        kind, _, name = text.partition(":")
        if kind == "event" and (number := whole(name)) is not None:
            return self._event(number)
        if match := _ATTEMPT.fullmatch(text):
            position = whole(match[1])
            if position is not None:
                return Moment(position, int(match[2]))
        return Moment(self.place(text))

    def place(self, text: str) -> int:
        """The position for what a user writes: `12_345`, `40%`, `event:N`, `mark:NAME`, `end`,
        `+N`, `-N`. UserError for anything else."""
        kind, colon, name = text.partition(":")
        if text == "end":
            return self.end
        if match := _PERCENT.fullmatch(text):
            share = float(match[1])
            if not self.is_complete:
                fix = "give a number of instructions"
                raise UserError(f"{text} of a run whose end is not known yet", fix=fix)
            if share <= 100:
                return round(self.end * share / 100)
        elif (number := whole(text)) is not None:
            return number
        elif text[:1] in ("+", "-") and (number := whole(text[1:])) is not None:
            way = number if text[0] == "+" else -number
            return min(max(self.position + way, 0), self.end)
        elif kind == "event" and (number := whole(name)) is not None:
            return self._event(number).position
        elif colon and kind == "mark":
            return self._mark(name)
        raise UserError(f"{text!r} is no place in a run", fix=f"use {_PLACES}")

    def look_back(self, read: Callable[["Replay"], T]) -> T | None:
        """What `read` says at the moment before the cursor's; None at the first."""
        here = self._cursor.moment
        try:
            return read(self) if self._cursor.back() else None
        finally:
            self._cursor.go(here)

    def index(self, first: int) -> Events | None:
        """Events that are found on demand, from checkpoint `first` to the next."""
        return self._source.index(first)

    def close(self) -> None:
        """Give memory back."""
        self.machine.close()
        if self._scanner is not None:
            self._scanner.close()
        self._source.close()

    def _safely(self, move: Callable[[], T]) -> T:
        """A move that fails, or is cancelled, has not happened."""
        here = self._cursor.moment
        try:
            return move()
        except BaseException:
            self._cursor.go(here)
            raise

    def _go(self, wanted: Moment, progress: Progress) -> None:
        arrival = self._cursor.go(wanted, progress)
        if arrival.moment.position != wanted.position:
            self._cursor.go_to_last(wanted.position)

    def _step(self, count: int, cpu: int | None) -> bool:
        cursor = self._cursor
        if cpu is not None and not 0 <= cpu < len(self.machine.cpus):
            raise UserError(f"there is no CPU {cpu}", fix=f"use 0 to {len(self.machine.cpus) - 1}")
        for _ in range(abs(count)):
            if count > 0:
                self._source.extend(self.position + 1, SILENT)
                moved = cursor.forward() if cpu is None else cursor.forward_on(cpu)
            else:
                moved = cursor.back() if cpu is None else cursor.back_on(cpu)
            if not moved:
                return False
        return True

    def _find(self, what: Condition, direction: Direction, progress: Progress) -> Hit | None:
        if isinstance(what, StepOver | StepOut):
            if direction is Direction.FORWARD:
                self._source.extend(self.position + _LIVE_PIECE, progress)
            finder = self._finder()
            stepper = Stepper(
                self._cursor, finder, lambda cpu: callers(self, cpu), self.events, self.end
            )
            return stepper.step(what, direction, progress)
        compiled = compile_conditions(what, self.machine, self.cpu)
        here = self._cursor.moment
        hit = nearest(
            [self._event_search.find(one, here, direction, progress) for one in compiled.events],
            direction,
        )
        if compiled.needs_scan:
            hit = nearest([hit, self._scan(compiled, here, direction, hit, progress)], direction)
        return hit

    def _scan(
        self,
        what: Compiled,
        here: Moment,
        direction: Direction,
        event: Hit | None,
        progress: Progress,
    ) -> Hit | None:
        """No further than an event that was found."""
        finder = self._finder()
        if direction is Direction.BACK:
            return finder.previous(what, here, event.position if event else 0, progress)
        if event is not None:
            return finder.next(what, here, event.position + 1, progress)
        while True:
            end = self.end
            hit = finder.next(what, here, end, progress)
            if hit is not None or self.is_complete:
                return hit
            here = max(here, Moment(end, -1))
            self._source.extend(end + _LIVE_PIECE, progress)

    def _finder(self) -> Finder:
        if self._scanner is None:
            self._scanner = Scanner(self._source.machine(), self._snapshots)
        return Finder(self._cursor, self._scanner)

    def event_moment(self, number: int) -> Moment:
        """Where a search for this event of `events` ends."""
        return self._event_search.moment(number)

    def _event(self, number: int) -> Moment:
        if number >= len(self.events):
            fix = f"there are {len(self.events)}, from 0" if len(self.events) else "there are none"
            raise UserError(f"there is no event {number}", fix=fix)
        return self.event_moment(number)

    def _mark(self, name: str) -> int:
        for mark in self.marks:
            if mark.text == name:
                return mark.position
        names = ", ".join(mark.text for mark in self.marks) or "there are none"
        raise UserError(f"there is no mark {name!r}", fix=f"marks: {names}")
