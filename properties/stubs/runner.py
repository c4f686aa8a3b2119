# SPDX-License-Identifier: Apache-2.0
"""Boots a stub and collects what came out of it."""

import os
import re
import select
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.build import DtbChoice, ImageBytes, VmDescription, build
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine, StopKind
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.emulator.qemu.process import QemuProcess
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.stubs.deviations import Platform

RAM_SIZE = 256 << 20
SILENCE_SECONDS = 30.0
"""A stub that says nothing for so long on QEMU hangs: a safeguard, never a measure."""
INSTRUCTIONS = 40_000_000
"""The same for the emulator: several times what the longest stub needs."""

_STARTED = re.compile(rb"^\[aether\] vm \S+: start\r?$", re.MULTILINE)
_END = re.compile(rb"^\[aether\] end: (\S+)\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RunResult:
    """Everything on the console, and the word of the hypervisor's last line. `end` is None when
    the run was stopped from outside, or there was no hypervisor; `stop` is the emulator's."""

    console: bytes
    end: str | None
    stop: StopKind | None = None

    @property
    def text(self) -> str:
        """The console as lines."""
        return self.console.decode("latin-1").replace("\r\n", "\n")

    @property
    def guest_lines(self) -> list[str]:
        """What the guest said: all but the hypervisor's lines."""
        return [line for line in self.text.splitlines() if not line.startswith("[aether] ")]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one stub. On QEMU `stop_after` ends it when the console holds that text so often;
    in the emulator `instructions` does."""

    name: str
    case: int = 0
    parameter: int = 0
    memory_base: int = catalogue.MEMORY_BASE
    stop_after: tuple[str, int] | None = None
    console_input: bytes = b""
    instructions: int = INSTRUCTIONS


def boot(run: Run, platform: Platform) -> RunResult:
    """Runs it. UserError when something that is needed is missing."""
    image = catalogue.patched(
        toolchain.artefact(f"stub:{run.name}").flat.read_bytes(),
        case=run.case,
        parameter=run.parameter,
    )
    match platform:
        case Platform.QEMU:
            return _on_qemu(run, bundle(run, image))
        case Platform.BARE:
            return _bare(run, image)
        case Platform.MODEL:
            return _in_emulator(run, bundle(run, image), MmuMode.MODEL)
        case Platform.NATIVE:
            return _in_emulator(run, bundle(run, image), MmuMode.NATIVE)


def bundle(run: Run, image: bytes) -> bytes:
    """A bundle with one VM that holds `image`."""
    stub = catalogue.find(run.name)
    vm = VmDescription(
        name=run.name,
        memory=(Memory(run.memory_base, stub.memory_size),),
        images=(ImageBytes(run.name, image, run.memory_base + catalogue.IMAGE_OFFSET),),
        devices=(DeviceKind.VGICV2, DeviceKind.VPL011) if stub.gic else None,
        dtb=DtbChoice.NONE,
    )
    return build([vm], where=run.name)


def _result(console: bytes) -> RunResult:
    end = _END.search(console)
    return RunResult(console, end[1].decode() if end else None)


def _in_emulator(run: Run, initrd: bytes, mmu: MmuMode) -> RunResult:
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    source = Bytes(run.console_input)
    machine = Machine(virt(RAM_SIZE), image, initrd, mmu=mmu, source=source)
    stop = machine.run(until=run.instructions)
    return replace(_result(bytes(machine.console.output)), stop=stop.kind)


def _on_qemu(run: Run, initrd: bytes) -> RunResult:
    with tempfile.TemporaryDirectory(prefix="aether-stub-") as name:
        folder = Path(name)
        (folder / "bundle").write_bytes(initrd)
        arguments = command.arguments(
            "virt",
            RAM_SIZE,
            1,
            toolchain.artefact("el2").flat,
            folder / "bundle",
            icount=False,
        )
        return _qemu(arguments, folder, run)


def _bare(run: Run, image: bytes) -> RunResult:
    with tempfile.TemporaryDirectory(prefix="aether-stub-") as name:
        folder = Path(name)
        (folder / "stub.bin").write_bytes(image)
        loader = f"loader,file={folder / 'stub.bin'},addr={catalogue.find(run.name).entry:#x}"
        arguments = ["-M", "virt,gic-version=2", "-cpu", "cortex-a72"]
        arguments += ["-m", f"{catalogue.LARGE_MEMORY >> 20}M", "-nodefaults", "-display", "none"]
        arguments += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        arguments += ["-device", f"{loader},cpu-num=0"]
        return _qemu(arguments, folder, run)


def _qemu(arguments: list[str], folder: Path, run: Run) -> RunResult:
    console = bytearray()
    waiting = run.console_input
    with QemuProcess([command.find_program(), *arguments], folder / "errors") as process:
        while select.select([process.output], [], [], SILENCE_SECONDS)[0]:
            data = os.read(process.output, 65536)
            console += data
            if not data:
                break
            if waiting and _STARTED.search(console):
                os.write(process.input, waiting)  # few bytes: the pipe takes them at once
                waiting = b""
            if run.stop_after and console.count(run.stop_after[0].encode()) >= run.stop_after[1]:
                break
    return _result(bytes(console))
