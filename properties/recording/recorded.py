# SPDX-License-Identifier: Apache-2.0
"""Recordings of small machines, with checkpoints close together."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode
from aether_edgecloud.emulator.machine import Machine, Stop
from aether_edgecloud.emulator.machine.nonzero_pages import nonzero_pages
from aether_edgecloud.emulator.machine.snapshot import Snapshot
from aether_edgecloud.emulator.recording.recorder import Recorder, Spacing
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS, Counters, look

_SLOW = ("a pair on two CPUs", "crashes and restarts")
NAMES = tuple(
    pytest.param(name, marks=pytest.mark.nightly) if name in _SLOW else name
    for name, world in WORLDS.items()
    if world.mmu is MmuMode.MODEL
)
SMALL = "counters, quantum 1"
LIMIT = 1_300_000
"""Instructions; worlds of VMs have entered their guests by then, and some do not end."""


def every(instructions: int) -> Spacing:
    """A checkpoint every so often."""
    return Spacing(instructions, share=1, cpu_cost=0, page_cost=0, longest=instructions)


def spacing_of(name: str) -> Spacing:
    """About twenty checkpoints in the run of a world."""
    return every(300 if isinstance(WORLDS[name], Counters) else 60_000)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file, its content, and what the run was like: how it stopped, what was seen at its end, and
    the snapshots that went into the file."""

    content: bytes
    stop: Stop
    seen: tuple[object, ...]
    snapshots: tuple[Snapshot, ...]

    def write(self, folder: Path) -> Path:
        """The file, written anew."""
        path = folder / "run.aet"
        path.write_bytes(self.content)
        return path


@functools.cache
def recorded(name: str) -> Recorded:
    """The recording of a world."""
    machine = WORLDS[name].make()
    taken: list[Snapshot] = []
    take, take_changes = machine.snapshot, machine.changes

    def snapshot() -> Snapshot:
        taken.append(take())
        return taken[-1]

    def changes() -> tuple[Snapshot, dict[int, bytes | None]]:
        found = take_changes()
        taken.append(replace(found[0], ram=_ram(machine)))
        return found

    machine.snapshot = snapshot  # type: ignore[method-assign]
    machine.changes = changes  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.aet")
        with Recorder(
            machine, path, target=name, vms=("vm0", "vm1"), spacing=spacing_of(name)
        ) as recorder:
            stop = recorder.run(LIMIT)
            recorder.finish(stop)
        found = Recorded(path.read_bytes(), stop, look(machine), tuple(taken))
    machine.close()
    return found


def _ram(machine: Machine) -> dict[int, bytes]:
    """All that is in RAM, whatever the machine believes has changed."""
    size = PAGE_SIZE
    ram = machine.memory.bytes
    return {n: bytes(ram[n * size : (n + 1) * size]) for n in nonzero_pages(machine.memory)}


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Recording]:
    """The recording of a world, opened."""
    recording = Recording.open(recorded(name).write(folder))
    try:
        yield recording
    finally:
        recording.close()


@contextmanager
def machine_of(recording: Recording) -> Iterator[Machine]:
    """A new machine of a recording."""
    machine = recording.machine()
    try:
        yield machine
    finally:
        machine.close()
