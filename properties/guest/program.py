# SPDX-License-Identifier: Apache-2.0
"""A program for the stub `script` (guest_stubs/script.h), and its run in a VM."""

import re
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path

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
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine, StopKind
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.guest_stubs import catalogue

RAM_SIZE = 256 << 20
MAGIC = 0x5450495243534541
OFFSET = 0x10_0000
MOST_STEPS = 10_000
MOST_RESULTS = 8192
MOST_POLLS = 10_000_000
STEP = 500_000
"""Instructions between two looks at the console."""
QUANTUM = 1000
"""Of the machine: how far its CPUs are apart at most, in instructions."""
GICD = 0x0800_0000
GICC = 0x0801_0000
QEMU_LIMIT_S = 120


class Operation(IntEnum):
    READ = 0
    WRITE = 1
    SETTLE = 2
    CALL = 3
    LEAVE = 4
    CONTEXT = 5
    OFF = 6
    SLEEP = 7
    PENDING = 8
    CYCLE = 9
    PRINT = 10
    CALL_8 = 11
    POLL = 12


RESULTS = {
    Operation.READ: 1,
    Operation.CALL: 4,
    Operation.CALL_8: 8,
    Operation.POLL: 8,
    Operation.CONTEXT: 3,
    Operation.OFF: 1,
    Operation.PENDING: 1,
    Operation.CYCLE: 5,
}
"""How many results a step has."""

SMC, ENTRY = 1, 2
"""How a call is made."""
UNTIL_NOT = 8
"""Of a poll, added to the register."""


class Wait(IntEnum):
    WFI = 0
    SPIN = 1
    TWICE = 2


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a program, on one vCPU."""

    operation: Operation
    vcpu: int
    arguments: tuple[int, ...] = ()

    def packed(self) -> bytes:
        padding = (0,) * (11 - len(self.arguments))
        words = (word & (2**64 - 1) for word in (*self.arguments, *padding))
        return struct.pack("<II11Q", self.operation, self.vcpu, *words)

    @property
    def results(self) -> int:
        return RESULTS.get(self.operation, 0)


def read(vcpu: int, address: int, size: int = 4) -> Step:
    return Step(Operation.READ, vcpu, (address, size))


def write(vcpu: int, address: int, value: int, size: int = 4) -> Step:
    return Step(Operation.WRITE, vcpu, (address, size, value))


def settle(vcpu: int, iterations: int) -> Step:
    return Step(Operation.SETTLE, vcpu, (iterations,))


def call(vcpu: int, function: int, *arguments: int, how: int = 0) -> Step:
    return Step(Operation.CALL, vcpu, (how, function, *arguments))


def call_8(vcpu: int, function: int, *arguments: int, how: int = 0) -> Step:
    """A call of up to seven arguments, all of whose eight registers are results."""
    return Step(Operation.CALL_8, vcpu, (how, function, *arguments))


def poll(vcpu: int, register: int, value: int, function: int, *arguments: int) -> Step:
    """The call, of up to seven arguments, again and again until the register has the value."""
    return Step(Operation.POLL, vcpu, (register, value, MOST_POLLS, function, *arguments))


def leave(vcpu: int, function: int, *arguments: int) -> Step:
    return Step(Operation.LEAVE, vcpu, (0, function, *arguments))


CPU_ON = 0xC400_0003
CPU_OFF = 0x8400_0002
SYSTEM_OFF = 0x8400_0008
SYSTEM_RESET = 0x8400_0009


def switch_on(vcpus: int) -> list[Step]:
    """All vCPUs but the first, which runs, are switched on."""
    return [call(0, CPU_ON, vcpu, 0, vcpu, how=ENTRY) for vcpu in range(1, vcpus)]


def finish(vcpu: int = 0) -> list[Step]:
    return [Step(Operation.PRINT, vcpu), leave(vcpu, SYSTEM_OFF)]


class Runner(Enum):
    NATIVE = "native"
    MODEL = "model"
    QEMU = "qemu"


def vm(
    steps: Sequence[Step], *, cpus: tuple[int, ...] = (0,), name: str = "script"
) -> VmDescription:
    """A VM that runs the program; `cpus` has the pCPU of each vCPU."""
    assert len(steps) <= MOST_STEPS
    assert sum(step.results for step in steps) <= MOST_RESULTS
    stub = catalogue.find("script")
    image = toolchain.artefact("stub:script").flat.read_bytes()
    words = struct.pack("<QQ", MAGIC, len(steps)) + b"".join(step.packed() for step in steps)
    return VmDescription(
        name=name,
        memory=(Memory(stub.memory_base, stub.memory_size),),
        images=(
            ImageBytes("script", image, stub.entry),
            ImageBytes("program", words, stub.memory_base + OFFSET),
        ),
        vcpus=len(cpus),
        cpus=cpus,
        devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
        dtb=DtbChoice.NONE,
    )


def bundle(vms: Sequence[VmDescription], schedule: ScheduleDescription | None = None) -> bytes:
    return build(Description(tuple(vms), schedule or ScheduleDescription()), where="script")


def in_emulator(
    initrd: bytes,
    *,
    cpus: int,
    end: str = "[aether] end: ",
    times: int = 1,
    mmu: MmuMode = MmuMode.NATIVE,
    quantum: int = QUANTUM,
    seed: int = 0,
    most: int = 200_000_000,
) -> str:
    """What is on the console once it shows `end` so often; fails after `most` instructions."""
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    machine = Machine(
        virt(RAM_SIZE, cpus), image, initrd, mmu=mmu, source=Bytes(b""), quantum=quantum, seed=seed
    )
    try:
        done = 0
        while True:
            stop = machine.run(until=done + STEP)
            done = stop.instructions
            text = bytes(machine.console.output).decode("latin-1").replace("\r\n", "\n")
            if text.count(end) >= times:
                return text
            assert stop.kind is StopKind.LIMIT and done < most, f"never shown: {end}\n{text}"
    finally:
        machine.close()


def on_qemu(initrd: bytes, folder: Path, *, cpus: int) -> str:
    """What is on QEMU's console at its end."""
    (folder / "bundle").write_bytes(initrd)
    kernel = toolchain.artefact("el2").flat
    arguments = command.arguments(
        "virt", RAM_SIZE, cpus, kernel, folder / "bundle", icount=cpus == 1
    )
    done = subprocess.run(
        [command.find_program(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=QEMU_LIMIT_S,
        check=True,
    )
    return done.stdout.decode("latin-1").replace("\r\n", "\n")


_LINE = re.compile(r"script: ((?:0x[0-9a-f]+ ?)+)$")


def results(text: str, name: str | None = None) -> list[int]:
    """What the steps of the program have seen, in order. `name`: of this of several VMs."""
    found: list[int] = []
    prefix = "" if name is None else f"[{name}] "
    assert "a call came back" not in text, text
    for line in text.split("\n"):
        match = _LINE.fullmatch(line.removeprefix(prefix)) if line.startswith(prefix) else None
        if match is not None:
            found += [int(word, 16) for word in match[1].split()]
    assert f"{prefix}script: printed" in text, text
    return found
