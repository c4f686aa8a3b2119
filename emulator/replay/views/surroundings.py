# SPDX-License-Identifier: Apache-2.0
"""What happened before and after the cursor, and the console at that moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.moments import Moment

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay


@dataclass(frozen=True, slots=True)
class EventView:
    """An event: `index` in `replay.events`. A search for it ends at `position` and `attempt`."""

    index: int
    position: int
    cpu: int
    vm: int
    kind: EventKind
    words: str
    attempt: int = 0

    @property
    def moment(self) -> Moment:
        """Where a search for it ends."""
        return Moment(self.position, self.attempt)


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
        replay.event_moment(index).attempt,
    )


def events_around(
    replay: "Replay", before: int = 8, after: int = 8, kinds: frozenset[EventKind] | None = None
) -> tuple[tuple[EventView, ...], tuple[EventView, ...]]:
    """Those before the cursor's moment, and those at or after it, by rising position."""
    events = replay.events
    position = np.uint64(replay.position)
    low = int(np.searchsorted(events.position, position))
    high = int(np.searchsorted(events.position, position, side="right"))
    here = Moment(replay.position, replay.attempt)
    # Of those at the position a mark is at its beginning, wherever it was recorded.
    passed = sorted(
        (n for n in range(low, high) if replay.event_moment(n) < here), key=replay.event_moment
    )
    ahead = sorted(set(range(low, high)) - set(passed), key=lambda n: (replay.event_moment(n), n))
    early: Sequence[int] = (*range(max(low - before, 0), low), *passed)
    late: Sequence[int] = (*ahead, *range(high, min(high + after, len(events))))
    if kinds is not None:
        wanted = np.isin(events.kind, np.array(sorted(kinds), np.uint8))
        further = np.flatnonzero(wanted[high:])[:after] + high
        early = (*np.flatnonzero(wanted[:low]).tolist(), *(n for n in passed if wanted[n]))
        late = (*(n for n in ahead if wanted[n]), *further.tolist())
    return (
        tuple(event(replay, n) for n in early[max(len(early) - before, 0) :]),
        tuple(event(replay, n) for n in late[:after]),
    )


def console_at(replay: "Replay", most: int = 4096) -> bytes:
    """The last bytes of the console's output up to the cursor."""
    return bytes(replay.machine.console.output[-most:]) if most else b""
