# SPDX-License-Identifier: Apache-2.0
"""The trace file: a header, then chunks that each stand alone, then an end. docs/trace.md.

What was written stays readable when the writer is killed: chunks follow one another with lengths
and checksums, and are found without the end.
"""

import json
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.trace.columns import EVENT, OP, PAGE, PARTIAL, Columns
from aether_edgecloud.emulator.trace.operations import REGISTERS

MAGIC = b"\x89AETTRC\n"
VERSION = 1
_LEVEL = 1
_HEADER = struct.Struct("<8sII")  # magic, version, bytes of JSON that follow; then its CRC-32
_CHUNK = struct.Struct("<4sIQII")  # tag, bytes, first position, instructions, CRC-32 of the bytes
_CHUNK_TAG, _END_TAG = b"CHNK", b"END\n"
_CRC = struct.Struct("<I")
_MOST = 1 << 30  # bytes of one array: many times what the recorder's buffers hold
_FIX_OTHER = "name a file that `aether trace -o` wrote"
_FIX_DAMAGED = "copy it again, or make it again"

_SCALARS = ("position", "cpu", "el", "vm", "instructions", "accesses")
_OP = np.dtype([(name, OP[name]) for name in OP.names or () if name not in ("id", "chunk")])
_ARRAYS: dict[str, Any] = {
    "registers": np.dtype("<u8"),
    "ops": _OP,
    "block_pcs": np.dtype("<u8"),
    "block_counts": np.dtype("<u2"),
    "code": np.dtype("<u4"),
    "executions": np.dtype("<u2"),
    "partials": PARTIAL,
    "lengths": np.dtype("u1"),
    "payload": np.dtype("u1"),
    "pages": PAGE,
    "events": EVENT,
}
_SCALAR_HEAD = struct.Struct("<6Q")
_ARRAY_HEAD = struct.Struct("<QQ")  # bytes compressed, rows


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a chunk is in the file, and what it holds."""

    offset: int
    size: int
    crc: int
    position: int
    instructions: int


def pack(columns: Columns) -> bytes:
    """A chunk as bytes. The fields of a row are kept apart: they compress better so."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    head = [_SCALAR_HEAD.pack(*(getattr(columns, name) for name in _SCALARS))]
    parts = []
    for name, kind in _ARRAYS.items():
        array = getattr(columns, name)
        if kind.names is None:
            data = array.astype(kind, copy=False).tobytes()
        else:
            data = b"".join(array[field].tobytes() for field in kind.names)
        part = compressor.compress(data)
        head.append(_ARRAY_HEAD.pack(len(part), array.size))
        parts.append(part)
    return b"".join((*head, *parts))


def unpack(data: bytes) -> Columns:
    """The chunk. ValueError or struct.error for anything else."""
    found: dict[str, Any] = dict(zip(_SCALARS, _SCALAR_HEAD.unpack_from(data), strict=True))
    head, start = _SCALAR_HEAD.size, _SCALAR_HEAD.size + len(_ARRAYS) * _ARRAY_HEAD.size
    decompressor = zstandard.ZstdDecompressor()
    for name, kind in _ARRAYS.items():
        size, rows = _ARRAY_HEAD.unpack_from(data, head)
        head += _ARRAY_HEAD.size
        whole = rows * kind.itemsize
        packed = data[start : start + size]
        # A frame may say that it is of any size: it is not believed.
        if whole > _MOST or (size and zstandard.frame_content_size(packed) != whole):
            raise ValueError(f"{name} has another size")
        part = decompressor.decompress(packed, max_output_size=whole) if size else b""
        if len(part) != whole:
            raise ValueError(f"{name} has another size")
        found[name] = _rows(part, kind, rows)
        start += size
    found["registers"] = found["registers"].reshape(-1, REGISTERS)
    return Columns(**found)


def _rows(data: bytes, kind: Any, rows: int) -> Any:
    if kind.names is None:
        return np.frombuffer(data, kind)
    array, start = np.empty(rows, kind), 0
    for field in kind.names:
        size = rows * kind[field].itemsize
        array[field] = np.frombuffer(data[start : start + size], kind[field])
        start += size
    return array


class TraceWriter:
    """Writes a trace, chunk by chunk. `about` is kept with it: plain JSON. `file`: where to, if
    that is not `path` itself yet. UserError where it cannot be written."""

    def __init__(self, path: Path, about: dict[str, object], file: BinaryIO | None = None) -> None:
        self._path = path
        self.size = 0
        """Bytes written."""
        self.instructions = 0
        """In all chunks."""
        try:
            self._file = path.open("wb") if file is None else file
        except OSError as e:
            raise self._failed(e) from None
        text = json.dumps(about, separators=(",", ":")).encode()
        head = _HEADER.pack(MAGIC, VERSION, len(text)) + text
        self._write(head + _CRC.pack(zlib.crc32(head)))

    def add(self, columns: Columns) -> None:
        """One more chunk."""
        if columns.instructions or len(columns.events):
            data = pack(columns)
            position = int(columns.events["position"][0]) if len(columns.events) else 0
            if not len(columns.events) or columns.events["index"][0]:
                position = columns.position
            head = _CHUNK.pack(
                _CHUNK_TAG, len(data), position, columns.instructions, zlib.crc32(data)
            )
            self._write(head + _CRC.pack(zlib.crc32(head)) + data)
            self.instructions += columns.instructions

    def end(self) -> None:
        """Write the end."""
        head = _CHUNK.pack(_END_TAG, 0, self.instructions, 0, 0)
        self._write(head + _CRC.pack(zlib.crc32(head)))

    def close(self) -> None:
        """The same, and close the file."""
        self.end()
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as e:
            raise self._failed(e) from None
        self.size += len(data)

    def _failed(self, error: OSError) -> UserError:
        return UserError(
            f"cannot be written ({error.strerror})",
            where=str(self._path),
            fix="name a file you may write, where there is room",
        )


class TraceFile:
    """A trace file that is open. `about` is what it was made with; `lost` says what of its end is
    missing, None if it is whole. UserError for anything else than a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks: list[ChunkPlace] = []
        self.lost: str | None = None
        try:
            # A pipe would be waited for, a device may never end.
            if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
                raise OSError(0, "it is no file")
            self._file = path.open("rb")
        except OSError as e:
            raise self._unreadable(e) from None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> None:
        self._size = os.fstat(self._file.fileno()).st_size
        head = self._read_at(0, _HEADER.size)
        if not head:
            raise self._error("the file is empty", _FIX_OTHER)
        if head[: len(MAGIC)] != MAGIC[: len(head)]:
            raise self._error("not a trace", _FIX_OTHER)
        if len(head) < _HEADER.size:
            raise self._error("only the beginning of a trace", _FIX_DAMAGED)
        _, version, length = _HEADER.unpack(head)
        if version > VERSION:
            raise self._error(
                f"a trace of format {version}; this version reads up to {VERSION}",
                "use a newer version of aether",
            )
        text = self._read_at(_HEADER.size, min(length, self._size))
        crc = self._read_at(_HEADER.size + len(text), _CRC.size)
        if crc != _CRC.pack(zlib.crc32(head + text)):
            raise self._error("the trace is damaged (its header)", _FIX_DAMAGED)
        try:
            about = json.loads(text)
        except (ValueError, RecursionError):
            about = None
        if not isinstance(about, dict):
            raise self._error("the trace is damaged (its header)", _FIX_DAMAGED)
        self.about: dict[str, Any] = about
        self._scan(_HEADER.size + length + _CRC.size)

    def _scan(self, offset: int) -> None:
        while True:
            data = self._read_at(offset, _CHUNK.size + _CRC.size)
            head = data[: _CHUNK.size]
            if len(data) < _CHUNK.size + _CRC.size or data[_CHUNK.size :] != _CRC.pack(
                zlib.crc32(head)
            ):
                is_whole = False
                break
            tag, size, position, instructions, crc = _CHUNK.unpack(head)
            if tag == _END_TAG:
                is_whole = True
                break
            if offset + len(data) + size > self._size:
                is_whole = False
                break
            offset += len(data)
            self.chunks.append(ChunkPlace(offset, size, crc, position, instructions))
            offset += size
        # What follows its beginning need not be its own. All others are looked at when they are
        # read: a trace may be large.
        while self.chunks and self._payload(self.chunks[-1]) is None:
            offset = self.chunks.pop().offset - _CHUNK.size - _CRC.size
            is_whole = False
        if not is_whole:
            rest = self._size - offset
            self.lost = "the trace breaks off" + (
                f": {rest} bytes at its end are no use" if rest else ""
            )

    def columns(self, number: int) -> Columns:
        """A chunk. UserError if it is not what was written."""
        place = self.chunks[number]
        data = self._payload(place)
        if data is None:
            raise self.damaged(f"the chunk at byte {place.offset}")
        try:
            return unpack(data)
        except (ValueError, struct.error, zstandard.ZstdError) as e:
            raise self.damaged(f"the chunk at byte {place.offset}: {e}") from None

    def _payload(self, place: ChunkPlace) -> bytes | None:
        data = self._read_at(place.offset, place.size)
        return data if zlib.crc32(data) == place.crc else None

    def _read_at(self, offset: int, size: int) -> bytes:
        """As much of it as there is. UserError where it cannot be read."""
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except OSError as e:
            raise self._unreadable(e) from None

    def _unreadable(self, error: OSError) -> UserError:
        return self._error(
            f"cannot be read ({error.strerror})", "name a file that exists and can be read"
        )

    def damaged(self, what: str) -> UserError:
        """The error that says so."""
        return self._error(f"the trace is damaged ({what})", _FIX_DAMAGED)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _error(self, what: str, fix: str) -> UserError:
        return UserError(what, where=str(self.path), fix=fix)
