# SPDX-License-Identifier: Apache-2.0
"""Old descriptors that TLBs may hold, and where to find them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.stage2.decode import LAST_LEVEL, LEVEL_SHIFT

# How far a TLB is: nothing; IPA: stage 2 by IPA issued, completed; all issued; clean. The issuing
# CPU stands above, with whether the TLBI was broadcast, and whether IPA was completed before it.
NONE, IPA, IPA_DONE, ALL, CLEAN = range(5)
STEP, ISSUER_SHIFT, SHAREABLE, AFTER_IPA = 7, 3, 1 << 16, 1 << 17

Key = tuple[int, int, int]
"""Of an old descriptor: PA of its entry, PA of the root of its tree, the descriptor."""


@dataclass(frozen=True, slots=True)
class Unclean:
    """An old descriptor that TLBs may hold; `progress` by CPU."""

    entry: int
    """PA of the entry that held it."""
    root: int
    level: int
    ia: int
    old: int
    is_leaf: bool
    writer: int
    progress: tuple[int, ...]
    dsbed: bool = False
    in_place: bool = False
    """The entry is valid; some right was taken away."""
    group: int = 0
    """PA of the entry of the table that was unlinked with it."""

    @property
    def size(self) -> int:
        """Bytes of input addresses."""
        return 1 << LEVEL_SHIFT[self.level]

    @property
    def key(self) -> Key:
        """What tells it from others. One entry may have several, one for each value it had."""
        return self.entry, self.root, self.old

    def may_hold(self, cpu: int, *, combined: bool) -> bool:
        """Whether the TLB of a CPU may still hold it; `combined`: as the stage 2 of an entry that
        combines both stages, which stays when stage 2 alone has been invalidated."""
        state = self.progress[cpu]
        if state & STEP == IPA_DONE or state & AFTER_IPA:
            return combined and self.is_leaf
        return state & STEP != CLEAN


def issuer(progress: int) -> int:
    """The CPU that issued the TLBI which a state waits for."""
    return (progress & ~(SHAREABLE | AFTER_IPA)) >> ISSUER_SHIFT


def is_pending(progress: int) -> bool:
    """Whether a TLBI was issued and not completed."""
    return progress & STEP in (IPA, ALL)


K = TypeVar("K")
_Index = dict[int, dict[Key, None]]
_Places = dict[tuple[int, int, int], dict[Key, None]]
"""By root, level and block of addresses."""


class UncleanTable:
    """All of them; a table of a journal, with indexes, so that no step costs more than what it
    changes. Iteration is in the order of the keys."""

    def __init__(self, journal: Journal) -> None:
        self._table: Table[Key, Unclean] = Table(journal, self._changed)
        self._known: dict[Key, Unclean] = {}
        self._by_writer: _Index = {}
        self._by_entry: _Index = {}
        self._by_root: _Index = {}
        self._unpublished: _Index = {}
        self._pending: _Index = {}
        self._at: _Places = {}
        self._under: _Places = {}
        self.added: dict[Key, None] = {}
        """Which are new, and, in `dropped`, which there are no more: since `forget_changes`. One
        that was dropped and made anew is in both."""
        self.dropped: list[Unclean] = []

    def __len__(self) -> int:
        return len(self._table)

    def forget_changes(self) -> None:
        """Empty `added` and `dropped`."""
        if self.added:
            self.added.clear()
        if self.dropped:
            self.dropped.clear()

    def put(self, unclean: Unclean) -> None:
        """Add one, or change what is known of it."""
        self._table.put(unclean.key, unclean)

    def drop(self, unclean: Unclean) -> None:
        """It is clean."""
        self._table.drop(unclean.key)

    def get(self, key: Key) -> Unclean | None:
        """The one with this key."""
        return self._table.get(key)

    def all(self) -> list[Unclean]:
        """All of them."""
        return self._of(self._table)

    def of_entry(self, entry: int) -> list[Unclean]:
        """The old values of the entry at a PA."""
        return self._of(self._by_entry.get(entry, ()))

    def of_root(self, root: int) -> list[Unclean]:
        """Those of a tree."""
        return self._of(self._by_root.get(root, ()))

    def of_writer(self, cpu: int) -> list[Unclean]:
        """Those that a CPU has made so."""
        return self._of(self._by_writer.get(cpu, ()))

    def unpublished(self, cpu: int) -> list[Unclean]:
        """Those whose new value, written by a CPU, walkers may not see yet."""
        return self._of(self._unpublished.get(cpu, ()))

    def pending(self, cpu: int) -> list[Unclean]:
        """Those that a TLBI of a CPU covers which is not complete."""
        return self._of(self._pending.get(cpu, ()))

    def at(self, root: int, level: int, ia: int) -> list[Unclean]:
        """Those of a tree and level that translate an address."""
        found = self._at.get((root, level, ia >> LEVEL_SHIFT[level]))
        return self._of(found) if found else []

    def overlapping(self, root: int, first: int, size: int) -> list[Unclean]:
        """Those of a tree that translate any of these addresses."""
        if root not in self._by_root:
            return []
        found: dict[Key, None] = {}
        for level in range(LAST_LEVEL + 1):
            shift = LEVEL_SHIFT[level]
            blocks = range(first >> shift, (first + size - 1 >> shift) + 1)
            if len(blocks) > len(self._by_root[root]):
                end = first + size
                return [u for u in self.of_root(root) if first < u.ia + u.size and u.ia < end]
            index = self._under if 1 << shift <= size else self._at
            for block in blocks:
                found.update(index.get((root, level, block), ()))
        return self._of(found)

    def _of(self, keys: dict[Key, Unclean] | dict[Key, None] | tuple[()]) -> list[Unclean]:
        return [self._table[key] for key in sorted(keys)] if keys else []

    def _changed(self, key: Key) -> None:
        before, now = self._known.get(key), self._table.get(key)
        if now is not None:
            self._known[key] = now
        else:
            self._known.pop(key, None)
        for index, old, new in (
            (self._by_writer, _writer(before), _writer(now)),
            (self._unpublished, _unpublished(before), _unpublished(now)),
            (self._pending, _issuers(before), _issuers(now)),
        ):
            for number in old - new:
                del index[number][key]
            for number in new - old:
                index.setdefault(number, {})[key] = None
        if before is None and now is not None:
            self.added[key] = None
            self._by_entry.setdefault(now.entry, {})[key] = None
            self._by_root.setdefault(now.root, {})[key] = None
            for places, place in self._places(now):
                places.setdefault(place, {})[key] = None
        if before is not None and now is None:
            self.dropped.append(before)
            _remove(self._by_entry, before.entry, key)
            _remove(self._by_root, before.root, key)
            for places, place in self._places(before):
                _remove(places, place, key)

    def _places(self, unclean: Unclean) -> Iterator[tuple[_Places, tuple[int, int, int]]]:
        """Where one is found by its address."""
        root, ia = unclean.root, unclean.ia
        yield self._at, (root, unclean.level, ia >> LEVEL_SHIFT[unclean.level])
        for level in range(unclean.level + 1):
            yield self._under, (root, level, ia >> LEVEL_SHIFT[level])


def _remove(index: dict[K, dict[Key, None]], place: K, key: Key) -> None:
    keys = index[place]
    del keys[key]
    if not keys:
        del index[place]


def _writer(unclean: Unclean | None) -> frozenset[int]:
    return frozenset() if unclean is None else frozenset((unclean.writer,))


def _unpublished(unclean: Unclean | None) -> frozenset[int]:
    return _writer(unclean) if unclean is not None and not unclean.dsbed else frozenset()


def _issuers(unclean: Unclean | None) -> frozenset[int]:
    if unclean is None:
        return frozenset()
    return frozenset(issuer(state) for state in unclean.progress if is_pending(state))
