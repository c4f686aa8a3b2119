# SPDX-License-Identifier: Apache-2.0
"""A recording with symbols and sources, to be damaged, and all that a file gives."""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.container import (
    Chunk,
    ChunkReader,
)
from aether_edgecloud.emulator.recording.recorder import Recorder
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.machine.snapshot_worlds import WORLDS
from aether_edgecloud.properties.recording.recorded import LIMIT, SMALL, spacing_of
from aether_edgecloud.properties.recording.test_recording_files import everything

OF_THE_RUN = (chunks.INTERVAL, chunks.PAGES, chunks.TABLE, chunks.CHECKPOINT)

ELF, SOURCES = b"\x7fELF, or so", {"el2/vm.c": "int x;"}


@functools.cache
def content() -> bytes:
    """A recording with symbols and sources."""
    machine = WORLDS[SMALL].make()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.aet")
        with Recorder(machine, path, elf=ELF, sources=SOURCES, spacing=spacing_of(SMALL)) as r:
            r.finish(r.run(LIMIT))
        machine.close()
        return path.read_bytes()


@dataclass(frozen=True, slots=True)
class Found:
    """What a file gives."""

    everything: dict[str, object]
    end: int
    is_complete: bool
    notes: list[str]

    @property
    def positions(self) -> list[int]:
        """Of its checkpoints."""
        found = self.everything["positions"]
        assert isinstance(found, list)
        return found


def read(data: bytes) -> Found:
    """Everything. UserError, which names the file, if there is none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "some.aet")
        path.write_bytes(data)
        try:
            recording = Recording.open(path)
            try:
                end, found = recording.end, everything(recording)
            finally:
                recording.close()
        except UserError as e:
            assert str(e).startswith(str(path))
            raise
    return Found(found, end, recording.stop is not None, recording.notes)


@functools.cache
def whole() -> Found:
    """What was written."""
    return read(content())


@functools.cache
def parts() -> tuple[tuple[Chunk, bytes], ...]:
    """The chunks with their payloads, without the index."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "whole.aet")
        path.write_bytes(content())
        reader = ChunkReader(path)
        found = tuple((chunk, reader.read(chunk)) for chunk in reader.chunks)
        reader.close()
    return found


def damage(place: int) -> bytes:
    """The file with another byte there."""
    data = bytearray(content())
    data[place] ^= 0x40
    return bytes(data)


def check_beginning(found: Found) -> None:
    """It is the beginning of the run."""
    for name, value in found.everything.items():
        expected = whole().everything[name]
        if isinstance(value, list) and isinstance(expected, list):
            assert value == expected[: len(value)], name
        else:
            assert value == expected, name
