# SPDX-License-Identifier: Apache-2.0
"""Unicorn's own table walker as an oracle: real loads, stores, fetches and AT instructions.

Every doubleword of RAM above the tables holds a marker that is unique, so that what a load returns
or a store changes proves the physical address. A marker is also two instructions that show the
address when they are executed.
"""

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np
from unicorn import (
    UC_ARCH_ARM64,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_UNMAPPED,
    UC_HOOK_MEM_WRITE,
    UC_MODE_ARM,
    Uc,
    UcError,
)
from unicorn.arm64_const import (
    UC_ARM64_REG_CP_REG,
    UC_ARM64_REG_PSTATE,
    UC_ARM64_REG_X0,
    UC_ARM64_REG_X1,
)
from unicorn.unicorn_const import UC_CTL_IO_WRITE, UC_CTL_TLB_FLUSH, UC_PROT_ALL

from aether_edgecloud.emulator.arch.mmu import Access, MmuRegisters
from aether_edgecloud.emulator.arch.mmu_at import AtOperation

RAM_BASE = 0x4000_0000
RAM_SIZE = 0x0100_0000
TABLES_SIZE = 0x0060_0000
"""The lowest part of RAM, for tables; the rest holds markers."""
CODE = RAM_BASE + RAM_SIZE - 0x1000
"""The page of the instructions under test, reached through translations made before the test."""

MOVZ_X0 = 0xD280_0000
SVC = 0xD400_0001
STORED = 0x5EED_ED5E_5EED_ED5E
"""What stores write: the same in both byte orders (SCTLR_ELx.EE turns data round as well)."""
HCR_RW = 1 << 31
EXCEPTION_SVC, EXCEPTION_PREFETCH, EXCEPTION_DATA = 2, 3, 4
EC_SVC = 0x15

# (op0, op1, CRn, CRm, op2)
SYSTEM_REGISTERS = {
    "sctlr_el1": (3, 0, 1, 0, 0),
    "tcr_el1": (3, 0, 2, 0, 2),
    "ttbr0_el1": (3, 0, 2, 0, 0),
    "ttbr1_el1": (3, 0, 2, 0, 1),
    "mair_el1": (3, 0, 10, 2, 0),
    "sctlr_el2": (3, 4, 1, 0, 0),
    "tcr_el2": (3, 4, 2, 0, 2),
    "ttbr0_el2": (3, 4, 2, 0, 0),
    "mair_el2": (3, 4, 10, 2, 0),
    "hcr_el2": (3, 4, 1, 1, 0),
    "vtcr_el2": (3, 4, 2, 1, 2),
    "vttbr_el2": (3, 4, 2, 1, 0),
}
SCR_EL3 = (3, 6, 1, 1, 0)
HPFAR_EL2 = (3, 4, 6, 0, 4)
PAR_EL1 = (3, 0, 7, 4, 0)
TPIDR_EL0 = (3, 3, 13, 0, 2)
HPFAR_POISON = 0xF_ABCD_EF01 << 4
PAR_POISON = 0x5A << 56

_CODE_OFFSETS = {
    "nop": 0x00,
    "ldr": 0x10,
    "str": 0x20,
    "ldtr": 0x30,
    "sttr": 0x40,
} | {op.name: 0x100 + 0x10 * i for i, op in enumerate(AtOperation)}
_INSTRUCTIONS = {
    "nop": 0xD503_201F,
    "ldr": 0xF940_0020,  # ldr x0, [x1]
    "str": 0xF900_0020,
    "ldtr": 0xF840_0820,
    "sttr": 0xF800_0820,
} | {
    # at <op>, x1: SYS #op1, C7, C8, #op2, x1
    op.name: 0xD508_0001 | op.value[0] << 16 | 7 << 12 | 8 << 8 | op.value[1] << 5
    for op in AtOperation
}


@dataclass(frozen=True)
class Reached:
    """The access went through to this physical address."""

    pa: int


@dataclass(frozen=True)
class Aborted:
    """The access took an abort: what ESR, and for stage 2 HPFAR, say of it."""

    fsc: int
    stage: int
    s1ptw: bool
    ipa_page: int | None


class Ram:
    """RAM shared by the model and the engine."""

    def __init__(self) -> None:
        # mem_map_ptr wants whole host pages.
        raw = np.zeros(RAM_SIZE + 0x1000, dtype=np.uint8)
        start = -raw.ctypes.data % 0x1000
        self.words = raw[start : start + RAM_SIZE].view(np.uint64)
        self.host_address = int(self.words.ctypes.data)
        index = np.arange(RAM_SIZE // 8, dtype=np.uint64)
        page, slot = index >> np.uint64(9), index & np.uint64(511)
        movz = np.uint64(MOVZ_X0) | page << np.uint64(5)
        svc = np.uint64(SVC) | slot << np.uint64(5)
        self.words[:] = svc << np.uint64(32) | movz
        self.words[: TABLES_SIZE // 8] = 0
        # Indexing a memoryview is several times faster than indexing an array.
        self._fast = self.words.data

    def read64(self, pa: int) -> int | None:
        if not RAM_BASE <= pa < RAM_BASE + RAM_SIZE:
            return None
        return int(self._fast[pa - RAM_BASE >> 3])

    def write64(self, pa: int, value: int) -> None:
        self._fast[pa - RAM_BASE >> 3] = value


class NativeWalker:
    def __init__(self) -> None:
        self.ram = Ram()
        for name, offset in _CODE_OFFSETS.items():
            self.ram.write64(CODE + offset, (SVC | 0x1FFF << 5) << 32 | _INSTRUCTIONS[name])
        self.uc = uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        uc.ctl_set_page_size(4096)
        # An `until` address would be looked up through the tables under test.
        uc.ctl_exits_enabled(True)
        uc.ctl_set_exits([])
        uc.mem_map_ptr(RAM_BASE, RAM_SIZE, UC_PROT_ALL, self.ram.host_address)
        uc.hook_add(UC_HOOK_INTR, self._on_exception)
        uc.hook_add(UC_HOOK_MEM_UNMAPPED, self._on_unmapped)
        uc.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, self._on_access)
        self._exception: int | None = None
        self._unmapped: int | None = None
        self._accessed = 0
        self._overwritten = 0
        self._written: dict[int, int] = {}
        self._saved = uc.context_save()
        self._seen = uc.context_save()
        self._write(SCR_EL3, 0x501)
        self._syndrome_offset = self._find_syndrome()

    # -- the engine

    def _on_exception(self, uc: Uc, number: int, _: object) -> None:
        # The syndrome is gone once emulation has stopped.
        self._exception = number
        uc.context_update(self._seen)
        uc.emu_stop()

    def _on_unmapped(self, _uc: Uc, _kind: int, pa: int, *_: object) -> bool:
        self._unmapped = pa
        return False

    def _on_access(self, _uc: Uc, _kind: int, pa: int, *_: object) -> None:
        self._accessed = pa
        self._overwritten = self.ram.read64(pa) or 0

    def _write(self, register: tuple[int, int, int, int, int], value: int) -> None:
        op0, op1, crn, crm, op2 = register
        self.uc.reg_write(UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2, value))

    def _read(self, register: tuple[int, int, int, int, int]) -> int:
        op0, op1, crn, crm, op2 = register
        return int(self.uc.reg_read(UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2)))

    def _run(self, el: int, pc: int, x0: int = 0, x1: int = 0) -> None:
        uc = self.uc
        uc.reg_write(UC_ARM64_REG_PSTATE, 0x3C0 | (el << 2 | 1 if el else 0))
        self._write(TPIDR_EL0, 0)  # makes the new PSTATE count
        uc.reg_write(UC_ARM64_REG_X0, x0)
        uc.reg_write(UC_ARM64_REG_X1, x1)
        self._exception = self._unmapped = None
        try:
            uc.emu_start(pc, 0)
        except UcError:
            if self._unmapped is None and self._exception is None:
                raise

    def _find_syndrome(self) -> int:
        """Where the saved context holds the syndrome: that of two SVCs with known immediates."""
        places = []
        for offset, immediate in ((0xF00, 0x1ACE), (0xF80, 0x0BAD)):
            self.ram.write64(CODE + offset, SVC | immediate << 5)
            self._run(2, CODE + offset)
            seen = ctypes.string_at(self._seen.context, self._seen.size)
            wanted = (EC_SVC << 26 | 1 << 25 | immediate).to_bytes(4, "little")
            places.append({i for i in range(0, len(seen), 4) if seen[i : i + 4] == wanted})
        (place,) = places[0] & places[1]
        return place

    def _syndrome(self) -> tuple[int, int]:
        """ESR and FAR of the last exception: syndrome u32, fsr u32, vaddress u64 lie together."""
        seen = ctypes.string_at(self._seen.context.value + self._syndrome_offset, 16)
        return int.from_bytes(seen[:4], "little"), int.from_bytes(seen[8:], "little")

    # -- the tables and registers

    def write64(self, pa: int, value: int) -> None:
        """Write a word of RAM until the next `reset`."""
        self._written.setdefault(pa, self.ram.read64(pa) or 0)
        self.ram.write64(pa, value)

    def reset(self) -> None:
        for pa, value in self._written.items():
            self.ram.write64(pa, value)
        self._written.clear()

    def load(self, registers: MmuRegisters) -> None:
        """Take the registers over, with an empty TLB save for the page of test instructions.

        That page is fetched once from each Exception level with all translation off. Restoring the
        registers from a saved context then keeps those TLB entries, so the instruction under test
        runs whatever the tables say of its own address.
        """
        for name, register in SYSTEM_REGISTERS.items():
            value = getattr(registers, name)
            self._write(register, value | HCR_RW if name == "hcr_el2" else value)
        self._write(HPFAR_EL2, HPFAR_POISON)
        self._write(PAR_EL1, PAR_POISON)
        self.uc.context_update(self._saved)
        for name in ("sctlr_el1", "sctlr_el2", "tcr_el1", "tcr_el2"):
            self._write(SYSTEM_REGISTERS[name], 0)
        self._write(SYSTEM_REGISTERS["hcr_el2"], HCR_RW)
        self.uc.ctl(UC_CTL_TLB_FLUSH, UC_CTL_IO_WRITE)
        for el in (0, 1, 2):
            self._run(el, CODE)

    # -- the accesses

    def access(
        self, va: int, el: int, access: Access, *, privileged: bool = True
    ) -> Reached | Aborted:
        """Make one access to an 8-byte aligned VA. RAM is as before afterwards."""
        self.uc.context_restore(self._saved)
        if access is Access.FETCH:
            self._run(el, va)
            return self._outcome(va) or Reached(self._fetched())
        name = "ldr" if access is Access.READ else "str"
        if not privileged:
            name = name.replace("r", "tr")
        self._run(el, CODE + _CODE_OFFSETS[name], x0=STORED, x1=va)
        outcome = self._outcome(va)
        if outcome is not None:
            return outcome
        pa = self._accessed
        if access is Access.READ:
            loaded = int(self.uc.reg_read(UC_ARM64_REG_X0))
            swapped = int.from_bytes(loaded.to_bytes(8, "little"), "big")
            assert self.ram.read64(pa) in (loaded, swapped)
        else:
            assert self.ram.read64(pa) == STORED
            self.ram.write64(pa, self._overwritten)
        return Reached(pa)

    def address_translate(self, operation: AtOperation, va: int, el: int) -> int | Aborted:
        """Execute an AT instruction at `el`; the value of PAR_EL1."""
        self.uc.context_restore(self._saved)
        self._run(el, CODE + _CODE_OFFSETS[operation.name], x1=va)
        outcome = self._outcome(va)
        if isinstance(outcome, Aborted):
            return outcome
        return self._read(PAR_EL1)

    def _outcome(self, va: int) -> Reached | Aborted | None:
        if self._unmapped is not None:
            return Reached(self._unmapped)
        if self._exception == EXCEPTION_SVC:
            return None
        assert self._exception in (EXCEPTION_PREFETCH, EXCEPTION_DATA), self._exception
        esr, far = self._syndrome()
        assert far == va
        hpfar = self._read(HPFAR_EL2)
        stage2 = hpfar != HPFAR_POISON
        ipa_page = hpfar >> 4 << 12 if stage2 else None
        return Aborted(esr & 0x3F, 2 if stage2 else 1, bool(esr >> 7 & 1), ipa_page)

    def _fetched(self) -> int:
        """The address that the executed marker shows: its page in x0, its slot in the SVC."""
        esr, _ = self._syndrome()
        page = int(self.uc.reg_read(UC_ARM64_REG_X0))
        return RAM_BASE + (page << 12 | (esr & 0x1FF) << 3)


@cache
def native_walker() -> NativeWalker:
    """The one engine of the test process: making one is dear."""
    return NativeWalker()
