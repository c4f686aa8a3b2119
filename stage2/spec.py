# SPDX-License-Identifier: Apache-2.0
"""What the page-table library does, without page tables.

An address space is a set of leaves (a leaf: one block or page) and a set of reserved pages, and the
operations are set operations on these. Tables appear only as a number: how many are there, for a
set of leaves and reserved pages.
Addresses and sizes are in bytes; ``ia`` is an IPA (stage 2) or a VA (EL2), ``pa`` is physical.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

PAGE = 1 << 12
LAST_LEVEL = 3
LEVEL_SHIFT = (39, 30, 21, 12)
LEAF_LEVELS = (1, 2, 3)
PA_BITS = (32, 36, 40, 42, 44, 48)


class Regime(IntEnum):
    """The values of ``enum pgt_regime``."""

    STAGE2 = 0
    EL2 = 1


class Status(IntEnum):
    """The values of ``enum pgt_status``."""

    OK = 0
    UNALIGNED = 1
    RANGE = 2
    EXISTS = 3
    ABSENT = 4
    NO_MEMORY = 5
    BAD_ATTR = 6


class Memory(IntEnum):
    """The values of ``enum pgt_memory``."""

    NORMAL_WB = 0
    NORMAL_NC = 1
    DEVICE_nGnRnE = 2
    DEVICE_nGnRE = 3

    @property
    def is_device(self) -> bool:
        return self in (Memory.DEVICE_nGnRnE, Memory.DEVICE_nGnRE)


@dataclass(frozen=True, slots=True)
class Perm:
    """``exec`` is at EL2 for Regime.EL2, at EL1 for Regime.STAGE2."""

    read: bool
    write: bool
    exec: bool
    exec_el0: bool


@dataclass(frozen=True, slots=True)
class Attr:
    perm: Perm
    type: Memory


@dataclass(frozen=True, slots=True)
class Config:
    """``struct pgt_config``."""

    regime: Regime
    ia_bits: int = 40
    pa_bits: int = 44
    vmid: int = 0
    xnx: bool = False
    pages_only: bool = False

    @property
    def start_level(self) -> int:
        """The fewest levels that resolve ``ia_bits``: 9 bits each, at stage 2 up to 4 more in the
        root (16 concatenated tables); at least two levels.
        """
        root_bits = 13 if self.regime is Regime.STAGE2 else 9
        return next(level for level in (2, 1, 0) if self.ia_bits <= LEVEL_SHIFT[level] + root_bits)

    @property
    def root_size(self) -> int:
        """Bytes of root table, also its alignment."""
        return max(PAGE, 8 << (self.ia_bits - LEVEL_SHIFT[self.start_level]))

    @property
    def accepted(self) -> bool:
        """Whether ``pgt_init`` takes it."""
        if self.pa_bits not in PA_BITS or not 25 <= self.ia_bits <= 48:
            return False
        if self.regime is Regime.STAGE2:
            return self.ia_bits <= self.pa_bits and self.vmid < 256
        return self.vmid == 0

    def allows(self, attr: Attr) -> bool:
        """Whether the permissions can and may be given to the memory type."""
        perm = attr.perm
        executable = perm.exec or perm.exec_el0
        if (perm.write or executable) and not perm.read:
            return False
        if attr.type.is_device and executable:
            return False
        if self.regime is Regime.EL2:
            return perm.read and not perm.exec_el0 and not (perm.write and perm.exec)
        return self.xnx or perm.exec == perm.exec_el0


@dataclass(frozen=True, slots=True)
class Leaf:
    """One block (level 1 or 2) or page (level 3)."""

    ia: int
    pa: int
    level: int
    attr: Attr

    @property
    def size(self) -> int:
        return 1 << LEVEL_SHIFT[self.level]

    @property
    def end(self) -> int:
        return self.ia + self.size


def pieces(config: Config, ia: int, pa: int, size: int, attr: Attr) -> Iterator[Leaf]:
    """The range as the largest leaves that the alignment of ``ia`` and ``pa`` allows."""
    end = ia + size
    largest = LAST_LEVEL if config.pages_only else config.start_level
    while ia < end:
        level = next(
            level
            for level in LEAF_LEVELS
            if level >= largest
            and (ia | pa) % (1 << LEVEL_SHIFT[level]) == 0
            and end - ia >= 1 << LEVEL_SHIFT[level]
        )
        leaf = Leaf(ia, pa, level, attr)
        yield leaf
        ia, pa = leaf.end, pa + leaf.size


def cut(leaf: Leaf, edge: int) -> list[Leaf]:
    """``leaf`` as leaves of which none has ``edge`` inside; each step goes one level down."""
    if not leaf.ia < edge < leaf.end:
        return [leaf]
    size = 1 << LEVEL_SHIFT[leaf.level + 1]
    parts = (
        Leaf(leaf.ia + offset, leaf.pa + offset, leaf.level + 1, leaf.attr)
        for offset in range(0, leaf.size, size)
    )
    return [piece for part in parts for piece in cut(part, edge)]


def tables_above(ia: int, level: int, start_level: int) -> set[tuple[int, int]]:
    """The tables (level, number) that a walk to an entry of a level goes through after the root."""
    return {(n, ia >> LEVEL_SHIFT[n - 1]) for n in range(start_level + 1, level + 1)}


@dataclass(slots=True)
class Pool:
    """Table pages, as a number."""

    free: int


@dataclass(slots=True)
class AddressSpace:
    """The specification of ``struct pgt``: same operations, same preconditions, same results."""

    config: Config
    pool: Pool
    leaves: dict[int, Leaf] = field(default_factory=dict)
    reserved: set[int] = field(default_factory=set)
    """The first address of each page that is reserved."""

    def lookup(self, ia: int) -> tuple[int, Attr] | None:
        """Output address and attributes for one byte, None where nothing is mapped."""
        for leaf in self.leaves.values():
            if leaf.ia <= ia < leaf.end:
                return leaf.pa + ia - leaf.ia, leaf.attr
        return None

    def tables(self) -> set[tuple[int, int]]:
        """The tables below the root: one wherever there is a leaf or a reserved page below it, and
        no other.
        """
        return self._tables(self.leaves.values()) | {
            table for ia in self.reserved for table in self._above(ia, LAST_LEVEL)
        }

    def map(self, ia: int, pa: int, size: int, attr: Attr) -> Status:
        if (status := self._check_mapping(ia, pa, size, attr)) is not Status.OK:
            return status
        if not self._absent(ia, size):
            return Status.EXISTS
        present = self.tables()
        added: list[Leaf] = []
        new: set[tuple[int, int]] = set()
        for leaf in pieces(self.config, ia, pa, size, attr):
            added.append(leaf)
            new |= self._above(leaf.ia, leaf.level) - present
            if len(new) > self.pool.free:
                return Status.NO_MEMORY
        self.pool.free -= len(new)
        self.leaves.update((leaf.ia, leaf) for leaf in added)
        return Status.OK

    def unmap(self, ia: int, size: int) -> Status:
        status = self._isolate(ia, size, None)
        if status is Status.OK:
            before = len(self.tables())
            for leaf in self._overlapping(ia, size):
                del self.leaves[leaf.ia]
            self.pool.free += before - len(self.tables())
        return status

    def protect(self, ia: int, size: int, perm: Perm) -> Status:
        status = self._isolate(ia, size, perm)
        if status is Status.OK:
            for leaf in self._overlapping(ia, size):
                self.leaves[leaf.ia] = replace(leaf, attr=Attr(perm, leaf.attr.type))
        return status

    def reserve(self, ia: int, size: int) -> Status:
        if (status := self._check_input(ia, size)) is not Status.OK:
            return status
        if not self._absent(ia, size):
            return Status.EXISTS
        present = self.tables()
        new: set[tuple[int, int]] = set()
        for page in range(ia, ia + size, PAGE):
            new |= self._above(page, LAST_LEVEL) - present
            if len(new) > self.pool.free:
                return Status.NO_MEMORY
        self.pool.free -= len(new)
        self.reserved |= set(range(ia, ia + size, PAGE))
        return Status.OK

    def fill(self, ia: int, pa: int, size: int, attr: Attr) -> Status:
        if (status := self._check_mapping(ia, pa, size, attr)) is not Status.OK:
            return status
        if size > len(self.reserved) * PAGE:
            return Status.ABSENT
        pages = set(range(ia, ia + size, PAGE))
        if not pages <= self.reserved:
            return Status.ABSENT
        self.reserved -= pages
        for page in pages:
            self.leaves[page] = Leaf(page, pa + page - ia, LAST_LEVEL, attr)
        return Status.OK

    def hold(self, ia: int, size: int) -> Status:
        if (status := self._check_input(ia, size)) is not Status.OK:
            return status
        pages = {leaf.ia for leaf in self._overlapping(ia, size) if leaf.level == LAST_LEVEL}
        if len(pages) * PAGE != size:
            return Status.ABSENT
        for page in pages:
            del self.leaves[page]
        self.reserved |= pages
        return Status.OK

    def clear(self) -> None:
        self.pool.free += len(self.tables())
        self.leaves.clear()
        self.reserved.clear()

    def _above(self, ia: int, level: int) -> set[tuple[int, int]]:
        return tables_above(ia, level, self.config.start_level)

    def _tables(self, leaves: Iterable[Leaf]) -> set[tuple[int, int]]:
        return {table for leaf in leaves for table in self._above(leaf.ia, leaf.level)}

    def _check_mapping(self, ia: int, pa: int, size: int, attr: Attr) -> Status:
        if pa % PAGE != 0:
            return Status.UNALIGNED
        if (status := self._check_input(ia, size)) is not Status.OK:
            return status
        if pa + size > 1 << self.config.pa_bits:
            return Status.RANGE
        return Status.OK if self.config.allows(attr) else Status.BAD_ATTR

    def _absent(self, ia: int, size: int) -> bool:
        return not self._overlapping(ia, size) and not any(
            ia <= page < ia + size for page in self.reserved
        )

    def _check_input(self, ia: int, size: int) -> Status:
        if ia % PAGE != 0 or size % PAGE != 0:
            return Status.UNALIGNED
        if size == 0 or ia + size > 1 << self.config.ia_bits:
            return Status.RANGE
        return Status.OK

    def _overlapping(self, ia: int, size: int) -> list[Leaf]:
        return [leaf for leaf in self.leaves.values() if leaf.ia < ia + size and ia < leaf.end]

    def _isolate(self, ia: int, size: int, perm: Perm | None) -> Status:
        """Check a range that must be wholly mapped, then cut the leaves at both its ends."""
        if (status := self._check_input(ia, size)) is not Status.OK:
            return status
        touched = self._overlapping(ia, size)
        covered = sum(min(leaf.end, ia + size) - max(leaf.ia, ia) for leaf in touched)
        if covered != size:
            return Status.ABSENT
        if perm is not None and not all(
            self.config.allows(Attr(perm, leaf.attr.type)) for leaf in touched
        ):
            return Status.BAD_ATTR
        cut_leaves = [
            part for leaf in touched for left in cut(leaf, ia) for part in cut(left, ia + size)
        ]
        needed = len(self._tables(cut_leaves) - self._tables(touched))
        if needed > self.pool.free:
            return Status.NO_MEMORY
        self.pool.free -= needed
        for leaf in touched:
            del self.leaves[leaf.ia]
        self.leaves.update((leaf.ia, leaf) for leaf in cut_leaves)
        return Status.OK
