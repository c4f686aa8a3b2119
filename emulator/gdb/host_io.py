# SPDX-License-Identifier: Apache-2.0
"""The vFile packets, over one file that can only be read: the ELF file of what runs.

So gdb finds symbols and lines without being told where the file is, also of a recording that was
made elsewhere. "Debugging with GDB", "Host I/O Packets" and "struct stat".
"""

import struct

from aether_edgecloud.emulator.gdb.packets import MAX_PACKET
from aether_edgecloud.emulator.gdb.parsing import Malformed, from_hex, number
from aether_edgecloud.emulator.gdb.requests import ExecFile

# Errors as File-I/O numbers them.
_ENOENT, _EBADF, _EROFS = 2, 9, 30
_WRITING = 3  # O_WRONLY or O_RDWR
_REGULAR_READABLE = 0o100444
_STAT = struct.Struct(">7I3Q3I")
_BLOCK = 512


class HostIo:
    """Answers vFile packets."""

    def __init__(self, file: ExecFile | None) -> None:
        self._file = file
        self._open_files: dict[int, bytes] = {}  # what is in them, by descriptor
        self._next_fd = 2

    def answer(self, payload: bytes) -> bytes:
        """The reply. Malformed for what does not follow the protocol."""
        words = payload.split(b":", 2)
        if len(words) != 3:
            raise Malformed
        arguments = words[2].split(b",")
        match words[1]:
            case b"setfs":
                return b"F0"
            case b"open" if len(arguments) == 3:
                return self._open(from_hex(arguments[0]), number(arguments[1]))
            case b"close" | b"fstat" | b"pread":
                return self._of_open(words[1], arguments)
            case b"readlink":
                return _error(_ENOENT)
            case b"pwrite" | b"unlink":
                return _error(_EROFS)
        return b""

    def _open(self, name: bytes, flags: int) -> bytes:
        if self._file is None or name != self._file.name.encode():
            return _error(_ENOENT)
        if flags & _WRITING:
            return _error(_EROFS)
        self._next_fd += 1
        self._open_files[self._next_fd] = self._file.data
        return b"F%x" % self._next_fd

    def _of_open(self, what: bytes, arguments: list[bytes]) -> bytes:
        """What is done to an open file."""
        descriptor = number(arguments[0])
        data = self._open_files.get(descriptor)
        if data is None:
            return _error(_EBADF)
        match what:
            case b"close":
                del self._open_files[descriptor]
                return b"F0"
            case b"fstat":
                return _stat(len(data))
            case b"pread" if len(arguments) == 3:
                return _read(data, number(arguments[1]), number(arguments[2]))
        return b""


def _read(data: bytes, count: int, offset: int) -> bytes:
    found = data[offset : offset + min(count, MAX_PACKET // 2)]
    return b"F%x;" % len(found) + found


def _stat(size: int) -> bytes:
    blocks = -(-size // _BLOCK)
    found = _STAT.pack(0, 1, _REGULAR_READABLE, 1, 0, 0, 0, size, _BLOCK, blocks, 0, 0, 0)
    return b"F%x;" % len(found) + found


def _error(number: int) -> bytes:
    return b"F-1,%x" % number
