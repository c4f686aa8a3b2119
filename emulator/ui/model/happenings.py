# SPDX-License-Identifier: Apache-2.0
"""The panes of what happened: events, the console, and the places with names."""

import re
from collections.abc import Sequence

from rich.text import Text

from aether_edgecloud.emulator.recording.recording import Mark
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.views.surroundings import EventView
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.history import Bookmark
from aether_edgecloud.emulator.ui.model.row import Place, Row

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_=>])")
_TAB = 8


def event_row(event: EventView, here: int) -> Row:
    """One event; those at the cursor's position have an arrow."""
    arrow = "▶" if event.position == here else " "
    who = "" if not event.vm else f"vm{event.vm} "
    line = Text.assemble(
        (arrow, styles.NAME),
        (f"{Moment(event.position, event.attempt).shown} ", styles.DIM),
        (who, styles.SYMBOL),
        event.words,
    )
    return Row(line, Place(event.position, event.attempt))


def console_lines(output: bytes) -> list[str]:
    """Output as lines; what would move a terminal's cursor or change its colours is left out."""
    text = _ESCAPE.sub("", output.decode("utf-8", "replace").replace("\r\n", "\n"))
    lines = []
    for line in text.split("\n"):
        # A terminal would overwrite what stands before a carriage return.
        last = line.rstrip("\r").rpartition("\r")[2].expandtabs(_TAB)
        lines.append("".join(c if c.isprintable() else "·" for c in last))
    return lines


def wrapped(lines: Sequence[str], width: int) -> list[Row]:
    """Lines cut to the width, what does not fit on lines of its own."""
    return [
        Row(Text(line[start : start + width]))
        for line in lines
        for start in range(0, max(1, len(line)), width)
    ]


def marks(
    marked: Sequence[Mark],
    bookmarks: Sequence[Bookmark],
    stops: Sequence[str],
    notes: Sequence[str],
    here: Moment,
) -> list[Row]:
    """Bookmarks, breakpoints and watchpoints, the recording's marks, and notes on the file."""
    found: list[Row] = []
    found += [
        _place(mark.moment, f"◆ {mark.name}", is_here=mark.moment == here) for mark in bookmarks
    ]
    found += [Row(Text(f" ● {stop}", style=styles.ALARM)) for stop in stops]
    found += [
        _place(Moment(mark.position), mark.text, is_here=mark.position == here.position)
        for mark in marked
    ]
    found += [Row(Text(f" ! {note}", style=styles.ALARM)) for note in notes]
    return found


def _place(moment: Moment, name: str, *, is_here: bool) -> Row:
    arrow = "▶" if is_here else " "
    where = f"{moment.shown} "
    return Row(Text.assemble((arrow, styles.NAME), (where, styles.DIM), name), Place(*moment))
