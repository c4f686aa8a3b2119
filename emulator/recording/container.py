# SPDX-License-Identifier: Apache-2.0
"""A file of chunks, each with a type, a length and checksums; what was written stays readable.

A file that was closed ends with an index of its chunks. Without it (the writer was killed, the end
was lost) the chunks are found one after the other, up to the first that is not whole.
"""

import json
import os
import stat
import struct
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError

MAGIC = b"\x89AETREC\n"
MAJOR, MINOR = 2, 0
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

    def say(self) -> str:
        """It in words."""
        return f"{self.type.decode('ascii', 'replace').strip()} chunk at byte {self.offset}"


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
    """A file of chunks, all of which are looked at when it is opened. UserError where it is none,
    or of another version.

    `chunks` are those that are whole, in order; `damaged` those of which the place is known, but
    not what was written there; `lost` says what of the end is missing, None if nothing is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.chunks: list[Chunk] = []
        self.damaged: list[Chunk] = []
        self.lost: str | None = None
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                raise OSError(0, "it is no file")
            self._file: BufferedReader = path.open("rb")
        except OSError as e:
            raise self._unreadable(e) from None
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def read(self, chunk: Chunk) -> bytes:
        """The payload. UserError if it is not what was written."""
        found = self._head(chunk.offset)
        payload = None if found is None or found[0] != chunk else self._payload(*found)
        if payload is None:
            raise self.damage(chunk.say())
        return payload

    def damage(self, what: str) -> UserError:
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
        # What follows the version may be another's: its checksum too.
        if (major, minor) > (MAJOR, MINOR):
            raise UserError(
                f"made by a newer version of aether, in format {major}.{minor}; this one reads "
                f"{MAJOR}.{MINOR}",
                where=where,
                fix="use that version",
            )
        if major != MAJOR:
            raise UserError(
                f"recorded in the old format {major}.{minor}", where=where, fix="record it again"
            )
        if _CRC.unpack(head[_HEADER.size :])[0] != zlib.crc32(head[: _HEADER.size]):
            raise self.damage("its header")
        found = self._read_index()
        if found is None:
            self._scan()
            return
        for chunk in found:
            self._sort(chunk, self._head(chunk.offset))

    def _sort(self, chunk: Chunk, head: tuple[Chunk, int] | None) -> None:
        is_whole = head is not None and head[0] == chunk and self._payload(*head) is not None
        (self.chunks if is_whole else self.damaged).append(chunk)

    def _read_index(self) -> list[Chunk] | None:
        """The chunks that the file should have, one after the other; None without an index."""
        end = self._read_at(self._size - _END.size, _END.size)
        if len(end) < _END.size:
            return None
        start, magic = _END.unpack(end)
        head = self._head(start) if magic == _END_MAGIC else None
        if head is None or head[0].type != INDEX or head[0].end != self._size - _END.size:
            return None
        payload = self._payload(*head)
        return None if payload is None else _unpack_index(payload, start)

    def _scan(self) -> None:
        offset = HEADER_SIZE
        while (head := self._head(offset)) is not None and head[0].end <= self._size:
            if head[0].type == INDEX:
                break
            self._sort(head[0], head)
            offset = head[0].end
        rest = self._size - offset
        at = f" at byte {offset}: {rest} bytes are no use" if rest else ""
        self.lost = f"the recording breaks off{at}"

    def _head(self, offset: int) -> tuple[Chunk, int] | None:
        """The chunk at an offset, and the CRC-32 of its payload; None if none begins there."""
        head = self._read_at(offset, CHUNK_HEADER_SIZE)
        if len(head) < CHUNK_HEADER_SIZE:
            return None
        kind, number, length, crc = _CHUNK.unpack(head[: _CHUNK.size])
        if _CRC.unpack(head[_CHUNK.size :])[0] != zlib.crc32(head[: _CHUNK.size]):
            return None
        return Chunk(kind, number, offset, length), crc

    def _payload(self, chunk: Chunk, crc: int) -> bytes | None:
        """None if it is not what was written."""
        payload = self._read_at(chunk.offset + CHUNK_HEADER_SIZE, chunk.length)
        return payload if len(payload) == chunk.length and zlib.crc32(payload) == crc else None

    def _read_at(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset > self._size:
            return b""
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except OSError as e:
            raise self._unreadable(e) from None

    def _unreadable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot be read ({error.strerror})",
            where=str(self._path),
            fix="name a file that exists and can be read",
        )


def _unpack_index(payload: bytes, end: int) -> list[Chunk] | None:
    """The chunks of an index that begins at `end`; None unless they fill the file up to there."""
    # No more than the file has room for, each with four numbers or less than so many characters.
    most = 80 * (end // CHUNK_HEADER_SIZE + 1)
    try:
        rows = json.loads(zlib.decompressobj().decompress(payload, most))
        found = [Chunk(kind.encode(), *map(int, numbers)) for kind, *numbers in rows]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, zlib.error):
        return None
    offset = HEADER_SIZE
    for chunk in found:
        if chunk.offset != offset or chunk.length < 0:
            return None
        offset = chunk.end
    return found if offset == end else None
