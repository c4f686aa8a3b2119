# SPDX-License-Identifier: Apache-2.0
"""A machine that can be put at any moment of a run."""

from aether_edgecloud.emulator.errors import EmulatorFault
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.stop import Stop, StopKind
from aether_edgecloud.emulator.replay.moments import (
    MOST_ATTEMPTS,
    Arrival,
    Moment,
    settle,
    settle_after,
)
from aether_edgecloud.emulator.replay.progress import SILENT, Progress
from aether_edgecloud.emulator.replay.snapshots import Snapshots

# Before a cursor that came from afar snapshots are left behind at these distances, so that the
# ways back are short. No block has as many instructions as the last.
_DISTANCES = (400_000, 50_000, 6_000, 1_000)
_PIECE = 2_000_000
"""Instructions between two looks at the progress."""


class Cursor:
    """`at` is where the machine is; nothing but this moves it."""

    def __init__(self, machine: Machine, snapshots: Snapshots) -> None:
        self.machine = machine
        self.snapshots = snapshots
        self.at = self.go(Moment(0))

    @property
    def moment(self) -> Moment:
        """Where the machine is."""
        return self.at.moment

    def go(self, wanted: Moment, progress: Progress = SILENT) -> Arrival:
        """To a moment, or the next there is if there is no such attempt."""
        stop = self.approach(wanted.position, progress)
        self.at = settle(self.machine, wanted, stop)
        return self.at

    def approach(self, position: int, progress: Progress = SILENT) -> Stop:
        """To the start of the block that reaches past a position."""
        machine = self.machine
        snapshot = self.snapshots.before(position)
        start = snapshot.instructions
        machine.restore(snapshot)
        for distance in _DISTANCES:
            while position - machine.instructions > 2 * distance:
                left = position - distance - machine.instructions
                stop = machine.run(until=machine.instructions + min(left, _PIECE))
                progress.at(machine.instructions - start, position - start)
                if stop.kind is not StopKind.LIMIT:
                    return stop
                if left <= _PIECE:
                    self.snapshots.add(machine.snapshot())
        return machine.run(before=position)

    def forward(self) -> bool:
        """To the next moment; False at the end of the run."""
        here = self.moment
        if self.at.stop is not None or here.position == self.snapshots.final:
            return False
        stop = self.approach(here.position)
        self.at = settle_after(self.machine, here, stop)
        now = self.moment.position
        if now != here.position and self.snapshots.is_checkpoint(now):
            # There somebody may have changed the machine from outside.
            self.go(Moment(now))
        return True

    def back(self) -> bool:
        """To the moment before; False at the first."""
        position, attempt = self.moment
        if attempt:
            self.go(Moment(position, attempt - 1))
            return True
        if not position:
            return False
        self.go_to_last(position - 1)
        return True

    def go_to_last(self, position: int) -> Arrival:
        """To the attempt at this position that retires."""
        attempt = self._attempts(position) - 1
        return self.go(Moment(position, attempt))

    def _attempts(self, position: int) -> int:
        self.go(Moment(position))
        for attempt in range(1, MOST_ATTEMPTS):
            if not self.forward() or self.moment.position != position:
                return attempt
        raise EmulatorFault(f"exceptions without end at position {position}")

    def forward_on(self, cpu: int) -> bool:
        """To the next moment of a CPU; False, at the end, if there is none."""
        if not self.forward():
            return False
        if self.at.stop is None and self.at.cpu != cpu:
            # Another CPU's turn has begun, with a block.
            own = self.machine.cpus[cpu].retired
            stop = self.machine.run(before=own, of=cpu)
            if stop.kind is StopKind.LIMIT:
                self.snapshots.add(self.machine.snapshot())
            self.at = self._arrival(stop)
            final = self.snapshots.final
            if final is not None and stop.instructions >= final:
                self.go(Moment(final))
                return False
        return self.at.stop is None

    def back_on(self, cpu: int) -> bool:
        """To the last moment of a CPU before this; False, at the first, if there is none."""
        here = self.moment
        own = self.machine.cpus[cpu].retired
        if not self.back():
            return False
        if self.at.cpu == cpu:
            return True
        if not own:
            self.go(Moment(0))
            return False
        position = self._position_of(cpu, own - 1, here.position)
        self.go_to_last(position)
        return True

    def _position_of(self, cpu: int, own: int, before: int) -> int:
        """The position of the instruction number `own` of one CPU, that is before a position."""
        machine = self.machine
        snapshot = self.snapshots.before(before)
        machine.restore(snapshot)
        while machine.cpus[cpu].retired > own:
            snapshot = self.snapshots.before(snapshot.instructions - 1)
            machine.restore(snapshot)
        stop = machine.run(before=own, of=cpu)
        return stop.instructions + own - machine.cpus[cpu].retired

    @staticmethod
    def _arrival(stop: Stop) -> Arrival:
        ended = None if stop.kind is StopKind.LIMIT else stop.kind
        return Arrival(Moment(stop.instructions), stop.cpu, ended)
