# SPDX-License-Identifier: Apache-2.0
"""The MMU model at work: TLB fills, faults and AT results for one CPU."""

import ctypes as c
from collections.abc import Callable
from dataclasses import dataclass

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import mmu, mmu_at
from aether_edgecloud.emulator.arch.mmu_descriptor import NG
from aether_edgecloud.emulator.arch.mmu_regime import TranslationRegime
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, Engine, all_pages
from aether_edgecloud.emulator.cpu.engine_stop import Fill
from aether_edgecloud.emulator.cpu.hooks import KeptFault, TlbEntry
from aether_edgecloud.emulator.cpu.walking import PlainWalker

_PAGE_SHIFT = 12
_ACCESS = {
    int(Fill.READ): mmu.Access.READ,
    int(Fill.WRITE): mmu.Access.WRITE,
    int(Fill.FETCH): mmu.Access.FETCH,
}


_BADDR = (1 << 48) - 1
_SCTLR_EE = 1 << 25
_FILL = {access: fill for fill, access in _ACCESS.items()}

REGISTERS = (
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
mmu_registers: Callable[..., mmu.MmuRegisters] = mmu.MmuRegisters


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
        self.dirty_pages = all_pages(self.ram_size)
        """Of each page of RAM: not 0 if it may have been written since the last snapshot. In
        native mode stores do not tell."""
        self.on_write: Callable[[int, int], None] = lambda pa, size: None
        """Told of what is written from outside, afterwards. An adversary's."""

    def add_window(self, base: int, size: int) -> None:
        """A device answers at [base, base + size)."""
        self._windows.append((base, size))

    def read64(self, pa: int) -> int | None:
        """The little-endian word at `pa`, 8-byte aligned; None outside RAM (external abort)."""
        offset = pa - self.ram_base
        if 0 <= offset < self.ram_size:
            return self._words[offset >> 3]
        return None

    def read(self, pa: int, size: int) -> bytes:
        """Bytes of RAM."""
        offset = self._offset(pa, size)
        return bytes(self.bytes[offset : offset + size])

    def write(self, pa: int, data: bytes) -> None:
        """Write RAM. Translated code of it stays."""
        offset = self._offset(pa, len(data))
        self.bytes[offset : offset + len(data)] = data
        first, last = offset // PAGE_SIZE, (offset + len(data) - 1) // PAGE_SIZE
        for page in range(first, last + 1):
            self.dirty_pages[page] = 1
        self.on_write(pa, len(data))

    def _offset(self, pa: int, size: int) -> int:
        offset = pa - self.ram_base
        if not 0 <= offset <= self.ram_size - size:
            raise ValueError(f"{size} bytes at {pa:#x} are not all in RAM")
        return offset

    def is_ram(self, pa: int) -> bool:
        """Whether RAM is at `pa`."""
        return 0 <= pa - self.ram_base < self.ram_size

    def answers(self, pa: int, access: mmu.Access) -> bool:
        """Whether RAM or a device is at `pa`. Devices do not answer instruction fetches, which the
        architecture leaves open."""
        if 0 <= pa - self.ram_base < self.ram_size:
            return True
        return access is not mmu.Access.FETCH and any(
            base <= pa < base + size for base, size in self._windows
        )


# Register sets whose translations are kept; a guest can make as many as it likes.
_MOST_REGISTER_SETS = 64


@dataclass(frozen=True, slots=True)
class RegisterSet:
    """One set of register values, and the numbers under which its translations are kept: those of
    EL2, of the lower and the upper half of EL1&0, of the upper half's that belong to an ASID."""

    registers: mmu.MmuRegisters
    sets: tuple[int, int, int, int]
    stage2: int


@dataclass(frozen=True, slots=True)
class TranslationState:
    """What a `TranslationUnit` keeps besides the table of the hooks."""

    registers: mmu.MmuRegisters
    asid: int
    known: dict[tuple[int, ...], RegisterSet]
    numbers: dict[tuple[object, ...], int]
    stage2: dict[int, mmu.KeptLeaves]
    current: int | None
    """The number of the stage 2 in use."""
    walks: int


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
        self._batch = engine.batch(REGISTERS)
        self._pc = engine.batch([reg.PC])
        self._registers = mmu.MmuRegisters()
        self._known: dict[tuple[int, ...], RegisterSet] = {}
        self._numbers: dict[tuple[object, ...], int] = {}
        self._stage2: dict[int, mmu.KeptLeaves] = {}  # by number of a stage 2
        self._kept: mmu.KeptLeaves = {}  # of the current stage 2
        self._asid = 0
        self._state.translation_changed = self._state.el2_changed = 1
        self.walks = 0
        self.on_fill: Callable[[int, int, int], None] | None = None
        """Told of each fill before it is answered: VA of the page, `Fill`, EL."""
        self.walker: PlainWalker | None = None
        """What walks go through; None: memory, and nothing else."""
        self.view_of: Callable[[TranslationRegime, mmu.Translation], int] | None = None
        """What `TlbEntry.view` is where caches are modelled."""
        self._refused: tuple[int, int, mmu.Access, mmu.Translation | mmu.Fault] | None = None
        """The fill that failed last: page, EL, access, and what came of it. A `walker` asked again
        might decide otherwise."""

    def save(self) -> TranslationState:
        """The state."""
        current = [number for number, kept in self._stage2.items() if kept is self._kept]
        return TranslationState(
            self._registers,
            self._asid,
            dict(self._known),
            dict(self._numbers),
            {number: dict(kept) for number, kept in self._stage2.items()},
            current[0] if current else None,
            self.walks,
        )

    def restore(self, state: TranslationState) -> None:
        """Become what was saved."""
        self._registers = state.registers
        self._asid = state.asid
        self._known = dict(state.known)
        self._numbers = dict(state.numbers)
        self._stage2 = {number: dict(kept) for number, kept in state.stage2.items()}
        self._kept = {} if state.current is None else self._stage2[state.current]
        self.walks = state.walks
        self._refused = None

    def registers_changed(self, *, of_el2: bool = True) -> None:
        """Read the translation registers again at the next translation; `of_el2`: also before
        one at EL2."""
        self._state.translation_changed = 1
        self._state.el2_changed |= of_el2
        self._state.epoch += 1

    @property
    def register_sets(self) -> int:
        """How many sets of register values have translations kept for them."""
        return len(self._known)

    @property
    def registers(self) -> mmu.MmuRegisters:
        """The registers that control translation now."""
        state = self._state
        if state.stage2_changed:
            state.stage2_changed = 0
            for leaves in self._stage2.values():
                leaves.clear()
        if state.translation_changed:
            state.translation_changed = state.el2_changed = 0
            values = tuple(self._batch.read())
            # A set of values seen before keeps what was derived from it.
            known = self._known.get(values)
            if known is None:
                if len(self._known) >= _MOST_REGISTER_SETS:
                    self._forget()
                known = self._known[values] = self._number(mmu_registers(*values))
            self._registers = known.registers
            self._asid = known.registers.asid
            state.set_el2, state.set_low, state.set_high, state.set_high_asid = known.sets
            self._kept = self._stage2.setdefault(known.stage2, {})
        return self._registers

    def _number(self, r: mmu.MmuRegisters) -> RegisterSet:
        """Number what translations depend on, so that equal values have equal numbers."""
        stage2 = (r.hcr_el2, r.vtcr_el2, r.vttbr_el2, r.sctlr_el2 & _SCTLR_EE)
        both = (*stage2, r.sctlr_el1, r.tcr_el1, r.mair_el1)
        keys: tuple[tuple[object, ...], ...] = (
            ("el2", r.sctlr_el2, r.tcr_el2, r.ttbr0_el2, r.mair_el2),
            ("low", *both, r.ttbr0_el1, r.asid),
            ("high", *both, r.ttbr1_el1 & _BADDR),
            ("high with ASID", *both, r.ttbr1_el1 & _BADDR, r.asid),
            ("stage 2", *stage2),
        )
        *sets, number = (self._numbers.setdefault(key, len(self._numbers)) for key in keys)
        return RegisterSet(r, (sets[0], sets[1], sets[2], sets[3]), number)

    def fill(self, va: int, fill: int, el: int, entry: TlbEntry) -> bool:
        """One TLB fill of the page at `va` from `el`, into `entry`. False for a fault."""
        access = _ACCESS[fill]
        if el == 1 and access is not mmu.Access.FETCH and self._unprivileged_access():
            el = 0
        self.walks += 1
        if self._refused is not None and self._refused[:3] == (va, el, access):
            self._refused = None
        if self.on_fill is not None:
            self.on_fill(va, fill, el)
        result = self._translate(va, el, access)
        if isinstance(result, mmu.Fault):
            self._refuse(va, el, access, result)
            self._note_fault(result, access)
            self._keep_fault(va, el, access, result)
            return False
        pa, permissions, leaf = result.pa, result.permissions, result.stage1_leaf
        if not self._memory.is_ram(pa):
            if not self._memory.answers(pa, access):
                self._refuse(va, el, access, result)
                self._state.fault_known = 0
                return False
            permissions &= ~mmu.Access.FETCH
        is_local = leaf is not None and leaf.descriptor & NG != 0
        state = self._state
        if el == 2:
            entry.set = state.set_el2
        elif not va >> 55 & 1:
            entry.set = state.set_low
        else:
            entry.set = state.set_high_asid if is_local else state.set_high
        entry.page, entry.pa, entry.el = va, pa, el
        entry.asid = self._asid
        entry.permissions = permissions  # mmu.Access has the bits of UC_PROT_*
        entry.size_log2 = _PAGE_SHIFT if leaf is None else leaf.size.bit_length() - 1
        entry.is_global = not is_local
        if self.view_of is not None:
            entry.view = self.view_of(self.registers.regime(el), result)
        return True

    def _refuse(
        self, va: int, el: int, access: mmu.Access, why: mmu.Translation | mmu.Fault
    ) -> None:
        """The exception that follows goes by the same choices."""
        if self.walker is not None:
            self._refused = va, el, access, why

    def _translate(self, va: int, el: int, access: mmu.Access) -> mmu.Translation | mmu.Fault:
        if self.walker is not None:
            return self._translate_through(self.walker, va, el, access)
        result = mmu.translate(self.registers, self._memory, va, el, access, kept=self._kept)
        if isinstance(result, mmu.Fault) and result.kind is mmu.FaultKind.PERMISSION:
            # Here too a permission may have been granted since.
            self._kept.clear()
            result = mmu.translate(self.registers, self._memory, va, el, access, kept=self._kept)
        return result

    def _translate_through(
        self, walker: PlainWalker, va: int, el: int, access: mmu.Access
    ) -> mmu.Translation | mmu.Fault:
        current = self.registers
        registers = walker.begin(current, el, access)
        kept = self._kept if walker.keeps_stage2 and registers is current else None
        result = mmu.translate(registers, self._memory, va, el, access, kept=kept, walker=walker)
        if isinstance(result, mmu.Fault) and result.kind is mmu.FaultKind.PERMISSION:
            self._kept.clear()
            walker.fresh(registers, el, access)
            result = mmu.translate(
                registers, self._memory, va, el, access, kept=kept, walker=walker
            )
        return result

    def _translate_again(self, va: int, el: int, access: mmu.Access) -> mmu.Translation | mmu.Fault:
        """That of an access that a fill may have refused."""
        refused = self._refused
        if self.walker is None or refused is None:
            return self._translate(va, el, access)
        if refused[:3] != (va & -PAGE_SIZE, el, access):
            return self._translate(va, el, access)
        result, offset = refused[3], va % PAGE_SIZE
        if isinstance(result, mmu.Fault):
            return result
        return result._replace(pa=result.pa + offset, ipa=result.ipa + offset)

    def find_fault(self, va: int, fill: Fill) -> bool:
        """Tell the hooks of the fault that an access from the current EL takes, if any."""
        access = _ACCESS[int(fill)]
        result = self.fault(va, int(self._state.el), access)
        self._state.fault_known = 0
        if result is not None:
            self._note_fault(result, access)
            self._keep_fault(va & ~(PAGE_SIZE - 1), int(self._state.el), access, result)
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

    def _keep_fault(self, page: int, el: int, access: mmu.Access, fault: mmu.Fault) -> None:
        """Of a page that stage 2 does not map, as that of a device which EL2 emulates: each access
        faults, and only the descriptor on which the walk ended can change that by itself."""
        if fault.kind is not mmu.FaultKind.TRANSLATION or fault.stage == 1 or fault.s1ptw:
            return
        walker = self.walker
        if walker is not None and not walker.keeps_fault:
            return
        again = mmu.translate(
            self.registers,
            self._memory,
            page,
            el,
            access,
            record_walks=True,
            kept=self._kept,
            walker=walker,
        )
        if isinstance(again, mmu.Translation) or not again.walks or again.walks[-1].stage == 1:
            return
        step = again.walks[-1]
        self._engine.tables.keep_fault(
            KeptFault(
                page=page,
                descriptor_pa=step.pa,
                descriptor=step.descriptor,
                hpfar=fault.hpfar_el2,
                el=el,
                access=_FILL[access],
                fsc=fault.fsc,
            )
        )

    def _forget(self) -> None:
        """Drop every translation, Unicorn's too."""
        self._known.clear()
        self._numbers.clear()
        self._stage2.clear()
        self._engine.clear_tlb()

    def _unprivileged_access(self) -> bool:
        """Whether the access that missed is an LDTR's or STTR's: a fill does not say so."""
        if not self._engine.tables.block_may_be_unprivileged():
            return False
        word = self._engine.fetch_word(self._pc.read()[0])
        instruction = a64.decode(word) if word is not None else a64.Other()
        return isinstance(instruction, a64.LoadStore) and instruction.unprivileged

    def fault(self, va: int, el: int, access: mmu.Access) -> mmu.Fault | None:
        """The fault that `access` at `va` from `el` takes, if any."""
        result = self._translate_again(va, el, access)
        return result if isinstance(result, mmu.Fault) else None

    def answers(self, va: int, el: int, access: mmu.Access) -> bool:
        """Whether something answers where `va` translates to."""
        result = self._translate_again(va, el, access)
        return isinstance(result, mmu.Translation) and self._memory.answers(result.pa, access)

    def address_translate(
        self, operation: mmu_at.AtOperation, va: int, current_el: int
    ) -> int | mmu.Fault:
        """PAR_EL1 after an AT instruction, or the fault it takes instead."""
        registers, walker = self.registers, self.walker
        if walker is not None:
            registers = walker.begin(registers, operation.el, operation.access)
        return mmu_at.address_translate(
            registers, self._memory, operation, va, current_el=current_el, walker=walker
        )
