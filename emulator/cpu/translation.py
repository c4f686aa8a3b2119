# SPDX-License-Identifier: Apache-2.0
"""The MMU model at work: TLB fills, faults and AT results for one CPU."""

import ctypes as c
from collections.abc import Callable

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

    def answers(self, pa: int) -> bool:
        """Whether RAM or a device is at `pa`."""
        if 0 <= pa - self.ram_base < self.ram_size:
            return True
        return any(base <= pa < base + size for base, size in self._windows)


class TranslationUnit:
    """Translates for one engine with the MMU model, from the registers the engine holds."""

    def __init__(self, engine: Engine, memory: PhysicalMemory) -> None:
        self._engine = engine
        self._state = engine.state
        self._memory = memory
        self._batch = engine.batch(_REGISTERS)
        self._pstate = engine.batch([reg.PSTATE])
        self._pc = engine.batch([reg.PC])
        self._registers = mmu.MmuRegisters()
        self._known: dict[tuple[int, ...], mmu.MmuRegisters] = {}
        self._state.translation_changed = 1
        self.walks = 0

    def registers_changed(self) -> None:
        """Read the translation registers again at the next translation."""
        self._state.translation_changed = 1

    @property
    def registers(self) -> mmu.MmuRegisters:
        """The registers that control translation now."""
        if self._state.translation_changed:
            self._state.translation_changed = 0
            values = tuple(self._batch.read())
            # A set of values seen before keeps what was derived from it.
            known = self._known.get(values)
            if known is None:
                known = self._known[values] = _mmu_registers(*values)
            self._registers = known
        return self._registers

    def fill(self, va: int, fill: Fill) -> tuple[int, int] | None:
        """One TLB fill of the page at `va`: its PA and UC_PROT_* permissions, None for a fault.

        A data access is granted no execution and a fetch no data access: a page that is both
        written and executed would keep every store on Unicorn's slow path.
        """
        el = self._pstate.read()[0] >> 2 & 3
        if el == 1 and fill is not Fill.FETCH and self._unprivileged_access():
            el = 0
        self.walks += 1
        result = mmu.translate(self.registers, self._memory, va, el, _ACCESS[fill])
        if isinstance(result, mmu.Fault):
            return None
        if not self._memory.answers(result.pa):
            return None
        if result.page_size > PAGE_SIZE:
            self._state.large_mappings = 1
        if fill is Fill.FETCH:
            permissions = unicorn_const.UC_PROT_EXEC | unicorn_const.UC_PROT_READ
            if not result.readable:
                permissions = unicorn_const.UC_PROT_EXEC
        else:
            permissions = unicorn_const.UC_PROT_READ if result.readable else 0
            if result.writable:
                permissions |= unicorn_const.UC_PROT_WRITE
        return result.pa & ~(PAGE_SIZE - 1), permissions

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
        return isinstance(result, mmu.Translation) and self._memory.answers(result.pa)

    def address_translate(
        self, operation: mmu_at.AtOperation, va: int, current_el: int
    ) -> int | mmu.Fault:
        """PAR_EL1 after an AT instruction, or the fault it takes instead."""
        return mmu_at.address_translate(
            self.registers, self._memory, operation, va, current_el=current_el
        )
