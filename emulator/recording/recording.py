# SPDX-License-Identifier: Apache-2.0
"""A recording that is opened for reading."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zstandard

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.console import InputLog, RecordedInput
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.checkpoints import Checkpoints
from aether_edgecloud.emulator.recording.container import Chunk, ChunkReader
from aether_edgecloud.emulator.recording.document import Sections, Values
from aether_edgecloud.emulator.recording.events import EVENT, EventKind, Events
from aether_edgecloud.emulator.recording.file_checkpoints import FileCheckpoints
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.indexer import Indexer
from aether_edgecloud.emulator.recording.pages import pages_at_reset

_BROKEN = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError,
    struct.error, zlib.error, zstandard.ZstdError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConsoleChunk:
    """Bytes of output, and where in the run they were written."""

    position: int
    data: bytes


FAILED = "failed: "
"""What a mark begins with that tells what went wrong in a run: it is shown first."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place with a name: `reset`, `guest NAME` (its first instruction), `end`, the user's own."""

    position: int
    text: str


@dataclass(frozen=True, slots=True)
class El2:
    """The binary at EL2 as the file holds it. `elf` is None where the user gave a flat image;
    `sources` are texts of its source files by path, as its line tables name them."""

    image: bytes
    memory_size: int
    elf: bytes | None
    sources: dict[str, str]


class Recording:
    """A file that was opened; most of it is read when it is asked for. UserError from anything
    that finds it damaged. `notes` are lines for the user: a tail that was lost, and the like."""

    def __init__(self, path: Path, reader: ChunkReader, *, any_emulator: bool) -> None:
        self.path = path
        self.notes: list[str] = [] if reader.lost is None else [reader.lost]
        self._reader = reader
        self._indexed: dict[int, Events] = {}
        found: dict[bytes, list[Chunk]] = {}
        for chunk in reader.chunks:
            found.setdefault(chunk.type, []).append(chunk)
        self._found = found
        with self._reading():
            if chunks.IDENTITY not in found:
                raise UserError(
                    "it breaks off before the run begins",
                    where=str(path),
                    fix="record the run again",
                )
            self.identity = Identity.from_plain(json.loads(self._one(chunks.IDENTITY)))
            note = self.identity.check_versions(str(path), any_emulator=any_emulator)
            if note is not None:
                self.notes.append(note)
            if chunks.CHECKPOINT not in found:
                raise UserError(
                    "it breaks off before the first checkpoint",
                    where=str(path),
                    fix="record the run again",
                )
            self.stop: StopKind | None = None
            self._complete = chunks.END in found
            if self._complete:
                about = json.loads(self._one(chunks.END))
                self._end: int | None = about["end"]
                self.stop = StopKind[about["stop"]]
            else:
                self._end = None

    @classmethod
    def open(cls, path: Path, *, any_emulator: bool = False) -> "Recording":
        """UserError for a file that is no recording, a damaged or newer one, and one that another
        emulator made: with `any_emulator` that is a note only."""
        reader = ChunkReader(path)
        try:
            return cls(path, reader, any_emulator=any_emulator)
        except BaseException:
            reader.close()
            raise

    @cached_property
    def end(self) -> int:
        """The last position that can be reached."""
        return self.checkpoints.positions[-1] if self._end is None else self._end

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The moments from which the run can be repeated."""
        with self._reading():
            checkpoints = self._found[chunks.CHECKPOINT]
            frames = self._found.get(chunks.PAGES, [])
            tables = self._found[chunks.TABLE][: len(checkpoints)]
            return FileCheckpoints(
                self.identity,
                self._at_reset,
                [self._lazily(chunk) for chunk in tables],
                [self._lazily(chunk) for chunk in checkpoints],
                [(chunk.number, self._lazily(chunk)) for chunk in frames],
                self._console_bytes,
                tuple(self.log.given),
                self._reading,
            )

    @cached_property
    def events(self) -> Events:
        """What happened, apart from kinds that are found on demand."""
        with self._reading():
            rows = [
                chunks.unpack_events(values["events"], sections)
                for values, sections in self._intervals
            ]
            texts = tuple(mark.text for mark in self.marks)
            events = Events.of(np.concatenate([np.empty(0, EVENT), *rows]), self._output, texts)
            marks = np.zeros(len(texts), EVENT)
            marks["position"] = [mark.position for mark in self.marks]
            marks["kind"] = EventKind.MARK
            marks["a"] = np.arange(len(texts))
            return events.merged(Events.of(marks))

    @cached_property
    def console(self) -> Sequence[ConsoleChunk]:
        """All output, as the guest wrote it."""
        found, start = [], 0
        with self._reading():
            for _, sections in self._intervals:
                for position, length in np.frombuffer(sections["sent"], "<u8").reshape(-1, 2):
                    data = self._output[start : start + int(length)]
                    found.append(ConsoleChunk(int(position), data))
                    start += int(length)
        return found

    @cached_property
    def marks(self) -> Sequence[Mark]:
        """Places with names, by position."""
        with self._reading():
            found = [
                Mark(position, text)
                for values, _ in self._intervals
                for position, text in values["marks"]
            ]
            return sorted(found, key=lambda mark: mark.position)

    @cached_property
    def log(self) -> InputLog:
        """The console's input. What machines make of it stays in a copy."""
        with self._reading():
            given: list[tuple[int, int]] = []
            for _, sections in self._intervals:
                rows = np.frombuffer(sections["given"], "<u8").reshape(-1, 2).tolist()
                given += [(number, byte) for number, byte in rows]
            last = self._intervals[-1][0]
            return InputLog(given, last["asked"], last["ended_at"])

    def machine(self) -> Machine:
        """A new machine like the one recorded, at reset, with the recorded input."""
        log = self.log
        source = RecordedInput(InputLog(list(log.given), log.asked, log.ended_at))
        return Machine.of(self._setup, source)

    def el2(self) -> El2:
        """The binary."""
        with self._reading():
            elf = self._file(chunks.ELF) if chunks.ELF in self._found else None
            texts = json.loads(self._file(chunks.SOURCES)) if chunks.SOURCES in self._found else {}
            return El2(self._setup.image.data, self.identity.memory_size, elf, texts)

    def bundle(self) -> bytes:
        """The bundle."""
        return self._setup.initrd

    def index(self, first: int) -> Events:
        """The events of kinds that are not recorded (`ON_DEMAND`) between checkpoint `first` and
        the next, or the end: that part of the run is executed again, the first time."""
        if first not in self._indexed:
            positions = self.checkpoints.positions
            end = positions[first + 1] if first + 1 < len(positions) else self.end
            self._indexed[first] = self._indexer.find(self.checkpoints.load(first), end)
        return self._indexed[first]

    @cached_property
    def _indexer(self) -> Indexer:
        return Indexer(self.machine(), self.events)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is written wrongly is damage, whatever trips over it."""
        try:
            yield
        except _BROKEN as error:
            raise self._reader.damaged(f"{type(error).__name__}: {error}") from None

    @cached_property
    def _setup(self) -> Setup:
        with self._reading():
            setup = self.identity.setup(self._file(chunks.IMAGE), self._file(chunks.BUNDLE))
        found = Identity.of(setup, self.identity.target, self.identity.vms)
        where = str(self.path)
        fix = "copy the file again, or record the run again"
        if found.binary_sha256 != self.identity.binary_sha256:
            raise UserError("its binary is not the one that ran", where=where, fix=fix)
        if found.bundle_sha256 != self.identity.bundle_sha256:
            raise UserError("its bundle is not the one that ran", where=where, fix=fix)
        if found.machine != self.identity.machine:
            raise UserError(
                "its board is not as this version makes it",
                where=where,
                fix=f"replay it with aether {self.identity.versions.aether}",
            )
        return setup

    @cached_property
    def _at_reset(self) -> dict[int, bytes]:
        return pages_at_reset(self._setup)

    @cached_property
    def _intervals(self) -> list[tuple[Values, Sections]]:
        """Those up to the last checkpoint; of a whole file, all."""
        with self._reading():
            found = self._found.get(chunks.INTERVAL, [])
            if not self._complete:
                found = found[: len(self._found[chunks.CHECKPOINT])]
            if not found:
                raise ValueError("it has no events")
            return [chunks.unpack_document(self._reader.read(chunk)) for chunk in found]

    @cached_property
    def _output(self) -> bytes:
        with self._reading():
            return b"".join(sections["output"] for _, sections in self._intervals)

    def _console_bytes(self) -> bytes:
        return self._output

    def _one(self, kind: bytes) -> bytes:
        return self._reader.read(self._found[kind][0])

    def _file(self, kind: bytes) -> bytes:
        return chunks.decompress(self._one(kind))

    def _lazily(self, chunk: Chunk) -> Callable[[], bytes]:
        return lambda: self._reader.read(chunk)
