# SPDX-License-Identifier: Apache-2.0
"""Lets the CPUs of a machine take their turns as a schedule says."""

from dataclasses import dataclass

from aether_edgecloud.emulator.cpu.hooks import NEVER
from aether_edgecloud.emulator.cpu.registers import VBAR
from aether_edgecloud.emulator.interleave.interleaving import Interleaving, Preemption
from aether_edgecloud.emulator.interleave.switch_points import (
    Switch,
    SwitchPoints,
    SwitchPointsSaved,
)
from aether_edgecloud.emulator.machine.core import Core
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.turns import AtSwitch

MOST_SPINS = 400
"""Slices in a row in which CPUs did nothing but load the same word again and again: a deadlock."""
_REGION = 2 << 20


@dataclass(frozen=True, slots=True)
class InterleaverState:
    """Of an `Interleaver`."""

    points: SwitchPointsSaved
    order: tuple[int, ...]
    done: int
    """Preemptions so far."""
    switches: tuple[tuple[int, int], ...]


class Interleaver:
    """An attachment of a machine. Without a schedule to follow it does nothing."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.points = SwitchPoints(machine.cpus)
        """As the hooks see them."""
        self._schedule: Interleaving | None = None
        self._preemptions: tuple[Preemption, ...] = ()
        self._order: tuple[int, ...] = tuple(range(len(machine.cpus)))
        self._done = 0
        self._switches: tuple[tuple[int, int], ...] = ()
        machine.interleave(self)
        machine.attachments.append(self)

    def follow(self, schedule: Interleaving | None, *, learning: bool = False) -> None:
        """From now on; not while the machine runs. `learning`: find out meanwhile which words are
        shared, beside what is known from before; `learnt` tells."""
        self._schedule = schedule
        self.points.reset()
        self.points.learn(on=learning)
        self._switches, self._done = (), 0
        if schedule is not None:
            self._preemptions = schedule.preemptions()
            self._order = schedule.first(len(self._machine.cpus))
            if not learning:
                self.points.share(schedule.shared)

    @property
    def reached(self) -> int:
        """Switch points so far."""
        return int(self.points.state.reached)

    @property
    def switches(self) -> tuple[tuple[int, int], ...]:
        """Where it has made a CPU give its turn away: the CPU, its instruction."""
        return self._switches

    def learnt(self) -> tuple[int, ...]:
        """VAs of EL2's plain loads and stores that reach words which several CPUs use."""
        return self.points.learnt()

    # What the machine asks (turns.Interleaver).

    @property
    def is_on(self) -> bool:
        """Whether the schedule has begun."""
        return bool(self.points.state.is_on)

    def begins(self, retired: int) -> int | None:
        """Asked between two rounds, with the instructions that all CPUs have retired: the quantum,
        if the schedule begins now."""
        schedule = self._schedule
        if schedule is None or self.is_on or retired < schedule.start:
            return None
        self.points.hook(self._code())
        self.points.state.is_on = True
        self._aim()
        return schedule.quantum

    def order(self) -> tuple[int, ...]:
        """The CPUs, the one that goes first at the front."""
        return self._order

    def slice_begins(self, *, alone: bool) -> None:
        """`alone`: until the slice ends, there is nobody to give the turn to."""
        self.points.state.is_alone = alone

    def at_switch(self, core: Core) -> AtSwitch:
        """A CPU has stopped before a switch point."""
        state = self.points.state
        if state.switch_reason == Switch.SPIN:
            return AtSwitch.DEADLOCK if state.spins >= MOST_SPINS else AtSwitch.WAIT
        preemption = self._preemptions[self._done]
        self._done += 1
        self._aim()
        others = [cpu for cpu in self._order if cpu != core.number]
        first = others.pop(min(preemption.to, len(others) - 1))
        self._order = (first, *others, core.number)
        self._switches += ((core.number, core.cpu.retired),)
        return AtSwitch.PREEMPT

    def save(self) -> InterleaverState:
        """The state."""
        return InterleaverState(self.points.save(), self._order, self._done, self._switches)

    def restore(self, state: object) -> None:
        """Become what was saved."""
        assert isinstance(state, InterleaverState)
        self.points.restore(state.points)
        self._order, self._done, self._switches = state.order, state.done, state.switches
        if self.is_on:
            self.points.hook(self._code())

    def _aim(self) -> None:
        left = self._preemptions[self._done :]
        self.points.state.stop_at = left[0].point if left else NEVER

    def _code(self) -> range:
        """EL2's code: the image where it runs at its PA, else what lies around its vectors."""
        image, vbar = self._machine.loaded[0], self._machine.cpu.engine.read(VBAR[2])
        if vbar in image or vbar == 0:
            return range(image.start, image.stop & -4)
        start = vbar & -_REGION
        return range(start, start + _REGION)
