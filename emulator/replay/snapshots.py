# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a run by position: the checkpoints there are, and more of them near the cursor."""

import bisect
from collections import OrderedDict

from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.checkpoints import Checkpoints

_MOST_NEAR = 48
_MOST_LOADED = 4


class Snapshots:
    """All are of starts of blocks. `final`: where the run has ended; from a checkpoint there it
    would go on, as it never did."""

    def __init__(self, checkpoints: Checkpoints, final: int | None = None) -> None:
        self.checkpoints = checkpoints
        self.final = final
        self._near: OrderedDict[int, Snapshot] = OrderedDict()  # by position, used last comes last
        self._loaded: OrderedDict[int, Snapshot] = OrderedDict()  # by number

    def add(self, snapshot: Snapshot) -> None:
        """Keep one for a while."""
        self._near[snapshot.instructions] = snapshot
        self._near.move_to_end(snapshot.instructions)
        while len(self._near) > _MOST_NEAR:
            self._near.popitem(last=False)

    def before(self, position: int) -> Snapshot:
        """The last one at or before a position."""
        index = self.interval(position)
        start = self.checkpoints.positions[index]
        near = max((p for p in self._near if start < p <= position), default=None)
        if near is None:
            return self.load(index)
        self._near.move_to_end(near)
        return self._near[near]

    def load(self, index: int) -> Snapshot:
        """A checkpoint by number."""
        found = self._loaded.pop(index, None) or self.checkpoints.load(index)
        self._loaded[index] = found
        if len(self._loaded) > _MOST_LOADED:
            self._loaded.popitem(last=False)
        return found

    def is_checkpoint(self, position: int) -> bool:
        """Whether one is at this position."""
        return self.checkpoints.positions[self.interval(position)] == position

    def interval(self, position: int) -> int:
        """The number of the last checkpoint at or before a position."""
        points = self.checkpoints.positions
        index = bisect.bisect_right(points, position) - 1
        while index and points[index] == self.final:
            index -= 1
        return index

    def places(self, first: int, last: int) -> list[int]:
        """Positions of snapshots in [first, last], rising."""
        points = self.checkpoints.positions
        low, high = bisect.bisect_left(points, first), bisect.bisect_right(points, last)
        near = {p for p in self._near if first <= p <= last}
        return sorted(near.union(p for p in points[low:high] if p != self.final))
