# SPDX-License-Identifier: Apache-2.0
"""Values and named sections of bytes as one string of bytes: JSON first, then the sections.

A section may be written as its difference (exclusive or) from one of the same name elsewhere.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

Values = dict[str, Any]
Sections = dict[str, bytes]
_LENGTH = struct.Struct("<I")


def pack(values: Values, sections: Mapping[str, bytes]) -> bytes:
    """One string of bytes."""
    sizes = [[name, len(data)] for name, data in sections.items()]
    head = json.dumps({"values": values, "sections": sizes}, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *sections.values()))


def unpack(data: bytes) -> tuple[Values, Sections]:
    """What was packed. ValueError, KeyError or TypeError for anything else."""
    if len(data) < _LENGTH.size:
        raise ValueError("a document without a length")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    head = json.loads(data[_LENGTH.size : start])
    sections: Sections = {}
    for name, size in head["sections"]:
        sections[name] = data[start : start + size]
        start += size
    if start != len(data):
        raise ValueError("a document of another length")
    return head["values"], sections


def difference(data: bytes, base: bytes) -> bytes:
    """`data` XOR `base` as far as both go, and the rest of `data`; its own inverse."""
    size = min(len(data), len(base))
    mixed = np.frombuffer(data, np.uint8, size) ^ np.frombuffer(base, np.uint8, size)
    return mixed.tobytes() + data[size:]
