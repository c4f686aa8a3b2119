# SPDX-License-Identifier: Apache-2.0
"""Which of stage 2 a CPU can have cached at all.

At EL2 the regime EL1&0 is out of context: nothing of it is walked by speculation, whatever
VTTBR_EL2 and HCR_EL2.VM say (Arm ARM D8, out-of-context translation regimes). So a tree is cached
from the ERET on that first goes below EL2 with it; before that, what an AT has translated.
"""

from dataclasses import dataclass

from aether_edgecloud.emulator.monitor.unclean import Key, Unclean

_PAGE = 12


@dataclass(frozen=True, slots=True)
class ExposureState:
    """See Exposure."""

    looked_up: dict[tuple[int, int], tuple[int, ...]]
    never_held: tuple[tuple[int, Key], ...]


class Exposure:
    """Trees that a CPU has used by AT alone, by CPU and PA of the root: the pages that it has
    translated, by IPA. And old descriptors that it cannot have cached."""

    def __init__(self) -> None:
        self._looked_up: dict[tuple[int, int], set[int]] = {}
        self._never_held: set[tuple[int, Key]] = set()

    def save(self) -> ExposureState:
        """All of that."""
        looked_up = {key: tuple(sorted(pages)) for key, pages in self._looked_up.items()}
        return ExposureState(looked_up, tuple(sorted(self._never_held)))

    def restore(self, state: ExposureState) -> None:
        """Know that again."""
        self._looked_up = {key: set(pages) for key, pages in state.looked_up.items()}
        self._never_held = set(state.never_held)

    def look_up(self, cpu: int, root: int, ia: int) -> None:
        """An AT has translated an IPA by a tree that the CPU has not used."""
        self._looked_up.setdefault((cpu, root), set()).add(ia >> _PAGE)

    def enter(self, cpu: int, root: int) -> None:
        """The CPU runs below EL2 with a tree; or it cannot hold anything of it any more."""
        self._looked_up.pop((cpu, root), None)

    def is_by_lookup(self, cpu: int, root: int) -> bool:
        """Whether the CPU has used a tree by AT alone."""
        return (cpu, root) in self._looked_up

    def waits(self, cpu: int) -> bool:
        """Whether there is such a tree."""
        return any(number == cpu for number, _ in self._looked_up)

    def has_looked_up(self, cpu: int, root: int, ia: int, size: int) -> bool:
        """Whether it may have cached what translates these addresses of a tree."""
        pages = self._looked_up.get((cpu, root))
        first, end = ia >> _PAGE, ia + size - 1 >> _PAGE
        return pages is None or any(first <= page <= end for page in pages)

    def add(self, one: Unclean, cpus: int) -> None:
        """A descriptor is no more."""
        for cpu in range(cpus):
            if not self.has_looked_up(cpu, one.root, one.ia, one.size):
                self._never_held.add((cpu, one.key))

    def drop(self, one: Unclean, cpus: int) -> None:
        """It is clean."""
        if self._never_held:
            self._never_held.difference_update((cpu, one.key) for cpu in range(cpus))

    def may_hold(self, cpu: int, one: Unclean) -> bool:
        """Whether the CPU can have cached it before it was no more."""
        return (cpu, one.key) not in self._never_held
