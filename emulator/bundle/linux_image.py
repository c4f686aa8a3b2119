# SPDX-License-Identifier: Apache-2.0
"""The header of an arm64 `Image`, as Linux's boot protocol describes it.

0   code, 8 bytes
8   text_offset: where it wants to be, from a 2 MiB boundary
16  image_size: what it needs in memory, its BSS included
24  flags: bit 0 big-endian
56  magic "ARM\\x64"
"""

import struct
from dataclasses import dataclass

from aether_edgecloud.emulator.errors import UserError

ALIGNMENT = 2 << 20
HEADER_SIZE = 64
MAGIC_OFFSET = 56

_HEADER = struct.Struct("<8xQQQ24x4s4x")
_MAGIC = b"ARM\x64"
_BIG_ENDIAN = 1
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"\x02!L\x18": "lz4",
    b"BZh": "bzip2",
}


@dataclass(frozen=True, slots=True)
class LinuxImage:
    """Where a kernel wants to be from a 2 MiB boundary, and how much memory it needs, in bytes."""

    text_offset: int
    memory_size: int

    def load_address(self, memory_base: int) -> int:
        """The lowest IPA from `memory_base` at which it may be."""
        return align_up(memory_base, ALIGNMENT) + self.text_offset


def parse(data: bytes, *, where: str) -> LinuxImage:
    """Reads the header. Raises UserError for anything but a little-endian arm64 Image."""
    packed = compression(data)
    if packed is not None:
        raise UserError(
            f"is compressed with {packed}, and a kernel is copied as it is",
            where=where,
            fix=f"decompress it with {packed}",
        )
    if len(data) < HEADER_SIZE:
        raise UserError(f"{len(data)} bytes are too few for a kernel", where=where, fix=_FIX)
    text_offset, image_size, flags, magic = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise UserError("is not an arm64 Image (the magic is missing)", where=where, fix=_FIX)
    if flags & _BIG_ENDIAN:
        raise UserError("is a big-endian kernel", where=where, fix=_FIX)
    if image_size < len(data):
        raise UserError(
            f"its header says it needs {image_size} bytes, and the file has {len(data)}",
            where=where,
            fix=_FIX,
        )
    if text_offset % 4096 or text_offset >= ALIGNMENT or image_size >= 1 << 40:
        raise UserError(
            f"its header makes no sense (text_offset {text_offset:#x}, image_size {image_size:#x})",
            where=where,
            fix=_FIX,
        )
    return LinuxImage(text_offset, image_size)


def compression(data: bytes) -> str | None:
    """With what a file is compressed; None if with nothing known."""
    return next((name for magic, name in _COMPRESSED.items() if data.startswith(magic)), None)


_FIX = "give the `Image` that a kernel's arm64 build makes"


def align_up(value: int, alignment: int) -> int:
    """The first multiple of `alignment` from `value` on."""
    return -(-value // alignment) * alignment
