# SPDX-License-Identifier: Apache-2.0
"""What a full trace costs, beside QEMU's `-singlestep -d exec,cpu,nochain` of the same guest.

Times are of the processor. Ours are from an attached recorder to a file that is complete, with the
registers and memory accesses of each instruction; QEMU's from its start until it is ended.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.qemu.command import arguments, find_program
from aether_edgecloud.emulator.qemu.process import QemuProcess
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.trace.file import TraceWriter
from aether_edgecloud.emulator.trace.recorder import TraceRecorder

_QEMU_SECONDS = 2.0
_PATIENCE = 30.0
_LOG = b"\nTrace "


@dataclass(frozen=True, slots=True)
class _Stretch:
    guest: str
    begin: int
    length: int

    @property
    def name(self) -> str:
        if self.begin == 0:
            return f"{self.guest}, first {self.length / 1e6:.0f} M instructions"
        return f"{self.guest}, {self.length / 1e6:.0f} M at {self.begin / 1e6:.0f} M"


_STRETCHES = (
    _Stretch("hello", 0, 900_000),
    _Stretch("u-boot", 0, 10_000_000),
    _Stretch("linux", 0, 20_000_000),
    _Stretch("linux", 405_000_000, 10_000_000),
)
"""The last is a check of signatures: numbers of 64 bits that look like noise."""


def trace(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Speed and size, and those of QEMU's log."""
    for stretch in _STRETCHES:
        yield stretch.name
        try:
            request = build_request(stretch.guest, binary.load(None))
            found = [_ours(request, stretch) for _ in range(rounds)]
        except UserError as e:
            yield LeftOut(f"trace of {stretch.name}", str(e))
            continue
        rate, size = (statistics.median(column) for column in zip(*found, strict=True))
        name = f"trace of {stretch.name}"
        yield Figure(name, rate / 1e6, "M instructions/s", 2.5, lower_is_better=False)
        yield Figure(name, size, "bytes an instruction", 4.0)
        if stretch.begin:
            continue
        yield f"QEMU's log of {stretch.guest}"
        try:
            logs = [_qemu(request) for _ in range(rounds)]
        except UserError as e:
            yield LeftOut(f"QEMU's log of {stretch.guest}", str(e))
            continue
        rate, size = (statistics.median(column) for column in zip(*logs, strict=True))
        yield Figure(f"QEMU's log of {stretch.guest}", rate / 1e6, "M instructions/s")
        yield Figure(f"QEMU's log of {stretch.guest}", size, "bytes an instruction")


def _ours(request: RunRequest, stretch: _Stretch) -> tuple[float, float]:
    """Instructions a second, and bytes for each."""
    machine = build_machine(request)
    try:
        if stretch.begin:
            machine.run(stretch.begin)
        before = machine.instructions
        with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
            began = time.process_time()
            writer = TraceWriter(Path(folder, "trace"), {})
            recorder = TraceRecorder(machine, writer.add)
            machine.run(before + stretch.length)
            recorder.close()
            writer.close()
            spent = time.process_time() - began
        count = machine.instructions - before
        if writer.instructions != count:
            raise UserError("instructions are missing", where=stretch.name)
        return count / spent, writer.size / count
    finally:
        machine.close()


def _qemu(request: RunRequest) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as name:
        folder = Path(name)
        kernel, initrd, log = (folder / part for part in ("kernel", "initrd", "log"))
        kernel.write_bytes(request.binary)
        initrd.write_bytes(request.bundle)
        command = [find_program()]
        command += arguments(
            request.board, request.ram_size, request.cpus, kernel, initrd, icount=False
        )
        command += ["-singlestep", "-d", "exec,cpu,nochain", "-D", str(log)]
        began = time.monotonic()
        with QemuProcess(command, folder / "errors") as qemu:
            spent = 0.0
            while spent < _QEMU_SECONDS and time.monotonic() < began + _PATIENCE:
                time.sleep(0.05)
                spent = qemu.cpu_seconds() or spent
        count = size = 0
        with log.open("rb") as file:
            tail = b"\n"
            while block := file.read(1 << 20):
                size += len(block)
                count += (tail + block).count(_LOG)
                tail = block[-len(_LOG) + 1 :]
        if not count or not spent:
            raise UserError("QEMU logged nothing", where="bench trace", fix="run it alone")
        return count / spent, size / count
