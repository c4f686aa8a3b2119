# SPDX-License-Identifier: Apache-2.0
"""The tables behind the hooks' state (`hooks.h`), and Unicorn's functions as hooks call them."""

import ctypes as c

from unicorn import arm64_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.hooks import (
    BLOCK_SLOTS,
    BLOCK_UNPRIVILEGED,
    EXIT_RECORDS,
    KEPT_ANSWERS,
    KEPT_FAULTS,
    SYSREG_KEYS,
    ExitRecord,
    HookState,
    KeptAnswer,
    KeptFault,
    Tlb,
    TlbEntry,
    WatchedBlock,
)

_LIB = binding.uclib
_WRITE_CONTROL = 1 << 30
CTL_TLB_FLUSH = unicorn_const.UC_CTL_TLB_FLUSH | _WRITE_CONTROL
CTL_TLB_TYPE = unicorn_const.UC_CTL_TLB_TYPE | _WRITE_CONTROL | 1 << 26  # number of arguments
CTL_TB_FLUSH = unicorn_const.UC_CTL_TB_FLUSH | _WRITE_CONTROL
CTL_TB_REMOVE_CACHE = unicorn_const.UC_CTL_TB_REMOVE_CACHE | _WRITE_CONTROL | 2 << 26


class HookTables:
    """What the hooks know of one CPU besides its state. All begins empty."""

    def __init__(self, state: HookState) -> None:
        self._state = state
        self.actions = (c.c_uint8 * SYSREG_KEYS)()
        """`SysregAction` of each encoding."""
        self.kept = (KeptAnswer * KEPT_ANSWERS)()
        self.kept_faults = (KeptFault * KEPT_FAULTS)()
        self.tlb = Tlb()
        self.filled = TlbEntry()
        """What the MMU model answers a fill with."""
        self._block_flags = (c.c_uint8 * BLOCK_SLOTS)()
        self._exits = (ExitRecord * EXIT_RECORDS)()
        self._watched = (WatchedBlock * BLOCK_SLOTS)()
        state.sysreg_actions = c.addressof(self.actions)
        state.block_flags = c.addressof(self._block_flags)
        state.watched = c.addressof(self._watched)
        state.exits = c.addressof(self._exits)
        state.kept = c.addressof(self.kept)
        state.kept_faults = c.addressof(self.kept_faults)
        state.tlb = c.addressof(self.tlb)
        state.filled = c.addressof(self.filled)

    def take_exits(self) -> list[tuple[int, int]]:
        """What happened to the stays at EL2 since the last call: (kind, instructions)."""
        records = [(r.kind, r.instructions) for r in self._exits[: self._state.exit_count]]
        self._state.exit_count = 0
        return records

    def note_exit(self, kind: int) -> None:
        """An exception of `kind` was taken to EL2 from below."""
        self._exits[self._state.exit_count] = ExitRecord(kind, 0)
        self._state.exit_count += 1

    def keep_answer(self, key: int, value: int) -> None:
        """Reads of this register at the current EL give `value` until `forget_answers`."""
        slot = self.kept[key % KEPT_ANSWERS]
        slot.value, slot.tag = value, key << 8 | self._state.el << 1 | 1

    def forget_answers(self) -> None:
        """Control registers have changed: traps may apply that did not."""
        c.memset(self.kept, 0, c.sizeof(self.kept))

    def keep_fault(self, fault: KeptFault) -> None:
        """Keep a fault: it stands while its descriptor is as it is, until maintenance."""
        fault.epoch, fault.is_valid = self._state.epoch, 1
        self.kept_faults[(fault.page >> 12 ^ fault.access) % KEPT_FAULTS] = fault

    def block_may_be_unprivileged(self) -> bool:
        """Whether the block that runs has an LDTR or STTR."""
        flags = self._block_flags[(self._state.block_pc >> 2) % BLOCK_SLOTS]
        return bool(flags & BLOCK_UNPRIVILEGED)

    def note_watched(self, pc: int, end: int) -> None:
        """The block at [pc, end) is watched instruction by instruction."""
        slot = self._watched[(pc >> 2) % BLOCK_SLOTS]
        slot.pc, slot.end = pc, end


def name_unicorn(state: HookState) -> None:
    """Unicorn's functions and the numbers that it has for registers."""
    for field, symbol in (
        ("reg_read", "uc_reg_read"),
        ("reg_write", "uc_reg_write"),
        ("emu_stop", "uc_emu_stop"),
        ("vmem_read", "uc_vmem_read"),
        ("vmem_translate", "uc_vmem_translate"),
        ("ctl", "uc_ctl"),
        ("context_save", "uc_context_save"),
        ("emu_start", "uc_emu_start"),
    ):
        setattr(state, field, c.cast(getattr(_LIB, symbol), c.c_void_p).value)
    state.reg_pstate = arm64_const.UC_ARM64_REG_PSTATE
    state.reg_pc = arm64_const.UC_ARM64_REG_PC
    state.reg_sp = arm64_const.UC_ARM64_REG_SP
    state.reg_cp = arm64_const.UC_ARM64_REG_CP_REG
    state.reg_x0, state.reg_x29 = reg.X[0].number, reg.X[29].number
    state.reg_sp_el0, state.reg_elr_el0 = reg.SP_BANK[0].number, reg.ELR[0].number
    state.reg_esr_el0, state.reg_far_el0 = reg.ESR[0].number, reg.FAR[0].number
    state.reg_vbar_el0 = reg.VBAR[0].number
    state.ctl_flush_tlb = CTL_TLB_FLUSH
    state.ctl_drop_code = CTL_TB_REMOVE_CACHE
