# SPDX-License-Identifier: Apache-2.0
"""Which of stage 2 a CPU can have cached at all.

At EL2 the regime EL1&0 is out of context: nothing of it is walked by speculation, whatever
VTTBR_EL2 and HCR_EL2.VM say (Arm ARM D8, out-of-context translation regimes). So a tree is cached
from the ERET on that first goes below EL2 with it; before that, what an AT has translated.
"""

from dataclasses import dataclass, replace

from aether_edgecloud.emulator.monitor.events import Dsb
from aether_edgecloud.emulator.monitor.unclean import Key, Unclean

_PAGE = 12


@dataclass(frozen=True, slots=True)
class Emptied:
    """A TLBI of all that a CPU holds of a tree: who issued it, whether it was broadcast, and the
    pages that an AT has translated since."""

    issuer: int
    shareable: bool
    pages: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class ExposureState:
    """See Exposure."""

    looked_up: dict[tuple[int, int], tuple[int, ...]]
    emptied: dict[tuple[int, int], tuple[int, int, tuple[int, ...]]]
    never_held: tuple[tuple[int, Key], ...]


class Exposure:
    """Trees that a CPU has used by AT alone, by CPU and PA of the root: the pages that it has
    translated, by IPA. And old descriptors that it cannot have cached."""

    def __init__(self) -> None:
        self._looked_up: dict[tuple[int, int], set[int]] = {}
        self._emptied: dict[tuple[int, int], Emptied] = {}  # of them, until the DSB
        self._never_held: set[tuple[int, Key]] = set()

    def save(self) -> ExposureState:
        """All of that."""
        looked_up = {key: tuple(sorted(pages)) for key, pages in self._looked_up.items()}
        emptied = {
            key: (one.issuer, int(one.shareable), tuple(sorted(one.pages)))
            for key, one in self._emptied.items()
        }
        return ExposureState(looked_up, emptied, tuple(sorted(self._never_held)))

    def restore(self, state: ExposureState) -> None:
        """Know that again."""
        self._looked_up = {key: set(pages) for key, pages in state.looked_up.items()}
        self._emptied = {
            key: Emptied(issuer, bool(shareable), frozenset(pages))
            for key, (issuer, shareable, pages) in state.emptied.items()
        }
        self._never_held = set(state.never_held)

    def reset(self, cpu: int) -> None:
        """The CPU starts: it holds nothing."""
        for known in (self._looked_up, self._emptied):
            for key in [key for key in known if key[0] == cpu]:
                del known[key]
        self._never_held = {one for one in self._never_held if one[0] != cpu}

    def begin(self, cpu: int, root: int) -> None:
        """An AT uses a tree of which the CPU holds nothing, whatever it held of it before."""
        self._looked_up[cpu, root] = set()
        self._emptied.pop((cpu, root), None)

    def look_up(self, cpu: int, root: int, ia: int) -> None:
        """An AT has translated an IPA by a tree that the CPU uses by AT alone."""
        self._looked_up[cpu, root].add(ia >> _PAGE)
        emptied = self._emptied.get((cpu, root))
        if emptied is not None:
            pages = emptied.pages | {ia >> _PAGE}
            self._emptied[cpu, root] = replace(emptied, pages=pages)

    def invalidate(self, cpu: int, root: int, by: Emptied) -> None:
        """A TLBI of all that the CPU holds of a tree."""
        if self.is_by_lookup(cpu, root):
            self._emptied[cpu, root] = by

    @property
    def is_leaving(self) -> bool:
        """Whether such a TLBI waits for its DSB."""
        return bool(self._emptied)

    def complete(self, issuer: int, dsb: Dsb) -> None:
        """A DSB of the CPU that issued them."""
        if not dsb.all_accesses:
            return
        for key, one in list(self._emptied.items()):
            if one.issuer == issuer and (dsb.shareable or not one.shareable):
                self._looked_up[key] = set(one.pages)
                del self._emptied[key]

    def enter(self, cpu: int, root: int) -> None:
        """The CPU runs below EL2 with a tree."""
        self._looked_up.pop((cpu, root), None)
        self._emptied.pop((cpu, root), None)

    def is_by_lookup(self, cpu: int, root: int | None) -> bool:
        """Whether the CPU has used a tree by AT alone."""
        return (cpu, root) in self._looked_up

    def has_looked_up(self, cpu: int, root: int, ia: int, size: int) -> bool:
        """Whether it may have cached what translates these addresses of a tree."""
        pages = self._looked_up.get((cpu, root))
        first, end = ia >> _PAGE, ia + size - 1 >> _PAGE
        return pages is None or any(first <= page <= end for page in pages)

    def add(self, one: Unclean, cpus: int) -> None:
        """A descriptor is no more."""
        if not self._looked_up and not self._never_held:
            return
        for cpu in range(cpus):
            if self.has_looked_up(cpu, one.root, one.ia, one.size):
                self._never_held.discard((cpu, one.key))  # left by one that nobody saw become clean
            else:
                self._never_held.add((cpu, one.key))

    def drop(self, one: Unclean, cpus: int) -> None:
        """It is clean."""
        if self._never_held:
            self._never_held.difference_update((cpu, one.key) for cpu in range(cpus))

    def may_hold(self, cpu: int, one: Unclean) -> bool:
        """Whether the CPU can have cached it before it was no more."""
        return (cpu, one.key) not in self._never_held
