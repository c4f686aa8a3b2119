# SPDX-License-Identifier: Apache-2.0
"""Dictionaries that can be put back quickly to what they were.

What changes after `save` is noted, and `restore` takes it back: the cost is that of the changes,
not of the whole. A state that is not the one saved or restored last is put back from a copy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# Changes noted at most; past them a restore copies everything.
_MOST_CHANGES = 1 << 18


class _Absent:
    """No value."""


_ABSENT = _Absent()


class Table(dict[K, V], Generic[K, V]):
    """A dictionary of immutable values, changed by `put` and `drop` only. `on_change` is told of
    each key whose value may have changed, a restore included."""

    def __init__(self, journal: "Journal", on_change: Callable[[K], None] | None = None) -> None:
        super().__init__()
        self._journal = journal
        self._on_change = on_change
        journal.tables.append(self)

    def put(self, key: K, value: V) -> None:
        """Set a value."""
        self._journal.note(self, key, self.get(key, _ABSENT))
        self[key] = value
        if self._on_change is not None:
            self._on_change(key)

    def drop(self, key: K) -> None:
        """Remove a key, if it is there."""
        if key in self:
            self._journal.note(self, key, self[key])
            del self[key]
            if self._on_change is not None:
                self._on_change(key)

    def put_back(self, key: K, value: V | _Absent) -> None:
        """Undo one change."""
        if isinstance(value, _Absent):
            self.pop(key, None)
        else:
            self[key] = value
        if self._on_change is not None:
            self._on_change(key)

    def replace(self, contents: dict[K, V]) -> None:
        """Become a copy of `contents`."""
        keys = list(self)
        self.clear()
        self.update(contents)
        if self._on_change is not None:
            for key in {**dict.fromkeys(keys), **dict.fromkeys(contents)}:
                self._on_change(key)


@dataclass(frozen=True, slots=True, eq=False)
class SavedTables:
    """The contents of a journal's tables at one moment."""

    contents: tuple[dict[object, object], ...]


@dataclass(slots=True)
class Journal:
    """What has changed in its tables since the state saved or restored last."""

    tables: list[Table] = field(default_factory=list)  # type: ignore[type-arg]
    _base: SavedTables | None = None
    _changes: list[tuple[Table, object, object]] = field(  # type: ignore[type-arg]
        default_factory=list
    )

    def note(self, table: Table, key: object, old: object) -> None:  # type: ignore[type-arg]
        """A value is about to change."""
        if self._base is None:
            return
        self._changes.append((table, key, old))
        if len(self._changes) > _MOST_CHANGES:
            self._base = None
            self._changes.clear()

    def save(self) -> SavedTables:
        """Copy everything."""
        saved = SavedTables(tuple(dict(table) for table in self.tables))
        self._base = saved
        self._changes.clear()
        return saved

    def restore(self, saved: SavedTables) -> None:
        """Be again what was saved."""
        if self._base is saved:
            for table, key, old in reversed(self._changes):
                table.put_back(key, old)
        else:
            for table, contents in zip(self.tables, saved.contents, strict=True):
                table.replace(contents)
        self._base = saved
        self._changes.clear()
