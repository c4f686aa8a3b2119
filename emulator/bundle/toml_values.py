# SPDX-License-Identifier: Apache-2.0
"""Values out of a TOML document, each checked for its kind, and where they stand in the file."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.bundle import duration, size
from aether_edgecloud.emulator.errors import UserError

_NUMBER_LIMIT = 1 << 63
_MOST_SHOWN = 60
_VM = re.compile(r"\s*\[\[\s*vm\s*\]\]")
_SCHEDULE = re.compile(r"\s*\[\s*schedule\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands in the file: the line of its header and of its keys, when found."""

    file: str
    line: int | None
    keys: Mapping[str, int]

    def of(self, key: str) -> str:
        """`file:line: key`."""
        return f"{self.before(key)}: {key}"

    def before(self, key: str) -> str:
        """`file:line`."""
        line = self.keys.get(key, self.line)
        return self.file if line is None else f"{self.file}:{line}"

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Places:
    """The places of all VMs, and of the schedule."""

    vms: Sequence[Place]
    schedule: Place


def find_places(text: str, file: str, count: int) -> Places:
    """Finds headers and keys by their looks: tomllib tells no positions. Gives up (no lines
    rather than wrong ones) when the number of headers is not the number of VMs."""
    vms: list[tuple[int, dict[str, int]]] = []
    schedule: list[tuple[int, dict[str, int]]] = []
    keys: dict[str, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if _VM.match(line):
            vms.append((number, keys := {}))
        elif _SCHEDULE.match(line):
            schedule.append((number, keys := {}))
        elif keys is not None and (match := _KEY.match(line)):
            keys.setdefault(match[1], number)
    nowhere = Place(file, None, {})
    return Places(
        [Place(file, *one) for one in vms] if len(vms) == count else [nowhere] * count,
        Place(file, *schedule[0]) if len(schedule) == 1 else nowhere,
    )


def refuse_unknown(
    table: Mapping[str, object], known: Sequence[str], where: str, place: Place | None = None
) -> None:
    """Refuses keys that are not among `known`, with the one that was meant, perhaps."""
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(
                f"unknown key {key!r}",
                where=where if place is None else place.before(key),
                fix=f"{meant}known keys: {', '.join(known)}",
            )


def inline_table(item: object, known: Sequence[str], where: str) -> Mapping[str, object]:
    """A table with no other keys than these."""
    if not isinstance(item, dict):
        form = ", ".join(f"{key} = ..." for key in known)
        raise UserError(f"{shown(item)} is not a table", where=where, fix=f"write {{ {form} }}")
    refuse_unknown(item, known, where)
    return item


def get(table: Mapping[str, object], key: str, where: str) -> object:
    """The value of a key that has to be there."""
    if key not in table:
        raise UserError(f"key {key!r} is missing", where=where, fix="add it")
    return table[key]


def items(value: object, where: str) -> list[object]:
    """A list."""
    if not isinstance(value, list):
        raise UserError("is not a list", where=where, fix="write [...]")
    return value


def string(value: object, where: str) -> str:
    """A line of text."""
    if not isinstance(value, str) or not value.isprintable():
        raise UserError(
            f"{shown(value)} is not a line of text", where=where, fix="write it in quotes"
        )
    return value


def number(value: object, where: str) -> int:
    """A number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(
            f"{shown(value)} is not a number",
            where=where,
            fix="write it without quotes, as 0x40000000",
        )
    if not 0 <= value < _NUMBER_LIMIT:
        raise UserError(f"{shown(value)} is out of range", where=where, fix="give one below 2^63")
    return value


def byte_count(value: object, where: str) -> int:
    """A size, as a number or as text."""
    return size.parse(value, where=where) if isinstance(value, str) else number(value, where)


def time(value: object, where: str) -> int:
    """A time in microseconds, written as text."""
    if not isinstance(value, str):
        raise UserError(
            f"{shown(value)} is not a time", where=where, fix='write it as "10ms" or "64us"'
        )
    return duration.parse(value, where=where)


def choice(value: object, known: Sequence[str], where: str) -> str:
    """One of the words in `known`."""
    if not isinstance(value, str) or value not in known:
        words = " or ".join(f'"{word}"' for word in known)
        raise UserError(f"{shown(value)} is not known", where=where, fix=f"write {words}")
    return value


def shown(value: object) -> str:
    """A value for an error line: short, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # a number with too many digits to be written in decimal
        return "a number that long"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
