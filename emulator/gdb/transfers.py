# SPDX-License-Identifier: Apache-2.0
"""Objects that gdb reads in parts (qXfer)."""

import struct
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from aether_edgecloud.emulator.gdb.packets import MAX_PACKET
from aether_edgecloud.emulator.gdb.requests import ExecFile, Thread

_AT_NULL, _AT_ENTRY = 0, 9


def part(content: bytes, offset: int, length: int) -> bytes:
    """The answer for `length` bytes from `offset`: `m` if there is more, `l` for the last."""
    # Escaped, a byte may take two.
    found = content[offset : offset + min(length, MAX_PACKET // 2)]
    return (b"m" if offset + len(found) < len(content) else b"l") + found


def threads_xml(threads: Sequence[Thread]) -> str:
    """The list of threads, as qXfer:threads:read wants it."""
    lines = (
        f'<thread id="{t.number:x}" core="{t.core}" name={quoteattr(t.name)}>'
        f"{_text(t.about)}</thread>"
        for t in threads
    )
    return f'<?xml version="1.0"?>\n<threads>\n{"".join(lines)}\n</threads>\n'


def _text(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;")


def auxiliary_vector(file: ExecFile | None) -> bytes:
    """What a kernel would tell a program of itself: where it was entered. From this gdb works out
    where a position-independent file came to lie."""
    entry = () if file is None else (_AT_ENTRY, file.entry)
    words = (*entry, _AT_NULL, 0)
    return struct.pack(f"<{len(words)}Q", *words)
