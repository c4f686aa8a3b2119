# SPDX-License-Identifier: Apache-2.0
"""QEMU's `virt`, started stopped, as a memory of device registers."""

import select
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MACHINE = "virt,virtualization=on,gic-version=2"
ANSWER_LIMIT_S = 60


class QemuMemory:
    """The physical memory of a stopped QEMU, through the gdb remote protocol."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to = process.stdin
        self._from = process.stdout
        assert self._command("Qqemu.PhyMemMode:1") == "OK"

    def read(self, address: int, size: int) -> int:
        return int.from_bytes(bytes.fromhex(self._command(f"m{address:x},{size:x}")), "little")

    def write(self, address: int, size: int, value: int) -> None:
        data = value.to_bytes(size, "little").hex()
        assert self._command(f"M{address:x},{size:x}:{data}") == "OK"

    def _command(self, text: str) -> str:
        self._to.write(f"${text}#{sum(text.encode()) & 0xFF:02x}".encode())
        answer = b""
        while not answer.endswith(b"#"):
            answer += self._byte()
        self._byte()
        self._byte()
        self._to.write(b"+")
        return answer[answer.index(b"$") + 1 : -1].decode()

    def _byte(self) -> bytes:
        ready, _, _ = select.select([self._from], [], [], ANSWER_LIMIT_S)
        assert ready, "QEMU does not answer"
        byte = self._from.read(1)
        assert byte, "QEMU has ended"
        return byte


@contextmanager
def stopped_qemu(qemu: Path) -> Generator[QemuMemory]:
    command = [str(qemu), "-M", MACHINE, "-cpu", "cortex-a72", "-m", "64M", "-S", "-gdb", "stdio"]
    quiet = ["-display", "none", "-serial", "null", "-monitor", "none"]
    process = subprocess.Popen(
        [*command, *quiet], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        yield QemuMemory(process)
    finally:
        process.kill()
        process.communicate()
