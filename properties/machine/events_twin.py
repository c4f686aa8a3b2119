# SPDX-License-Identifier: Apache-2.0
"""The events of `events.c` once more, from what the architecture says of each instruction.

Registers and maintenance are decoded from the instruction itself, an ERET is seen by the EL on its
other side. Exceptions are those that `cpu.py` takes: the machine's hooks take none (`PythonRun`).
"""

from collections.abc import Callable
from typing import NamedTuple

from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine_stop import EngineStop
from aether_edgecloud.emulator.cpu.exits import is_interrupt
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.properties.machine.each_instruction import (
    before_each_instruction,
    position,
    word_at,
)

_ERET = 0xD69F_03E0
_TLBI_CRN = 8
# At EL1: what stage 1 and the traps of EL1&0 depend on.
_OF_EL1 = frozenset(
    register.key
    for register in (
        *(reg.SCTLR_EL1, reg.TTBR0_EL1, reg.TTBR1_EL1, reg.TCR_EL1, reg.MAIR_EL1),
        *(reg.CPACR_EL1, reg.CNTKCTL_EL1),
    )
)


class Row(NamedTuple):
    """An event, as a row of `recording.events.EVENT`."""

    position: int
    kind: EventKind
    cpu: int
    vm: int
    a: int
    b: int
    c: int


class EventsTwin:
    """Notes the events of a machine from now on, in `rows`."""

    def __init__(self, machine: Machine) -> None:
        self.rows: list[Row] = []
        self._machine = machine
        for number, cpu in enumerate(machine.cpus):
            _OneCpu(self, machine, number, cpu)


class _OneCpu:
    def __init__(self, twin: EventsTwin, machine: Machine, number: int, cpu: Cpu) -> None:
        self._rows = twin.rows
        self._machine, self._number, self._cpu = machine, number, cpu
        self._left: int | None = None  # the EL of an ERET that has been tried
        self._run: Callable[[int], EngineStop] = cpu.engine.run
        cpu.on_exception = self._taken
        cpu.engine.run = self._run_on  # type: ignore[method-assign]
        before_each_instruction(cpu, self._before)

    def _note(self, kind: EventKind, at: int, a: int, b: int, c: int, vttbr: int = -1) -> None:
        vttbr = self._cpu.native(reg.VTTBR_EL2) if vttbr < 0 else vttbr
        self._rows.append(Row(at, kind, self._number, vttbr >> 48 & 0xFF, a, b, c))

    def _el(self) -> int:
        return self._cpu.engine.read(reg.PSTATE) >> 2 & 3

    def _run_on(self, pc: int) -> EngineStop:
        """What follows an ERET may be another CPU's turn, or an exception."""
        stop = self._run(pc)
        self._arrived(stop.pc)
        return stop

    def _arrived(self, pc: int) -> None:
        left, self._left = self._left, None
        if left is not None and (el := self._el()) != left:
            self._note(EventKind.ERET, position(self._machine, self._cpu, pc), el, pc, left)

    def _before(self, pc: int) -> None:
        self._arrived(pc)
        word = word_at(self._cpu, pc)
        if word == _ERET:
            self._left = self._el()
        elif word >> 21 == 0xD500_0000 >> 21 and word >> 19 & 3:  # MSR (register), SYS
            self._write(pc, word >> 5 & 0xFFFF, word & 31)

    def _write(self, pc: int, key: int, rt: int) -> None:
        el = self._el()
        op0, op1, crn = key >> 14, key >> 11 & 7, key >> 7 & 15
        if el < {3: 0, 4: 2, 5: 2, 6: 3}.get(op1, 1):
            return  # UNDEFINED
        value = 0 if rt == 31 else self._cpu.engine.read(reg.X[rt])
        at = position(self._machine, self._cpu, pc)
        if op0 == 1 and crn == _TLBI_CRN:
            self._note(EventKind.TLBI, at, key, value, pc)
        elif op0 >= 2 and (el == 2 or key in _OF_EL1):
            vttbr = value if key == reg.VTTBR_EL2.key else -1  # the VM is the new one already
            self._note(EventKind.SYSREG_WRITE, at, key, value, pc, vttbr)

    def _taken(self, from_el: int, to_el: int, kind: int, esr: int, elr: int) -> None:
        at = sum(cpu.retired for cpu in self._machine.cpus)
        how = from_el | to_el << 4 | kind << 8
        if is_interrupt(kind):
            self._note(EventKind.INTERRUPT, at, 0, elr, how)
        elif kind == ExceptionClass.HVC and to_el == 2:
            x0 = self._cpu.engine.read(reg.X[0])
            self._note(EventKind.HYPERCALL, at, x0, elr, esr & 0xFFFF)
        else:
            self._note(EventKind.EXCEPTION, at, esr, elr, how)
