# SPDX-License-Identifier: Apache-2.0
"""What an adversary keeps, as JSON and sections of bytes, and back.

Its states are built of numbers, texts, bytes, tuples, lists, dictionaries, sets, enumerations and
dataclasses. Only classes that the reader names are made of what a file says.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from aether_edgecloud.emulator.recording.document import Malformed, Sections, listed, natural, text
from aether_edgecloud.emulator.recording.typed import checked

_BYTES, _TUPLE, _LIST, _DICT, _SET, _FROZEN, _CLASS = "b", "t", "l", "d", "s", "f", "c"
_MEMBER = "e"
_PLAIN = (int, str, bool, type(None))
_GATHERED = {_TUPLE: tuple, _LIST: list, _SET: set, _FROZEN: frozenset}
_TAGS: dict[type, str] = {kind: tag for tag, kind in _GATHERED.items()}


def encode(value: object, prefix: str, sections: Sections) -> Any:
    """JSON for a value; its bytes go to sections whose names begin with `prefix`."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, bytes):
        name = f"{prefix}{len(sections)}"
        sections[name] = value
        return [_BYTES, name]
    if isinstance(value, dict):
        flat = (part for pair in value.items() for part in pair)
        return [_DICT, *(encode(part, prefix, sections) for part in flat)]
    if isinstance(value, Enum):
        return [_MEMBER, type(value).__name__, encode(value.value, prefix, sections)]
    if dataclasses.is_dataclass(value):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
        encoded = (encode(part, prefix, sections) for part in parts)
        return [_CLASS, type(value).__name__, *encoded]
    tag = _TAGS.get(type(value))
    if tag is None or not isinstance(value, Iterable):
        raise TypeError(f"a {type(value).__name__} in the state of an adversary")
    items: Iterable[Any] = value
    if tag in (_SET, _FROZEN):
        items = sorted(items)
    return [tag, *(encode(part, prefix, sections) for part in items)]


class Decoder:
    """Decodes with these dataclasses and enumerations and no others."""

    def __init__(self, classes: Iterable[type]) -> None:
        self._classes = {found.__name__: found for found in classes}

    def decode(self, plain: Any, sections: Sections) -> Any:
        """What was encoded; Malformed for anything else."""
        if type(plain) in _PLAIN:
            return plain
        tag, *parts = listed(plain) or [None]
        if tag == _BYTES:
            (name,) = parts
            return sections[text(name)]
        if tag == _MEMBER and len(parts) == 2:
            return self._member(text(parts[0]), self.decode(parts[1], sections))
        if tag == _CLASS and parts:
            return self._object(text(parts[0]), [self.decode(p, sections) for p in parts[1:]])
        found = (self.decode(part, sections) for part in parts)
        try:
            if tag == _DICT:
                return dict(_pairs(found, len(parts)))
            return _GATHERED[text(tag)](found)
        except (TypeError, KeyError) as e:
            raise Malformed(f"no part of a state: {e}") from None

    def _member(self, name: str, value: object) -> Any:
        kind = self._classes.get(name)
        if kind is None or not issubclass(kind, Enum):
            raise Malformed(f"{name!r:.40} is no part of a state")
        try:
            return kind(value)
        except ValueError as e:
            raise Malformed(f"no {name}: {e}") from None

    def _object(self, name: str, parts: list[Any]) -> Any:
        kind = self._classes.get(name)
        if kind is None or issubclass(kind, Enum):
            raise Malformed(f"{name!r:.40} is no part of a state")
        try:
            return checked(kind(*parts), kind)
        except TypeError as e:
            raise Malformed(f"no {name}: {e}") from None


def _pairs(found: Iterator[Any], count: int) -> Iterator[tuple[Any, Any]]:
    if natural(count) % 2:
        raise Malformed("a dictionary with a key too many")
    return zip(found, found, strict=True)
