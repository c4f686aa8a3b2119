# SPDX-License-Identifier: Apache-2.0
"""The live translation tables: which pages they are, and what can be reached through stage 2.

A tree is live from the moment a register leads a CPU to it until no TLB can hold anything of it and
no register leads to it. Of the entries only what cannot be read from memory again is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.stage2.decode import ENTRIES, LAST_LEVEL, LEVEL_SHIFT, PAGE, Geometry

OA = 0x0000_FFFF_FFFF_F000


class EntryKind:
    """What a descriptor is at its level; reserved encodings fault as invalid ones do."""

    INVALID = 0
    LEAF = 1
    TABLE = 2


def entry_kind(descriptor: int, level: int) -> int:
    """An EntryKind."""
    if not descriptor & 1:
        return EntryKind.INVALID
    if level == LAST_LEVEL:
        return EntryKind.LEAF if descriptor & 2 else EntryKind.INVALID
    if descriptor & 2:
        return EntryKind.TABLE
    return EntryKind.LEAF if level else EntryKind.INVALID


def leaf_pa(descriptor: int, level: int) -> int:
    """The output address of a block or page."""
    return descriptor & OA & -(1 << LEVEL_SHIFT[level])


class Memory(Protocol):
    """Physical memory as the trees need it."""

    def words(self, pa: int, /) -> Sequence[int] | None:
        """The 512 words of a page; None where there is no RAM."""

    def word(self, pa: int, /) -> int | None:
        """One word; None where there is no RAM."""

    def unseen(self, pa: int, /, *, is_ordered: bool) -> bool:
        """Whether EL2 has stored to this page after the last DSB that shows it to walkers;
        `is_ordered`: nor does a DMB or a store-release order that before the stores to come."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A live tree. `vmid` is None for EL2's own; `exposed` has a bit for each CPU whose TLB may
    hold something of it."""

    geometry: Geometry
    vmid: int | None
    exposed: int

    @property
    def root(self) -> int:
        """PA of the first root table."""
        return self.geometry.root


@dataclass(frozen=True, slots=True)
class LivePage:
    """A table page: `root` names the tree, `ia` is the first address that it translates. A frozen
    one has been unlinked, and walkers may still reach it."""

    root: int
    level: int
    ia: int
    frozen: bool = False


class Trees:
    """All live trees. Steps raise Violation for a rule that is not ignored, or tell `on_breach`."""

    def __init__(
        self,
        memory: Memory,
        journal: Journal,
        ignored: frozenset[Rule],
        pages: "Table[int, LivePage]",
        code: "Table[int, bool]",
        on_breach: "Callable[[Violation], None] | None" = None,
    ) -> None:
        self._memory = memory
        self._ignored = ignored
        self._on_breach = on_breach
        self.pages = pages
        """By PA of the page."""
        self.code = code
        """PAs of the pages from which EL2 executes."""
        self.trees: Table[int, Tree] = Table(journal)
        """By PA of the root."""
        self._leaves: Table[int, int] = Table(journal)
        """How many stage 2 leaves there are, by output address with the level in its low bits."""
        self._shared: Table[int, tuple[int, ...]] = Table(journal)
        """By PA of a page: the roots that lead to it besides its own."""

    def breach(self, rule: Rule, cpu: int, **found: Any) -> None:
        """A rule is broken; `found` as in Violation. What goes on after it, if anything does, is
        to be what the hardware goes on with."""
        if rule in self._ignored:
            return
        violation = Violation(rule, cpu=cpu, **found)
        if self._on_breach is None:
            raise violation
        self._on_breach(violation)

    def add(self, cpu: int, tree: Tree) -> None:
        """A register leads to a new tree."""
        self.trees.put(tree.root, tree)
        start = tree.geometry.start_level
        for number in range(tree.geometry.root_tables):
            ia = (number * ENTRIES) << LEVEL_SHIFT[start]
            pa = tree.root + number * PAGE
            self.link(cpu, tree, pa, start, ia, is_ordered=False)  # a DMB orders no MSR

    def remove(self, root: int) -> None:
        """A tree is not live any more."""
        tree = self.trees[root]
        shared = {
            pa: (page.level, page.ia)
            for pa, page in self.pages.items()
            if page.root == root and pa in self._shared
        }
        for number in range(tree.geometry.root_tables):
            for pa, level, _, words in list(self._walk(root + number * PAGE, root)):
                for descriptor in words:
                    if descriptor & 1 and entry_kind(descriptor, level) == EntryKind.LEAF:
                        self.remove_leaf(tree, descriptor, level)
                self.pages.drop(pa)
        for pa in [pa for pa, page in self.pages.items() if page.root == root]:
            self.pages.drop(pa)
        self.trees.drop(root)
        for pa, (level, ia) in shared.items():
            roots = self._shared.get(pa, ())
            self._shared.drop(pa)
            for other in roots:
                if other in self.trees:
                    self.link(0, self.trees[other], pa, level, ia)

    def link(
        self, cpu: int, tree: Tree, pa: int, level: int, ia: int, *, is_ordered: bool = True
    ) -> None:
        """A table with all that it leads to becomes live, by a store or (not `is_ordered`) a
        register."""
        todo = [(pa, level, ia)]
        while todo:
            pa, level, ia = todo.pop()
            where = {"vmid": tree.vmid, "level": level, "ia": ia, "pa": pa}
            known = self.pages.get(pa)
            if known is not None and self._is_understood(known, tree, level, ia):
                if known.root != tree.root:
                    self._shared.put(pa, (*self._shared.get(pa, ()), tree.root))
                continue
            if known is not None:
                self.breach(Rule.FROZEN if known.frozen else Rule.TWO_PARENTS, cpu, **where)
                continue
            words = self._memory.words(pa)
            if words is None:
                self.breach(Rule.BAD_DESCRIPTOR, cpu, **where)
                continue
            if self._memory.unseen(pa, is_ordered=is_ordered):
                self.breach(Rule.NOT_VISIBLE, cpu, **where)
            if self.is_reachable(pa):
                self.breach(Rule.TABLE_REACHABLE, cpu, **where)
            self.pages.put(pa, LivePage(tree.root, level, ia))
            if not any(words):
                continue
            shift = LEVEL_SHIFT[level]
            for index, descriptor in enumerate(words):
                if not descriptor & 1:
                    continue
                kind = entry_kind(descriptor, level)
                below = ia + (index << shift)
                if kind == EntryKind.TABLE:
                    todo.append((descriptor & OA, level + 1, below))
                elif kind == EntryKind.LEAF:
                    self.add_leaf(cpu, tree, pa + index * 8, descriptor, level, below)

    def _is_understood(self, known: LivePage, tree: Tree, level: int, ia: int) -> bool:
        """Whether a live table of EL2 may be linked once more. It may stand for one below itself (a
        recursive map); two trees may share what they have at the same VAs, as those that EL2 boots
        with and those it goes on with."""
        if known.frozen or tree.vmid is not None or self.trees[known.root].vmid is not None:
            return False
        if known.root == tree.root:
            size = ENTRIES << LEVEL_SHIFT[known.level]
            return known.level < level and known.ia <= ia < known.ia + size
        return (known.level, known.ia) == (level, ia)

    def below(self, pa: int) -> Iterator[tuple[int, int, int, Sequence[int]]]:
        """A live table and those that it leads to: PA, level, first input address, contents."""
        return self._walk(pa, self.pages[pa].root)

    def _walk(self, pa: int, root: int) -> Iterator[tuple[int, int, int, Sequence[int]]]:
        todo, seen = [pa], set()
        while todo:
            pa = todo.pop()
            page = self.pages.get(pa)
            words = self._memory.words(pa)
            if page is None or page.root != root or pa in seen or words is None:
                continue
            seen.add(pa)
            yield pa, page.level, page.ia, words
            if page.level < LAST_LEVEL:
                todo += [d & OA for d in words if d & 3 == 3]

    def descriptor(self, tree: Tree, ia: int, level: int) -> int | None:
        """What memory has for an address at a level: 0 if it is invalid above, None if a block
        above it, or no memory, is in the way."""
        start = tree.geometry.start_level
        entry = tree.root + (ia >> LEVEL_SHIFT[start]) * 8
        for at in range(start, level + 1):
            found = self._memory.word(entry)
            if found is None:
                return None
            kind = entry_kind(found, at)
            if at == level:
                return found
            if kind != EntryKind.TABLE:
                return 0 if kind == EntryKind.INVALID else None
            entry = (found & OA) + (ia >> LEVEL_SHIFT[at + 1] & ENTRIES - 1) * 8
        return None

    def add_leaf(
        self, cpu: int, tree: Tree, entry: int, descriptor: int, level: int, ia: int
    ) -> None:
        """A block or page becomes live."""
        size = 1 << LEVEL_SHIFT[level]
        pa = leaf_pa(descriptor, level)
        where = {"vmid": tree.vmid, "entry_pa": entry, "level": level, "ia": ia, "new": descriptor}
        if pa + size - 1 >> tree.geometry.pa_bits:
            self.breach(Rule.BAD_DESCRIPTOR, cpu, **where)
        if tree.vmid is None:
            return
        for rule, protected in (
            (Rule.TABLE_REACHABLE, self.pages),
            (Rule.CODE_REACHABLE, self.code),
        ):
            if level == LAST_LEVEL:
                hit = pa if pa in protected else None
            else:
                hit = min((page for page in protected if pa <= page < pa + size), default=None)
            if hit is not None:
                self.breach(rule, cpu, **where, pa=hit)
        self._leaves.put(pa | level, self._leaves.get(pa | level, 0) + 1)

    def remove_leaf(self, tree: Tree, descriptor: int, level: int) -> None:
        """A block or page is not live any more."""
        if tree.vmid is None:
            return
        key = leaf_pa(descriptor, level) | level
        count = self._leaves.get(key, 0)
        if count > 1:
            self._leaves.put(key, count - 1)
        else:
            self._leaves.drop(key)

    def add_code(self, cpu: int, pa: int) -> None:
        """EL2 executes from a page."""
        self.code.put(pa, True)
        if self.is_reachable(pa):
            self.breach(Rule.CODE_REACHABLE, cpu, pa=pa)

    def is_reachable(self, pa: int) -> bool:
        """Whether some stage 2 leads to a page."""
        return any(
            pa & -(1 << LEVEL_SHIFT[level]) | level in self._leaves for level in (1, 2, LAST_LEVEL)
        )
