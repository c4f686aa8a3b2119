# SPDX-License-Identifier: Apache-2.0
"""Where a run comes from: a recording, or a machine that makes it as it is looked at."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.machine.console import RecordedInput
from aether_edgecloud.emulator.machine.machine import Machine
from aether_edgecloud.emulator.machine.stop import StopKind
from aether_edgecloud.emulator.recording.checkpoints import Checkpoints, MemoryCheckpoints
from aether_edgecloud.emulator.recording.events import Events
from aether_edgecloud.emulator.recording.recording import ConsoleChunk, Mark, Recording
from aether_edgecloud.emulator.replay.program import Program
from aether_edgecloud.emulator.replay.progress import Progress

_SPACING = 4_000_000
"""Instructions between two checkpoints of a run that is not recorded."""

Pages = npt.NDArray[np.uint32]


class Source(Protocol):
    """A run. `end` is the last position known; it is the last there is if `is_complete`."""

    @property
    def title(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def vms(self) -> Sequence[str]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def final(self) -> int | None:
        """Where a recording ends; nothing is known of what would come then."""

    @property
    def end(self) -> int: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def stop(self) -> StopKind | None: ...
    @property
    def checkpoints(self) -> Checkpoints: ...
    @property
    def events(self) -> Events: ...
    @property
    def marks(self) -> Sequence[Mark]: ...
    @property
    def console(self) -> Sequence[ConsoleChunk]: ...

    def program(self) -> Program:
        """The binary at EL2."""

    def machine(self) -> Machine:
        """A machine of the run, in any state."""

    def extend(self, position: int, progress: Progress) -> None:
        """Find out about the run up to a position, if it gets so far."""

    def index(self, first: int) -> Events | None:
        """Events that are not recorded, from checkpoint `first` to the next; None if nobody
        knows."""

    def close(self) -> None:
        """Give memory back."""


def no_events() -> Events:
    """None at all."""
    wide = np.zeros(0, np.uint64)
    narrow = np.zeros(0, np.uint8)
    return Events(wide, narrow, narrow, narrow, wide, wide, wide)


class RecordedRun:
    """A recording."""

    is_complete: bool = True

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.title = str(recording.path)
        self.vms = recording.identity.vms
        self.notes = recording.notes
        self.end: int = recording.end
        self.final: int | None = recording.end
        self.stop = recording.stop
        self.checkpoints = recording.checkpoints
        self.events = recording.events
        self.marks = recording.marks
        self.console = recording.console

    @property
    def run_id(self) -> str:
        """Of machine, input, end and marks: those of a failed test say what it did."""
        given = [list(one) for one in self._recording.log.given]
        marks = [[mark.position, mark.text] for mark in self.marks]
        parts = [self._recording.identity.machine, given, self.end, marks]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def program(self) -> Program:
        """The binary at EL2."""
        el2 = self._recording.el2()
        return Program.load(el2.elf, self._recording.image(), el2.sources)

    def machine(self) -> Machine:
        """A machine of the run."""
        return self._recording.machine()

    def extend(self, position: int, progress: Progress) -> None:
        """All is known."""

    def index(self, first: int) -> Events | None:
        """Events that are not recorded."""
        return self._recording.index(first)

    def close(self) -> None:
        """Close the file."""
        self._recording.close()


class LiveRun:
    """A machine at reset whose run is found out as far as it is looked at. The machine is used up
    for that; what is looked at are others built alike."""

    run_id = ""
    notes: Sequence[str] = ()
    final: int | None = None

    def __init__(self, machine: Machine, title: str, vms: Sequence[str], program: Program) -> None:
        self._machine = machine
        self._program = program
        self.title = title
        self.vms = vms
        self.checkpoints = MemoryCheckpoints()
        self.checkpoints.add(machine.snapshot())
        self.stop: StopKind | None = None
        self.marks: list[Mark] = []
        self.console: list[ConsoleChunk] = []
        self.events = no_events()
        machine.console.on_output = self._sent

    @property
    def end(self) -> int:
        """The last position known."""
        return self._machine.instructions

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended there."""
        return self.stop is not None

    def program(self) -> Program:
        """The binary at EL2."""
        return self._program

    def machine(self) -> Machine:
        """A machine of the run, at reset."""
        return Machine.of(self._machine.setup, RecordedInput(self._machine.console.log))

    def extend(self, position: int, progress: Progress) -> None:
        """Run on to a position."""
        machine = self._machine
        start = machine.instructions
        while machine.instructions < position and self.stop is None:
            last = self.checkpoints.positions[-1]
            stop = machine.run(until=min(position, last + _SPACING))
            if stop.kind is not StopKind.LIMIT:
                self.stop = stop.kind
            elif machine.instructions >= last + _SPACING:
                self.checkpoints.add(machine.snapshot())
            progress.at(machine.instructions - start, position - start)

    def index(self, first: int) -> Events | None:
        """Nobody knows."""
        return None

    def close(self) -> None:
        """Give memory back."""
        self._machine.close()

    def _sent(self, data: bytes) -> None:
        self.console.append(ConsoleChunk(self._machine.instructions, data))
