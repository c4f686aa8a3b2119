# SPDX-License-Identifier: Apache-2.0
"""Exact moments of a run on one machine.

A run sees interrupts only where a block of code begins, so where blocks begin is part of the run.
A moment inside a block is looked at from the block's start: the machine stops there, then in front
of the one instruction, which is hooked for that time. Nothing may run on from such a place; the
way on begins at a snapshot of a block's start.
"""

from typing import NamedTuple

from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.stop import Stop, StopKind

MOST_ATTEMPTS = 256
"""At one position; a run with more takes exceptions without end."""


class Moment(NamedTuple):
    """Before an instruction is tried: how many have retired, and how many were tried since the
    last that did. Each of these took an exception."""

    position: int
    attempt: int = 0

    @property
    def text(self) -> str:
        """As a user writes it."""
        return f"{self.position}.{self.attempt}" if self.attempt else str(self.position)

    @property
    def shown(self) -> str:
        """The same for the eye, which can be written too: thousands are set apart."""
        return f"{self.position:,}.{self.attempt}" if self.attempt else f"{self.position:,}"


class Span(NamedTuple):
    """A part of a run: all moments from the first to the last, there are such or not."""

    first: Moment
    last: Moment

    @classmethod
    def of(cls, first: int, last: int) -> "Span":
        """Whole positions, the last too."""
        return cls(Moment(first), Moment(last, MOST_ATTEMPTS))

    @classmethod
    def before(cls, moment: Moment) -> "Span":
        """All of a run before a moment."""
        position, attempt = moment
        last = Moment(position, attempt - 1) if attempt else Moment(position - 1, MOST_ATTEMPTS)
        return cls(Moment(0), last)


class Arrival(NamedTuple):
    """Where a search for a moment ended: at the moment, or at the next that there is. `stop` tells
    why the run ended, if it did."""

    moment: Moment
    cpu: int
    stop: StopKind | None = None


def settle(machine: Machine, wanted: Moment, stop: Stop | None = None) -> Arrival:
    """From the start of a block at or before it to a moment, or to a later one if there is no such
    attempt. `stop` is where the machine is, if it has been run up to the block that has the moment.
    """
    return _settle(machine, wanted, stop, 0)


def settle_after(machine: Machine, moment: Moment, stop: Stop | None = None) -> Arrival:
    """The same to the moment after one that there is."""
    return _settle(machine, moment, stop, 1)


def _settle(machine: Machine, wanted: Moment, stop: Stop | None, more: int) -> Arrival:
    position, attempt = wanted
    stop = stop or machine.run(before=position)
    begun = 0  # attempts at the position
    while stop.kind is StopKind.LIMIT:
        ahead = position - stop.instructions
        if ahead < 0:
            return Arrival(Moment(stop.instructions), stop.cpu)
        if begun and ahead:
            # An instruction before it has taken an exception.
            begun = 0
            stop = machine.run(before=position)
            continue
        hooked = 0
        if ahead:
            begun = 1
            if attempt == 0:
                hooked = ahead + more
        else:
            current = begun - 1 if begun and _is_same(machine, stop) else begun
            if current == attempt + more:
                return Arrival(Moment(position, current), stop.cpu)
            begun = current + 1
            if current == attempt:
                hooked = more
        stop = _pass_block(machine, stop, hooked)
    return Arrival(Moment(stop.instructions), stop.cpu, stop.kind)


def _is_same(machine: Machine, stop: Stop) -> bool:
    """Whether the instruction is one that was tried before, and not begun: it was hooked, or the
    CPU has looked at it because it may raise what Unicorn does not."""
    state = machine.cpus[stop.cpu].state
    return bool(state.block_pc != stop.pc or state.pass_pc == stop.pc)


def _pass_block(machine: Machine, stop: Stop, hooked: int) -> Stop:
    """Let a block run, up to the start of the next. Unless it is 0, stop at an instruction of the
    block, by number, if it has so many."""
    cpu = machine.cpus[stop.cpu]
    cpu.state.peek_pass = 1
    if not 0 < hooked < cpu.state.watch_size // 4:
        return machine.run(before=0)
    cpu.state.peek_inside = cpu.retired + hooked
    hook = cpu.engine.hook_instruction("aether_on_peeked", stop.pc + 4 * hooked)
    stop = machine.run(before=0)
    cpu.engine.unhook(hook)
    return stop
