# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's console and vPL011s as a process of this machine, with sanitizers, and how to
read what several VMs have written."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

AETHER = "aether"
_PREFIX = re.compile(rb"\[([a-z0-9-]+)(\+?)\] ")

DR, FR, IBRD, IFLS, IMSC, RIS, MIS, ICR = 0x00, 0x18, 0x24, 0x34, 0x38, 0x3C, 0x40, 0x44
FR_RXFE, FR_TXFF, FR_TXFE = 1 << 4, 1 << 5, 1 << 7
INT_RX, INT_TX, INT_RT = 1 << 4, 1 << 5, 1 << 6
RUNNING, DOWN = 1, 0
"""Of enum vm_state."""


class Console:
    """`el2/host/console.c` with some VMs. A sanitizer's finding ends it, and the test."""

    def __init__(self, program: Path, vms: int) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask("start", vms)

    def __enter__(self) -> "Console":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait() == 0

    def _ask(self, command: str, *arguments: int | str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        words = [a if isinstance(a, str) else f"{a:x}" for a in arguments]
        self._process.stdin.write(" ".join([command, *words]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer.endswith("\n"), "a sanitizer or an assertion has ended it: see stderr"
        return answer[:-1]

    def write(self, vm: int, offset: int, value: int) -> None:
        self._ask("write", vm, offset, value)

    def read(self, vm: int, offset: int) -> int:
        return int(self._ask("read", vm, offset), 16)

    def send(self, vm: int, data: bytes) -> bytes:
        """What of `data` had room, as a polling driver writes it."""
        return data[: int(self._ask("send", vm, data.hex()), 16)]

    def receive(self, vm: int) -> bytes:
        """All the input there is, as a polling driver reads it."""
        found = bytearray()
        while not self.read(vm, FR) & FR_RXFE:
            found.append(self.read(vm, DR))
        return bytes(found)

    def slot(self, vm: int) -> None:
        self._ask("slot", vm)

    def window(self, ticks: int = 4000) -> None:
        self._ask("window", ticks)

    def log(self, vm: int, text: str) -> bool:
        return self._ask("log", vm, text) == "1"

    def own(self, text: str) -> None:
        self._ask("own", text)

    def room(self, count: int) -> None:
        """The UART takes so much more; 0xffffffff: without end."""
        self._ask("room", count)

    def type(self, data: bytes) -> None:
        self._ask("type", data.hex())

    def state(self, vm: int, state: int) -> None:
        self._ask("state", vm, state)

    def flush(self) -> None:
        self._ask("flush")

    def out(self) -> bytes:
        """What the UART has sent since the last time."""
        return bytes.fromhex(self._ask("out"))

    def levels(self) -> list[bool]:
        return [level == "1" for level in self._ask("levels")]


@dataclass(slots=True)
class Said:
    """One console of several VMs, taken apart by its rules."""

    by: dict[str, bytes] = field(default_factory=dict)
    cuts: int = 0
    """How often a line was interrupted."""


def taken_apart(console: bytes) -> Said:
    """Raises AssertionError where the rules are not kept."""
    said = Said()
    for line in re.split(rb"(?<=\n)(?=.)", console, flags=re.DOTALL) if console else []:
        prefix = _PREFIX.match(line)
        assert prefix, line
        name = prefix[1].decode()
        before = said.by.get(name, b"")
        if prefix[2]:
            assert before.endswith(b"\r\n"), (name, before[-20:], line)
            before = before[:-2]
            said.cuts += 1
        else:
            assert before == b"" or before.endswith(b"\n"), (name, before[-20:], line)
        said.by[name] = before + line[prefix.end() :]
    return said
