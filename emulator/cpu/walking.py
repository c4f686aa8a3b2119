# SPDX-License-Identifier: Apache-2.0
"""What stands between the walks of one CPU and memory, where something does."""

from collections.abc import Callable

from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.arch.mmu_regime import TTWParams

Below = Callable[[mmu.Walk, TTWParams, int], int | None]
"""Reads the descriptor at a PA for a walk, with the attributes that `walk_attributes` says; None
where nothing answers."""


class PlainWalker:
    """A walker that keeps nothing. Models of TLBs derive from it; what memory shows to walks is
    `below`, which a model of caches replaces."""

    def __init__(self, read64: Callable[[int], int | None]) -> None:
        self.below: Below = lambda walk, params, pa: read64(pa)
        self.keeps_stage2 = True
        """Whether what stage 2 said may be taken again without a walk, until maintenance."""
        self.keeps_fault = True
        """Whether the walk that just ended, in a fault of stage 2, would always end so."""

    def begin(
        self, registers: mmu.MmuRegisters, el: int, access: mmu.Access, /
    ) -> mmu.MmuRegisters:
        """A translation begins. Returns the registers that it goes by."""
        del el, access
        return registers

    def fresh(self, registers: mmu.MmuRegisters, el: int, access: mmu.Access, /) -> None:
        """The same translation once more, by memory: it ended in a Permission fault, which an entry
        kept since before a permission was granted need not cause."""
        del registers, el, access

    def cached(self, walk: mmu.Walk, params: TTWParams, ia: int, /) -> mmu.Cached | None:
        """See `mmu.Walker`."""
        del walk, params, ia
        return None

    def read(
        self, walk: mmu.Walk, params: TTWParams, level: int, ia: int, pa: int, /
    ) -> int | None:
        """See `mmu.Walker`."""
        del level, ia
        return self.below(walk, params, pa)
