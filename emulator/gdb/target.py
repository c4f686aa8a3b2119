# SPDX-License-Identifier: Apache-2.0
"""A replay as something gdb can debug.

A thread is a CPU, not a vCPU: all registers that gdb shows, EL2's among them, are a CPU's, and
those of a vCPU that is not loaded are data of the hypervisor. A thread tells which vCPU its CPU has
loaded.
"""

from collections.abc import Sequence

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.gdb import memory, monitor, registers
from aether_edgecloud.emulator.gdb.description import target_xml
from aether_edgecloud.emulator.gdb.memory import View
from aether_edgecloud.emulator.gdb.motion import Mover, go_to_end
from aether_edgecloud.emulator.gdb.points import Points
from aether_edgecloud.emulator.gdb.requests import (
    ExecFile,
    Interrupted,
    Point,
    Resume,
    Stop,
    TargetError,
    Thread,
)
from aether_edgecloud.emulator.replay import Progress, Replay

_READ_ONLY = "a recording cannot be changed"
_MPIDR_AFF0 = 0xFF
_EXPEDITED = (registers.X29, registers.SP, registers.PC)


class ReplayTarget:
    """`elf` is the program at EL2, if there is a file of it."""

    def __init__(self, replay: Replay, elf: ExecFile | None) -> None:
        self.replay = replay
        self.vms = tuple(replay.vms)
        """The VMs' names; VMID n is number n - 1."""
        self.view = View.CURRENT
        """What gdb's addresses are taken for."""
        self.focus = replay.cpu + 1
        """The thread that `monitor` commands and addresses of watchpoints are about: the packets
        do not say which. After each stop it is the one that stopped."""
        image = replay.machine.loaded[0]
        self.points = Points(image)
        self._elf = elf
        self._mover = Mover(replay, self.points)

    @property
    def current(self) -> int:
        """The thread whose instruction is next."""
        return self._mover.current

    def threads(self) -> Sequence[Thread]:
        """The CPUs, from 1."""
        return tuple(
            Thread(n + 1, n, f"CPU {n}", self._about(cpu))
            for n, cpu in enumerate(self.replay.machine.cpus)
        )

    def cpu(self, thread: int) -> Cpu:
        """The CPU that is a thread. TargetError for no thread."""
        cpus = self.replay.machine.cpus
        if not 0 < thread <= len(cpus):
            raise TargetError(f"there is no thread {thread}")
        return cpus[thread - 1]

    def vm_name(self, vmid: int) -> str | None:
        """The name of a VM by its VMID; None for no VM."""
        return self.vms[vmid - 1] if 0 < vmid <= len(self.vms) else None

    def _about(self, cpu: Cpu) -> str:
        words = [f"EL{cpu.current_el}"]
        vm = self.vm_name(registers.vmid(cpu))
        if vm is not None:
            vcpu = cpu.native(reg.VMPIDR_EL2) & _MPIDR_AFF0
            words.append(f"{vm} vCPU {vcpu}")
        return ", ".join(words)

    def description(self) -> str:
        """The registers there are."""
        return target_xml()

    def exec_file(self) -> ExecFile | None:
        """The program at EL2."""
        return self._elf

    def read_registers(self, thread: int) -> bytes:
        """X0 to X30, SP, PC, PSTATE."""
        cpu = self.cpu(thread)
        access = cpu.access
        values = (*access.x, access.sp, cpu.pc)
        core = b"".join(value.to_bytes(8, "little") for value in values)
        return core + access.pstate.to_spsr().to_bytes(4, "little")

    def read_register(self, thread: int, number: int) -> bytes:
        """One by its number."""
        if number >= len(registers.ALL):
            raise TargetError(f"there is no register {number}")
        return registers.ALL[number].value(self.cpu(thread))

    def write_register(self, thread: int, number: int) -> None:
        """Never."""
        raise TargetError(_READ_ONLY)

    def expedited(self, thread: int) -> Sequence[int]:
        """What gdb looks at after each stop."""
        return _EXPEDITED

    def read_memory(self, thread: int, address: int, size: int) -> bytes:
        """By the view that is chosen."""
        machine = self.replay.machine
        return memory.read(self.cpu(thread), machine.memory, self.view, address, size)

    def write_memory(self, thread: int, address: int, size: int) -> None:
        """Never."""
        raise TargetError(_READ_ONLY)

    def insert(self, point: Point) -> None:
        """Set one. A watchpoint's address is translated now."""
        cpu, ram = self.cpu(self.focus), self.replay.machine.memory
        self.points.insert(point, lambda va: memory.translate(cpu, ram, self.view, va))

    def remove(self, point: Point) -> None:
        """Take one away."""
        self.points.remove(point)

    def remove_all(self) -> None:
        """Take all away."""
        self.points.clear()

    def resume(self, what: Resume, interrupted: Interrupted) -> Stop:
        """Go, on or back."""
        try:
            stop = self._mover.resume(what, interrupted)
        except UserError as e:
            raise TargetError(str(e)) from None
        finally:
            self.focus = self.current
        self.focus = stop.thread
        return stop

    def go_to(self, place: str, progress: Progress | None = None) -> None:
        """Go to a place as a user writes it. UserError if the run does not have it."""
        if place == "end":
            go_to_end(self.replay, progress)
        else:
            self.replay.visit(self.replay.moment(place), progress)
        self.focus = self.current

    def monitor(self, line: str, interrupted: Interrupted) -> str:
        """A `monitor` command."""
        try:
            return monitor.run(self, line, interrupted)
        except UserError as e:
            raise TargetError(str(e)) from None

    @property
    def physical(self) -> bool:
        """Whether addresses are physical ones."""
        return self.view is View.PA

    @physical.setter
    def physical(self, wanted: bool) -> None:
        self.view = View.PA if wanted else View.CURRENT
