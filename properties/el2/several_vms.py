# SPDX-License-Identifier: Apache-2.0
"""Stubs side by side in the emulator."""

from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import build
from aether_edgecloud.emulator.bundle.description import (
    Description,
    DtbChoice,
    ImageBytes,
    ScheduleDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory, Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine, StopKind
from aether_edgecloud.guest_stubs import catalogue

QUANTUM = 1_000
"""Of a CPU's turn. One that ends while EL2 holds a lock makes another CPU of the same VM wait for
the next: shorter than a window, or the turns would show where a hypervisor's locks do not."""
STEP = 500_000
"""Instructions between two looks at the console."""


@dataclass(frozen=True, slots=True)
class StubVm:
    """A VM with one stub in it; `cpus` has the pCPU of each vCPU."""

    name: str
    stub: str
    case: int = 0
    parameter: int = 0
    cpus: tuple[int, ...] = (0,)
    restart: Restart = Restart.NEVER

    def describe(self) -> VmDescription:
        stub = catalogue.find(self.stub)
        image = catalogue.patched(
            toolchain.artefact(f"stub:{self.stub}").flat.read_bytes(),
            case=self.case,
            parameter=self.parameter,
        )
        return VmDescription(
            name=self.name,
            memory=(Memory(stub.memory_base, stub.memory_size),),
            images=(ImageBytes(self.stub, image, stub.entry),),
            vcpus=len(self.cpus),
            cpus=self.cpus,
            devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
            dtb=DtbChoice.NONE,
            restart=self.restart,
        )


def bundle(vms: Sequence[StubVm], schedule: ScheduleDescription | None = None) -> bytes:
    """The bundle with these VMs; no `schedule`: each CPU is shared equally."""
    described = tuple(vm.describe() for vm in vms)
    return build(Description(described, schedule or ScheduleDescription()), where="several VMs")


def boot(
    vms: Sequence[StubVm],
    *,
    cpus: int = 1,
    mmu: MmuMode = MmuMode.NATIVE,
    schedule: ScheduleDescription | None = None,
) -> Machine:
    """A machine that is about to boot them."""
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    board = virt(256 << 20, cpus)
    return Machine(board, image, bundle(vms, schedule), mmu=mmu, source=Bytes(b""), quantum=QUANTUM)


def lines(machine: Machine) -> list[str]:
    """What is on the console so far."""
    return bytes(machine.console.output).decode("latin-1").replace("\r\n", "\n").split("\n")


def said(shown: Sequence[str], vm: str) -> list[str]:
    """The lines of one of several VMs, put together where others came between."""
    found: list[str] = []
    for line in shown:
        if line.startswith(f"[{vm}+] "):
            found[-1] += line.removeprefix(f"[{vm}+] ")
        elif line.startswith(f"[{vm}] "):
            found.append(line.removeprefix(f"[{vm}] "))
    return found


def run_until(machine: Machine, line: str, *, most: int = 40_000_000, times: int = 1) -> list[str]:
    """Runs until the console has shown `line` so often, whole; fails after `most` instructions."""
    stop = None
    while stop is None or (stop.kind is StopKind.LIMIT and stop.instructions < most):
        stop = machine.run(until=STEP + (stop.instructions if stop else 0))
        if lines(machine).count(line) >= times:
            return lines(machine)
    raise AssertionError("\n".join([f"never shown: {line!r}", *lines(machine)]))
