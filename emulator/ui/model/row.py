# SPDX-License-Identifier: Apache-2.0
"""A line of a pane, and what it is about: commands take their argument from the row under the
cursor."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from aether_edgecloud.emulator.replay.views.maps import Map
from aether_edgecloud.emulator.replay.views.memory import Space


@dataclass(frozen=True, slots=True)
class Place:
    """A moment of the run; `attempt` as in `Replay`."""

    position: int
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Instruction:
    """Code at a VA of the CPU that is shown."""

    va: int


@dataclass(frozen=True, slots=True)
class Register:
    """By the name that views give it."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Address:
    """A byte of memory."""

    space: Space
    value: int

    def __str__(self) -> str:
        return f"{self.space.value}:{self.value:#x}"


@dataclass(frozen=True, slots=True)
class Mapped:
    """A region of a map, by its first input address, and where it leads."""

    which: Map
    ia: int
    pa: int


Subject = Instruction | Register | Address | Mapped | Place


def is_same(one: Subject | None, other: Subject | None) -> bool:
    """Whether they are the same thing, at whatever value."""
    if isinstance(one, Register) and isinstance(other, Register):
        return one.name == other.name
    if isinstance(one, Mapped) and isinstance(other, Mapped):
        return (one.which, one.ia) == (other.which, other.ia)
    return one is not None and one == other


@dataclass(frozen=True, slots=True)
class Row:
    """One line; where `subject` is None the cursor does not stop. `others` stand to the right of
    the subject on the same line."""

    text: Text
    subject: Subject | None = None
    others: tuple[Subject, ...] = ()

    def at(self, column: int) -> Subject | None:
        """The subject of a column, or the last there is."""
        return (self.subject, *self.others)[min(column, len(self.others))]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a pane shows: the rows that fit, and which of them the cursor is on."""

    title: str
    rows: Sequence[Row]
    cursor: int | None = None
    column: int = 0

    @property
    def subject(self) -> Subject | None:
        """What the cursor is on."""
        return None if self.cursor is None else self.rows[self.cursor].at(self.column)


def window(rows: Sequence[Row], cursor: int | None, top: int, height: int) -> range:
    """The `height` rows to show: from `top` on, or as near to that as the cursor allows."""
    last = max(0, len(rows) - height)
    if cursor is not None:
        top = min(max(top, cursor - height + 1), cursor)
    top = max(0, min(top, last))
    return range(top, min(len(rows), top + height))
