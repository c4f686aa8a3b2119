# SPDX-License-Identifier: Apache-2.0
"""What gdb asks of a target, and what a target answers, as values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol

SIGINT, SIGTRAP = 2, 5
_E_ENTRY = slice(24, 32)  # of a 64-bit ELF header


class TargetError(Exception):
    """What was asked for cannot be; the text says why, in one line."""


class PointKind(IntEnum):
    """Breakpoints and watchpoints, as Z packets number them."""

    SOFTWARE = 0
    HARDWARE = 1
    WRITE = 2
    READ = 3
    ACCESS = 4


@dataclass(frozen=True, slots=True)
class Point:
    """`address` is one as the debugger sees memory, `size` in bytes: of the instruction at a
    breakpoint, of what is watched at a watchpoint."""

    kind: PointKind
    address: int
    size: int


class Motion(Enum):
    """How far to go, and which way."""

    FORWARD = "to the next breakpoint"
    BACK = "to the breakpoint before"
    STEP = "one instruction of a thread"
    STEP_RANGE = "until a thread leaves a range of addresses"
    STEP_BACK = "one instruction of a thread back"


@dataclass(frozen=True, slots=True)
class Resume:
    """Go. `thread` (from 1) is the one that steps; `start` and `end` are the range of STEP_RANGE,
    `end` not in it."""

    motion: Motion
    thread: int
    start: int = 0
    end: int = 0


class Why(Enum):
    """Why it stopped, by the words of a stop reply."""

    STEPPED = ""
    SOFTWARE = "swbreak"
    HARDWARE = "hwbreak"
    WRITE = "watch"
    READ = "rwatch"
    ACCESS = "awatch"
    BEGIN = "replaylog:begin"
    END = "replaylog:end"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where it stopped: thread, reason, the address watched; `notice` is a line for the user."""

    thread: int
    why: Why
    address: int = 0
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Thread:
    """A CPU. `number` counts from 1, `core` from 0; `about` says what it does at this moment."""

    number: int
    core: int
    name: str
    about: str


@dataclass(frozen=True, slots=True)
class ExecFile:
    """The ELF file of what runs, for gdb's symbols, and how far from its link addresses it runs."""

    name: str
    data: bytes
    offset: int

    @property
    def entry(self) -> int:
        """The address at which it was entered."""
        return int.from_bytes(self.data[_E_ENTRY], "little") + self.offset


Interrupted = Callable[[], bool]
"""Asked from time to time during long work: whether to stop."""


class Target(Protocol):
    """What a `Session` debugs. Threads count from 1; TargetError for what cannot be."""

    @property
    def current(self) -> int:
        """The thread whose instruction is next."""

    def threads(self) -> Sequence[Thread]:
        """All of them."""

    def description(self) -> str:
        """The target description, XML."""

    def exec_file(self) -> ExecFile | None:
        """The program, if there is a file of it."""

    def read_registers(self, thread: int) -> bytes:
        """Those of the `g` packet."""

    def read_register(self, thread: int, number: int) -> bytes:
        """One, by its number in the description."""

    def write_register(self, thread: int, number: int) -> None:
        """What a P packet asks for; the value does not matter where nothing can be changed."""

    def expedited(self, thread: int) -> Sequence[int]:
        """Registers that go with each stop."""

    def read_memory(self, thread: int, address: int, size: int) -> bytes:
        """As much of it as can be read, at least one byte."""

    def write_memory(self, thread: int, address: int, size: int) -> None:
        """The same for memory."""

    def insert(self, point: Point) -> None:
        """Set a breakpoint or watchpoint; one that is there already stays."""

    def remove(self, point: Point) -> None:
        """Take it away, if it is there."""

    def remove_all(self) -> None:
        """Take all away."""

    def resume(self, what: Resume, interrupted: Interrupted) -> Stop:
        """Go, and stop."""

    def monitor(self, line: str, interrupted: Interrupted) -> str:
        """Output of a `monitor` command."""

    @property
    def physical(self) -> bool:
        """Whether addresses of memory are physical ones."""

    @physical.setter
    def physical(self, wanted: bool) -> None: ...
