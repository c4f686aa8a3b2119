# SPDX-License-Identifier: Apache-2.0
"""The walks of one CPU through a TLB that may hold whatever nothing has removed from it."""

from collections.abc import Callable
from functools import cache
from typing import Protocol

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb_exposure import Exposure
from aether_edgecloud.emulator.adversary.tlb_garbage import Garbage
from aether_edgecloud.emulator.adversary.tlb_stage1 import GLOBAL, Stage1Tlb, place
from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.arch.mmu_descriptor import AF, NG, TABLE, Granule
from aether_edgecloud.emulator.arch.mmu_regime import SCTLR_EE, TTWParams
from aether_edgecloud.emulator.cpu.walking import PlainWalker
from aether_edgecloud.emulator.monitor.entries import Entries
from aether_edgecloud.emulator.monitor.trees import Tree, Trees
from aether_edgecloud.emulator.monitor.unclean import Unclean

EL2, BELOW = 1, 2
"""Whose translations."""
_PAGE = 12


class Owner(Protocol):
    """What a walker needs of the adversary."""

    choices: Choices
    trees: Trees
    entries: Entries
    exposure: Exposure

    def registers(self, cpu: int, /) -> mmu.MmuRegisters | None:
        """Values that a CPU may still go by instead of what was written since."""

    def unseen_words(self, cpu: int, pa: int, /) -> list[tuple[int, int]]:
        """What a CPU's walks may find at a PA instead of what memory has, and when that was stored
        over."""

    def used(self, cpu: int, *, is_el2: bool) -> None:
        """A translation goes by something that will be gone."""

    def looked_up(self, cpu: int, root: int, ia: int, /) -> None:
        """Stage 2 is walked for an IPA."""

    def conflict(
        self, cpu: int, vmid: int | None, ia: int, stale: mmu.Cached, memory: mmu.Cached
    ) -> None:
        """Two leaves translate one address."""

    def page(self) -> int:
        """PA of some page of RAM."""


class TlbWalker(PlainWalker):
    """Those walks. Of each it asks what a TLB or walk cache may hold for the address, and what of
    memory the walker may not see yet; `Choices` decide where there is something to decide."""

    def __init__(self, owner: Owner, cpu: int, read64: Callable[[int], int | None]) -> None:
        super().__init__(read64)
        self._owner = owner
        self._cpu = cpu
        self.filled = 0
        """Whose translations may be kept: EL2 and BELOW."""
        self.fetched: list[Unclean] = []
        """What instructions may still be fetched by: gone from the TLBs, and no context
        synchronisation event has followed."""
        self.made: dict[int, int] = {}
        """By PA of entries of EL2 that have become valid, what they were before: no such event has
        followed."""
        self.reset()
        self._vmid = self._asid = 0
        self._after = 0  # the walk has found a store of that time
        self._access = mmu.Access.READ
        self._holds_stage1 = True

    def reset(self) -> None:
        """The CPU starts."""
        self.stage1 = Stage1Tlb()
        self.garbage = Garbage()
        self.fetched = []
        self.made = {}
        self.filled = EL2 | BELOW

    def begin(
        self, registers: mmu.MmuRegisters, el: int, access: mmu.Access, /
    ) -> mmu.MmuRegisters:
        """See PlainWalker."""
        owner, cpu = self._owner, self._cpu
        before = owner.registers(cpu)
        self.keeps_fault = before is None
        if before is not None and owner.choices.against():
            owner.used(cpu, is_el2=el == 2)
            registers = before
        self.filled |= EL2 if el == 2 else BELOW
        self._after = 0
        self._vmid, self._asid, self._access = registers.vmid, registers.asid, access
        self._holds_stage1 = not registers.sctlr_el1 & SCTLR_EE
        self.keeps_stage2 = not (
            len(owner.entries.unclean)
            or self.garbage.is_left(self._vmid)
            or len(self._trees(self._vmid)) > 1
        )
        return registers

    def fresh(self, registers: mmu.MmuRegisters, el: int, access: mmu.Access, /) -> None:
        """See PlainWalker: software may count on permissions that it grants at stage 1."""
        del registers, el, access
        self._holds_stage1 = False

    def read(
        self, walk: mmu.Walk, params: TTWParams, level: int, ia: int, pa: int, /
    ) -> int | None:
        """See PlainWalker."""
        word = self.below(walk, params, pa)
        if word is None:
            return None
        if walk is mmu.Walk.EL1:
            return self._read_stage1(params, level, ia, word) if self._holds_stage1 else word
        unseen = self._owner.unseen_words(self._cpu, pa)
        others = [old for old, when in unseen if old != word and when >= self._after]
        if walk is mmu.Walk.EL2 and pa in self.made and self.made[pa] != word:
            others.append(self.made[pa])
        chosen = self._choose(others, word, is_el2=walk is mmu.Walk.EL2)
        if unseen and chosen == word:
            self._after = max(self._after, *(when for _, when in unseen))
        return chosen

    def cached(self, walk: mmu.Walk, params: TTWParams, ia: int, /) -> mmu.Cached | None:
        """See PlainWalker."""
        if walk is mmu.Walk.EL1:
            return None
        if walk is mmu.Walk.STAGE2:
            self._owner.looked_up(self._cpu, params.baseaddress, ia)
        is_el2 = walk is mmu.Walk.EL2
        vmid = None if is_el2 else self._vmid
        trees = self._trees(vmid)
        has_garbage = self.garbage.is_left(vmid)
        has_stale = len(self._owner.entries.unclean) or len(trees) > 1 or self.fetched
        if not has_garbage and not has_stale:
            return None
        found = self._stale(walk, trees, params, ia)
        if found:
            self._look_for_conflicts(walk, params, ia, vmid, found)
        levels = {level.level for level in params.levels}
        found = [one for one in found if one.level in levels]
        if has_garbage:
            page = self.garbage.descriptor(self._owner.page(), is_el2=is_el2)
            found.append(mmu.Cached(3, page))
        if not found:
            return None
        choices = self._owner.choices
        self.keeps_fault = False
        if not choices.against():
            return None
        self._owner.used(self._cpu, is_el2=is_el2)
        return found[choices.number(len(found))]

    def _read_stage1(self, params: TTWParams, level: int, ia: int, word: int) -> int:
        """A descriptor of EL1&0: one that is held, or that of memory, which is held from now on."""
        at = place(ia, _shift(params.granule, level))
        held = self.stage1.find(self._vmid, self._asid, at, word)
        chosen = self._choose(held, word, is_el2=False)
        if chosen == word and word & 1:
            is_leaf = level == 3 or word & TABLE != TABLE
            if not is_leaf:
                self.stage1.hold((self._vmid, self._asid), at, word, is_leaf=False)
            elif word & AF:  # otherwise no TLB holds it
                asid = self._asid if word & NG else GLOBAL
                self.stage1.hold((self._vmid, asid), at, word, is_leaf=True)
        return chosen

    def _choose(self, others: list[int], memory: int, *, is_el2: bool) -> int:
        """One of the words that a walk may find, or what memory has."""
        if not others:
            return memory
        self.keeps_fault = False
        choices = self._owner.choices
        if not choices.against():
            return memory
        self._owner.used(self._cpu, is_el2=is_el2)
        return others[choices.number(len(others))]

    def _trees(self, vmid: int | None) -> list[Tree]:
        """Those of which the TLB may hold something for a VMID; None stands for EL2."""
        return [
            tree
            for tree in self._owner.trees.trees.values()
            if tree.vmid == vmid and tree.exposed >> self._cpu & 1
        ]

    def _stale(
        self, walk: mmu.Walk, trees: list[Tree], params: TTWParams, ia: int
    ) -> list[mmu.Cached]:
        """What may be held for an address besides what its own tables say."""
        found: dict[mmu.Cached, None] = {}
        unclean = self._owner.entries.unclean
        for tree in trees:
            for level in range(4):
                for one in unclean.at(tree.root, level, ia):
                    is_held = one.may_hold(self._cpu, combined=walk is mmu.Walk.STAGE2)
                    if is_held and self._owner.exposure.may_hold(self._cpu, one):
                        found[mmu.Cached(level, one.old)] = None
            is_used = self._owner.exposure.has_looked_up(self._cpu, tree.root, ia, 1)
            if tree.root != params.baseaddress and is_used:
                # A tree that ran with the same VMID, or as EL2's.
                for step in self._path(walk, params, tree.root, ia):
                    found[step] = None
        if walk is mmu.Walk.EL2 and self._access is mmu.Access.FETCH:
            for one in self.fetched:
                if one.ia <= ia < one.ia + one.size:
                    found[mmu.Cached(one.level, one.old)] = None
        return list(found)

    def _path(self, walk: mmu.Walk, params: TTWParams, root: int, ia: int) -> list[mmu.Cached]:
        """The valid descriptors that a tree in memory has for an address, from the first level."""
        path: list[mmu.Cached] = []
        base = root
        for level, shift, mask, leaf in params.levels:
            word = self.below(walk, params, base + ((ia >> shift & mask) << 3))
            if word is None or word & 3 not in (leaf, TABLE):
                break
            if word & 3 == leaf and not word & AF:
                break
            path.append(mmu.Cached(level, word))
            if word & 3 == leaf:
                break
            base = word & params.table_mask
        return path

    def _look_for_conflicts(
        self,
        walk: mmu.Walk,
        params: TTWParams,
        ia: int,
        vmid: int | None,
        stale: list[mmu.Cached],
    ) -> None:
        """Leaves that differ in more than permissions may not be in a TLB at once."""
        path = self._path(walk, params, params.baseaddress, ia)
        if not path or not _is_leaf(path[-1]):
            return
        memory = path[-1]
        for one in stale:
            if _is_leaf(one) and _meaning(one, params, ia) != _meaning(memory, params, ia):
                self._owner.conflict(self._cpu, vmid, ia, one, memory)


_PERMISSIONS = 3 << 6 | AF | 3 << 51 | 3 << 53 | 0xF << 55 | NG


@cache
def _shift(granule: Granule, level: int) -> int:
    return granule.shift(level)


def _is_leaf(one: mmu.Cached) -> bool:
    return one.level == 3 or one.descriptor & TABLE != TABLE


def _meaning(leaf: mmu.Cached, params: TTWParams, ia: int) -> tuple[int, int]:
    """The page that an address is translated to, and what a leaf says besides permissions."""
    shift = _shift(params.granule, leaf.level)
    offset = (1 << shift) - 1
    page = (leaf.descriptor & (1 << 48) - 1 & ~offset | ia & offset) >> _PAGE
    return page, leaf.descriptor & 0xFFF & ~_PERMISSIONS & ~3
