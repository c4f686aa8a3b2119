# SPDX-License-Identifier: Apache-2.0
"""Breakpoints and watchpoints, as conditions to search a run for.

A breakpoint is a VA, and the same VA may be code of EL2 and of any guest: a `Scope` says whose is
meant. A watchpoint is on the memory that its address stood for when it was inserted, whoever
writes it and by what address.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from aether_edgecloud.emulator.gdb.requests import Point, PointKind, TargetError, Why
from aether_edgecloud.emulator.replay.conditions import Access, AnyOf, Execute, Hit, Read, Write

Single = Execute | Access | Read | Write
_BREAKPOINTS = {PointKind.SOFTWARE: Why.SOFTWARE, PointKind.HARDWARE: Why.HARDWARE}
_WATCHPOINTS: dict[PointKind, tuple[type[Access] | type[Read] | type[Write], Why]] = {
    PointKind.WRITE: (Write, Why.WRITE),
    PointKind.READ: (Read, Why.READ),
    PointKind.ACCESS: (Access, Why.ACCESS),
}
_MOST_WATCHED = 4096
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Scope:
    """Where breakpoints count; None is anywhere. `by_image`: those in the EL2 image count at EL2
    only, others anywhere."""

    el: int | None = None
    vmid: int | None = None
    cpu: int | None = None
    by_image: bool = False

    def words(self, vms: Sequence[str]) -> str:
        """For the user; `vms` are the VMs' names."""
        if self.by_image:
            return "at EL2 if their address is in the EL2 image, else anywhere"
        words = [] if self.el is None else [f"at EL{self.el}"]
        words += [] if self.vmid is None else [f"while VM {vms[self.vmid - 1]} is loaded"]
        words += [] if self.cpu is None else [f"on CPU {self.cpu}"]
        return " ".join(words) or "anywhere"


AUTOMATIC = Scope(by_image=True)


@dataclass(slots=True)
class Points:
    """All that gdb has set. `image` is where the EL2 image runs."""

    image: range
    scope: Scope = AUTOMATIC
    _set: dict[Point, tuple[Single, ...]] = field(default_factory=dict)

    def insert(self, point: Point, physical: Callable[[int], int]) -> None:
        """Set one; one that is there already stays. `physical` gives the PA of a watchpoint's
        address, to the end of its page. TargetError for one that cannot be watched."""
        if point in self._set:
            return
        if point.kind in _BREAKPOINTS:
            self._set[point] = (self._execute(point.address),)
            return
        if not 0 < point.size <= _MOST_WATCHED:
            raise TargetError(f"{point.size} bytes cannot be watched, 1 to {_MOST_WATCHED} can")
        condition, _ = _WATCHPOINTS[point.kind]
        # Pages that are neighbours to the debugger need not be so in memory.
        end = point.address + point.size
        starts = (point.address, *range((point.address | _PAGE - 1) + 1, end, _PAGE))
        self._set[point] = tuple(
            condition(physical(start), min(end, (start | _PAGE - 1) + 1) - start)
            for start in starts
        )

    def remove(self, point: Point) -> None:
        """Take it away, if it is there."""
        self._set.pop(point, None)

    def clear(self) -> None:
        """Take all away."""
        self._set.clear()

    def _execute(self, va: int) -> Execute:
        scope = self.scope
        if scope.by_image:
            return Execute(va, el=2 if va in self.image else None)
        return Execute(va, scope.cpu, scope.vmid, scope.el)

    @property
    def breakpoints(self) -> tuple[Execute, ...]:
        """What is set of them."""
        return tuple(c for c in self._all() if isinstance(c, Execute))

    @property
    def watchpoints(self) -> tuple[Access | Read | Write, ...]:
        """What is set of them."""
        return tuple(c for c in self._all() if not isinstance(c, Execute))

    def _all(self) -> Iterator[Single]:
        return chain.from_iterable(self._set.values())

    @property
    def condition(self) -> AnyOf:
        """Any of them."""
        return AnyOf((*self.breakpoints, *self.watchpoints))

    def met(self, hit: Hit) -> tuple[Why, int]:
        """Which it was, as a stop reply tells it: why, and the address of a watchpoint."""
        for point, conditions in self._set.items():
            if hit.condition in conditions:
                if point.kind in _BREAKPOINTS:
                    return _BREAKPOINTS[point.kind], 0
                return _WATCHPOINTS[point.kind][1], point.address
        return Why.STEPPED, 0
