# SPDX-License-Identifier: Apache-2.0
"""The registers of a CPU that is stopped, read and written from outside so that it takes effect."""

from typing import TYPE_CHECKING

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.arch.pstate import PState
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.hooks import NEVER, SysregAction
from aether_edgecloud.emulator.cpu.register_batch import RegisterBatch
from aether_edgecloud.emulator.devices.generic_timer import READ_ONLY, TimerRegister

if TYPE_CHECKING:
    from aether_edgecloud.emulator.cpu.cpu import Cpu

_WITH_EFFECT = (SysregAction.CONTROL, SysregAction.TRANSLATION)


class CpuAccess:
    """Access to one CPU between two runs of its machine.

    What is written holds from the CPU's next instruction on, as if its own instructions had written
    it, barriers included. No time passes.
    """

    def __init__(self, cpu: "Cpu") -> None:
        self._cpu = cpu
        engine = cpu.engine
        self._x = engine.batch(reg.X)
        self._each_x = [engine.batch([register]) for register in reg.X]
        self._sp = engine.batch([reg.SP])
        self._pstate = engine.batch([reg.PSTATE])
        self._banks = [engine.batch([bank]) for bank in reg.SP_BANK[:3]]
        self._system: dict[str, RegisterBatch] = {}

    @property
    def x(self) -> list[int]:
        """X0-X30."""
        return self._x.read()

    def write_all_x(self, values: list[int]) -> None:
        """Write X0-X30."""
        self._x.write(values)

    def write_x(self, number: int, value: int) -> None:
        """Write one of X0-X30."""
        self._each_x[number].write([value])

    @property
    def pc(self) -> int:
        """The VA of the next instruction."""
        return self._cpu.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self._cpu.go_to(value)

    @property
    def sp(self) -> int:
        """The stack pointer in use."""
        return self._sp.read()[0]

    @sp.setter
    def sp(self, value: int) -> None:
        self._sp.write([value])
        self._cpu.state.sp_suspect = 1

    @property
    def pstate(self) -> PState:
        """PSTATE."""
        return PState.from_spsr(self._pstate.read()[0])

    @pstate.setter
    def pstate(self, value: PState) -> None:
        """The stack pointer in use is banked by it."""
        old, state = self.pstate, self._cpu.state
        self._banks[old.el if old.sp_sel else 0].write([self.sp])
        self._cpu.engine.write_pstate(value.to_spsr())
        self.sp = self._banks[value.el if value.sp_sel else 0].read()[0]
        state.el_retired[old.el] += state.retired - state.el_mark
        state.el_mark = state.retired
        state.el = value.el
        state.after_eret = 0
        state.pass_pc = NEVER

    def read(self, name: str) -> int:
        """A system register by its name, as an MRS at EL2 would without its effects; KeyError for
        one that the CPU does not have or that only MRS can tell."""
        value = self._cpu.system_register(sysregs.by_name(name))
        if value is None:
            raise KeyError(name)
        return value

    def write(self, name: str, value: int) -> None:
        """Write a system register by its name, as an MSR at EL2 would. KeyError for one that the
        CPU does not have, ValueError for one that is read-only."""
        register = sysregs.by_name(name)
        if not register.allows(2, is_read=False):
            raise ValueError(f"{name} cannot be written")
        encoding = reg.SystemRegister(name, *register.encoding)
        cpu, models = self._cpu, self._cpu.system_registers
        if models.has_hidden_bits(encoding.key):
            models.write_hidden(cpu, encoding.key, value)
        elif register.model is sysregs.Model.NATIVE:
            if cpu.engine.tables.actions[encoding.key] in _WITH_EFFECT:
                cpu.write_native(encoding, value)
            else:
                self._native(encoding).write([value])
        elif register.model is sysregs.Model.TIMER:
            if TimerRegister(name) in READ_ONLY:
                raise ValueError(f"{name} cannot be written")
            models.timer.write(TimerRegister(name), value, models.clock.counter(cpu.retired))
            cpu.request_attention()
        elif register.model in (sysregs.Model.STORAGE, sysregs.Model.PMU):
            models.stored[encoding.key] = value

    def _native(self, register: reg.SystemRegister) -> RegisterBatch:
        batch = self._system.get(register.name)
        if batch is None:
            batch = self._system[register.name] = self._cpu.engine.batch([register])
        return batch
