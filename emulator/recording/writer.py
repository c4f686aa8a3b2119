# SPDX-License-Identifier: Apache-2.0
"""Writes a recording. Compressing and writing is done by a thread, in the order of the calls; when
it falls behind, the caller waits."""

import json
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import chunks, document
from aether_edgecloud.emulator.recording.container import ChunkWriter
from aether_edgecloud.emulator.recording.document import Sections, Values
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.pages import PageWriter

BASE_EVERY = 16
"""A checkpoint's sections are written as differences from those of the last of which the number is
a multiple of this."""
_WAITING = 4
_FILES_LEVEL = 1
_STATE_LEVEL = 1
_EVENTS_LEVEL = 3

Rows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened from one checkpoint to the next.

    `sent` has position and length of each piece of `output`. `given`, `asked` and `ended_at` are
    those of an `InputLog`, the first from where the last interval ended. `marks` are positions with
    their names.
    """

    rows: Rows
    sent: npt.NDArray[np.uint64]
    output: bytes
    given: list[tuple[int, int]]
    asked: int
    ended_at: int | None
    marks: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A machine's state, and which pages of RAM differ from those of the checkpoint before; None
    is a page of zeros. `touched` are all that may have been written since, these among them."""

    values: Values
    sections: Sections
    changed: list[int]
    contents: list[bytes | None]
    touched: list[int]


class RecordingWriter:
    """A new file at `path`; `at_reset` is RAM then. UserError where it cannot be written, from the
    next call on."""

    def __init__(self, path: Path, at_reset: Pages) -> None:
        self._where = where = str(path)
        try:
            self._file = path.open("wb")
        except OSError as e:
            raise UserError(
                f"cannot be written ({e.strerror})", where=where, fix="name a file you may write"
            ) from None
        try:
            self._chunks = ChunkWriter(self._file, where)
        except UserError:
            with suppress(OSError):
                self._file.close()
            raise
        self._pages = PageWriter(
            at_reset, lambda number, data: self._chunks.add(chunks.PAGES, number, data)
        )
        self._base: Sections = {}
        self._intervals = self._checkpoints = 0
        self._failure: BaseException | None = None
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        """Bytes written up to now."""
        return self._chunks.size

    def check(self) -> None:
        """Raise what has gone wrong meanwhile."""
        if self._failure is not None:
            raise self._failure

    def begin(
        self, identity: Identity, setup: Setup, elf: bytes | None, sources: dict[str, str]
    ) -> None:
        """What the run is a function of, and what helps to read it."""

        def write() -> None:
            self._chunks.add(chunks.IDENTITY, 0, json.dumps(identity.to_plain()).encode())
            self._add_file(chunks.IMAGE, setup.image.data)
            self._add_file(chunks.BUNDLE, setup.carried())
            if elf is not None:
                self._add_file(chunks.ELF, elf)
            if sources:
                self._add_file(chunks.SOURCES, json.dumps(sources).encode())

        self._put(write)

    def add(self, interval: Interval, checkpoint: Checkpoint | None) -> None:
        """What happened up to a checkpoint, and the checkpoint; or up to the end of the run."""
        self._put(lambda: self._write_interval(interval))
        if checkpoint is not None:
            self._put(lambda: self._write_checkpoint(checkpoint))

    def finish(self, end: int, stop: StopKind) -> None:
        """Complete the file."""

        def write() -> None:
            about = {"end": end, "stop": stop.name}
            self._chunks.add(chunks.END, 0, json.dumps(about).encode())
            self._chunks.close()

        self._put(write)
        self._jobs.put(None)
        self._thread.join()
        self.check()

    def close(self) -> None:
        """Close the file, whole or not. What `check` raises stays the error of a failed write."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        try:
            self._file.close()  # writes what a failed write left in the buffer once more
        except OSError as e:
            if self._failure is None:
                raise UserError(
                    f"cannot be written ({e.strerror})",
                    where=self._where,
                    fix="give it a place with room",
                ) from None

    def _put(self, job: Callable[[], None]) -> None:
        self.check()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._failure is None:
                try:
                    job()
                except BaseException as error:  # raised by `check`
                    self._failure = error

    # In the thread.

    def _add_file(self, kind: bytes, data: bytes) -> None:
        self._chunks.add(kind, 0, chunks.compress(data, _FILES_LEVEL))

    def _write_interval(self, interval: Interval) -> None:
        values: Values = {
            "events": len(interval.rows),
            "asked": interval.asked,
            "ended_at": interval.ended_at,
            "marks": interval.marks,
        }
        sections = chunks.pack_events(interval.rows)
        sections["sent"] = interval.sent.astype("<u8").tobytes()
        sections["output"] = interval.output
        sections["given"] = np.array(interval.given, "<u8").tobytes()
        payload = chunks.pack_document(values, sections, _EVENTS_LEVEL)
        self._chunks.add(chunks.INTERVAL, self._intervals, payload)
        self._intervals += 1

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        numbers = self._pages.number(checkpoint.contents)
        self._pages.flush()
        is_base = self._checkpoints % BASE_EVERY == 0
        sections = checkpoint.sections
        if is_base:
            self._base = sections
        else:
            none = b""
            sections = {
                name: document.difference(data, self._base.get(name, none))
                for name, data in sections.items()
            }
        table = {
            "pages": np.array(checkpoint.changed, "<u4").tobytes(),
            "contents": numbers.astype("<u4").tobytes(),
            "touched": np.array(checkpoint.touched, "<u4").tobytes(),
        }
        position = {"instructions": checkpoint.values["instructions"]}
        payload = chunks.pack_document(position, table, _STATE_LEVEL)
        self._chunks.add(chunks.TABLE, self._checkpoints, payload)
        payload = chunks.pack_document(checkpoint.values, sections, _STATE_LEVEL)
        self._chunks.add(chunks.CHECKPOINT, self._checkpoints, payload)
        self._checkpoints += 1
