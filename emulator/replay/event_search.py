# SPDX-License-Identifier: Apache-2.0
"""Searches among what a recording knows of events, and events that it can be made to know."""

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.recording.events import ON_DEMAND, Events
from aether_edgecloud.emulator.replay.conditions import Direction, EventOf, Hit
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.snapshots import Snapshots
from aether_edgecloud.emulator.replay.source import Source


def matching(events: Events, what: EventOf) -> npt.NDArray[np.bool_]:
    """Which rows are meant."""
    kinds = np.array(sorted(what.kinds), dtype=np.uint8)
    found = np.isin(events.kind, kinds)
    if what.vm is not None:
        found &= events.vm == what.vm
    if what.cpu is not None:
        found &= events.cpu == what.cpu
    return found


def find_event(
    source: Source,
    snapshots: Snapshots,
    what: EventOf,
    here: int,
    direction: Direction,
    progress: Progress,
) -> Hit | None:
    """The nearest at another position than `here`."""
    best = _nearest(source.events, what, here, direction)
    if not what.kinds & ON_DEMAND:
        return best
    index = snapshots.interval(here)
    count = len(source.checkpoints.positions)
    total = count - index if direction is Direction.FORWARD else index + 1
    for done in range(total):
        found = source.index(index)
        progress.at(done + 1, total)
        if found is None:
            return best
        hit = _nearest(found, what, here, direction)
        if hit is not None:
            return _nearer(best, hit, direction)
        index += direction.value
    return best


def all_events(
    source: Source, snapshots: Snapshots, what: EventOf, first: int, last: int, progress: Progress
) -> list[Hit]:
    """All from `first` to `last`."""
    hits = _inside(source.events, what, first, last)
    if what.kinds & ON_DEMAND:
        low, high = snapshots.interval(first), snapshots.interval(last)
        for index in range(low, high + 1):
            found = source.index(index)
            progress.at(index + 1 - low, high + 1 - low)
            if found is not None:
                hits += _inside(found, what, first, last)
    return hits


def _inside(events: Events, what: EventOf, first: int, last: int) -> list[Hit]:
    low, high = np.searchsorted(events.position, [first, last + 1])
    rows = np.flatnonzero(matching(events, what)[low:high]) + low
    return [_hit(events, int(row), what) for row in rows]


def _nearest(events: Events, what: EventOf, here: int, direction: Direction) -> Hit | None:
    rows = np.flatnonzero(matching(events, what))
    places = events.position[rows]
    if direction is Direction.FORWARD:
        at = int(np.searchsorted(places, here, side="right"))
    else:
        at = int(np.searchsorted(places, here, side="left")) - 1
    return _hit(events, int(rows[at]), what) if 0 <= at < len(rows) else None


def _nearer(one: Hit | None, other: Hit, direction: Direction) -> Hit:
    if one is None:
        return other
    pick = min if direction is Direction.FORWARD else max
    return pick(one, other, key=lambda hit: hit.position)


def _hit(events: Events, row: int, what: EventOf) -> Hit:
    return Hit(int(events.position[row]), events.say(row), int(events.cpu[row]), 0, what)
