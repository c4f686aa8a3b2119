# SPDX-License-Identifier: Apache-2.0
"""A replay and what the user looks at in it."""

from dataclasses import dataclass, field
from typing import Protocol

from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views import registers
from aether_edgecloud.emulator.replay.views.maps import KeptMap, Map
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.replay.views.registers import CpuView
from aether_edgecloud.emulator.ui.model.history import Bookmark, Bookmarks, History, Stop
from aether_edgecloud.emulator.ui.model.layout import Pane
from aether_edgecloud.emulator.ui.model.row import Address, Filled, Place, Row, Subject
from aether_edgecloud.emulator.ui.model.timeline import Span, Timeline

EVERY_KIND = frozenset(EventKind)
RECORDED_KINDS = EVERY_KIND - {EventKind.TABLE_WRITE, EventKind.DSB}
"""To find the others, parts of the run are executed again."""


@dataclass(slots=True)
class Cursor:
    """Of a pane that is a list: the row it is on, the first row shown, and all rows. `column`
    counts what stands on one line."""

    index: int = 0
    column: int = 0
    top: int = 0
    subject: Subject | None = None
    rows: list[Row] = field(default_factory=list)


@dataclass(slots=True)
class Looking:
    """Which part of the moment is shown."""

    recent: list[Pane] = field(default_factory=lambda: list(Pane))
    """The pane chosen last first: it has the keys."""
    zoomed: bool = False
    cpu: int | None = None
    """None: the one whose instruction is next."""
    code: int | None = None
    """VA of the code cursor; None: the PC."""
    memory: Address | None = None
    """None: where SP points."""
    event: int = 0
    """The events cursor: 0 is the first at or after the position."""
    console_up: int = 0
    """Rows between the end of the console and the last shown."""
    lists: dict[Pane, Cursor] = field(default_factory=dict)
    drawn: dict[Pane, Filled] = field(default_factory=dict)
    """The panes on the screen, as they were drawn last."""
    heights: dict[Pane, int] = field(default_factory=dict)
    """Their rows."""
    across: int = 16
    """Bytes in a row of the memory pane."""

    @property
    def pane(self) -> Pane:
        """The one that has the keys."""
        return self.recent[0]

    def choose(self, pane: Pane) -> None:
        """Give a pane the keys."""
        self.recent.remove(pane)
        self.recent.insert(0, pane)

    def cursor(self, pane: Pane) -> Cursor:
        """Of a pane that is a list."""
        return self.lists.setdefault(pane, Cursor())

    def follow(self) -> None:
        """The moment has changed: cursors that belong to it go with it."""
        self.code = self.cpu = None
        self.event = self.console_up = 0


class Shelf(Protocol):
    """Where bookmarks stay from one session to the next."""

    def load(self) -> Bookmarks: ...
    def save(self, bookmarks: tuple[Bookmark, ...]) -> None: ...


class Session:
    """The model of the UI. Used by one thread at a time, as its `replay` is."""

    def __init__(self, replay: Replay, shelf: Shelf | None = None) -> None:
        self.replay = replay
        self.history = History.at(self.place)
        self._shelf = shelf
        self.bookmarks = Bookmarks() if shelf is None else shelf.load()
        self.stops: list[Stop] = []
        self.kinds = RECORDED_KINDS
        """Of events that are listed and gone to."""
        self.looking = Looking()
        self.timeline = Timeline(replay.events)
        self.span = Span(0, replay.end + 1)
        self.asked: dict[str, str] = {}
        """What was answered to a prompt last time."""
        self.kept_maps: dict[Map, KeptMap] = {}
        self._cpu: tuple[object, CpuView] | None = None

    @property
    def place(self) -> Place:
        """Where the replay is."""
        return Place(self.replay.position, self.replay.attempt)

    @property
    def moment(self) -> Moment:
        """The same, as a moment."""
        return Moment(self.replay.position, self.replay.attempt)

    @property
    def cpu(self) -> CpuView:
        """The CPU that is shown."""
        key = (self.place, self.looking.cpu)
        if self._cpu is None or self._cpu[0] != key:
            self._cpu = key, registers.registers(self.replay, cpu=self.looking.cpu)
        return self._cpu[1]

    @property
    def link(self) -> str:
        """A word that opens the recording here."""
        return f"{self.replay.title}@{self.moment.text}"

    def keep_bookmarks(self) -> None:
        """For the next session. UserError if that is not possible."""
        if self._shelf is not None:
            self._shelf.save(self.bookmarks.all())

    def arrived(self, *, is_step: bool = False) -> None:
        """The replay has moved."""
        if is_step:
            self.history.drift(self.place)
        else:
            self.history.jump(self.place)
        self.settle()

    def settle(self) -> None:
        """Show what is here now."""
        self.looking.follow()
        end = self.replay.end
        if self.span.end > end + 1:
            self.span = Span(0, end + 1)
        self.span = self.span.show(self.replay.position, end)

    @property
    def code_at(self) -> int:
        """VA of the code cursor."""
        return self.cpu.pc if self.looking.code is None else self.looking.code

    @property
    def memory_at(self) -> Address:
        """The memory cursor."""
        if self.looking.memory is not None:
            return self.looking.memory
        return Address(Space.VA, value_of(self.cpu, "sp") or 0)

    def subject(self, pane: Pane | None = None) -> Subject | None:
        """What a pane's cursor is on; the pane's that has the keys."""
        filled = self.looking.drawn.get(pane or self.looking.pane)
        return None if filled is None else filled.subject


def value_of(cpu: CpuView, name: str) -> int | None:
    """A register by name, in any case; None for one that is not shown."""
    wanted = name.casefold()
    every = (*cpu.general, *cpu.system, *cpu.vectors)
    return next((one.value for one in every if one.name.casefold() == wanted), None)
