# SPDX-License-Identifier: Apache-2.0
"""A file of chunks, each with a type, a length and checksums; what was written stays readable.

A file that was closed ends with an index of its chunks. Without it (the writer was killed, the end
was lost) the chunks are found one after the other, up to the first that is not whole.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError

MAGIC = b"\x89AETREC\n"
MAJOR, MINOR = 1, 0
"""A reader refuses another major version, and any it does not know of."""

_HEADER = struct.Struct("<8sHH16x")  # and the CRC-32 of all that
_CHUNK = struct.Struct("<4sIQI")  # type, number, length, CRC-32 of the payload; and that of these
_CRC = struct.Struct("<I")
_END = struct.Struct("<Q8s")  # where the index begins
_END_MAGIC = b"AETEND\r\n"
HEADER_SIZE = _HEADER.size + _CRC.size
CHUNK_HEADER_SIZE = _CHUNK.size + _CRC.size
INDEX = b"INDX"

_FIX_OTHER = "name a file that `aether run --record` wrote"
_FIX_DAMAGED = "copy it again, or record the run again"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Where a chunk is: `offset` is that of its header, `length` that of its payload; `number`
    means what its type says."""

    type: bytes
    number: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + CHUNK_HEADER_SIZE + self.length


class ChunkWriter:
    """Writes a file, chunk by chunk. UserError where that fails."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self._chunks: list[Chunk] = []
        self.size = 0
        """Bytes written."""
        head = _HEADER.pack(MAGIC, MAJOR, MINOR)
        self._write(head + _CRC.pack(zlib.crc32(head)))

    def add(self, kind: bytes, number: int, payload: bytes) -> None:
        """One more chunk, handed to the operating system."""
        head = _CHUNK.pack(kind, number, len(payload), zlib.crc32(payload))
        self._chunks.append(Chunk(kind, number, self.size, len(payload)))
        self._write(head + _CRC.pack(zlib.crc32(head)) + payload)

    def close(self) -> None:
        """Write the index. The file itself stays open."""
        start = self.size
        rows = [[c.type.decode(), c.number, c.offset, c.length] for c in self._chunks]
        self.add(INDEX, 0, zlib.compress(json.dumps(rows, separators=(",", ":")).encode()))
        self._write(_END.pack(start, _END_MAGIC))

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as e:
            raise UserError(
                f"cannot be written ({e.strerror})",
                where=self._where,
                fix="the recording ends here; give it a place with room",
            ) from None
        self.size += len(data)


class ChunkReader:
    """A file of chunks. `lost` says what of its end is missing, None if it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.chunks: list[Chunk] = []
        self.lost: str | None = None
        try:
            if path.is_dir():
                raise IsADirectoryError(21, "it is a directory")
            self._file: BufferedReader = path.open("rb")
        except OSError as e:
            raise UserError(
                f"cannot be read ({e.strerror})", where=str(path), fix="name a file that exists"
            ) from None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def read(self, chunk: Chunk) -> bytes:
        """The payload. UserError if it is not what was written."""
        found = self._read_chunk(chunk.offset)
        if found is None or found[0] != chunk:
            raise self.damaged(f"{chunk.type.decode()} chunk at byte {chunk.offset}")
        return found[1]

    def damaged(self, what: str) -> UserError:
        """The error that says so."""
        return UserError(
            f"the recording is damaged ({what})", where=str(self._path), fix=_FIX_DAMAGED
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> None:
        where = str(self._path)
        self._size = os.fstat(self._file.fileno()).st_size
        head = self._read_at(0, HEADER_SIZE)
        if not head:
            raise UserError("the file is empty", where=where, fix=_FIX_OTHER)
        magic = head[: len(MAGIC)]
        if magic != MAGIC[: len(magic)]:
            raise UserError("not a recording", where=where, fix=_FIX_OTHER)
        if len(head) < HEADER_SIZE:
            raise UserError("only the beginning of a recording", where=where, fix=_FIX_DAMAGED)
        _, major, minor = _HEADER.unpack(head[: _HEADER.size])
        if _CRC.unpack(head[_HEADER.size :])[0] != zlib.crc32(head[: _HEADER.size]):
            raise self.damaged("its header")
        if (major, minor) > (MAJOR, MINOR):
            raise UserError(
                f"recorded in format {major}.{minor}; this version reads {MAJOR}.{MINOR}",
                where=where,
                fix="use a newer version of aether",
            )
        if major != MAJOR:
            raise UserError(
                f"recorded in the old format {major}.{minor}", where=where, fix="record it again"
            )
        if not self._read_index():
            self.chunks = list(self._scan())

    def _read_index(self) -> bool:
        end = self._read_at(self._size - _END.size, _END.size)
        if len(end) < _END.size:
            return False
        start, magic = _END.unpack(end)
        found = self._read_chunk(start) if magic == _END_MAGIC else None
        if found is None or found[0].type != INDEX or found[0].end != self._size - _END.size:
            return False
        rows = json.loads(zlib.decompress(found[1]))
        self.chunks = [Chunk(kind.encode(), *numbers) for kind, *numbers in rows]
        return True

    def _scan(self) -> Iterator[Chunk]:
        offset = HEADER_SIZE
        while offset < self._size:
            found = self._read_chunk(offset)
            if found is None:
                break
            if found[0].type != INDEX:
                yield found[0]
            offset = found[0].end
        rest = self._size - offset
        at = f" at byte {offset}: {rest} bytes are no use" if rest else ""
        self.lost = f"the recording breaks off{at}"

    def _read_chunk(self, offset: int) -> tuple[Chunk, bytes] | None:
        """The chunk at an offset; None if there is no whole one."""
        head = self._read_at(offset, CHUNK_HEADER_SIZE)
        if len(head) < CHUNK_HEADER_SIZE:
            return None
        kind, number, length, crc = _CHUNK.unpack(head[: _CHUNK.size])
        if _CRC.unpack(head[_CHUNK.size :])[0] != zlib.crc32(head[: _CHUNK.size]):
            return None
        if length > self._size - offset - CHUNK_HEADER_SIZE:
            return None
        payload = self._file.read(length)
        if len(payload) != length or zlib.crc32(payload) != crc:
            return None
        return Chunk(kind, number, offset, length), payload

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset > self._size:
            return b""
        self._file.seek(offset)
        return self._file.read(size)
