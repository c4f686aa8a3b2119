# SPDX-License-Identifier: Apache-2.0
"""What happened before and after the cursor, and the console at that moment."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aether_edgecloud.emulator.recording.events import EventKind

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay


@dataclass(frozen=True, slots=True)
class EventView:
    """An event: `index` in `replay.events`."""

    index: int
    position: int
    cpu: int
    vm: int
    kind: EventKind
    words: str


def event(replay: "Replay", index: int) -> EventView:
    """One by its number."""
    events = replay.events
    return EventView(
        index,
        int(events.position[index]),
        int(events.cpu[index]),
        int(events.vm[index]),
        EventKind(int(events.kind[index])),
        events.say(index),
    )


def events_around(
    replay: "Replay", before: int = 8, after: int = 8, kinds: frozenset[EventKind] | None = None
) -> tuple[tuple[EventView, ...], tuple[EventView, ...]]:
    """Those before the cursor, and those at or after it, by rising position."""
    events = replay.events
    middle = int(np.searchsorted(events.position, np.uint64(replay.position)))
    if kinds is None:
        early: Iterable[int] = range(max(middle - before, 0), middle)
        late: Iterable[int] = range(middle, min(middle + after, len(events)))
    else:
        wanted = np.isin(events.kind, np.array(sorted(kinds), np.uint8))
        early = np.flatnonzero(wanted[:middle])[-before:].tolist() if before else []
        late = (np.flatnonzero(wanted[middle:])[:after] + middle).tolist()
    return tuple(event(replay, n) for n in early), tuple(event(replay, n) for n in late)


def console_at(replay: "Replay", most: int = 4096) -> bytes:
    """The last bytes of the console's output up to the cursor."""
    return bytes(replay.machine.console.output[-most:]) if most else b""
