# SPDX-License-Identifier: Apache-2.0
"""Steps over calls and out of functions, in both directions.

A call has come back where the instruction after it is next, at the same EL and the same SP. That is
how recursion and other tasks are told apart.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.watch import ANY_VMID, Sought, SoughtCode
from aether_edgecloud.emulator.recording.events import EventKind, Events
from aether_edgecloud.emulator.replay.compile import Compiled
from aether_edgecloud.emulator.replay.conditions import Condition, Direction, Hit, StepOut, StepOver
from aether_edgecloud.emulator.replay.cursor import Cursor
from aether_edgecloud.emulator.replay.finder import Finder
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import Progress

_VMID_SHIFT, _VMID_MASK = 48, 0xFF
_MOST_FRAME = 1 << 16
"""Bytes of stack that a function may take."""
_EXCEPTIONS = (EventKind.EXCEPTION, EventKind.INTERRUPT, EventKind.HYPERCALL)


class Callers(Protocol):
    """Who called the function that a CPU is in."""

    def __call__(self, cpu: int) -> "tuple[Caller, ...]":
        """Where it may return to; none if that cannot be seen."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A return address, and how far above the current SP the caller's is at least. `el` is that of
    the code an exception interrupted, or None."""

    pc: int
    above: int = 0
    el: int | None = None


@dataclass(frozen=True, slots=True)
class _State:
    pc: int
    el: int
    sp: int
    vmid: int
    word: int

    @property
    def is_call(self) -> bool:
        return self.word & 0xFC00_0000 == 0x9400_0000 or self.word & 0xFFFF_FC1F == 0xD63F_0000

    @property
    def is_return(self) -> bool:
        return self.word & 0xFFFF_FC1F == 0xD65F_0000


def _state(cpu: Cpu) -> _State:
    el = cpu.current_el
    vmid = cpu.native(reg.VTTBR_EL2) >> _VMID_SHIFT & _VMID_MASK
    word = cpu.engine.fetch_word(cpu.pc) or 0
    return _State(cpu.pc, el, cpu.registers()[31], ANY_VMID if el == 2 else vmid, word)


class Stepper:
    """Moves `cursor` and leaves it where it came to."""

    def __init__(
        self, cursor: Cursor, finder: Finder, callers: Callers, events: Events, end: int
    ) -> None:
        self._cursor = cursor
        self._finder = finder
        self._callers = callers
        self._events = events
        self._end = end

    def step(
        self, what: StepOver | StepOut, direction: Direction, progress: Progress
    ) -> Hit | None:
        """One step; None if it does not end in the run."""
        match what, direction:
            case StepOver(), Direction.FORWARD:
                return self._over(what, progress)
            case StepOver(), _:
                return self._over_back(what, progress)
            case _:
                return self._out(what, direction, progress)

    def _over(self, what: Condition, progress: Progress) -> Hit | None:
        number = self._cursor.at.cpu
        before = self._look(number)
        if not self._cursor.forward_on(number):
            return None
        after = self._look(number)
        if after.el > before.el:
            # Exceptions return to where the hardware says, or past the instruction.
            elr = self._cursor.machine.cpus[number].engine.read(reg.ELR[after.el])
            places = {elr, before.pc + 4}
        elif before.is_call and after.el == before.el:
            places = {before.pc + 4}
        else:
            return self._here(what, f"CPU {number} at {after.pc:#x}")
        codes = tuple(self._at(place, before) for place in sorted(places))
        compiled = Compiled((what,), Sought(codes=codes), ())
        return self._find(compiled, number, self._cursor.moment, Direction.FORWARD, progress)

    def _over_back(self, what: Condition, progress: Progress) -> Hit | None:
        number = self._cursor.at.cpu
        now = self._look(number)
        if not self._cursor.back_on(number):
            return None
        before = self._look(number)
        if before.el > now.el:
            hit = self._before_exception(what, number, now)
            if hit is not None:
                return hit
            places = {now.pc, now.pc - 4}
        elif before.el == now.el and before.is_return:
            places = {now.pc - 4}
        else:
            return self._here(what, f"CPU {number} at {before.pc:#x}")
        codes = tuple(self._at(place, now) for place in sorted(places))
        compiled = Compiled((what,), Sought(codes=codes), ())
        return self._find(compiled, number, self._cursor.moment, Direction.BACK, progress)

    def _before_exception(self, what: Condition, number: int, now: _State) -> Hit | None:
        """Where the exception was taken that has returned to here, by the events that are known."""
        events, position = self._events, self._cursor.moment.position
        rows = events.position <= position
        rows &= np.isin(events.kind, np.array(_EXCEPTIONS, np.uint8)) & (events.cpu == number)
        rows &= events.b == np.uint64(now.pc)
        found = np.flatnonzero(rows)
        if not len(found):
            return None
        self._cursor.go(Moment(int(events.position[found[-1]])))
        if self._cursor.at.cpu != number or self._look(number).el != now.el:
            self._cursor.back_on(number)
        return self._here(what, f"CPU {number} before an exception")

    def _out(self, what: Condition, direction: Direction, progress: Progress) -> Hit | None:
        number = self._cursor.at.cpu
        now = self._look(number)
        back = 4 if direction is Direction.BACK else 0
        codes = []
        for caller in self._callers(number):
            if caller.el is None:
                least = now.sp + caller.above
                code = self._at(caller.pc - back, now, least, now.sp + _MOST_FRAME)
            else:
                places = {caller.pc, caller.pc - back}
                for place in sorted(places):
                    codes.append(SoughtCode(place, 0, 1 << caller.el))
                continue
            codes.append(code)
        if not codes:
            return None
        compiled = Compiled((what,), Sought(codes=tuple(codes)), ())
        return self._find(compiled, number, self._cursor.moment, direction, progress)

    def _find(
        self, what: Compiled, cpu: int, here: Moment, direction: Direction, progress: Progress
    ) -> Hit | None:
        while True:
            if direction is Direction.FORWARD:
                hit = self._finder.next(what, here, self._end, progress)
            else:
                hit = self._finder.previous(what, here, 0, progress)
            if hit is None or hit.cpu == cpu:
                return hit
            here = Moment(hit.position, hit.attempt)

    @staticmethod
    def _at(
        pc: int, state: _State, least: int | None = None, most: int | None = None
    ) -> SoughtCode:
        low = state.sp if least is None else least
        high = state.sp if most is None else most
        return SoughtCode(pc, 0, 1 << state.el, state.vmid, low, high)

    def _here(self, what: Condition, words: str) -> Hit:
        at = self._cursor.at
        return Hit(at.moment.position, words, at.cpu, at.moment.attempt, what)

    def _look(self, number: int) -> _State:
        return _state(self._cursor.machine.cpus[number])
