# SPDX-License-Identifier: Apache-2.0
"""A recording that is opened for reading."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.console import InputLog, RecordedInput
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.checkpoints import Checkpoints
from aether_edgecloud.emulator.recording.container import Chunk, ChunkReader
from aether_edgecloud.emulator.recording.contents import (
    Contents,
    Table,
    left_out,
    unpack_end,
    unpack_interval,
    unpack_table,
    unpack_texts,
)
from aether_edgecloud.emulator.recording.document import Malformed
from aether_edgecloud.emulator.recording.events import EVENT, EventKind, Events
from aether_edgecloud.emulator.recording.file_checkpoints import FileCheckpoints
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.indexer import Indexer
from aether_edgecloud.emulator.recording.pages import pages_at_reset
from aether_edgecloud.emulator.recording.writer import Interval


@dataclass(frozen=True, slots=True)
class ConsoleChunk:
    """Bytes of output, and where in the run they were written."""

    position: int
    data: bytes


T = TypeVar("T")
END_MARK = "end"
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
    """A file that was opened; most of it is unpacked when it is asked for. UserError from anything
    that finds in it what cannot be. `notes` are lines for the user: what was lost, and the like."""

    def __init__(self, path: Path, reader: ChunkReader, *, any_emulator: bool) -> None:
        self.path = path
        self.notes: list[str] = [] if reader.lost is None else [reader.lost]
        self._reader = reader
        self._indexed: dict[int, Events] = {}
        with self._reading():
            self._contents = contents = Contents.of(reader.chunks, reader.damaged)
            self.notes += contents.notes
            self._need(chunks.IDENTITY in contents.files, "the run begins")
            self.identity = Identity.from_json(self._file(chunks.IDENTITY))
        note = self.identity.check_versions(str(path), any_emulator=any_emulator)
        if note is not None:
            self.notes.append(note)
        self._need(bool(contents.checkpoints), "the first checkpoint")
        self.stop: StopKind | None = None
        self._end: int | None = None
        if contents.end is not None:
            with self._reading():
                self._end, self.stop = unpack_end(reader.read(contents.end))

    def _need(self, is_there: bool, what: str) -> None:
        if is_there:
            return
        if self._contents.damage is not None:
            raise self._reader.damage(self._contents.damage.say())
        raise UserError(
            f"it breaks off before {what}", where=str(self.path), fix="record the run again"
        )

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
        last = self._tables[-1].position
        if self._end is None:
            return last
        with self._reading():
            # Whoever goes to the end runs that far.
            told = [mark.position for mark in self.marks if mark.text == END_MARK]
            if self._end < last or self._end not in told:
                raise Malformed(f"an end at {self._end}, where no run ends")
        return self._end

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The moments from which the run can be repeated."""
        contents = self._contents
        return FileCheckpoints(
            self.identity,
            self._at_reset,
            self._tables,
            [self._lazily(chunk) for chunk in contents.checkpoints],
            [(chunk.number, self._lazily(chunk)) for chunk in contents.pages],
            self._console_bytes,
            tuple(self.log.given),
            self._reading,
        )

    @cached_property
    def events(self) -> Events:
        """What happened, apart from kinds that are found on demand."""
        rows = [interval.rows for interval in self._intervals]
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
        for interval in self._intervals:
            for position, length in interval.sent.tolist():
                found.append(ConsoleChunk(position, self._output[start : start + length]))
                start += length
        return found

    @cached_property
    def marks(self) -> Sequence[Mark]:
        """Places with names, by position."""
        found = [Mark(*mark) for interval in self._intervals for mark in interval.marks]
        return sorted(found, key=lambda mark: mark.position)

    @cached_property
    def log(self) -> InputLog:
        """The console's input. What machines make of it stays in a copy."""
        given = [answer for interval in self._intervals for answer in interval.given]
        last = self._intervals[-1]
        return InputLog(given, last.asked, last.ended_at)

    def machine(self) -> Machine:
        """A new machine like the one recorded, at reset, with the recorded input."""
        log = self.log
        source = RecordedInput(InputLog(list(log.given), log.asked, log.ended_at))
        return Machine.of(self._setup, source)

    @cached_property
    def _el2(self) -> El2:
        texts = self._extra(chunks.SOURCES, unpack_texts)
        return El2(
            self._setup.image.data,
            self.identity.memory_size,
            self._extra(chunks.ELF, chunks.decompress),
            {} if texts is None else texts,
        )

    def el2(self) -> El2:
        """The binary."""
        return self._el2

    def image(self) -> range:
        """Where the binary lies, with what it needs besides: PAs."""
        return self._setup.place().image

    def bundle(self) -> bytes:
        """The bundle; empty for a binary that had none."""
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
        """What cannot be written so is damage."""
        try:
            yield
        except Malformed as error:
            raise self._reader.damage(str(error)) from error

    @cached_property
    def _setup(self) -> Setup:
        with self._reading():
            image, bundle = (
                chunks.decompress(self._file(kind)) for kind in (chunks.IMAGE, chunks.BUNDLE)
            )
        return self.identity.setup(image, bundle, str(self.path))

    @cached_property
    def _at_reset(self) -> dict[int, bytes]:
        return pages_at_reset(self._setup)

    @cached_property
    def _intervals(self) -> list[Interval]:
        """Those up to the last checkpoint; of a whole file, all."""
        cpus = self.identity.board.cpus
        with self._reading():
            return [
                unpack_interval(self._reader.read(chunk), cpus)
                for chunk in self._contents.intervals
            ]

    @cached_property
    def _tables(self) -> list[Table]:
        pages = self.identity.board.ram_size // PAGE_SIZE
        with self._reading():
            tables = [
                unpack_table(self._reader.read(chunk), pages) for chunk in self._contents.tables
            ]
            positions = [table.position for table in tables]
            if positions[0] or any(a > b for a, b in itertools.pairwise(positions)):
                raise Malformed("checkpoints that are not in order")
        return tables

    @cached_property
    def _output(self) -> bytes:
        return b"".join(interval.output for interval in self._intervals)

    def _console_bytes(self) -> bytes:
        return self._output

    def _file(self, kind: bytes) -> bytes:
        chunk = self._contents.files.get(kind)
        if chunk is None:
            raise Malformed(f"it has no {kind.decode()}")
        return self._reader.read(chunk)

    def _extra(self, kind: bytes, unpack: Callable[[bytes], T]) -> T | None:
        """What a run can be looked at without; None, and a note, where it is no use."""
        if kind not in self._contents.files:
            return None
        try:
            return unpack(self._file(kind))
        except Malformed:
            self.notes.append(left_out(kind))
            return None

    def _lazily(self, chunk: Chunk) -> Callable[[], bytes]:
        return lambda: self._reader.read(chunk)
