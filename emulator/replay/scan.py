# SPDX-License-Identifier: Apache-2.0
"""Executing parts of a run again to see where something happens in them."""

import bisect
import ctypes as c
import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.watch import CpuWatch, Found, Sought
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.stop import StopKind
from aether_edgecloud.emulator.replay.progress import Progress
from aether_edgecloud.emulator.replay.snapshots import Snapshots

_BLOCK = 1_024
"""No block of code has as many instructions."""
_FIRST_PIECE = 200_000


class Spot(NamedTuple):
    """Something that was found. `count` pieces of an access are one spot."""

    position: int
    cpu: int
    found: Found


class Scanner:
    """A machine of its own to search with."""

    def __init__(self, machine: Machine, snapshots: Snapshots) -> None:
        self._machine = machine
        self._snapshots = snapshots
        self._pages = (c.c_uint8 * (machine.board.ram_size // PAGE_SIZE))()
        self._watches = [CpuWatch(cpu, self._pages) for cpu in machine.cpus]
        self._sought = Sought()

    def seek(self, sought: Sought) -> None:
        """What the next scans are for."""
        if sought == self._sought:
            return
        machine = self._machine
        c.memset(self._pages, 0, len(self._pages))
        for wanted in sought.ranges:
            for page in _pages(wanted.start, wanted.end, machine.board.ram_base):
                self._pages[page] |= wanted.accesses
        for watch in self._watches:
            watch.seek(sought, machine.board.ram_base)
        self._sought = sought

    def forward(self, start: int, end: int, progress: Progress) -> Iterator[list[Spot]]:
        """What is found at positions in [start, end), in the order of the run: the spots of one
        instruction and one thing that is sought at a time."""
        machine, at = self._machine, start
        piece = _FIRST_PIECE
        is_near = False
        while at < end:
            stop = min(self._next_place(at), end, at + piece)
            piece = end
            if self._can_skip(at, stop):
                is_near = False
            else:
                if not is_near:
                    machine.restore(self._snapshots.before(at))
                spots = self._run(at, stop, keeps_last=False)
                known = self._known(stop, backwards=False)
                if known is not None and known > at:
                    stop = known
                # What is left of the block at the end is found by the next piece, from its start.
                # A machine may have been changed from outside at a checkpoint.
                is_near = (
                    known is None
                    and stop < self._next_place(at)
                    and not any(self._sought.is_access(spot.found) for spot in spots)
                )
                for group in self._in_order(spots):
                    if at <= group[0].position < stop:
                        yield group
            at = stop
            progress.at(at - start, end - start)

    def back(self, start: int, end: int, progress: Progress) -> Iterator[list[Spot]]:
        """The same, the last first."""
        at = end
        while at > start:
            places = self._snapshots.places(start, at - 1)
            piece = max(places[-1] if places else start, start)
            if not self._can_skip(piece, at):
                self._machine.restore(self._snapshots.before(piece))
                spots = self._run(piece, at, keeps_last=True)
                known = self._known(at, backwards=True)
                if known is not None and known < at:
                    piece = known
                for group in self._in_order(spots, backwards=True):
                    if piece <= group[0].position < at:
                        yield group
            at = piece
            progress.at(end - at, end - start)

    def close(self) -> None:
        """Give memory back."""
        self._machine.close()

    def _in_order(self, spots: list[Spot], *, backwards: bool = False) -> Iterator[list[Spot]]:
        """Exact spots by instruction and thing sought, of such that may tell of accesses where
        their block begins only. Blocks are looked at as late as can be."""
        sign = -1 if backwards else 1
        waiting: list[tuple[int, int, list[Spot], bool]] = []
        number = 0

        def put(group: list[Spot], place: int, is_exact: bool) -> None:
            nonlocal number
            number += 1
            heapq.heappush(waiting, (sign * place, sign * number, group, is_exact))

        inexact = [s for s in spots if self._sought.is_access(s.found)]
        for group in _groups([s for s in spots if not self._sought.is_access(s.found)]):
            put(group, group[0].position, True)
        following: dict[int, int] = {}
        for block, cpu in sorted({_order(s) for s in inexact}, reverse=True):
            # The block is over where the CPU's next one begins.
            last = min(following.get(cpu, block + _BLOCK) - 1, block + _BLOCK)
            following[cpu] = block
            first = next(s for s in inexact if _order(s) == (block, cpu))
            put([first], last if backwards else block, False)
        while waiting:
            _, _, group, is_exact = heapq.heappop(waiting)
            if is_exact:
                yield group
                continue
            for found in _groups(self._refine(group[0])):
                put(found, found[0].position, True)

    def _refine(self, spot: Spot) -> list[Spot]:
        """An access of which the block is known: all accesses in that block."""
        machine = self._machine
        machine.restore(self._snapshots.before(spot.position))
        stop = machine.run(before=spot.position)
        if stop.kind is not StopKind.LIMIT:
            return []
        self._snapshots.add(machine.snapshot())
        self._begin(-_BLOCK, _BLOCK, keeps_last=False, is_exact=True)
        machine.cpus[stop.cpu].state.peek_pass = 1
        machine.run(before=spot.position)
        found = self._collect(spot.position)
        return [s for s in found if self._sought.is_access(s.found)]

    def _run(self, start: int, end: int, *, keeps_last: bool) -> list[Spot]:
        """From where the machine is, at or before `start`, until all of [start, end) is done."""
        machine = self._machine
        slack = _BLOCK if self._sought.ranges else 0
        self._begin(1, end - start + slack, keeps_last=keeps_last, is_exact=False)
        stop = machine.run(before=end)
        if stop.kind is not StopKind.LIMIT or stop.instructions >= end:
            return self._collect(end)
        here = machine.snapshot()
        while stop.kind is StopKind.LIMIT and stop.instructions < end:
            machine.cpus[stop.cpu].state.peek_pass = 1
            stop = machine.run(before=end)
        spots = self._collect(end)
        machine.restore(here)
        return spots

    def _begin(self, nearest: int, farthest: int, *, keeps_last: bool, is_exact: bool) -> None:
        for watch in self._watches:
            watch.begin(
                nearest=nearest, farthest=farthest, keeps_last=keeps_last, is_exact=is_exact
            )

    def _collect(self, end: int) -> list[Spot]:
        spots = [
            Spot(end - found.ahead, number, found)
            for number, watch in enumerate(self._watches)
            for found in watch.found()
        ]
        return sorted(spots, key=_order)

    def _known(self, end: int, *, backwards: bool) -> int | None:
        """The position before which (from which on) all is kept of a run up to `end`; None if all
        of it is."""
        full = [watch.found() for watch in self._watches if watch.is_overfull]
        if backwards:
            return max((end - found[0].ahead + 1 for found in full), default=None)
        return min((end - found[-1].ahead for found in full), default=None)

    def _next_place(self, position: int) -> int:
        points = self._snapshots.checkpoints.positions
        index = bisect.bisect_right(points, position)
        return points[index] if index < len(points) else 1 << 63

    def _can_skip(self, start: int, end: int) -> bool:
        """Whether nothing that is sought can be in [start, end), that is between checkpoints."""
        if not self._sought.is_store_only:
            return False
        pages = self._snapshots.checkpoints.touched(self._snapshots.interval(start))
        if pages is None:
            return False
        base = self._machine.board.ram_base
        return not any(
            page in pages
            for wanted in self._sought.ranges
            for page in _pages(wanted.start, wanted.end, base)
        )


def _order(spot: Spot) -> tuple[int, int]:
    return spot.position, spot.cpu


def _pages(start: int, end: int, base: int) -> range:
    return range((start - base) // PAGE_SIZE, (end - 1 - base) // PAGE_SIZE + 1)


def _groups(spots: Sequence[Spot]) -> list[list[Spot]]:
    """The pieces of one access together; a thing that was found twice at one place once."""
    groups: dict[tuple[int, int, int], list[Spot]] = {}
    for spot in spots:
        group = groups.setdefault((spot.position, spot.cpu, spot.found.id), [])
        if spot not in group:
            group.append(spot)
    return list(groups.values())
