# SPDX-License-Identifier: Apache-2.0
"""The outer layout of a bundle: header, manifest, table of blobs, blobs.

All numbers are little-endian and all offsets count from the bundle's first byte:

    0   header, 64 bytes (magic, version, sizes, offsets, CRCs)
    64  blob table, 64 bytes a blob (offset, size, SHA-256, name)
        manifest, 8-byte aligned
        blobs, 4096-byte aligned each

Gaps hold zeros. CRC is IEEE CRC-32. The hypervisor checks the CRCs and every range at boot; the
SHA-256 of the blobs and the zero gaps are checked here, so that no byte of a bundle file goes
unread.
"""

import hashlib
import struct
import zlib
from dataclasses import dataclass

from aether_edgecloud.emulator.errors import UserError

MAGIC = b"AETHERB1"
VERSION = 1
HEADER_SIZE = 64
BLOB_ENTRY_SIZE = 64
BLOB_ALIGNMENT = 4096
MANIFEST_ALIGNMENT = 8
MAX_BLOBS = 32
MAX_BLOB_NAME = 15
"""Longest blob name in bytes: the field has 16, and ends with a NUL."""

_HEADER = struct.Struct("<8sIIQQQIIQII")
_BLOB_ENTRY = struct.Struct("<QQ32s16s")
_REBUILD = "make the bundle again with `aether bundle`"


@dataclass(frozen=True, slots=True)
class Blob:
    """One file inside a bundle. `name` is for people; the manifest refers to blobs by index."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest (DTB bytes) and the blobs it refers to."""

    manifest: bytes
    blobs: tuple[Blob, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    what: str
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def pack(bundle: Bundle) -> bytes:
    """The bytes of a bundle; the same for the same contents.

    Raises ValueError for contents the format cannot hold (the builder checks its input first).
    """
    if not 1 <= len(bundle.blobs) <= MAX_BLOBS:
        raise ValueError(f"a bundle holds 1 to {MAX_BLOBS} blobs, not {len(bundle.blobs)}")
    if not bundle.manifest:
        raise ValueError("a bundle needs a manifest")
    table_offset = HEADER_SIZE
    table_size = len(bundle.blobs) * BLOB_ENTRY_SIZE
    manifest_offset = _align(table_offset + table_size, MANIFEST_ALIGNMENT)
    end = manifest_offset + len(bundle.manifest)
    table = b""
    body: list[tuple[int, bytes]] = []
    for blob in bundle.blobs:
        start = _align(end, BLOB_ALIGNMENT)
        name = blob.name.encode("ascii")
        if not _good_name(name):
            raise ValueError(f"not a blob name: {blob.name!r}")
        digest = hashlib.sha256(blob.data).digest()
        table += _BLOB_ENTRY.pack(start, len(blob.data), digest, name)
        body.append((start, blob.data))
        end = start + len(blob.data)
    head = _HEADER.pack(
        MAGIC, VERSION, HEADER_SIZE, end, manifest_offset, len(bundle.manifest),
        zlib.crc32(bundle.manifest), len(bundle.blobs), table_offset, zlib.crc32(table), 0,
    )[:-4]  # fmt: skip
    out = bytearray(end)
    out[:HEADER_SIZE] = head + struct.pack("<I", zlib.crc32(head))
    out[table_offset : table_offset + table_size] = table
    out[manifest_offset : manifest_offset + len(bundle.manifest)] = bundle.manifest
    for start, data in body:
        out[start : start + len(data)] = data
    return bytes(out)


def unpack(data: bytes, *, where: str) -> Bundle:
    """The contents of a bundle, every byte of it checked.

    Bytes after the bundle's own total size are ignored, as the hypervisor does: firmware may round
    an initrd up. Raises UserError, with `where` and the part at fault, for anything else.
    """
    if data[:8] != MAGIC[: len(data[:8])] or not data:
        raise UserError("not a bundle (the magic is missing)", where=where, fix=_REBUILD)
    if len(data) < HEADER_SIZE:
        raise _broken(where, "header", f"cut short: {len(data)} bytes of {HEADER_SIZE}")
    (
        _, version, header_size, total_size, manifest_offset, manifest_size, manifest_crc,
        blob_count, table_offset, table_crc, header_crc,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if version != VERSION:
        raise UserError(
            f"version {version} of the bundle format is not known, only {VERSION}",
            where=f"{where}: header",
            fix=_REBUILD,
        )
    if header_crc != zlib.crc32(data[: HEADER_SIZE - 4]):
        raise _broken(where, "header", "its CRC does not match")
    if header_size != HEADER_SIZE:
        raise _broken(where, "header", f"says it has {header_size} bytes, not {HEADER_SIZE}")
    if not 1 <= blob_count <= MAX_BLOBS:
        raise _broken(where, "header", f"says {blob_count} blobs, not 1 to {MAX_BLOBS}")
    if total_size > len(data):
        raise UserError(f"cut short: {len(data)} bytes of {total_size}", where=where, fix=_REBUILD)
    head = _Range("header", 0, HEADER_SIZE)
    table_range = _Range("blob table", table_offset, blob_count * BLOB_ENTRY_SIZE)
    manifest_range = _Range("manifest", manifest_offset, manifest_size)
    for part in (table_range, manifest_range):
        _inside(part, total_size, where)
    table = _cut(data, table_range)
    if table_crc != zlib.crc32(table):
        raise _broken(where, "blob table", "its CRC does not match")
    manifest = _cut(data, manifest_range)
    if manifest_crc != zlib.crc32(manifest):
        raise _broken(where, "manifest", "its CRC does not match")
    blobs: list[Blob] = []
    ranges = [head, table_range, manifest_range]
    for index, (offset, size, digest, raw_name) in enumerate(_BLOB_ENTRY.iter_unpack(table)):
        part = _Range(f"blob {index}", offset, size)
        name = raw_name.rstrip(b"\0")
        if not _good_name(name):
            raise _broken(where, part.what, "its name is not 1 to 15 printable characters")
        if offset % BLOB_ALIGNMENT != 0:
            raise _broken(where, part.what, f"offset {offset:#x} is not 4096-byte aligned")
        _inside(part, total_size, where)
        content = _cut(data, part)
        if hashlib.sha256(content).digest() != digest:
            raise _broken(where, f"{part.what} ({name.decode()})", "its SHA-256 does not match")
        ranges.append(part)
        blobs.append(Blob(name.decode(), content))
    _apart(ranges, data, total_size, where)
    return Bundle(manifest, tuple(blobs))


def _apart(ranges: list[_Range], data: bytes, total_size: int, where: str) -> None:
    """Refuses parts that overlap, and anything but zeros between them."""
    ordered = sorted((r for r in ranges if r.size), key=lambda r: (r.start, r.end))
    end, before = 0, "header"
    for part in ordered:
        if part.start < end:
            raise _broken(where, part.what, f"overlaps the {before}")
        if any(data[end : part.start]):
            raise _broken(where, part.what, f"the bytes between the {before} and it are not zero")
        end, before = part.end, part.what
    if any(data[end:total_size]):
        raise _broken(where, before, "the bytes after it are not zero")


def _inside(part: _Range, total_size: int, where: str) -> None:
    if part.start > total_size or part.size > total_size - part.start:
        raise _broken(
            where,
            part.what,
            f"{part.size:#x} bytes at {part.start:#x} reach past the end ({total_size:#x})",
        )


def _cut(data: bytes, part: _Range) -> bytes:
    return data[part.start : part.end]


def _good_name(name: bytes) -> bool:
    return 1 <= len(name) <= MAX_BLOB_NAME and all(0x21 <= c <= 0x7E for c in name)


def _broken(where: str, part: str, what: str) -> UserError:
    return UserError(what, where=f"{where}: {part}", fix=_REBUILD)


def _align(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
