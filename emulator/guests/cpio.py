# SPDX-License-Identifier: Apache-2.0
"""Archives in cpio's "newc" format, which Linux unpacks its initramfs from.

The same entries give the same bytes: sorted by path, owned by root, without times, numbered from 1.
"""

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file at `path`, without a leading slash. `mode` holds type and rights; `data` is the
    contents of a file and the target of a symbolic link; `device` is (major, minor)."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(path: str, rights: int = 0o755) -> Entry:
    """A directory."""
    return Entry(path, stat.S_IFDIR | rights)


def file(path: str, data: bytes, rights: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | rights, data)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, rights: int = 0o600) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | rights, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of the entries. ValueError when two have one path."""
    ordered = sorted(entries, key=lambda e: e.path.encode())
    paths = [entry.path for entry in ordered]
    if len(set(paths)) != len(paths):
        raise ValueError("two entries have one path")
    parts = [_record(number, entry) for number, entry in enumerate(ordered, 1)]
    parts.append(_record(0, Entry(_TRAILER, 0)))
    return b"".join(parts)


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    header = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    return _padded(header) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
