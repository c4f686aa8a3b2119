# SPDX-License-Identifier: Apache-2.0
"""The table of kept translations (`tlb.c`) once more: a dictionary, searched from end to end."""

from dataclasses import dataclass, field

from aether_edgecloud.emulator.cpu.hooks import TLB_ENTRIES, CpReg, HookState, TlbEntry

_PAGE_MASK = ~0xFFF
_BY_VA = (1, 3, 5, 7)  # op2 of VAE1, VAAE1, VALE1, VAALE1


@dataclass(slots=True)
class TlbTwin:
    """By page, EL and register set. What was invalidated stays as an entry that permits nothing."""

    entries: dict[tuple[int, int, int], TlbEntry] = field(default_factory=dict)

    def find(self, state: HookState, va: int, el: int) -> TlbEntry | None:
        page = va & _PAGE_MASK
        if el == 2:
            return self.entries.get((page, el, state.set_el2))
        if not va >> 55 & 1:
            return self.entries.get((page, el, state.set_low))
        entry = self.entries.get((page, el, state.set_high))
        if entry is not None and entry.permissions:
            return entry
        return self.entries.get((page, el, state.set_high_asid))

    def insert(self, entry: TlbEntry) -> int:
        key = (entry.page, entry.el, entry.set)
        was_full = key not in self.entries and len(self.entries) == TLB_ENTRIES
        if was_full:
            self.entries.clear()
        self.entries[key] = TlbEntry.from_buffer_copy(entry)
        return int(was_full)

    def clear(self) -> None:
        self.entries.clear()

    def invalidate(self, reg: CpReg) -> bool:
        """A TLBI; whether more than the named page of Unicorn's has to go."""
        if reg.op1 == 0 and reg.op2 in _BY_VA:
            return self._forget_va(reg.value, is_el2=False)
        if reg.op1 == 4 and reg.crm & 3 and reg.op2 in (1, 5):
            return self._forget_va(reg.value, is_el2=True)
        is_by_asid = reg.op1 == 0 and reg.op2 == 2
        is_el2 = reg.op1 == 4 and reg.crm & 3 and reg.op2 == 0
        if is_el2:
            self.entries.clear()
        for entry in self.entries.values():
            named = (reg.value >> 48, reg.value >> 48 & 0xFF)
            belongs = not is_by_asid or (not entry.is_global and entry.asid in named)
            if entry.el != 2 and belongs:
                entry.permissions = 0
        return True

    def _forget_va(self, value: int, *, is_el2: bool) -> bool:
        va, found = (value & ((1 << 44) - 1)) << 12, False
        for entry in self.entries.values():
            if (entry.el == 2) is is_el2 and (
                (entry.page & ((1 << 56) - 1)) ^ va
            ) >> entry.size_log2 == 0:
                found |= entry.size_log2 > 12
                entry.permissions = 0
        return found
