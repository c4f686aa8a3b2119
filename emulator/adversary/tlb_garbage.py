# SPDX-License-Identifier: Apache-2.0
"""What a TLB holds when its CPU starts: anything, by the Arm ARM, until it is invalidated."""

from dataclasses import dataclass

from aether_edgecloud.emulator.monitor.events import Dsb, Extent, Tlbi

_PAGES = 0x7FF, 0x743  # a page of stage 2, of EL2: Normal memory, all that can be permitted


@dataclass(frozen=True, slots=True)
class GarbageState:
    """What is left of it on one CPU, and which TLBIs are not complete: the CPU that issued it,
    whether it was broadcast, what it names as in `clean`."""

    has_el2: bool
    has_stage2: bool
    clean: tuple[int, ...]
    leaving: tuple[tuple[int, bool, int], ...]


_EL2, _ALL_VMIDS = -2, -1


class Garbage:
    """That of one CPU: of EL2, and of stage 2 for every VMID but those in `clean`."""

    def __init__(self) -> None:
        self._has_el2 = self._has_stage2 = True
        self._clean: set[int] = set()
        self._leaving: list[tuple[int, bool, int]] = []

    def save(self) -> GarbageState:
        """What is left."""
        return GarbageState(
            self._has_el2, self._has_stage2, tuple(sorted(self._clean)), tuple(self._leaving)
        )

    def restore(self, state: GarbageState) -> None:
        """Hold that again."""
        self._has_el2, self._has_stage2 = state.has_el2, state.has_stage2
        self._clean, self._leaving = set(state.clean), list(state.leaving)

    @property
    def is_leaving(self) -> bool:
        """Whether a DSB is waited for."""
        return bool(self._leaving)

    def is_left(self, vmid: int | None) -> bool:
        """Whether there is some for a VMID; None stands for EL2."""
        return self._has_el2 if vmid is None else self._has_stage2 and vmid not in self._clean

    @staticmethod
    def descriptor(pa: int, *, is_el2: bool) -> int:
        """An entry of level 3 that leads to a page."""
        return pa | _PAGES[is_el2]

    def invalidate(self, issuer: int, tlbi: Tlbi, vmid: int) -> None:
        """A TLBI that reaches this CPU. By address it may have missed what lies elsewhere."""
        if tlbi.extent is Extent.ALL and (tlbi.el2 or tlbi.stage2):
            self._leaving.append((issuer, tlbi.shareable, _EL2 if tlbi.el2 else _ALL_VMIDS))
        elif tlbi.extent is Extent.VMID and tlbi.stage2:
            self._leaving.append((issuer, tlbi.shareable, vmid))

    def complete(self, issuer: int, dsb: Dsb) -> bool:
        """A DSB of the CPU that issued them. Whether anything is gone."""
        if not dsb.all_accesses or not self._leaving:
            return False
        left = []
        for one in self._leaving:
            by, shareable, what = one
            if by != issuer or (shareable and not dsb.shareable):
                left.append(one)
            elif what == _EL2:
                self._has_el2 = False
            elif what == _ALL_VMIDS:
                self._has_stage2 = False
            else:
                self._clean.add(what)
        is_gone = len(left) < len(self._leaving)
        self._leaving = left
        return is_gone
