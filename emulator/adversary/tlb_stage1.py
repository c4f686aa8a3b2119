# SPDX-License-Identifier: Apache-2.0
"""Stage 1 of EL1&0 as the TLB of one CPU holds it: each valid descriptor that a walk has read.

What a guest does to its tables is not watched; a descriptor is held from the walk that reads it to
the TLBI that covers it and the DSB after that. Tables and leaves are held alike, with the VMID and,
unless they are global, the ASID.
"""

from dataclasses import dataclass

from aether_edgecloud.emulator.monitor.events import Dsb, Extent, Tlbi

GLOBAL = -1
"""Stands for the ASID of what belongs to all of them."""

Tag = tuple[int, int]
"""VMID and ASID."""
Held = tuple[int, bool]
"""A descriptor, and whether it is a leaf."""

_MOST = 1 << 15  # descriptors held; with more, all go, as they may at any time
_IA = (1 << 48) - 1
_HALF = 55  # the bit of a VA that tells the ranges of TTBR0 and TTBR1


def place(va: int, shift: int) -> int:
    """Where a descriptor is held that translates 2^shift bytes around a VA."""
    return (va & _IA) >> shift << 7 | shift << 1 | va >> _HALF & 1


@dataclass(frozen=True, slots=True)
class Leaving:
    """What a TLBI of CPU `issuer` covers, until it is complete."""

    issuer: int
    shareable: bool
    tag: Tag
    held: dict[int, Held]


@dataclass(frozen=True, slots=True)
class Stage1State:
    """What the TLB of one CPU holds of stage 1."""

    held: dict[Tag, dict[int, Held]]
    leaving: tuple[Leaving, ...]


class Stage1Tlb:
    """That TLB."""

    def __init__(self) -> None:
        self._held: dict[Tag, dict[int, Held]] = {}
        self._count = 0
        self.leaving: list[Leaving] = []

    def save(self) -> Stage1State:
        """What it holds."""
        held = {tag: dict(entries) for tag, entries in self._held.items()}
        return Stage1State(held, tuple(self.leaving))

    def restore(self, state: Stage1State) -> None:
        """Hold again what was saved."""
        self._held = {tag: dict(entries) for tag, entries in state.held.items()}
        self._count = sum(len(entries) for entries in self._held.values())
        self.leaving = list(state.leaving)

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()
        self._count = 0
        self.leaving.clear()

    def find(self, vmid: int, asid: int, at: int, memory: int) -> list[int]:
        """The descriptors held at a place that are not what memory has."""
        found = []
        for tag in ((vmid, asid), (vmid, GLOBAL)):
            entries = self._held.get(tag)
            held = None if entries is None else entries.get(at)
            if held is not None and held[0] != memory:
                found.append(held[0])
        for leaving in self.leaving:
            if leaving.tag in ((vmid, asid), (vmid, GLOBAL)):
                held = leaving.held.get(at)
                if held is not None and held[0] != memory:
                    found.append(held[0])
        return found

    def hold(self, tag: Tag, at: int, descriptor: int, *, is_leaf: bool) -> None:
        """A walk has read a descriptor."""
        entries = self._held.get(tag)
        if entries is None:
            entries = self._held[tag] = {}
        if at not in entries:
            if self._count >= _MOST:
                self.clear()
                entries = self._held[tag] = {}
            self._count += 1
        entries[at] = descriptor, is_leaf

    def invalidate(self, issuer: int, tlbi: Tlbi, value: int, vmid: int) -> None:
        """A TLBI that reaches this CPU, of EL1&0, with this VMID in force."""
        if not tlbi.stage1 or tlbi.el2:
            return
        by_asid = tlbi.extent is Extent.ASID or tlbi.name.startswith(("vae1", "vale1"))
        asids = (GLOBAL, value >> 48 & 0xFFFF, value >> 48 & 0xFF)
        for tag, entries in list(self._held.items()):
            is_named = tlbi.extent is Extent.ALL or tag[0] == vmid
            if not is_named or (by_asid and tag[1] not in asids):
                continue
            if tlbi.extent is Extent.ADDRESS and not tlbi.ranged:
                self._leave(issuer, tlbi, tag, self._take(entries, tlbi, value))
            elif tlbi.extent is not Extent.ASID or tag[1] != GLOBAL:
                del self._held[tag]
                self._count -= len(entries)
                self._leave(issuer, tlbi, tag, entries)

    def _take(self, entries: dict[int, Held], tlbi: Tlbi, value: int) -> dict[int, Held]:
        """Those of an address."""
        va = (value & (1 << 44) - 1) << 12
        taken = {}
        for shift in _SHIFTS:
            at = place(va, shift)
            held = entries.get(at)
            if held is not None and (held[1] or not tlbi.last_level):
                taken[at] = entries.pop(at)
        self._count -= len(taken)
        return taken

    def _leave(self, issuer: int, tlbi: Tlbi, tag: Tag, held: dict[int, Held]) -> None:
        if held:
            self.leaving.append(Leaving(issuer, tlbi.shareable, tag, held))

    def complete(self, issuer: int, dsb: Dsb) -> None:
        """A DSB of the CPU that issued them."""
        if dsb.all_accesses and self.leaving:
            self.leaving = [
                leaving
                for leaving in self.leaving
                if leaving.issuer != issuer or (leaving.shareable and not dsb.shareable)
            ]


# Bits below what the levels of the granules 4K, 16K and 64K resolve.
_SHIFTS = (12, 21, 30, 39, 14, 25, 36, 47, 16, 29, 42)
