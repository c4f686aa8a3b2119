# SPDX-License-Identifier: Apache-2.0
"""The MMU model at work: TLB fills, faults and AT results for one CPU."""

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass

from unicorn import unicorn_const

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import mmu, mmu_at
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, Engine, Fill

_ACCESS = {
    Fill.READ: mmu.Access.READ,
    Fill.WRITE: mmu.Access.WRITE,
    Fill.FETCH: mmu.Access.FETCH,
}


_FILL = {access: fill for fill, access in _ACCESS.items()}

_REGISTERS = (
    reg.SCTLR_EL1,
    reg.TCR_EL1,
    reg.TTBR0_EL1,
    reg.TTBR1_EL1,
    reg.MAIR_EL1,
    reg.SCTLR_EL2,
    reg.TCR_EL2,
    reg.TTBR0_EL2,
    reg.MAIR_EL2,
    reg.HCR_EL2,
    reg.VTCR_EL2,
    reg.VTTBR_EL2,
)

# The fields of MmuRegisters that are registers come first, in this order.
_mmu_registers: Callable[..., mmu.MmuRegisters] = mmu.MmuRegisters


class PhysicalMemory:
    """The physical address space: one RAM and device windows; what lies elsewhere does not answer.

    `ram_base` and the windows are PAs; `ram` is the buffer behind the RAM.
    """

    def __init__(self, ram_base: int, ram: c.Array[c.c_char]) -> None:
        self.ram_base = ram_base
        self.ram_size = len(ram)
        self.bytes = memoryview(ram).cast("B")
        self._words = self.bytes.cast("Q")
        self._windows: list[tuple[int, int]] = []

    def add_window(self, base: int, size: int) -> None:
        """A device answers at [base, base + size)."""
        self._windows.append((base, size))

    def read64(self, pa: int) -> int | None:
        """The little-endian word at `pa`, 8-byte aligned; None outside RAM (external abort)."""
        offset = pa - self.ram_base
        if 0 <= offset < self.ram_size:
            return self._words[offset >> 3]
        return None

    def answers(self, pa: int, access: mmu.Access) -> bool:
        """Whether RAM or a device is at `pa`. Devices do not answer instruction fetches, which the
        architecture leaves open."""
        if 0 <= pa - self.ram_base < self.ram_size:
            return True
        return access is not mmu.Access.FETCH and any(
            base <= pa < base + size for base, size in self._windows
        )


@dataclass(frozen=True, slots=True)
class TlbEntry:
    """A translation of one page: its PA, and the OR of the accesses permitted."""

    pa: int
    permissions: int


# Register sets whose translations are kept; a guest can make as many as it likes.
_MOST_REGISTER_SETS = 64


class TranslationUnit:
    """Translates for one engine with the MMU model, from the registers the engine holds.

    What was translated once is kept until the next TLB maintenance instruction. Unicorn has a TLB
    of its own in front of this one, but how long that keeps an entry depends on the host's clock;
    so what a program sees that forgets a TLBI is decided here.
    """

    def __init__(self, engine: Engine, memory: PhysicalMemory) -> None:
        self._engine = engine
        self._state = engine.state
        self._memory = memory
        self._batch = engine.batch(_REGISTERS)
        self._pstate = engine.batch([reg.PSTATE])
        self._pc = engine.batch([reg.PC])
        self._registers = mmu.MmuRegisters()
        self._known: dict[tuple[int, ...], mmu.MmuRegisters] = {}
        self._tlb: dict[tuple[int, int], TlbEntry] = {}  # by page VA and EL, of `_registers`
        self._tlbs: dict[mmu.MmuRegisters, dict[tuple[int, int], TlbEntry]] = {}
        self._generation = 0
        self._state.translation_changed = 1
        self.walks = 0

    def registers_changed(self) -> None:
        """Read the translation registers again at the next translation."""
        self._state.translation_changed = 1

    @property
    def register_sets(self) -> int:
        """How many sets of register values have translations kept for them."""
        return len(self._known)

    @property
    def registers(self) -> mmu.MmuRegisters:
        """The registers that control translation now."""
        if self._state.translation_changed:
            self._state.translation_changed = 0
            values = tuple(self._batch.read())
            # A set of values seen before keeps what was derived from it.
            known = self._known.get(values)
            if known is None:
                if len(self._known) >= _MOST_REGISTER_SETS:
                    self._forget()
                    self._known.clear()
                known = self._known[values] = _mmu_registers(*values)
            self._registers = known
            self._tlb = self._tlbs.setdefault(known, {})
        return self._registers

    def fill(self, va: int, fill: Fill) -> tuple[int, int] | None:
        """One TLB fill of the page at `va`: its PA and UC_PROT_* permissions, None for a fault.

        A data access is granted no execution and a fetch no store: a page that is both written and
        executed would keep every store on Unicorn's slow path.
        """
        el = self._pstate.read()[0] >> 2 & 3
        if el == 1 and fill is not Fill.FETCH and self._unprivileged_access():
            el = 0
        access = _ACCESS[fill]
        self._state.fault_known = 0
        entry = self._entry(va, el, access)
        if entry is None or not self._memory.answers(entry.pa, access):
            return None
        granted = unicorn_const.UC_PROT_READ if entry.permissions & mmu.Access.READ else 0
        if fill is Fill.FETCH:
            granted |= unicorn_const.UC_PROT_EXEC
        elif entry.permissions & mmu.Access.WRITE:
            granted |= unicorn_const.UC_PROT_WRITE
        return entry.pa, granted

    def _entry(self, va: int, el: int, access: mmu.Access) -> TlbEntry | None:
        registers = self.registers
        if self._state.tlb_generation != self._generation:
            self._generation = self._state.tlb_generation
            self._tlbs.clear()
            self._tlb = self._tlbs[registers] = {}
        tlb = self._tlb
        page = va & ~(PAGE_SIZE - 1)
        entry = tlb.get((page, el))
        if entry is not None and entry.permissions & access:
            return entry
        # A permission that a kept entry lacks may have been granted since: walk again.
        self.walks += 1
        result = mmu.translate(registers, self._memory, page, el, access)
        if isinstance(result, mmu.Fault):
            self._note_fault(result, access)
            return None
        entry = tlb[page, el] = TlbEntry(result.pa, result.permissions)
        return entry

    def find_fault(self, va: int, fill: Fill) -> bool:
        """Tell the hooks of the fault that an access from the current EL takes, if any."""
        access = _ACCESS[fill]
        result = self.fault(va, int(self._state.el), access)
        self._state.fault_known = 0
        if result is not None:
            self._note_fault(result, access)
        return bool(self._state.fault_known)

    def _note_fault(self, fault: mmu.Fault, access: mmu.Access) -> None:
        """Faults other than those of plain tables are left to whoever sees that none is noted."""
        state = self._state
        state.fault_known = fault.kind is not mmu.FaultKind.SYNC_EXTERNAL_ON_WALK
        state.fault_access = _FILL[access]
        state.fault_fsc = fault.fsc
        state.fault_stage2 = fault.stage == 2
        state.fault_s1ptw = fault.s1ptw
        state.fault_hpfar = fault.hpfar_el2

    def _forget(self) -> None:
        """Drop every translation, Unicorn's too."""
        self._tlbs.clear()
        self._engine.flush_tlb()

    def _unprivileged_access(self) -> bool:
        """Whether the access that missed is an LDTR's or STTR's: a fill does not say so."""
        if not self._engine.block_may_be_unprivileged():
            return False
        word = self._engine.fetch_word(self._pc.read()[0])
        instruction = a64.decode(word) if word is not None else a64.Other()
        return isinstance(instruction, a64.LoadStore) and instruction.unprivileged

    def fault(self, va: int, el: int, access: mmu.Access) -> mmu.Fault | None:
        """The fault that `access` at `va` from `el` takes, if any."""
        result = mmu.translate(self.registers, self._memory, va, el, access)
        return result if isinstance(result, mmu.Fault) else None

    def answers(self, va: int, el: int, access: mmu.Access) -> bool:
        """Whether something answers where `va` translates to."""
        result = mmu.translate(self.registers, self._memory, va, el, access)
        return isinstance(result, mmu.Translation) and self._memory.answers(result.pa, access)

    def address_translate(
        self, operation: mmu_at.AtOperation, va: int, current_el: int
    ) -> int | mmu.Fault:
        """PAR_EL1 after an AT instruction, or the fault it takes instead."""
        return mmu_at.address_translate(
            self.registers, self._memory, operation, va, current_el=current_el
        )
