# SPDX-License-Identifier: Apache-2.0
"""A trace that was written to a file, for reading."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.trace.chunk import Chunk
from aether_edgecloud.emulator.trace.columns import Columns
from aether_edgecloud.emulator.trace.file import TraceFile
from aether_edgecloud.emulator.trace.operations import PSTATE, SP

_KEPT_CHUNKS = 4


class Trace:
    """The instructions of a stretch of a run, in the order in which they were retired.

    Positions are instructions retired by all CPUs since reset. `about` is what the trace was made
    of; `lost` says what of the file's end is missing, None if it is whole.
    """

    def __init__(self, file: TraceFile) -> None:
        self._file = file
        self.about: dict[str, Any] = file.about
        self.lost = file.lost
        self._chunk = lru_cache(maxsize=_KEPT_CHUNKS)(self._read)

    @classmethod
    def open(cls, path: Path | str) -> "Trace":
        """UserError for a file that is no trace, and for one that is damaged or too new."""
        return cls(TraceFile(Path(path)))

    def __len__(self) -> int:
        """Instructions."""
        return sum(chunk.instructions for chunk in self._file.chunks)

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return len(self._file.chunks)

    def chunk(self, number: int) -> Chunk:
        """Part of the trace as arrays. UserError if it is damaged."""
        return self._chunk(number)

    def columns(self, number: int) -> Columns:
        """The same as it is in the file: the events of a chunk need no more."""
        return self._file.columns(number)

    def __iter__(self) -> Iterator[Chunk]:
        """All of it, part by part."""
        return (self.chunk(number) for number in range(self.chunk_count))

    def chunks_in(self, begin: int, end: int) -> Iterator[Chunk]:
        """Those that may hold positions in [begin, end)."""
        places = self._file.chunks
        for number, place in enumerate(places):
            last = number + 1 == len(places)
            if place.position < end and (last or places[number + 1].position >= begin):
                yield self.chunk(number)

    @property
    def events(self) -> npt.NDArray[Any]:
        """All events; `position` says where."""
        parts = [self._file.columns(number).events for number in range(self.chunk_count)]
        return np.concatenate(parts) if parts else np.empty(0)

    def registers(self, position: int) -> dict[str, int]:
        """X0-X30, SP, PC and PSTATE before the instruction at `position`, of its CPU. UserError if
        that instruction is not in the trace."""
        for chunk in self.chunks_in(position, position + 1):
            found = np.flatnonzero(chunk.position == position)
            if len(found):
                index = int(found[0])
                values = chunk.registers_before(index)
                names = {f"x{n}": values[n] for n in range(31)}
                return {
                    **names,
                    "sp": values[SP],
                    "pc": int(chunk.pc[index]),
                    "pstate": values[PSTATE],
                }
        raise UserError(
            f"no instruction at position {position:,}",
            where=str(self._file.path),
            fix="see `aether trace FILE` for what is in it",
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "Trace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, number: int) -> Chunk:
        columns = self._file.columns(number)
        try:
            return Chunk(columns)
        except (ValueError, IndexError) as e:
            raise self._file.damaged(str(e)) from None
