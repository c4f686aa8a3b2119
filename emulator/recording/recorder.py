# SPDX-License-Identifier: Apache-2.0
"""Records a run while it goes on. Nothing of it reaches the run.

Where checkpoints are is decided by what they cost, in instructions and pages, and not by a clock:
they are at the same places every time.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.event_log import EventLog
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.recording.identity import Identity, mmu_is_recordable
from aether_edgecloud.emulator.recording.pages import pages_at_reset
from aether_edgecloud.emulator.recording.state import StateEncoder
from aether_edgecloud.emulator.recording.vm_switches import VmSwitches
from aether_edgecloud.emulator.recording.writer import Checkpoint, Interval, RecordingWriter
from aether_edgecloud.emulator.report.run_report import RecordingReport


@dataclass(frozen=True, slots=True)
class Spacing:
    """How far apart checkpoints are. One is due when the run since the last has cost `share` times
    what it costs, or `longest`: no place is to be far from one. All is in the time that so many
    plain instructions take."""

    look: int = 1_000_000
    """The least between two looks at that."""
    share: int = 40
    cpu_cost: int = 300_000
    page_cost: int = 450
    """Of a checkpoint, for each CPU and for each dirty page."""
    longest: int = 30_000_000
    walk_cost: int = 4_000
    exception_cost: int = 8_000
    """Of a run, for each walk of translation tables and each exception: those of a boot, with what
    comes with them, as accesses to devices."""


SPACING = Spacing()
"""The usual."""


class Recorder:
    """Records `machine`, which is at reset, to a new file at `path`. Use as a context.

    Between pieces of the run call `look`, or let `run` do it. Nobody else takes snapshots of the
    machine meanwhile: it would forget which pages have been written. The file is whole after
    `finish`; one that was left without it ends where the machine stood then.

    `target` and `vms` are names for people; `elf` has the symbols of the binary, `sources` the
    texts of its source files by path. UserError if the file cannot be written, and for a machine
    with Unicorn's walker.
    """

    def __init__(
        self,
        machine: Machine,
        path: Path,
        *,
        target: str = "",
        vms: tuple[str, ...] = (),
        elf: bytes | None = None,
        sources: Mapping[str, str] | None = None,
        spacing: Spacing = SPACING,
    ) -> None:
        if not mmu_is_recordable(machine):
            raise UserError(
                "only runs with the MMU model can be recorded",
                where="--record",
                fix="leave --mmu native out",
            )
        if machine.instructions:
            raise ValueError("a recording begins at reset")
        self.path = path
        self.checkpoints = 0
        self._machine = machine
        self._spacing = spacing
        at_reset = pages_at_reset(machine.setup)
        first = machine.snapshot()
        if first.ram != at_reset and machine.setup.adversary is None:
            raise ValueError("RAM is not as firmware leaves it")
        self._ram: dict[int, bytes] = dict(at_reset)  # at the last checkpoint
        self._writer = RecordingWriter(path, at_reset)
        identity = Identity.of(machine.setup, target, vms)
        self._writer.begin(identity, machine.setup, elf, dict(sources or {}))
        self._vms = vms
        self._encoder = StateEncoder(machine.built_in)
        self._log = EventLog(machine)
        self._switches = VmSwitches()
        self._next = 0
        self._extra = 0  # what had been done besides instructions
        self._is_finished = False
        # Since the last checkpoint:
        self._sent = array("Q")  # position and length of each piece of output
        self._marks: list[tuple[int, str]] = []
        # Up to it:
        self._output = self._given = self._last = 0
        self._line_start = 0
        machine.console.observer = self
        self.mark("reset")
        try:
            self._checkpoint(first)
        except BaseException:
            self._close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the file; what is still being compressed comes later, until `finish`."""
        return self._writer.size

    @property
    def summary(self) -> RecordingReport:
        """What has become of it, when it is finished."""
        return RecordingReport(str(self.path), self.size, self.checkpoints)

    def run(self, until: int | None = None) -> Stop:
        """Run the machine as `Machine.run` does, with the looks on the way."""
        while True:
            stop = self._machine.run(self._next if until is None else min(until, self._next))
            if stop.kind is not StopKind.LIMIT:
                return stop
            if until is not None and stop.instructions >= until:
                return stop
            self.look()

    def look(self) -> None:
        """Take a checkpoint if it is due. UserError if the file could not be written."""
        self._writer.check()
        position = self._machine.instructions
        if position < self._next:
            return
        left = self._left(position)
        if left <= 0 and position > self._last:
            self._checkpoint()
            left = self._left(position)
        self._next = position + max(left // 2, self._spacing.look)

    def _left(self, position: int) -> int:
        """What a run still has to cost from here on until a checkpoint is due."""
        spacing, memory = self._spacing, self._machine.memory
        dirty = bytes(memory.dirty_pages).count(1)
        cost = spacing.cpu_cost * len(self._machine.cpus) + spacing.page_cost * dirty
        spent = position - self._last + self._done_besides() - self._extra
        return min(spacing.share * cost, spacing.longest) - spent

    def _done_besides(self) -> int:
        """What all but plain instructions have cost since reset."""
        spacing = self._spacing
        return sum(
            spacing.walk_cost * cpu.translation.walks
            + spacing.exception_cost * int(cpu.state.exceptions)
            for cpu in self._machine.cpus
        )

    def mark(self, text: str, position: int | None = None) -> None:
        """Name a place that the recording has reached: the one where the machine stands."""
        here = self._machine.instructions if position is None else position
        self._marks.append((here, text))

    def become(self, snapshot: Snapshot) -> None:
        """Make the machine what a snapshot says, one of where it stands: replays go on from there.
        Where it stands on a checkpoint, this one counts."""
        touched = self._dirty()  # a restore forgets what the run has written
        self._machine.restore(snapshot)
        self._log.look_at_vms()
        self._encoder = StateEncoder(self._machine.built_in)
        self._checkpoint(touched=touched)

    def finish(self, stop: Stop | None = None) -> None:
        """The run is over: complete the file. Without `stop` the machine may stand anywhere."""
        if self._is_finished:
            return
        self._is_finished = True
        try:
            self.mark("end")
            if stop is None:
                self._writer.add(self._interval(), None)
            else:
                self._checkpoint()
            kind = StopKind.BREAK if stop is None else stop.kind
            self._writer.finish(self._machine.instructions, kind)
        finally:
            self._close()

    def _close(self) -> None:
        self._log.close()
        self._machine.console.observer = None
        self._writer.close()

    # What the console tells (ConsoleObserver).

    def sent(self, data: bytes) -> None:
        """Output of the guest."""
        position = self._machine.instructions
        self._sent.extend((position, len(data)))
        output = self._machine.console.output
        end = len(output) - len(data)
        for byte in data:
            if byte == 0x0A:
                start, self._line_start = self._line_start, end + 1
                stop = end - (end > start and output[end - 1] == 0x0D)
                self._log.add(EventKind.CONSOLE, self._cpu, position, start, stop - start)
            end += 1

    def received(self, byte: int) -> None:
        """Input of the guest."""
        self._log.add(EventKind.DEVICE_WRITE, self._cpu, self._machine.instructions, byte)

    # Checkpoints.

    @property
    def _cpu(self) -> int:
        return self._machine.running or 0

    def _dirty(self) -> list[int]:
        """The pages that may have been written since the last checkpoint."""
        flags = np.frombuffer(memoryview(self._machine.memory.dirty_pages), np.bool_)
        found: list[int] = np.flatnonzero(flags).tolist()
        return found

    def _checkpoint(
        self, first: Snapshot | None = None, *, touched: list[int] | None = None
    ) -> None:
        """Take one, or use what was taken at reset. With `touched`, the pages that the run has
        written, the machine has been restored since."""
        machine = self._machine
        is_changed = touched is not None
        if first is not None:
            touched = []
            snapshot = first
            changed = self._differences(first)
        elif touched is not None:
            snapshot = machine.snapshot()
            changed = self._differences(snapshot)
            touched = sorted(changed.keys() | touched)
        else:
            touched = self._dirty()
            snapshot, changed = machine.changes()
        interval = self._interval()
        if self.checkpoints == 0 or is_changed or snapshot.instructions > self._last:
            values, sections = self._encoder.encode(snapshot)
            self._writer.add(
                interval,
                Checkpoint(values, sections, list(changed), list(changed.values()), touched),
            )
            self.checkpoints += 1
        else:
            self._writer.add(interval, None)
        for page, data in changed.items():
            if data is None:
                self._ram.pop(page, None)
            else:
                self._ram[page] = data
        self._last = snapshot.instructions
        self._extra = self._done_besides()

    def _differences(self, snapshot: Snapshot) -> dict[int, bytes | None]:
        """The pages that are others than at the last checkpoint."""
        before, after = self._ram, snapshot.ram
        if before == after:
            return {}
        every = sorted(before.keys() | after.keys())
        return {p: after.get(p) for p in every if after.get(p) != before.get(p)}

    def _interval(self) -> Interval:
        """What has happened since the last checkpoint."""
        machine = self._machine
        rows = self._switches.insert(self._log.take())
        for vmid, position in self._switches.first_entries(rows):
            name = self._vms[vmid - 1] if 0 < vmid <= len(self._vms) else str(vmid)
            self._marks.append((position, f"guest {name}"))
        console = machine.console
        given = console.log.given[self._given :]
        interval = Interval(
            rows,
            np.array(self._sent, np.uint64).reshape(-1, 2),
            bytes(console.output[self._output :]),
            given,
            console.log.asked,
            console.log.ended_at,
            self._marks,
        )
        self._output, self._given = len(console.output), self._given + len(given)
        self._sent, self._marks = array("Q"), []
        return interval

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()
