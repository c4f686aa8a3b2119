# SPDX-License-Identifier: Apache-2.0
"""Searches in a run, in both directions."""

from collections.abc import Iterable, Sequence

from aether_edgecloud.emulator.errors import EmulatorFault
from aether_edgecloud.emulator.replay.compile import Compiled, words
from aether_edgecloud.emulator.replay.conditions import Direction, Hit
from aether_edgecloud.emulator.replay.cursor import Cursor
from aether_edgecloud.emulator.replay.moments import MOST_ATTEMPTS, Moment, Span
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.scan import Scanner, Spot


class Finder:
    """Finds what the run has to be executed again for. `cursor` is moved about meanwhile."""

    def __init__(self, cursor: Cursor, scanner: Scanner) -> None:
        self._cursor = cursor
        self._scanner = scanner

    def next(self, what: Compiled, here: Moment, end: int, progress: Progress) -> Hit | None:
        """The first after `here`, before position `end`."""
        self._scanner.seek(what.sought)
        groups = self._scanner.forward(here.position, end, progress)
        return self._first(groups, what, here, Direction.FORWARD)

    def previous(self, what: Compiled, here: Moment, start: int, progress: Progress) -> Hit | None:
        """The last before `here`, at position `start` or after."""
        self._scanner.seek(what.sought)
        groups = self._scanner.back(start, here.position + 1, progress)
        return self._first(groups, what, here, Direction.BACK)

    def all(
        self,
        what: Compiled,
        span: Span,
        direction: Direction,
        most: int,
        progress: Progress,
    ) -> list[Hit]:
        """All of a span, or the first (last) `most`, in the order of the run."""
        self._scanner.seek(what.sought)
        is_forward = direction is Direction.FORWARD
        scan = self._scanner.forward if is_forward else self._scanner.back
        hits: list[Hit] = []
        for group in scan(span.first.position, span.last.position + 1, progress):
            if not what.accepts(group[0]):
                continue
            hit = self._hit(group, what)
            if span.first <= hit.moment <= span.last:
                hits.append(hit)
                if len(hits) == most:
                    break
        return hits if is_forward else hits[::-1]

    def _first(
        self, groups: Iterable[list[Spot]], what: Compiled, here: Moment, direction: Direction
    ) -> Hit | None:
        sign = direction.value
        for group in groups:
            if not what.accepts(group[0]):
                continue
            hit = self._hit(group, what)
            if (hit.moment > here) if sign > 0 else (hit.moment < here):
                return hit
        return None

    def _hit(self, group: Sequence[Spot], what: Compiled) -> Hit:
        spot = group[0]
        condition = what.condition(spot.found)
        return Hit(spot.position, words(condition, group), spot.cpu, self._attempt(spot), condition)

    def _attempt(self, spot: Spot) -> int:
        """Which attempt at its position the instruction was."""
        for attempt in range(MOST_ATTEMPTS):
            arrival = self._cursor.go(Moment(spot.position, attempt))
            if arrival.moment != (spot.position, attempt):
                break
            cpu = self._cursor.machine.cpus[arrival.cpu]
            if arrival.cpu == spot.cpu and cpu.pc == spot.found.pc:
                return attempt
        raise EmulatorFault(
            f"the run has no instruction at {spot.found.pc:#x} at position {spot.position}"
        )
