# SPDX-License-Identifier: Apache-2.0
"""Registers that Unicorn does not have, or must not answer for.

The counter and the timers run on instruction time, identification registers read as the table in
`arch/sysregs.py` says, ISR_EL1 shows the modelled lines, AT goes through the MMU model.
"""

from typing import Protocol

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import sysregs, traps
from aether_edgecloud.emulator.arch.exceptions import (
    HCR_AMO,
    HCR_FMO,
    HCR_IMO,
    HCR_VF,
    HCR_VI,
    HCR_VSE,
)
from aether_edgecloud.emulator.arch.mmu_at import AtOperation
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.clock import Clock
from aether_edgecloud.emulator.cpu.hooks import SysregAction
from aether_edgecloud.emulator.devices.generic_timer import GenericTimer, TimerRegister

_ISR_EL1 = reg.key(3, 0, 12, 1, 0)
_MPIDR_EL1 = reg.key(3, 0, 0, 0, 5)
_DC_ZVA = reg.key(1, 3, 7, 4, 1)
_ISR_I, _ISR_F, _ISR_A = 1 << 7, 1 << 6, 1 << 8

_CONTROL = (
    reg.SCTLR_EL1,
    reg.SCTLR_EL2,
    reg.CPACR_EL1,
    reg.CPTR_EL2,
    reg.CNTHCTL_EL2,
    reg.CNTKCTL_EL1,
)
# Answered by the C hooks where nothing traps.
_COUNTERS = ("CNTPCT_EL0", "CNTVCT_EL0")
# Traps of these that Unicorn does not raise by itself.
_GUARDED = ("PMCR_EL0", "CBAR_EL1")
_TRANSLATION = (
    reg.TCR_EL1,
    reg.TTBR0_EL1,
    reg.TTBR1_EL1,
    reg.MAIR_EL1,
    reg.TCR_EL2,
    reg.TTBR0_EL2,
    reg.MAIR_EL2,
    reg.VTCR_EL2,
    reg.VTTBR_EL2,
)
# Bits that Unicorn would act on by itself, out of sight of the models: it gets these registers
# without them. Virtual interrupts it would take on its own; breakpoints and software step are not
# modelled.
_HIDDEN = {
    reg.HCR_EL2.key: HCR_VI | HCR_VF | HCR_VSE,
    reg.MDSCR_EL1.key: 1 << 0 | 1 << 13 | 1 << 15,  # SS, KDE, MDE
}
_HIDDEN_REGISTERS = {reg.HCR_EL2.key: reg.HCR_EL2, reg.MDSCR_EL1.key: reg.MDSCR_EL1}

_MODELLED = (
    sysregs.Model.TIMER,
    sysregs.Model.CONSTANT,
    sysregs.Model.PMU,
    sysregs.Model.STORAGE,
    sysregs.Model.RAZ_WI,
)


class Core(Protocol):
    """What a register model needs of the CPU that accesses it."""

    @property
    def current_el(self) -> int:
        """The current Exception level."""

    def now(self) -> int:
        """Retired instructions at the access."""

    def trap_controls(self) -> traps.TrapControls:
        """The registers that decide about traps."""

    def interrupt_inputs(self) -> tuple[bool, bool, bool]:
        """IRQ, FIQ and SError lines."""

    def virtual_inputs(self) -> tuple[bool, bool, bool]:
        """Virtual IRQ, FIQ and SError lines of a GIC."""

    def native(self, register: reg.SystemRegister) -> int:
        """A register as Unicorn has it."""

    def write_native(self, register: reg.SystemRegister, value: int) -> None:
        """Write a register that controls translation or traps, as MSR does."""

    def request_attention(self) -> None:
        """Let the machine look at events at the next block boundary."""

    def translate_address(self, operation: AtOperation, va: int) -> int | None:
        """PAR_EL1 after an AT instruction on `va`; None where it aborts instead."""

    def write_par(self, value: int) -> None:
        """Write PAR_EL1."""


def _sysreg_key(register: sysregs.SysReg) -> int:
    return reg.key(register.op0, register.op1, register.crn, register.crm, register.op2)


def _least_el(operation: AtOperation) -> int:
    op1, _ = operation.value
    return 2 if op1 else 1


class SystemRegisterModels:
    """The modelled registers of one CPU."""

    def __init__(self, timer: GenericTimer, clock: Clock, affinity: int = 0) -> None:
        self.timer = timer
        self.clock = clock
        self.mpidr = 1 << 31 | affinity
        self._by_key = {_sysreg_key(r): r for r in sysregs.SYSREGS if r.model in _MODELLED}
        self._timers = {
            key: TimerRegister(r.name)
            for key, r in self._by_key.items()
            if r.model is sysregs.Model.TIMER
        }
        self._address_translations = {
            reg.key(1, op.value[0], 7, 8, op.value[1]): op for op in AtOperation
        }
        self._timer_access: dict[tuple[str, int, bool], bool] = {}
        self.stored: dict[int, int] = {}
        self.reset()

    def reset(self) -> None:
        """Every register to its value at reset. The timer and the counter go on."""
        self.stored.clear()
        self.stored[_MPIDR_EL1] = self.mpidr

    def save(self) -> tuple[dict[int, int], dict[tuple[str, int, bool], bool]]:
        """What is stored, and what is known of traps. Timer and clock have a state of their own."""
        return dict(self.stored), dict(self._timer_access)

    def restore(
        self, stored: dict[int, int], timer_access: dict[tuple[str, int, bool], bool]
    ) -> None:
        """Become what was saved."""
        self.stored = dict(stored)
        self._timer_access = dict(timer_access)

    def actions(self) -> dict[int, SysregAction]:
        """What the C hooks do with each register and system instruction; NATIVE if not listed."""
        actions = dict.fromkeys(self._by_key, SysregAction.MODEL)
        actions |= dict.fromkeys(self._address_translations, SysregAction.MODEL)
        actions[_ISR_EL1] = actions[_MPIDR_EL1] = SysregAction.MODEL
        actions |= dict.fromkeys(_HIDDEN, SysregAction.MODEL)
        actions[_DC_ZVA] = SysregAction.ZVA
        for name in _COUNTERS:
            actions[_sysreg_key(sysregs.by_name(name))] = SysregAction.COUNTER
        for name in _GUARDED:
            actions[_sysreg_key(sysregs.by_name(name))] = SysregAction.GUARDED
        actions |= {r.key: SysregAction.CONTROL for r in _CONTROL}
        actions |= {r.key: SysregAction.TRANSLATION for r in _TRANSLATION}
        for op in sysregs.SYSOPS:
            key = reg.key(1, op.op1, op.crn, op.crm, op.op2)
            if op.name.startswith("TLBI "):
                actions[key] = SysregAction.TLBI
            elif op.name.startswith("IC "):
                actions[key] = SysregAction.IC
        return actions

    def read(self, core: Core, key: int) -> int | None:
        """MRS of a modelled register; None where it traps or is UNDEFINED, which Unicorn raises."""
        if key == _ISR_EL1:
            return self._isr(core)
        if key == _MPIDR_EL1:
            return self._multiprocessor_affinity(core)
        if key in _HIDDEN:
            return self._read_hidden(core, key)
        register = self._by_key.get(key)
        if register is None or not self._allowed(core, register, is_read=True):
            return None
        return self._value(core, register, key)

    def write(self, core: Core, key: int, value: int) -> bool:
        """MSR or SYS of a modelled register; False where Unicorn has to raise an exception."""
        operation = self._address_translations.get(key)
        if operation is not None:
            if core.current_el < _least_el(operation):
                return False
            par = core.translate_address(operation, value)
            if par is not None:
                core.write_par(par)
            return True
        if key in _HIDDEN:
            return self._write_hidden(core, key, value)
        register = self._by_key.get(key)
        if register is None or not self._allowed(core, register, is_read=False):
            return False
        self._store(core, register, key, value)
        return True

    @staticmethod
    def counters_allowed(el: int, controls: traps.TrapControls) -> tuple[bool, bool]:
        """Whether CNTPCT_EL0 and CNTVCT_EL0 can be read at `el` without a trap."""
        physical, virtual = (
            isinstance(
                traps.check_sysreg(
                    a64.SysRegAccess(*sysregs.by_name(name).encoding, 0, True), el, controls
                ),
                traps.Allowed,
            )
            for name in _COUNTERS
        )
        return physical, virtual

    def read_absent(self, core: Core, access: a64.SysRegAccess) -> int:
        """An allowed read of a register that Unicorn does not have."""
        key = reg.key(access.op0, access.op1, access.crn, access.crm, access.op2)
        register = self._by_key.get(key)
        return 0 if register is None else self._value(core, register, key)

    def write_absent(self, core: Core, access: a64.SysRegAccess, value: int) -> None:
        """An allowed write of a register that Unicorn does not have."""
        key = reg.key(access.op0, access.op1, access.crn, access.crm, access.op2)
        register = self._by_key.get(key)
        if register is not None:
            self._store(core, register, key, value)

    def is_constant(self, key: int) -> bool:
        """Whether a modelled register always reads the same, where it can be read."""
        register = self._by_key.get(key)
        return register is not None and register.model is sysregs.Model.CONSTANT

    def hidden(self, register: reg.SystemRegister) -> int:
        """The bits of a register that Unicorn does not see."""
        return self.stored.get(register.key, 0)

    @staticmethod
    def has_hidden_bits(key: int) -> bool:
        """Whether Unicorn has only a part of the register at this encoding."""
        return key in _HIDDEN

    def hide(self, register: reg.SystemRegister, value: int) -> None:
        """Set those bits."""
        self.stored[register.key] = value & _HIDDEN[register.key]

    def _read_hidden(self, core: Core, key: int) -> int | None:
        register = _HIDDEN_REGISTERS[key]
        if not self._allowed(core, sysregs.by_name(register.name), is_read=True):
            return None
        return core.native(register) | self.hidden(register)

    def _write_hidden(self, core: Core, key: int, value: int) -> bool:
        register = _HIDDEN_REGISTERS[key]
        if not self._allowed(core, sysregs.by_name(register.name), is_read=False):
            return False
        self.write_hidden(core, key, value)
        return True

    def write_hidden(self, core: Core, key: int, value: int) -> None:
        """Write a register of which Unicorn has only a part."""
        register = _HIDDEN_REGISTERS[key]
        self.hide(register, value)
        core.write_native(register, value & ~_HIDDEN[key])

    def _value(self, core: Core, register: sysregs.SysReg, key: int) -> int:
        match register.model:
            case sysregs.Model.TIMER:
                return self.timer.read(self._timers[key], self.clock.counter(core.now()))
            case sysregs.Model.STORAGE | sysregs.Model.PMU:
                return self.stored.get(key, register.reset)
            case sysregs.Model.RAZ_WI:
                return 0
        return register.reset

    def _store(self, core: Core, register: sysregs.SysReg, key: int, value: int) -> None:
        match register.model:
            case sysregs.Model.TIMER:
                before = self.timer.generation
                self.timer.write(self._timers[key], value, self.clock.counter(core.now()))
                if self.timer.generation != before:
                    core.request_attention()
            case sysregs.Model.STORAGE | sysregs.Model.PMU:
                self.stored[key] = value

    def controls_changed(self) -> None:
        """Traps may apply that did not."""
        self._timer_access.clear()

    def _allowed(self, core: Core, register: sysregs.SysReg, *, is_read: bool) -> bool:
        el = core.current_el
        if not register.allows(el, is_read=is_read):
            return False
        if el == 2:
            return True
        place = (register.name, el, is_read)
        known = self._timer_access.get(place)
        if known is not None:
            return known
        access = a64.SysRegAccess(*register.encoding, 0, is_read)
        check = traps.check_sysreg(access, el, core.trap_controls())
        allowed = isinstance(check, traps.Allowed)
        if register.model is sysregs.Model.TIMER:
            # Decided by registers whose writes are all seen: HCR, CNTHCTL and CNTKCTL.
            self._timer_access[place] = allowed
        return allowed

    def _multiprocessor_affinity(self, core: Core) -> int | None:
        """EL1 sees what EL2 shows it."""
        if core.current_el == 0:
            return None
        return self.mpidr if core.current_el == 2 else core.native(reg.VMPIDR_EL2)

    @staticmethod
    def _isr(core: Core) -> int | None:
        """Pending interrupts as ISR_EL1 shows them: virtual ones below EL2 where routed there."""
        if core.current_el == 0:
            return None
        hcr = core.trap_controls().hcr_el2
        value = 0
        for line, virtual_line, bit, route, virtual in zip(
            core.interrupt_inputs(),
            core.virtual_inputs(),
            (_ISR_I, _ISR_F, _ISR_A),
            (HCR_IMO, HCR_FMO, HCR_AMO),
            (HCR_VI, HCR_VF, HCR_VSE),
            strict=True,
        ):
            is_virtual = core.current_el == 1 and hcr & route
            shown = (hcr & virtual or virtual_line) if is_virtual else line
            value |= bit if shown else 0
        return value
