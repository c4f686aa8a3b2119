# SPDX-License-Identifier: Apache-2.0
"""Runs a scenario by one schedule after another, and keeps those by which it fails."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from aether_edgecloud.emulator.interleave.interleaver import Interleaver
from aether_edgecloud.emulator.interleave.interleaving import (
    QUANTUM,
    Interleaving,
    Method,
    Preemption,
    bounded_seed,
)
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.violation import Violation

Scenario = Callable[[Machine], str | None]
"""Runs a machine from where it stands to where the scenario ends; what has failed, if anything.
A `Violation`, or an AssertionError, that it raises is a failure too."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule, and what is wrong with the run."""

    interleaving: Interleaving
    what: str


@dataclass(slots=True)
class Result:
    """What came of exploring."""

    points: int
    """Switch points of the run without preemption."""
    shared: tuple[int, ...]
    """VAs of EL2's plain loads and stores that are switch points."""
    schedules: int = 0
    """Tried so far."""
    failures: list[Failure] = field(default_factory=list)
    is_complete: bool = False
    """There are no others (of method BOUNDED)."""
    _seen: set[bytes] = field(default_factory=set)

    @property
    def distinct(self) -> int:
        """How many runs differed in where the CPUs gave their turns away."""
        return len(self._seen)

    @property
    def first(self) -> Failure | None:
        """The first that was found."""
        return self.failures[0] if self.failures else None

    def note(self, order: tuple[int, ...], switches: tuple[tuple[int, int], ...]) -> None:
        """A schedule has been run: who was first, and where each turn was given away."""
        self.schedules += 1
        self._seen.add(hashlib.sha256(repr((order, switches)).encode()).digest())


class Explorer:
    """Explores from the moment at which the machine stands. It stays attached to the machine."""

    def __init__(
        self,
        machine: Machine,
        scenario: Scenario,
        *,
        depth: int = 3,
        quantum: int = QUANTUM,
        start: int | None = None,
    ) -> None:
        self._machine = machine
        self._scenario = scenario
        self.interleaver = Interleaver(machine)
        self.snapshot = machine.snapshot()
        self._cpus = len(machine.cpus)
        start = machine.instructions if start is None else start
        self.plain = Interleaving(Method.BOUNDED, 0, depth, 1, start, quantum)
        """The schedule without preemption, which `learn` completes."""

    def learn(self) -> Failure | None:
        """Find the words that several CPUs use, in runs in which each CPU goes first once, and
        count the switch points. What fails even there, if anything."""
        orders = [replace(self.plain, seed=first) for first in range(self._cpus)]
        # Twice: what reached a word before another CPU did is seen the second time.
        for order in orders * 2:
            what = self._run(order, learning=True)
            if what is not None:
                return Failure(order, what)
        self.plain = replace(self.plain, shared=self.interleaver.learnt())
        points = 1
        for order in orders:
            what = self.run(replace(self.plain, seed=order.seed))
            if what is not None:
                return Failure(order, what)
            points = max(points, self.interleaver.reached)
        self.plain = replace(self.plain, points=points)
        return None

    def run(self, interleaving: Interleaving) -> str | None:
        """One schedule, from the start; what fails."""
        return self._run(interleaving, learning=False)

    def schedules(self, method: Method, seed: int = 0) -> Iterator[Interleaving]:
        """Schedules to run, in order: each must have been run when the next is asked for. Those of
        PCT begin with `seed`, and never end."""
        if method is Method.BOUNDED:
            yield from self._bounded()
            return
        while True:
            yield replace(self.plain, method=method, seed=seed)
            seed += 1

    def explore(
        self,
        schedules: Iterable[Interleaving],
        *,
        most: int,
        failures: int = 1,
        tell: Callable[[Result], None] = lambda result: None,
    ) -> Result:
        """Runs schedules until so many have been run, or so many have failed. After each, `tell` is
        told how things stand."""
        result = Result(self.plain.points, self.plain.shared)
        for interleaving in schedules:
            if result.schedules >= most or len(result.failures) >= failures:
                return result
            what = self.run(interleaving)
            result.note(interleaving.first(self._cpus), self.interleaver.switches)
            if what is not None:
                result.failures.append(Failure(interleaving, what))
            tell(result)
        result.is_complete = True
        return result

    def _bounded(self) -> Iterator[Interleaving]:
        """By number of preemptions. Which points come after the last of them, its run has shown."""
        level: list[tuple[int, tuple[Preemption, ...], int]] = []
        for first in range(self._cpus):
            yield replace(self.plain, seed=first)
            level.append((first, (), self.interleaver.reached))
        for _ in range(self.plain.depth):
            following = []
            for first, made, reached in level:
                last = made[-1].point if made else 0
                for point, to in product(range(last + 1, reached + 1), range(self._cpus - 1)):
                    step = (*made, Preemption(point, to))
                    yield replace(self.plain, seed=bounded_seed(first, step))
                    following.append((first, step, self.interleaver.reached))
            level = following

    def _run(self, interleaving: Interleaving, *, learning: bool) -> str | None:
        self._machine.restore(self.snapshot)
        self.interleaver.follow(interleaving, learning=learning)
        try:
            return self._scenario(self._machine)
        except Violation as violation:
            return f"{type(violation).__name__}: {violation}"
        except AssertionError as error:
            return str(error)


def explore(
    start: Machine,
    scenario: Scenario,
    *,
    schedules: int,
    method: Method = Method.PCT,
    depth: int = 3,
    seed: int = 0,
    quantum: int = QUANTUM,
    failures: int = 1,
) -> Result:
    """Runs a scenario from the moment at which a machine stands, by `schedules` schedules or until
    `failures` of them have failed. `depth` is PCT's, or the most preemptions of method BOUNDED."""
    explorer = Explorer(start, scenario, depth=depth, quantum=quantum)
    failure = explorer.learn()
    if failure is not None:
        return Result(0, (), failures=[failure])
    return explorer.explore(explorer.schedules(method, seed), most=schedules, failures=failures)
