# SPDX-License-Identifier: Apache-2.0
"""Values and named sections of bytes as one string of bytes: JSON first, then the sections.

A section may be written as its difference (exclusive or) from one of the same name elsewhere.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np

Values = dict[str, Any]
Sections = dict[str, bytes]
_LENGTH = struct.Struct("<I")
T = TypeVar("T")
_U64_MOST = (1 << 64) - 1


class Malformed(ValueError):
    """What is written in a file cannot be so, though its checksum is right."""


class _Named(dict[str, T], Generic[T]):
    """A dictionary from a file."""

    def __missing__(self, name: str) -> T:
        raise Malformed(f"it has no {name!r}")


def parse(text: bytes) -> Any:
    """JSON. Malformed for anything else, and where a name is looked up that it does not have."""
    try:
        return json.loads(text, object_hook=_Named)
    except (ValueError, RecursionError) as e:
        raise Malformed(f"no JSON: {e}") from None


def natural(value: object, most: int = _U64_MOST) -> int:
    """A whole number from 0 to `most`; Malformed for anything else."""
    if type(value) is not int or not 0 <= value <= most:
        raise Malformed(f"{value!r:.40} is no number from 0 to {most}")
    return value


def text(value: object) -> str:
    """A text; Malformed for anything else."""
    if not isinstance(value, str):
        raise Malformed(f"{value!r:.40} is no text")
    return value


def listed(value: object) -> list[Any]:
    """A list; Malformed for anything else."""
    if not isinstance(value, list):
        raise Malformed(f"{value!r:.40} is no list")
    return value


def pack(values: Values, sections: Mapping[str, bytes]) -> bytes:
    """One string of bytes."""
    sizes = [[name, len(data)] for name, data in sections.items()]
    head = json.dumps({"values": values, "sections": sizes}, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *sections.values()))


def unpack(data: bytes) -> tuple[Values, Sections]:
    """What was packed; Malformed for anything else. To look up what neither has is Malformed."""
    if len(data) < _LENGTH.size:
        raise Malformed("a document without a length")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    head = parse(data[_LENGTH.size : start])
    if not isinstance(head, dict) or not isinstance(head["values"], dict):
        raise Malformed("a document without values")
    sections: Sections = _Named[bytes]()
    try:
        sizes = [(text(name), natural(size, len(data))) for name, size in listed(head["sections"])]
    except (TypeError, ValueError):
        raise Malformed("a document without sections") from None
    for name, size in sizes:
        sections[name] = data[start : start + size]
        start += size
    if start != len(data):
        raise Malformed("a document of another length")
    return head["values"], sections


def difference(data: bytes, base: bytes) -> bytes:
    """`data` XOR `base` as far as both go, and the rest of `data`; its own inverse."""
    size = min(len(data), len(base))
    mixed = np.frombuffer(data, np.uint8, size) ^ np.frombuffer(base, np.uint8, size)
    return mixed.tobytes() + data[size:]
