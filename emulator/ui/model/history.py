# SPDX-License-Identifier: Apache-2.0
"""Where the user has been, and what he wants to find again."""

from dataclasses import dataclass, field

from aether_edgecloud.emulator.replay.conditions import Condition
from aether_edgecloud.emulator.ui.model.row import Place

_MOST = 1000
"""Places that are remembered."""


@dataclass(slots=True)
class History:
    """Places in the order of visit. The one at `index` is where the user is."""

    places: list[Place]
    index: int = 0

    @classmethod
    def at(cls, place: Place) -> "History":
        """Begun there."""
        return cls([place])

    def jump(self, place: Place) -> None:
        """To another place; what lay ahead is forgotten."""
        if self.places[self.index] == place:
            return
        del self.places[self.index + 1 :]
        self.places.append(place)
        del self.places[:-_MOST]
        self.index = len(self.places) - 1

    def drift(self, place: Place) -> None:
        """A step or so away from where the user was: the same entry."""
        self.places[self.index] = place

    def peek(self, by: int) -> Place | None:
        """The place `by` entries ahead (behind, if negative); None if there is none."""
        index = self.index + by
        return self.places[index] if 0 <= index < len(self.places) else None

    def move(self, by: int) -> None:
        """The user is there now."""
        self.index += by


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A position with a name of the user's."""

    position: int
    name: str


@dataclass(slots=True)
class Bookmarks:
    """By rising position; one for each."""

    _names: dict[int, str] = field(default_factory=dict)

    def toggle(self, position: int, name: str) -> bool:
        """Sets it, or takes away the one that is there; whether there is one now."""
        if self._names.pop(position, None) is not None:
            return False
        self._names[position] = name
        return True

    def all(self) -> tuple[Bookmark, ...]:
        """Every one."""
        return tuple(Bookmark(p, self._names[p]) for p in sorted(self._names))

    def named(self, name: str) -> int | None:
        """Where the bookmark of that name is."""
        return next((mark.position for mark in self.all() if mark.name == name), None)


@dataclass(frozen=True, slots=True)
class Stop:
    """A breakpoint or a watchpoint. `va` is a breakpoint's address."""

    condition: Condition
    words: str
    va: int | None = None
