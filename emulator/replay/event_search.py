# SPDX-License-Identifier: Apache-2.0
"""Searches among what a recording knows of events, and events that it can be made to know.

`event_moments` says where an event is. Those at one moment are one place: searches stop there once.
"""

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.recording.events import ON_DEMAND, Events
from aether_edgecloud.emulator.replay import event_moments
from aether_edgecloud.emulator.replay.conditions import Direction, EventOf, Hit
from aether_edgecloud.emulator.replay.event_moments import Keys
from aether_edgecloud.emulator.replay.moments import Moment, Span
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.snapshots import Snapshots
from aether_edgecloud.emulator.replay.source import Source


class EventSearch:
    """Searches in the events of one run."""

    def __init__(self, source: Source, snapshots: Snapshots) -> None:
        self._source = source
        self._snapshots = snapshots
        self._known: tuple[Events, Keys] | None = None

    def moment(self, index: int) -> Moment:
        """Where an event of the recording is, by its number."""
        return event_moments.moment(int(self._keys()[index]))

    def find(
        self, what: EventOf, here: Moment, direction: Direction, progress: Progress
    ) -> Hit | None:
        """The nearest at another moment than `here`."""
        best = _nearest(self._source.events, self._keys(), what, here, direction)
        if not what.kinds & ON_DEMAND:
            return best
        index = self._snapshots.interval(here.position)
        count = len(self._source.checkpoints.positions)
        total = count - index if direction is Direction.FORWARD else index + 1
        for done in range(total):
            found = self._source.index(index)
            progress.at(done + 1, total)
            if found is None:
                return best
            keys = event_moments.keys_on_demand(found, self._source.events, self._keys())
            hit = _nearest(found, keys, what, here, direction)
            if hit is not None:
                return nearest([best, hit], direction)
            index += direction.value
        return best

    def all(
        self, what: EventOf, span: Span, direction: Direction, most: int, progress: Progress
    ) -> list[Hit]:
        """All of a span, each by itself; the first (last) `most` of them are among what is
        returned."""
        hits = _inside(self._source.events, self._keys(), what, span, direction, most)
        if not what.kinds & ON_DEMAND:
            return hits
        low, high = (self._snapshots.interval(moment.position) for moment in span)
        count = 0
        for done, index in enumerate(range(low, high + 1)[:: direction.value], start=1):
            found = self._source.index(index)
            progress.at(done, high + 1 - low)
            if found is not None:
                keys = event_moments.keys_on_demand(found, self._source.events, self._keys())
                inside = _inside(found, keys, what, span, direction, most)
                hits += inside
                count += len(inside)
                if count >= most:
                    break
        return hits

    def _keys(self) -> Keys:
        events = self._source.events
        if self._known is None or self._known[0] is not events:
            self._known = events, event_moments.keys(events)
        return self._known[1]


def nearest(hits: list[Hit | None], direction: Direction) -> Hit | None:
    """The first of several that were found in a direction."""
    found = [hit for hit in hits if hit is not None]
    pick = min if direction is Direction.FORWARD else max
    return pick(found, key=lambda hit: (hit.position, hit.attempt), default=None)


def _matching(events: Events, what: EventOf) -> npt.NDArray[np.bool_]:
    """Which rows are meant."""
    kinds = np.array(sorted(what.kinds), dtype=np.uint8)
    found = np.isin(events.kind, kinds)
    if what.vm is not None:
        found &= events.vm == what.vm
    if what.cpu is not None:
        found &= events.cpu == what.cpu
    return found


def _inside(
    events: Events, keys: Keys, what: EventOf, span: Span, direction: Direction, most: int
) -> list[Hit]:
    """The first (last) `most`."""
    first, last = (np.uint64(event_moments.key(moment)) for moment in span)
    rows = np.flatnonzero(_matching(events, what) & (keys >= first) & (keys <= last))
    rows = rows[np.argsort(keys[rows], kind="stable")]
    rows = rows[:most] if direction is Direction.FORWARD else rows[max(len(rows) - most, 0) :]
    return [_hit(events, keys, [int(row)], what) for row in rows]


def _nearest(
    events: Events, keys: Keys, what: EventOf, here: Moment, direction: Direction
) -> Hit | None:
    rows = np.flatnonzero(_matching(events, what))
    rows = rows[np.argsort(keys[rows], kind="stable")]
    found = keys[rows]
    at = np.uint64(event_moments.key(here))
    if direction is Direction.FORWARD:
        index = int(np.searchsorted(found, at, side="right"))
        if index == len(rows):
            return None
    else:
        index = int(np.searchsorted(found, at, side="left")) - 1
        if index < 0:
            return None
    low = np.searchsorted(found, found[index])
    high = np.searchsorted(found, found[index], side="right")
    return _hit(events, keys, rows[low:high].tolist(), what)


def _hit(events: Events, keys: Keys, rows: list[int], what: EventOf) -> Hit:
    """Of the events at one moment."""
    row = rows[0]
    position, attempt = event_moments.moment(int(keys[row]))
    more = f" (and {len(rows) - 1} more here)" if len(rows) > 1 else ""
    return Hit(position, events.say(row) + more, int(events.cpu[row]), attempt, what)
