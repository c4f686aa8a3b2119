# SPDX-License-Identifier: Apache-2.0
"""Where a machine is, inside a callback."""

from aether_edgecloud.emulator.check.finding import Place
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.register_batch import RegisterBatch
from aether_edgecloud.emulator.machine import Machine


class Position:
    """Tells places of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._cpus = machine.cpus
        self._pcs: list[RegisterBatch] = [cpu.engine.batch([reg.PC]) for cpu in machine.cpus]

    def now(self, cpu: int) -> Place:
        """The instruction that a CPU is at."""
        return self.at(cpu, self._pcs[cpu].read()[0])

    def at(self, cpu: int, pc: int, instruction: int | None = None) -> Place:
        """An instruction of the block that a CPU runs, or one whose number is known."""
        engine = self._cpus[cpu].engine
        number = engine.position(pc) if instruction is None else instruction
        return Place(cpu, pc, number, int(engine.state.others_retired) + number)
