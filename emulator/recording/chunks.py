# SPDX-License-Identifier: Apache-2.0
"""The types of a recording's chunks, and how the smaller ones are written. All integers are
little-endian."""

import numpy as np
import numpy.typing as npt
import zstandard

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.document import Malformed, Sections, Values
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


_MOST = 1 << 30
"""Bytes of anything that is decompressed: a frame may say that it is of any size."""


def compress(data: bytes, level: int) -> bytes:
    """A zstandard frame that tells its size. UserError for more than a reader takes."""
    if len(data) > _MOST:
        raise UserError(f"{len(data):,} bytes are more than a recording holds in one piece")
    return zstandard.ZstdCompressor(level=level).compress(data)


def decompress(data: bytes, most: int = _MOST) -> bytes:
    """What was compressed; Malformed for anything else, and for more than `most` bytes."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= most:
            raise Malformed(f"a frame of {size} bytes")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    except zstandard.ZstdError as e:
        raise Malformed(str(e)) from None


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
    """The rows. Malformed for sections that are not those of `count` events."""
    if any(len(sections[name]) != EVENT[name].itemsize * count for name in COLUMNS):
        raise Malformed(f"columns that are not those of {count} events")
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
    """Its values and sections; Malformed for anything else than a document."""
    return document.unpack(decompress(payload))
