# SPDX-License-Identifier: Apache-2.0
"""Events over the length of a run, or of a part of it, as a line of characters for each lane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rich.text import Text

from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.ui.model import styles

LABEL = 7
"""Columns before the first of a lane."""
SMALLEST_SPAN = 16
"""Instructions; less is for the code pane."""
_ZOOM = 4
_BARS = " ▁▂▃▄▅▆▇█"

LANES: Mapping[str, frozenset[EventKind]] = {
    "exits": frozenset({EventKind.EXCEPTION, EventKind.ERET, EventKind.HYPERCALL}),
    "tables": frozenset(
        {EventKind.TABLE_WRITE, EventKind.TLBI, EventKind.DSB, EventKind.SYSREG_WRITE}
    ),
    "devices": frozenset({EventKind.MMIO, EventKind.INTERRUPT, EventKind.DEVICE_WRITE}),
    "console": frozenset({EventKind.CONSOLE}),
}
_VM = "vm"


class Columns(Protocol):
    """Of the recording's events, what a timeline needs."""

    @property
    def position(self) -> NDArray[np.uint64]: ...
    @property
    def kind(self) -> NDArray[np.uint8]: ...
    @property
    def cpu(self) -> NDArray[np.uint8]: ...
    @property
    def vm(self) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Positions from `start` up to `end`, which is not one of them."""

    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def zoom(self, about: int, end: int, *, deeper: bool) -> "Span":
        """A quarter of it, or four times as much of the `end + 1` positions there are; `about`
        stays where it is, or comes into the middle if it was outside."""
        whole = end + 1
        size = self.size // _ZOOM if deeper else self.size * _ZOOM
        size = max(min(size, whole), min(SMALLEST_SPAN, whole))
        if self.start <= about < self.end:
            start = about - (about - self.start) * size // self.size
        else:
            start = about - size // 2
        return Span.within(start, size, whole)

    def show(self, position: int, end: int) -> "Span":
        """Itself, or one of the same size with `position` in the middle."""
        if self.start <= position < self.end:
            return self
        return Span.within(position - self.size // 2, self.size, end + 1)

    @staticmethod
    def within(start: int, size: int, whole: int) -> "Span":
        """`size` positions from `start`, moved to lie in 0 to `whole`."""
        start = max(0, min(start, whole - size))
        return Span(start, start + size)


@dataclass(frozen=True, slots=True)
class Here:
    """What a timeline points at: the moment shown and whose it is, and other positions."""

    position: int
    cpu: int
    marks: Sequence[int] = ()


@dataclass(slots=True)
class Timeline:
    """What the lanes show. The events are looked at anew when they have become more."""

    columns: Columns
    _length: int = -1
    _lanes: dict[str, NDArray[np.uint64]] = field(default_factory=dict)
    _entries: dict[int, tuple[NDArray[np.uint64], NDArray[np.uint8]]] = field(default_factory=dict)

    def counts(self, lane: str, span: Span, width: int) -> NDArray[np.int64]:
        """Events of a lane in each of `width` equal parts of a span."""
        self._index()
        return np.diff(np.searchsorted(self._lanes[lane], _edges(span, width)))

    def rulers(self, cpu: int, span: Span, width: int) -> NDArray[np.uint8]:
        """The VM that a CPU has entered last, at the middle of each part; 0 before any."""
        self._index()
        if cpu not in self._entries:
            self._entries[cpu] = self._entered(cpu)
        positions, vms = self._entries[cpu]
        if not len(positions):
            return np.zeros(width, np.uint8)
        edges = _edges(span, width)
        middles = edges[:-1] + (edges[1:] - edges[:-1]) // np.uint64(2)
        index = np.searchsorted(positions, middles, side="right").astype(np.int64) - 1
        return np.where(index < 0, 0, vms[np.maximum(index, 0)]).astype(np.uint8)

    def _index(self) -> None:
        position = self.columns.position
        if len(position) == self._length:
            return
        self._length = len(position)
        self._entries.clear()
        for name, kinds in LANES.items():
            self._lanes[name] = position[np.isin(self.columns.kind, list(kinds))]

    def _entered(self, cpu: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Where the CPU went to another VM than before, and to which."""
        events = self.columns
        entries = [EventKind.ERET, EventKind.VM_SWITCH]
        found = np.isin(events.kind, entries) & (events.vm > 0) & (events.cpu == cpu)
        positions, vms = events.position[found], events.vm[found]
        changes = np.ones(len(vms), bool)
        changes[1:] = vms[1:] != vms[:-1]
        return positions[changes], vms[changes]


def _edges(span: Span, width: int) -> NDArray[np.uint64]:
    """The `width + 1` bounds of equal parts."""
    return np.array([span.start + span.size * i // width for i in range(width + 1)], np.uint64)


def bars(counts: NDArray[np.int64]) -> str:
    """A character for each number; taller for more, and never blank for one or more."""
    most = int(counts.max(initial=0))
    if not most:
        return " " * len(counts)
    # Each step is a factor, or the rare would not be seen beside the frequent.
    steps = (len(_BARS) - 1) / np.log2(most + 1)
    heights = np.ceil(np.log2(counts + 1.0) * steps - 1e-9).astype(int)
    return "".join(_BARS[min(h, len(_BARS) - 1)] for h in heights)


def draw(
    timeline: Timeline,
    span: Span,
    here: Here,
    size: tuple[int, int],
) -> list[Text]:
    """The lanes and a scale, `size` columns by rows: 3 rows have one lane of everything, 7 have
    all."""
    columns, rows = size
    width = columns - LABEL
    lines: list[Text] = []
    if rows < len(LANES) + 3:
        total = sum((timeline.counts(lane, span, width) for lane in LANES), np.zeros(width, int))
        lines.append(_lane("events", bars(total)))
    else:
        lines += [_lane(lane, bars(timeline.counts(lane, span, width))) for lane in LANES]
    lines.append(_lane(_VM, "".join(_ruler(vm) for vm in timeline.rulers(here.cpu, span, width))))
    if rows >= len(LANES) + 3:
        lines.append(_marks(span, width, here.marks))
    column = _column(span, width, here.position)
    if column is not None:
        for line in lines:
            line.stylize(styles.CURRENT, LABEL + column, LABEL + column + 1)
    return [*lines, scale(span, width, column)]


def scale(span: Span, width: int, column: int | None) -> Text:
    """Both ends of the span, and a pointer between them."""
    left, right = f"{span.start:,}", f"{span.end - 1:,}"
    line = left + " " * max(1, width - len(left) - len(right)) + right
    if column is not None and line[column : column + 1] == " ":
        line = line[:column] + "▲" + line[column + 1 :]
    return Text(" " * LABEL + line[:width], style=styles.DIM)


def at(span: Span, width: int, column: int) -> int:
    """The first position of a column of a lane."""
    return span.start + span.size * max(0, min(column, width - 1)) // width


def _marks(span: Span, width: int, marks: Sequence[int]) -> Text:
    line = [" "] * width
    for mark in marks:
        column = _column(span, width, mark)
        if column is not None:
            line[column] = "◆"
    return _lane("marks", "".join(line))


def _column(span: Span, width: int, position: int) -> int | None:
    if not span.start <= position < span.end:
        return None
    # The last whose first position is not behind it.
    return ((position - span.start + 1) * width - 1) // span.size


def _lane(name: str, drawn: str) -> Text:
    return Text.assemble((f"{name:<{LABEL}}", styles.DIM), drawn)


def _ruler(vm: int) -> str:
    return "·" if not vm else str(vm) if vm < 10 else "+"
