# SPDX-License-Identifier: Apache-2.0
"""The profile of `profile.c` once more, instruction by instruction.

Exceptions are those that `cpu.py` takes: the machine's hooks take none (`PythonRun`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.exits import is_interrupt
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.profile.buffers import KIND_ATTACHED, KIND_BOOT, KIND_MASK, Rows
from aether_edgecloud.properties.machine.each_instruction import (
    before_each_instruction,
    position,
    word_at,
)

_ERET = 0xD69F_03E0


@dataclass(frozen=True, slots=True, order=True)
class Stay:
    """A row of `buffers.STAY`, as far as the twin has it."""

    cpu: int
    begin: int
    depth: int
    end: int
    kind: int
    esr: int
    elr: int
    x0: int
    vm: int
    instructions: int
    inside: int
    is_over: bool


def told(stays: Iterable[Rows]) -> list[Stay]:
    """What the profile tells, in order."""
    found = (
        Stay(
            int(row["cpu"]),
            int(row["begin"]),
            int(row["depth"]),
            int(row["end"]),
            int(row["tag"]) & KIND_MASK,
            int(row["esr"]),
            int(row["elr"]),
            int(row["x0"]),
            int(row["vm"]),
            int(row["instructions"]),
            int(row["inside"]),
            bool(row["is_over"]),
        )
        for rows in stays
        for row in rows
    )
    return sorted(found)


@dataclass(slots=True)
class _Open:
    begin: int
    kind: int
    esr: int = 0
    elr: int = 0
    x0: int = 0
    vm: int = 0
    instructions: int = 0
    inside: int = 0


class ProfileTwin:
    """Profiles a machine from now to `finish`: `stays`, and at EL2 how often each instruction
    retired, by its VA."""

    def __init__(self, machine: Machine) -> None:
        self.stays: list[Stay] = []
        self.retired: Counter[int] = Counter()
        self._cpus = [_OneCpu(self, machine, n, cpu) for n, cpu in enumerate(machine.cpus)]

    def finish(self) -> None:
        for cpu in self._cpus:
            cpu.settle()
            cpu.leave_all(is_over=False)
        self.stays.sort()


class _OneCpu:
    def __init__(self, twin: ProfileTwin, machine: Machine, number: int, cpu: Cpu) -> None:
        self._twin, self._machine, self._number, self._cpu = twin, machine, number, cpu
        self._open: list[_Open] = []
        self._counted, self._el, self._pc, self._word = cpu.retired, cpu.current_el, 0, 0
        self._position = 0
        cpu.on_exception = self._taken
        cpu.on_power_on.append(partial(self._begin, KIND_BOOT))
        before_each_instruction(cpu, self._before)
        if cpu.retired and cpu.current_el == 2:
            self._begin(KIND_ATTACHED)
        elif number == 0 and not cpu.retired:
            self._begin(KIND_BOOT)

    def _begin(self, kind: int) -> None:
        """What runs at EL2 from now on does so by that."""
        self.settle()
        self.leave_all(is_over=False)
        self._el = 2
        self._position = sum(cpu.retired for cpu in self._machine.cpus)
        self._open = [_Open(self._position, kind, vm=self._vm())]

    def _vm(self) -> int:
        return self._cpu.native(reg.VTTBR_EL2) >> 48 & 0xFF

    def settle(self, retired: int | None = None) -> bool:
        """Whether the instruction that was tried last has retired."""
        retired = self._cpu.retired if retired is None else retired
        if retired == self._counted:
            return False
        assert retired == self._counted + 1
        self._counted = retired
        self._position += 1
        if self._el == 2:
            self._twin.retired[self._pc] += 1
            self._open[-1].instructions += 1
        return True

    def leave(self, *, is_over: bool) -> None:
        o = self._open.pop()
        if self._open:
            self._open[-1].inside += o.instructions + o.inside
        depth, end = len(self._open), self._position
        self._twin.stays.append(
            Stay(
                self._number, o.begin, depth, end, o.kind, o.esr, o.elr, o.x0, o.vm,
                o.instructions, o.inside, is_over,
            )
        )  # fmt: skip

    def leave_all(self, *, is_over: bool) -> None:
        while self._open:
            self.leave(is_over=is_over)

    def _taken(self, from_el: int, to_el: int, kind: int, esr: int, elr: int) -> None:
        self._returned(self.settle(), from_el)
        if to_el == 2:
            at = sum(cpu.retired for cpu in self._machine.cpus)
            x0 = self._cpu.engine.read(reg.X[0])
            esr = 0 if is_interrupt(kind) else esr
            self._open.append(_Open(at, kind, esr, elr, x0, self._vm()))
            self._position = at
        self._el, self._word = to_el, 0

    def _before(self, pc: int) -> None:
        has_retired = self.settle(self._cpu.engine.position(pc))
        el = self._cpu.engine.read(reg.PSTATE) >> 2 & 3
        self._returned(has_retired, el)
        self._el, self._pc, self._word = el, pc, word_at(self._cpu, pc)
        self._position = position(self._machine, self._cpu, pc)

    def _returned(self, has_retired: bool, el: int) -> None:
        """The instruction tried last may have been an ERET, which has led to `el`."""
        if not has_retired or self._word != _ERET or self._el != 2:
            return
        if el < 2:
            self.leave_all(is_over=True)
        elif len(self._open) > 1:
            self.leave(is_over=True)
