# SPDX-License-Identifier: Apache-2.0
"""A run on QEMU, from the request to the report."""

import contextlib
import os
import select
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.console import ConsoleIO
from aether_edgecloud.emulator.launch.foreign import QemuStyle
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.emulator.qemu.process import QemuProcess
from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol, boot_failure
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.report.run_report import End, RunReport
from aether_edgecloud.emulator.report.vm_reports import vm_reports

IDLE_SECONDS = 10.0
"""How long a guest that has had all its input may keep silent, and sleep, before the run ends."""
BUSY_SECONDS = 60.0
"""The same for one that is busy: it may compute, or look for input without a pause."""

_SLEEPING = 0.3
"""The most of a host CPU that QEMU takes while its guests sleep."""

_CHUNK = 65536
_MOST_WAITING = 4096


def run_on_qemu(
    request: RunRequest,
    console: ConsoleIO,
    *,
    icount: bool = False,
    idle_seconds: float = IDLE_SECONDS,
    style: QemuStyle | None = None,
) -> RunReport:
    """Boots the binary with the bundle and feeds it the console's input once the guest runs; one
    without a bundle as `style` says, with input from the start.

    Raises UserError when QEMU is missing or refuses, and for a boot error of the hypervisor. No
    QEMU process is left, however this ends.
    """
    program = command.find_program()
    with tempfile.TemporaryDirectory(prefix="aether-qemu-") as folder:
        if style is None:
            arguments = _with_bundle(request, Path(folder), icount=icount)
        else:
            arguments = command.foreign_arguments(style, icount=icount)
        errors = Path(folder, "errors")
        began = time.monotonic()
        with QemuProcess([program, *arguments], errors) as process:
            session = _Session(process, console, request.vms, idle_seconds)
            session.protocol.started = style is not None
            end = session.run()
            status = process.wait() if end is None else 0
        wall = time.monotonic() - began
        protocol = session.protocol
        protocol.finish()
        if end is None:
            end = protocol.end
        if end is None and status != 0:
            raise _qemu_failed(errors, status)
    if end is End.BOOT_FAILED:
        raise boot_failure(protocol.boot_error)
    return RunReport(
        target=request.target,
        on="qemu",
        board=request.board,
        ram_size=request.ram_size,
        cpus=request.cpus,
        binary_sha256=request.binary_sha256,
        bundle_sha256=request.bundle_sha256,
        end=end or request.silent_end,
        detail=protocol.crash if end is End.GUEST_CRASH else None,
        console_bytes=protocol.bytes,
        console_sha256=protocol.sha256,
        vms=vm_reports(request.vms, protocol, None),
        wall_s=wall,
    )


def _with_bundle(request: RunRequest, folder: Path, *, icount: bool) -> list[str]:
    """Writes what QEMU is to load into `folder`."""
    kernel, initrd = folder / "el2.bin", folder / "bundle"
    kernel.write_bytes(request.binary)
    initrd.write_bytes(request.bundle)
    return command.arguments(
        request.board, request.ram_size, request.cpus, kernel, initrd, icount=icount
    )


def _qemu_failed(errors: Path, status: int) -> UserError:
    lines = errors.read_text(errors="replace").splitlines()
    words = lines[0] if lines else f"exit status {status}"
    return UserError(f"QEMU failed ({words})", fix="see whether --ram and --board suit it")


class _Session:
    """Moves bytes between the console and QEMU until QEMU's output ends or the run is over."""

    def __init__(
        self,
        process: QemuProcess,
        console: ConsoleIO,
        names: Sequence[str],
        idle_seconds: float,
    ) -> None:
        self.protocol = ConsoleProtocol(names)
        self._process = process
        self._console = console
        self._idle_seconds = idle_seconds
        self._busy_seconds = idle_seconds * (BUSY_SECONDS / IDLE_SECONDS)
        self._silent = 0.0
        self._used = 0.0
        self._waiting = bytearray()

    def run(self) -> End | None:
        """None when QEMU ended by itself."""
        while True:
            readable, writable = self._wait()
            if self._process.output in readable:
                data = os.read(self._process.output, _CHUNK)
                if not data:
                    return None
                self.protocol.feed(data)
                self._console.write(data)
            for source in self._console.sources:
                if source in readable:
                    self._waiting += self._console.read_some(source)
            if self._console.left:
                return End.STOPPED
            if self._process.input in writable:
                self._send()
            if not readable and not writable and self._is_over():
                return End.INPUT_ENDED
            if readable or writable:
                self._silent, self._used = 0.0, self._process.cpu_seconds()

    def _wait(self) -> tuple[list[int], list[int]]:
        """Descriptors with something to do; none after too long a silence."""
        read = [self._process.output]
        if len(self._waiting) < _MOST_WAITING:
            read += self._console.sources
        feeding = self.protocol.started and bool(self._waiting)
        write = [self._process.input] if feeding else []
        over = self.protocol.started and not self._waiting and self._console.exhausted
        timeout = self._idle_seconds if over else None
        readable, writable, _ = select.select(read, write, [], timeout)
        return readable, writable

    def _is_over(self) -> bool:
        """Another idle time has passed: whether that is enough."""
        self._silent += self._idle_seconds
        used = self._process.cpu_seconds() - self._used
        return used <= _SLEEPING * self._silent or self._silent >= self._busy_seconds

    def _send(self) -> None:
        """As much of the waiting input as QEMU takes now."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            sent = os.write(self._process.input, self._waiting)
            del self._waiting[:sent]
