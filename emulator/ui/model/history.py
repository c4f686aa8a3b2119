# SPDX-License-Identifier: Apache-2.0
"""Where the user has been, and what he wants to find again."""

from dataclasses import dataclass, field

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay.conditions import Condition
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.ui.model.row import Place

_MOST = 1000
"""Places that are remembered."""
_LONGEST = 80
"""Characters of a bookmark's name."""


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
    """A moment with a name of the user's."""

    moment: Moment
    name: str


@dataclass(slots=True)
class Bookmarks:
    """In the order of the run; at most one at a moment."""

    _names: dict[Moment, str] = field(default_factory=dict)

    def set(self, moment: Moment, name: str) -> None:
        """Sets one, or renames the one that is there. UserError for a name that is too long, has
        what cannot be printed, or none; or begins or ends with a space."""
        if not (name.isprintable() and name == name.strip() and 1 <= len(name) <= _LONGEST):
            raise UserError(f"a bookmark's name is of 1 to {_LONGEST} printable characters")
        self._names[moment] = name

    def clear(self, moment: Moment) -> None:
        """Takes away the one that is there."""
        del self._names[moment]

    def at(self, moment: Moment) -> str | None:
        """The name of the one that is there."""
        return self._names.get(moment)

    def all(self) -> tuple[Bookmark, ...]:
        """Every one."""
        return tuple(Bookmark(moment, self._names[moment]) for moment in sorted(self._names))

    def named(self, name: str) -> Moment | None:
        """Where the bookmark of that name is."""
        return next((mark.moment for mark in self.all() if mark.name == name), None)


@dataclass(frozen=True, slots=True)
class Stop:
    """A breakpoint or a watchpoint. `va` is a breakpoint's address."""

    condition: Condition
    words: str
    va: int | None = None
