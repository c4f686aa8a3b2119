# SPDX-License-Identifier: Apache-2.0
"""Which panes a terminal has room for, and where."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

SMALLEST = (80, 24)
"""Columns and rows below which there is no UI."""
_WIDE, _HIGH = 110, 34
_HUGE = 170
_RULE = 1
"""Columns between two panes."""


class Pane(enum.Enum):
    """Panes by the digit that chooses them."""

    CODE = 1
    REGISTERS = 2
    STACK = 3
    MEMORY = 4
    STAGE2 = 5
    STAGE1 = 6
    EVENTS = 7
    CONSOLE = 8
    MARKS = 9


TITLES = {
    Pane.CODE: "code",
    Pane.REGISTERS: "registers",
    Pane.STACK: "stack",
    Pane.MEMORY: "memory",
    Pane.STAGE2: "stage 2",
    Pane.STAGE1: "stage 1",
    Pane.EVENTS: "events",
    Pane.CONSOLE: "console",
    Pane.MARKS: "marks",
}


@dataclass(frozen=True, slots=True)
class Box:
    """A pane's place in cells, its title's line included."""

    pane: Pane
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Layout:
    """From above: the status line, the panes, the timeline, the line for words, the keys."""

    width: int
    height: int
    boxes: Sequence[Box]
    timeline: int
    """Rows of the timeline, its scale included."""

    def box(self, pane: Pane) -> Box | None:
        """The place of a pane; None if it is not shown."""
        return next((box for box in self.boxes if box.pane is pane), None)


def lay_out(width: int, height: int, recent: Sequence[Pane], *, zoomed: bool) -> Layout:
    """The panes that fit. `recent` has all panes, the one chosen last first: where several share
    a place, that is the one seen; `zoomed`, it has all the place there is."""
    timeline = 3 if height < _HIGH else 7
    body = height - timeline - 3
    if zoomed:
        return Layout(width, height, (Box(recent[0], 0, 1, width, body),), timeline)
    columns = _columns(width, height)
    boxes: list[Box] = []
    x = 0
    for share, groups in columns:
        across = share or width - x
        y = 1
        for number, (part, group) in enumerate(groups):
            high = 1 + body - y if number == len(groups) - 1 else body * part // 100
            boxes.append(Box(next(p for p in recent if p in group), x, y, across, high))
            y += high
        x += across + _RULE
    return Layout(width, height, tuple(boxes), timeline)


_Groups = tuple[tuple[int, frozenset[Pane]], ...]


def _columns(width: int, height: int) -> list[tuple[int, _Groups]]:
    """Columns by width, the last has what is left; in each the panes that share a place, by their
    part of the height in percent."""
    code = frozenset({Pane.CODE})
    registers = frozenset({Pane.REGISTERS})
    time = frozenset({Pane.EVENTS, Pane.CONSOLE, Pane.MARKS})
    data = frozenset({Pane.STACK, Pane.MEMORY})
    maps = frozenset({Pane.STAGE2, Pane.STAGE1})
    if width < _WIDE or height < _HIGH:
        left = min(width * 6 // 10, 64)
        return [(left, ((100, code),)), (0, ((100, frozenset(Pane) - code),))]
    if width < _HUGE:
        left = width // 2
        return [
            (left, ((60, code), (40, time))),
            (0, ((52, registers), (48, data | maps))),
        ]
    left = width * 36 // 100
    return [
        (left, ((65, code), (35, time))),
        (width * 30 // 100, ((60, registers), (40, data))),
        (0, ((100, maps),)),
    ]
