# SPDX-License-Identifier: Apache-2.0
"""One schedule, as data: how the CPUs' priorities begin, and at which switch points they change."""

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.errors import UserError

if TYPE_CHECKING:
    from aether_edgecloud.emulator.machine import Machine

QUANTUM = 20_000
"""Instructions between two switches that no schedule names."""

_FIRST_BITS, _POINT_BITS, _TO_BITS = 3, 29, 3
_STEP_BITS = _POINT_BITS + _TO_BITS
_FIX = "say for example pct:seed=7,depth=3,points=400, or what `aether explore` has printed"


class Method(Enum):
    """How schedules are chosen."""

    PCT = "pct"
    """Random priorities, with depth - 1 changes of them (Burckhardt, Kothari, Musuvathi,
    Nagarakatte: A randomized scheduler with probabilistic guarantees of finding bugs, ASPLOS 2010):
    a bug of that depth among n points and c CPUs shows with a probability of 1 / (c * n^(depth-1))
    or more in each schedule."""
    BOUNDED = "bounded"
    """All schedules of up to `depth` preemptions, one after another."""


@dataclass(frozen=True, slots=True, order=True)
class Preemption:
    """Before switch point number `point`, from 1, the CPU that runs goes behind all others. Of them
    the one at place `to` in their order goes to the front."""

    point: int
    to: int = 0


@dataclass(frozen=True, slots=True)
class Interleaving:
    """A schedule. A run with it is a function of it too.

    `points` is the number of switch points in a run without preemption, which PCT chooses from;
    it begins with the first round of the CPUs after `start` instructions (of all CPUs) have
    retired; `shared` are the VAs of EL2's plain loads and stores that are switch points, since they
    reach words that several CPUs use.
    """

    method: Method = Method.PCT
    seed: int = 0
    depth: int = 3
    points: int = 1
    start: int = 0
    quantum: int = QUANTUM
    shared: tuple[int, ...] = ()

    def first(self, cpus: int) -> tuple[int, ...]:
        """The CPUs by priority, highest first."""
        if self.method is Method.BOUNDED:
            first = self.seed % (1 << _FIRST_BITS) % cpus
            return (first, *(cpu for cpu in range(cpus) if cpu != first))
        choices = Choices(self.seed, 0)
        left = list(range(cpus))
        return tuple(left.pop(choices.number(len(left))) for _ in range(cpus))

    def preemptions(self) -> tuple[Preemption, ...]:
        """In the order of their points."""
        if self.method is Method.BOUNDED:
            return _unpack(self.seed >> _FIRST_BITS)
        choices = Choices(~self.seed & (1 << 64) - 1, 0)
        wanted = min(self.depth - 1, self.points)
        chosen: set[int] = set()
        while len(chosen) < wanted:
            chosen.add(choices.number(self.points) + 1)
        return tuple(Preemption(point) for point in sorted(chosen))

    def attach(self, machine: "Machine") -> None:
        """Let a machine at reset run by it."""
        from aether_edgecloud.emulator.interleave.interleaver import (
            Interleaver,  # it needs machines
        )

        Interleaver(machine).follow(self)

    def __str__(self) -> str:
        words = [f"seed={self.seed}", f"depth={self.depth}", f"points={self.points}"]
        if self.start:
            words.append(f"start={self.start}")
        if self.quantum != QUANTUM:
            words.append(f"quantum={self.quantum}")
        if self.shared:
            steps = (f"{(after - before) // 4:x}" for before, after in pairwise(self.shared))
            words.append(".".join([f"shared={self.shared[0]:x}", *steps]))
        return f"{self.method.value}:{','.join(words)}"


def bounded_seed(first: int, preemptions: tuple[Preemption, ...]) -> int:
    """The seed of a schedule of method BOUNDED in which CPU `first` begins."""
    seed = 0
    for preemption in reversed(preemptions):
        seed = seed << _STEP_BITS | preemption.point << _TO_BITS | preemption.to
    return seed << _FIRST_BITS | first


def _unpack(packed: int) -> tuple[Preemption, ...]:
    found = []
    while packed:
        step = packed % (1 << _STEP_BITS)
        found.append(Preemption(step >> _TO_BITS, step % (1 << _TO_BITS)))
        packed >>= _STEP_BITS
    return tuple(found)


def parse(text: str, where: str = "--interleaving") -> Interleaving:
    """The schedule of a text like "pct:seed=7,depth=3,points=400". UserError if it is none."""
    name, _, rest = text.strip().partition(":")
    try:
        method = Method(name)
    except ValueError:
        raise UserError(f"{name!r} is no method", where=where, fix=_FIX) from None
    numbers = {"seed": 0, "depth": 3, "points": 1, "start": 0, "quantum": QUANTUM}
    shared: tuple[int, ...] = ()
    for word in rest.split(",") if rest else ():
        key, _, value = word.strip().partition("=")
        if key in numbers and value.isascii() and value.isdecimal() and len(value) < 80:
            numbers[key] = int(value)
        elif key == "shared":
            shared = _parse_shared(value, where)
        else:
            raise UserError(f"{word.strip()!r} is no part of a schedule", where=where, fix=_FIX)
    if not (0 < numbers["depth"] < 20 and numbers["points"] and numbers["quantum"]):
        raise UserError("depth is 1 to 19, points and quantum at least 1", where=where, fix=_FIX)
    return Interleaving(method, **numbers, shared=shared)


def _parse_shared(value: str, where: str) -> tuple[int, ...]:
    try:
        base, *steps = (int(word, 16) for word in value.split("."))
    except ValueError:
        raise UserError("shared= is not of hexadecimal numbers", where=where, fix=_FIX) from None
    found = [base]
    for step in steps:
        found.append(found[-1] + 4 * step)
    if base % 4 or base >> 64 or found[-1] >> 64 or any(a >= b for a, b in pairwise(found)):
        raise UserError("shared= names no instructions", where=where, fix=_FIX)
    return tuple(found)
