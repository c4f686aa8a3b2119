# SPDX-License-Identifier: Apache-2.0
"""Where two runs part."""

from dataclasses import dataclass

import numpy as np

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.recording.events import COLUMNS, Events
from aether_edgecloud.emulator.replay.progress import SILENT, Progress
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.registers import system_names
from aether_edgecloud.emulator.report.machine_state import read_register

_NO_EVENT = 1 << 63


@dataclass(frozen=True, slots=True)
class DifferentRegister:
    """A register of a CPU that is not the same in both; None where the run has no such CPU."""

    cpu: int
    name: str
    a: int | None
    b: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first position at which the machines are not the same; at the one before they are.
    `pages` are the PAs of pages of RAM that differ, `has_memory` says whether RAM was compared: it
    is where both runs began alike. `ended`: which of them ends there, `a` or `b`, or empty."""

    position: int
    registers: tuple[DifferentRegister, ...]
    pages: tuple[int, ...]
    has_memory: bool
    ended: str = ""


def difference(a: Replay, b: Replay, progress: Progress = SILENT) -> Difference | None:
    """Where two runs part; None if they never do. Runs are compared by the registers of all CPUs
    and, where they began alike, by RAM. Runs that have parted are taken not to meet again. The
    cursors are at that position afterwards."""
    pair = _Pair(a, b)
    end = min(a.end, b.end)
    if not pair.is_same(0):
        pair.has_memory = False
        if not pair.is_same(0):
            return pair.difference(0)
    low, high = pair.bounds(end)
    steps = max((high - low).bit_length(), 1)
    for done in range(64):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        if pair.is_same(middle):
            low = middle
        else:
            high = middle
        progress.at(min(done + 1, steps), steps)
    if high > end:
        if a.end == b.end:
            return None
        found = pair.difference(end)
        return Difference(end, found.registers, found.pages, found.has_memory, pair.shorter)
    pair.is_same(high)
    return pair.difference(high)


class _Pair:
    def __init__(self, a: Replay, b: Replay) -> None:
        self.a, self.b = a, b
        self.has_memory = True
        self.shorter = "a" if a.end < b.end else "b"

    def is_same(self, position: int) -> bool:
        self.a.goto(position)
        self.b.goto(position)
        if self.registers():
            return False
        return not self.has_memory or not self.pages()

    def bounds(self, end: int) -> tuple[int, int]:
        """The same at the first, not at the second, that may be past the end."""
        hint = _first_event(self.a.events, self.b.events)
        low, high = 0, end + 1
        if hint <= end and not self.is_same(hint):
            high = hint
        step = 1 << 16
        while high > 1 and step < high:
            at = high - step
            if self.is_same(at):
                return at, high
            high, step = at, step * 8
        return low, high

    def registers(self) -> tuple[DifferentRegister, ...]:
        one, other = _registers(self.a), _registers(self.b)
        return tuple(
            DifferentRegister(cpu, name, one.get((cpu, name)), other.get((cpu, name)))
            for cpu, name in dict.fromkeys((*one, *other))
            if one.get((cpu, name)) != other.get((cpu, name))
        )

    def pages(self) -> tuple[int, ...]:
        one, other = (replay.machine.snapshot().ram for replay in (self.a, self.b))
        base = self.a.machine.board.ram_base
        differ = sorted(n for n in one.keys() | other.keys() if one.get(n) != other.get(n))
        return tuple(base + page * PAGE_SIZE for page in differ)

    def difference(self, position: int) -> Difference:
        pages = self.pages() if self.has_memory else ()
        return Difference(position, self.registers(), pages, self.has_memory)


def _registers(replay: Replay) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    for number, cpu in enumerate(replay.machine.cpus):
        values = [*cpu.registers(), cpu.pc, cpu.engine.read(reg.PSTATE)]
        names = [*(f"X{n}" for n in range(31)), "SP", "PC", "PSTATE"]
        for name, value in zip(names, values, strict=True):
            found[number, name] = value
        for name in system_names(2):
            register = read_register(cpu, name)
            if register is not None:
                found[number, name] = register
    return found


def _first_event(a: Events, b: Events) -> int:
    """Where the first event is that only one of them has."""
    count = min(len(a), len(b))
    same = np.ones(count, np.bool_)
    for name in COLUMNS:
        same &= getattr(a, name)[:count] == getattr(b, name)[:count]
    parted = np.flatnonzero(~same)
    row = int(parted[0]) if len(parted) else count
    places = [int(events.position[row]) for events in (a, b) if row < len(events)]
    return min(places, default=_NO_EVENT)
