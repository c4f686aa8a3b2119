# SPDX-License-Identifier: Apache-2.0
"""The types of a recording's chunks, and how the smaller ones are written. All integers are
little-endian."""

import numpy as np
import numpy.typing as npt
import zstandard

from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.document import Sections, Values
from aether_edgecloud.emulator.recording.events import COLUMNS, EVENT

IDENTITY = b"IDNT"  # JSON
IMAGE = b"IMAG"  # the flat binary
ELF = b"ELF "
BUNDLE = b"BNDL"
SOURCES = b"SRCS"  # JSON: path to text
PAGES = b"PAGE"  # a frame of contents of pages; its number is that of the first of them
INTERVAL = b"INTV"  # what happened between two checkpoints; its number is that of the later
TABLE = b"TABL"  # of a checkpoint: its position, and the contents of the pages that changed
CHECKPOINT = b"CKPT"  # all else of it; that it is there says that all before it is
END = b"END "  # JSON: where and why the run ended


def compress(data: bytes, level: int) -> bytes:
    """A zstandard frame that tells its size."""
    return zstandard.ZstdCompressor(level=level).compress(data)


def decompress(data: bytes) -> bytes:
    """What was compressed."""
    return zstandard.ZstdDecompressor().decompress(data)


def pack_events(rows: npt.NDArray[np.void]) -> Sections:
    """Each column as its bytes of equal weight, one after the other; positions as differences."""
    sections: Sections = {}
    for name in COLUMNS:
        column = np.ascontiguousarray(rows[name])
        if name == "position":
            column = np.diff(column, prepend=np.uint64(0))
        planes = column.view(np.uint8).reshape(-1, column.itemsize).T
        sections[name] = planes.tobytes()
    return sections


def unpack_events(count: int, sections: Sections) -> npt.NDArray[np.void]:
    """The rows. ValueError or KeyError for sections that are not those of `count` events."""
    rows = np.zeros(count, EVENT)
    for name in COLUMNS:
        kind = EVENT[name]
        planes = np.frombuffer(sections[name], np.uint8).reshape(kind.itemsize, count)
        column = np.ascontiguousarray(planes.T).view(kind).reshape(count)
        rows[name] = np.cumsum(column, dtype=np.uint64) if name == "position" else column
    return rows


def pack_document(values: Values, sections: Sections, level: int) -> bytes:
    """A compressed document."""
    return compress(document.pack(values, sections), level)


def unpack_document(payload: bytes) -> tuple[Values, Sections]:
    """Its values and sections."""
    return document.unpack(decompress(payload))
