# SPDX-License-Identifier: Apache-2.0
"""A second oracle for the trap model: the exceptions Unicorn raises by itself."""

import struct
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from unicorn import UC_ARCH_ARM64, UC_HOOK_INSN_INVALID, UC_HOOK_INTR, UC_MODE_ARM, Uc, UcError
from unicorn.arm64_const import (
    UC_ARM64_REG_CP_REG,
    UC_ARM64_REG_PC,
    UC_ARM64_REG_PSTATE,
    UC_ARM64_REG_SP,
    UC_ARM64_REG_X0,
)

CODE = 0x4000_0000
DATA = 0x4100_0000
SCR_EL3 = (3, 6, 1, 1, 0)
SCR_NS_HCE_RW = 0x501
HCR_RW = 1 << 31
CONTROLS: MappingProxyType[str, tuple[int, int, int, int, int]] = MappingProxyType(
    {
        "hcr_el2": (3, 4, 1, 1, 0),
        "cptr_el2": (3, 4, 1, 1, 2),
        "cpacr_el1": (3, 0, 1, 0, 2),
        "mdcr_el2": (3, 4, 1, 1, 1),
        "cnthctl_el2": (3, 4, 14, 1, 0),
        "cntkctl_el1": (3, 0, 14, 1, 0),
        "sctlr_el1": (3, 0, 1, 0, 0),
        "pmuserenr_el0": (3, 3, 9, 14, 0),
        "mdscr_el1": (2, 0, 0, 2, 2),
    }
)


class How(Enum):
    """How Unicorn reported the end of one instruction."""

    RAN = auto()
    INTR = auto()
    INSN_INVALID = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class NativeResult:
    """What one instruction did. intno, target_el and syndrome are meaningful for INTR."""

    how: How
    pc: int
    intno: int = 0
    target_el: int = 0
    syndrome: int = 0
    far: int = 0
    error: str = ""


class NativeCpu:
    """A Cortex-A72 of Unicorn with its MMU off, that runs one instruction at a time."""

    def __init__(self) -> None:
        self.uc = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
        self.uc.ctl_set_page_size(4096)
        self.uc.mem_map(CODE, 0x10_0000)
        self.uc.mem_map(DATA, 0x1_0000)
        self._events: list[tuple[How, int]] = []
        self.uc.hook_add(UC_HOOK_INTR, self._on_interrupt)
        self.uc.hook_add(UC_HOOK_INSN_INVALID, self._on_invalid)
        self.write(SCR_EL3, SCR_NS_HCE_RW)
        self._addresses: dict[int, int] = {}
        self._clean = self._prepared = self.uc.context_save()
        self._situation: object = None  # what _prepared holds: most steps change only the word
        self._offset = self._find_syndrome()

    def _on_interrupt(self, uc: Uc, intno: int, _data: object) -> None:
        self._events.append((How.INTR, intno))
        uc.emu_stop()

    def _on_invalid(self, uc: Uc, _data: object) -> bool:
        self._events.append((How.INSN_INVALID, 0))
        uc.emu_stop()
        return True

    def write(self, encoding: tuple[int, int, int, int, int], value: int) -> None:
        """Write a system register past all access checks."""
        op0, op1, crn, crm, op2 = encoding
        self.uc.reg_write(UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2, value))

    def read(self, encoding: tuple[int, int, int, int, int]) -> int | None:
        """Read a system register past all access checks; None if Unicorn has none there."""
        op0, op1, crn, crm, op2 = encoding
        try:
            value: int = self.uc.reg_read(UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2))
        except UcError:
            return None
        return value

    def reset(self) -> None:
        """Back to the state at creation."""
        self.uc.context_restore(self._clean)

    def _find_syndrome(self) -> int:
        """Offset in a saved context of (syndrome u32, fsr u32, far u64, target_el u32)."""
        imm = 0xB5A7
        self._offset = 0
        self.step(0xD4000001 | imm << 5, el=1)
        blob = bytes(self.uc.context_save())
        wanted = struct.pack("<I", 0x15 << 26 | 1 << 25 | imm)
        assert blob.count(wanted) == 1
        return blob.index(wanted)

    def _place(self, word: int) -> int:
        """Each instruction has an address of its own, so that no translation goes stale."""
        address = self._addresses.get(word)
        if address is None:
            address = CODE + 16 * len(self._addresses)
            self._addresses[word] = address
            self.uc.mem_write(address, struct.pack("<I", word))
        return address

    def step(
        self,
        word: int,
        el: int,
        controls: dict[str, int] | None = None,
        *,
        sp_sel: int = 1,
        x0: int = 0,
        sp: int = DATA,
        pstate_bits: int = 0,
        state: dict[tuple[int, int, int, int, int], int] | None = None,
        pc_offset: int = 0,
    ) -> NativeResult:
        """Run `word` at `el` under `controls` (0 where not named) and say what happened."""
        uc = self.uc
        situation = (el, controls or {}, sp_sel, x0, sp, pstate_bits, state or {})
        if situation != self._situation:
            self._prepare(*situation)
            self._prepared = uc.context_save()
            self._situation = situation
        else:
            uc.context_restore(self._prepared)
        address = self._place(word) + pc_offset
        self._events.clear()
        error = ""
        try:
            uc.emu_start(address, CODE + 0xF_FFF0, count=1)
        except UcError as failure:
            error = str(failure)
        pc: int = uc.reg_read(UC_ARM64_REG_PC) - address
        if not self._events:
            return NativeResult(How.ERROR if error else How.RAN, pc, error=error)
        how, intno = self._events[0]
        blob = bytes(uc.context_save())
        syndrome, _fsr, far, target_el = struct.unpack_from("<IIQI", blob, self._offset)
        return NativeResult(how, pc, intno, target_el, syndrome, far, error)

    def _prepare(
        self,
        el: int,
        controls: dict[str, int],
        sp_sel: int,
        x0: int,
        sp: int,
        pstate_bits: int,
        state: dict[tuple[int, int, int, int, int], int],
    ) -> None:
        uc = self.uc
        uc.context_restore(self._clean)
        for name, encoding in CONTROLS.items():
            value = controls.get(name, 0)
            self.write(encoding, value | HCR_RW if name == "hcr_el2" else value)
        for encoding, value in state.items():
            self.write(encoding, value)
        uc.reg_write(UC_ARM64_REG_PSTATE, 0x3C0 | el << 2 | (sp_sel if el else 0) | pstate_bits)
        self.write(SCR_EL3, SCR_NS_HCE_RW)  # makes the new PSTATE count
        uc.reg_write(UC_ARM64_REG_X0, x0)
        uc.reg_write(UC_ARM64_REG_SP, sp)

    def pc(self) -> int:
        """PC after the last step."""
        value: int = self.uc.reg_read(UC_ARM64_REG_PC)
        return value

    def pstate(self) -> int:
        """PSTATE after the last step, in the layout of an SPSR."""
        value: int = self.uc.reg_read(UC_ARM64_REG_PSTATE)
        return value
