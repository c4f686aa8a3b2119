# SPDX-License-Identifier: Apache-2.0
"""Backwards through a Linux boot by gdb's protocol: `aether gdb` and QEMU's record/replay.

Both are asked the same by the same client, from the last moments of the boot: to a breakpoint where
the hypervisor ends the machine, steps back from there, and back to the last data abort of the guest
that came before.
"""

import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.properties.bench.runs import COMMAND
from aether_edgecloud.properties.gdb.remote import Remote

_GUEST = "linux"
_END, _BEFORE = "power_end", "trap_data_abort"
_PATIENCE = 300.0
_DISK = "64M"


def gdb(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Seconds until gdb has the answer; medians."""
    loaded = binary.load(None)
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as name:
        folder = Path(name)
        for who, server in (("aether gdb", _ours), ("QEMU rr", _qemu)):
            yield f"{who}: recording"
            try:
                request = build_request(_GUEST, loaded)
                size = len(request.bundle)
                image = boards.by_name("virt", ram_size=request.ram_size).place(
                    request.binary_memory, size
                )
                names = symbols.load(loaded.elf, image.image)
                with server(request, folder) as port:
                    yield f"{who}: backwards"
                    yield from _backwards(who, port, names, rounds)
            except (UserError, OSError, subprocess.SubprocessError) as e:
                yield LeftOut(f"backwards, {who}", str(e))


def _backwards(who: str, port: int, names: symbols.Symbols, rounds: int) -> Iterator[Figure]:
    remote = Remote.wait_for(port, _PATIENCE)
    end, before = names.address_of(_END), names.address_of(_BEFORE)
    if end is None or before is None:
        raise UserError("the binary has not the symbols that are looked for", where=who)
    yield Figure(f"{who}: to the end of the boot", _time(remote, end, b"vCont;c"), "s")
    steps = [_time(remote, None, b"bs") for _ in range(2 * rounds)]
    yield Figure(f"{who}: one step back", statistics.median(steps), "s")
    yield Figure(f"{who}: back to a breakpoint", _time(remote, before, b"bc"), "s")
    remote.close()


def _time(remote: Remote, breakpoint_at: int | None, packet: bytes) -> float:
    """How long a packet takes, with a breakpoint or none."""
    if breakpoint_at is not None:
        remote.ask(b"Z1,%x,4" % breakpoint_at)
    began = time.monotonic()
    answer = remote.ask(packet)
    wall = time.monotonic() - began
    if breakpoint_at is not None:
        remote.ask(b"z1,%x,4" % breakpoint_at)
    if not answer.startswith(b"T05") or b"replaylog" in answer:
        raise UserError(f"{packet.decode()} was answered by {answer[:60].decode('latin-1')}")
    return wall


@contextmanager
def _ours(_: RunRequest, folder: Path) -> Iterator[int]:
    """Records the boot and serves the file; the port."""
    file = folder / "boot.aet"
    _run([*COMMAND, "run", _GUEST, "--record", str(file)])
    process = subprocess.Popen(
        [*COMMAND, "gdb", str(file), "--port", "0"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r":(\d+)'$", line.strip())
        if found is None:
            raise UserError(line.removeprefix("aether: "), where="aether gdb")
        yield int(found[1])
    finally:
        process.kill()
        process.wait()


@contextmanager
def _qemu(request: RunRequest, folder: Path) -> Iterator[int]:
    """The same with QEMU: one snapshot, at reset, is what its record/replay makes by itself."""
    program = command.find_program()
    image = shutil.which("qemu-img")
    if image is None:
        raise UserError("qemu-img is not here", fix="install it (Debian: apt install qemu-utils)")
    disk, log = folder / "rr.qcow2", folder / "rr.log"
    kernel, initrd = folder / "el2.bin", folder / "bundle"
    kernel.write_bytes(request.binary)
    initrd.write_bytes(request.bundle)
    _run([image, "create", "-f", "qcow2", str(disk), _DISK])
    words = command.arguments(
        request.board, request.ram_size, request.cpus, kernel, initrd, icount=False
    )
    to_file = f"file,id=console,path={folder / 'console'}"
    words = [to_file if word.startswith("stdio,id=console") else word for word in words]
    words += ["-drive", f"file={disk},if=none,id=rr"]

    def icount(mode: str) -> Sequence[str]:
        return ("-icount", f"shift=0,sleep=off,rr={mode},rrfile={log},rrsnapshot=reset")

    _run([program, *words, *icount("record")])
    port = _free_port()
    replay = [program, *words, *icount("replay"), "-S", "-gdb", f"tcp:127.0.0.1:{port}"]
    with (folder / "qemu.errors").open("wb") as errors:
        process = subprocess.Popen(replay, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def _run(words: Sequence[str]) -> None:
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(lines[-1].removeprefix("aether: "), where=Path(words[0]).name)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
