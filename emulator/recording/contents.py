# SPDX-License-Identifier: Apache-2.0
"""What the chunks of a file are to one another, and what is in those that tell of the run.

Before each checkpoint come its interval, the pages that are new, and its table, so that the file
may break off anywhere. What is damaged ends the run that can be read: what comes behind it follows
from it. The binary's symbols and sources are not part of the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.container import Chunk
from aether_edgecloud.emulator.recording.document import Malformed, listed, natural, parse, text
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.recording.writer import Interval

_EXTRAS = {chunks.ELF: "the binary's symbols", chunks.SOURCES: "the texts of its source files"}
_FILES = (chunks.IDENTITY, chunks.IMAGE, chunks.BUNDLE)
_U32 = npt.NDArray[np.uint32]


@dataclass(slots=True)
class Contents:
    """The chunks of a recording by what they are. As many tables as checkpoints; one interval for
    each, and in a file that is complete one more may follow. `damage` is where the run breaks off
    for what is not as it was written, and None if nothing is."""

    files: dict[bytes, Chunk] = field(default_factory=dict)
    pages: list[Chunk] = field(default_factory=list)
    intervals: list[Chunk] = field(default_factory=list)
    tables: list[Chunk] = field(default_factory=list)
    checkpoints: list[Chunk] = field(default_factory=list)
    end: Chunk | None = None
    damage: Chunk | None = None
    notes: list[str] = field(default_factory=list)
    """For the user: what was lost."""

    @staticmethod
    def of(whole: Sequence[Chunk], damaged: Sequence[Chunk]) -> "Contents":
        """Malformed for whole chunks in another order than they are written in."""
        found = Contents()
        for chunk in damaged:
            if chunk.type in _EXTRAS:
                found.notes.append(left_out(chunk.type))
            elif found.damage is None:
                found.damage = chunk
        for chunk in whole:
            if found.damage is not None and chunk.offset > found.damage.offset:
                break
            found._add(chunk)
        if found.damage is not None:
            every = [c for c in (*whole, *damaged) if c.type == chunks.CHECKPOINT]
            found.notes.append(
                f"the recording is damaged ({found.damage.say()}): it ends before that, with "
                f"{len(found.checkpoints)} of {len(every)} checkpoints"
            )
        if found.end is None:
            del found.intervals[len(found.checkpoints) :], found.tables[len(found.checkpoints) :]
        return found

    def _add(self, chunk: Chunk) -> None:
        counts = len(self.intervals), len(self.tables), len(self.checkpoints)
        here = counts[2]
        match chunk.type:
            case kind if kind in _FILES or kind in _EXTRAS:
                fits = kind not in self.files and not chunk.number
                self.files[kind] = chunk
            case chunks.PAGES:
                fits = counts[0] > here
                self.pages.append(chunk)
            case chunks.INTERVAL:
                fits = counts == (here, here, here) and chunk.number == here
                self.intervals.append(chunk)
            case chunks.TABLE:
                fits = counts == (here + 1, here, here) and chunk.number == here
                self.tables.append(chunk)
            case chunks.CHECKPOINT:
                fits = counts == (here + 1, here + 1, here) and chunk.number == here
                self.checkpoints.append(chunk)
            case chunks.END:
                fits = counts[1] == here and not chunk.number
                self.end = chunk
            case _:
                fits = False
        if not fits or self.end not in (None, chunk):
            raise Malformed(f"not the place of a {chunk.say()}")


@dataclass(frozen=True, slots=True)
class Table:
    """Where a checkpoint is, and what RAM is there: `pages` that differ from those of the
    checkpoint before, u32[n], and the numbers of their `contents` now, u32[n]; `touched`, u32[m],
    are all that may have been written since."""

    position: int
    pages: _U32
    contents: _U32
    touched: _U32


def left_out(kind: bytes) -> str:
    """A note that something is missing without which a run can be looked at."""
    return f"{_EXTRAS[kind]} are damaged, and left out"


def unpack_texts(payload: bytes) -> dict[str, str]:
    """Texts of source files by path. Malformed for anything else."""
    values = parse(chunks.decompress(payload))
    if not isinstance(values, dict):
        raise Malformed("no texts of files")
    return {path: text(content) for path, content in values.items()}


def unpack_end(payload: bytes) -> tuple[int, StopKind]:
    """Where the run ended, and why. Malformed for anything else."""
    values = parse(payload)
    kind = text(values["stop"]) if isinstance(values, dict) else ""
    if kind not in StopKind.__members__:
        raise Malformed("an end of no kind")
    return natural(values["end"]), StopKind[kind]


def unpack_table(payload: bytes, pages: int) -> Table:
    """That of a checkpoint in a machine of so many pages of RAM. Malformed for anything else."""
    values, sections = chunks.unpack_document(payload)
    changed, contents, touched = (
        _numbers(sections[name], "<u4") for name in ("pages", "contents", "touched")
    )
    if len(changed) != len(contents) or any(
        len(some) and some.max() >= pages for some in (changed, touched)
    ):
        raise Malformed("pages that the machine does not have")
    return Table(natural(values["instructions"]), changed, contents, touched)


def unpack_interval(payload: bytes, cpus: int) -> Interval:
    """What happened between two checkpoints, in a machine of so many CPUs. Malformed for anything
    else."""
    values, sections = chunks.unpack_document(payload)
    rows = chunks.unpack_events(natural(values["events"]), sections)
    if len(rows) and (rows["kind"].max() > max(EventKind) or rows["cpu"].max() >= cpus):
        raise Malformed("events of no kind, or of no CPU")
    sent = _numbers(sections["sent"], "<u8", 2)
    output = sections["output"]
    if sum(sent[:, 1].tolist()) != len(output):
        raise Malformed("another length of output")
    given = [(question, byte) for question, byte in _numbers(sections["given"], "<u8", 2).tolist()]
    if any(byte > 255 for _, byte in given):
        raise Malformed("input that is no bytes")
    ended_at = values["ended_at"]
    try:
        marks = [(natural(position), text(name)) for position, name in listed(values["marks"])]
    except (TypeError, ValueError):
        raise Malformed("marks without a place or a name") from None
    return Interval(
        rows,
        sent,
        output,
        given,
        natural(values["asked"]),
        None if ended_at is None else natural(ended_at),
        marks,
    )


def _numbers(data: bytes, kind: str, width: int | None = None) -> npt.NDArray[np.unsignedinteger]:
    dtype = np.dtype(kind)
    if len(data) % (dtype.itemsize * (width or 1)):
        raise Malformed(f"{len(data)} bytes of numbers")
    found = np.frombuffer(data, dtype)
    return found if width is None else found.reshape(-1, width)
