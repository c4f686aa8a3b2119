# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, as columns.

Position: instructions that all CPUs had retired. That of an exception or an ERET is the position
of the first instruction on its other side; that of anything an instruction does is the one before
that instruction; of accesses to devices, console output and input, that of the start of the block
of code they are in.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.arch import sysregs
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.exits import kind_name

U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

EVENT = np.dtype(
    [
        ("position", "<u8"),
        ("a", "<u8"),
        ("b", "<u8"),
        ("c", "<u8"),
        ("kind", "u1"),
        ("cpu", "u1"),
        ("vm", "u1"),
        ("unused", "u1", 5),
    ]
)
"""`struct event` of events.h."""
COLUMNS = ("position", "kind", "cpu", "vm", "a", "b", "c")


class EventKind(IntEnum):
    """What an event is. An exception is EXCEPTION, INTERRUPT or HYPERCALL, one of them.

    Levels are EL from | EL to << 4. `kind << 8` is the exception class, or 64 and more for an
    interrupt (`cpu.exits.kind_name`). Encodings are op0:op1:CRn:CRm:op2 in 16 bits.
    """

    EXCEPTION = 0
    """a: ESR, b: preferred return address, c: levels | kind << 8."""
    ERET = 1
    """To another EL. a: that EL, b: PC there, c: the EL it came from."""
    VM_SWITCH = 2
    """The CPU enters another VM than the one it left last. a: VMID before, b: VMID now."""
    HYPERCALL = 3
    """HVC taken to EL2. a: X0, b: preferred return address, c: the immediate."""
    TABLE_WRITE = 4
    """Found on demand. A store to a stage 2 table or one of EL2's. a: PA, b: before, c: after."""
    TLBI = 5
    """a: the operation's encoding, b: its argument, c: PC."""
    DSB = 6
    """Found on demand. DSB at EL2. a: the instruction, b: PC."""
    SYSREG_WRITE = 7
    """Any at EL2; at EL1 the registers that control translation and traps. a: encoding, b: value,
    c: PC. One that traps is followed by its exception."""
    MMIO = 8
    """a: PA, b: value, c: size in bytes | is_write << 8."""
    INTERRUPT = 9
    """a: 0, b: preferred return address, c: levels | kind << 8."""
    DEVICE_WRITE = 10
    """A byte of input has reached the console UART. a: the byte."""
    CONSOLE = 11
    """A line of output ends. a: where it begins in the output, b: its length, without its end."""
    MARK = 12
    """a: number of the mark."""


ON_DEMAND = frozenset({EventKind.TABLE_WRITE, EventKind.DSB})
"""Kinds that a recording holds only for the intervals that were looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events in the order in which they happened, one row each: `position` never falls.

    `vm` is the VMID in VTTBR_EL2 when it happened (0: EL2 has set none); `a`, `b` and `c` mean what
    `EventKind` says. `output` and `marks` are what CONSOLE and MARK refer to.
    """

    position: U64
    cpu: U8
    kind: U8
    vm: U8
    a: U64
    b: U64
    c: U64
    output: bytes = field(default=b"", repr=False)
    marks: tuple[str, ...] = ()

    @staticmethod
    def of(
        rows: npt.NDArray[np.void], output: bytes = b"", marks: tuple[str, ...] = ()
    ) -> "Events":
        """From rows of `EVENT`."""
        column = {name: np.ascontiguousarray(rows[name]) for name in COLUMNS}
        return Events(**column, output=output, marks=marks)

    def __len__(self) -> int:
        return len(self.position)

    def between(self, start: int, end: int) -> range:
        """The numbers of the events at positions from `start` up to before `end`."""
        first, last = np.searchsorted(self.position, np.array([start, end], np.uint64)).tolist()
        return range(first, last)

    def merged(self, other: "Events") -> "Events":
        """Both, in order; of those at one position the ones here come first."""
        position = np.concatenate((self.position, other.position))
        order = np.argsort(position, kind="stable")

        both = {
            name: np.concatenate((getattr(self, name), getattr(other, name)))[order]
            for name in COLUMNS
        }
        return Events(**both, output=self.output, marks=self.marks)

    def say(self, index: int) -> str:
        """An event in words."""
        kind = EventKind(int(self.kind[index]))
        a, b, c = int(self.a[index]), int(self.b[index]), int(self.c[index])
        match kind:
            case EventKind.EXCEPTION:
                return f"{kind_name(c >> 8)} {_levels(c)}, ESR {a:#x}, from {b:#x}"
            case EventKind.INTERRUPT:
                return f"{kind_name(c >> 8)} {_levels(c)}, at {b:#x}"
            case EventKind.HYPERCALL:
                return f"hvc #{c:#x}, X0 {a:#x}, from {b:#x}"
            case EventKind.ERET:
                return f"eret EL{c} to EL{a}, at {b:#x}"
            case EventKind.VM_SWITCH:
                return f"VM {a} to VM {b}" if a else f"VM {b} for the first time on this CPU"
            case EventKind.TABLE_WRITE:
                return f"table entry {a:#x}: {b:#x} becomes {c:#x}"
            case EventKind.TLBI:
                return f"{encoding_name(a)}, {b:#x}"
            case EventKind.DSB:
                return f"dsb at {b:#x}"
            case EventKind.SYSREG_WRITE:
                return f"{encoding_name(a)} = {b:#x}"
            case EventKind.MMIO:
                way = "write" if c >> 8 else "read"
                return f"{way} of {c & 0xFF} bytes at {a:#x}: {b:#x}"
            case EventKind.DEVICE_WRITE:
                return f"input {bytes([a & 0xFF])!r}"
            case EventKind.CONSOLE:
                return self.output[a : a + b].decode(errors="replace")
            case EventKind.MARK:
                return self.marks[a] if a < len(self.marks) else f"mark {a}"


@cache
def encoding_name(key: int) -> str:
    """A system register or instruction by its encoding in 16 bits."""
    for register in sysregs.SYSREGS:
        if reg.key(*register.encoding) == key:
            return register.name
    for operation in sysregs.SYSOPS:
        if reg.key(1, operation.op1, operation.crn, operation.crm, operation.op2) == key:
            return operation.name
    fields = (key >> 14 & 3, key >> 11 & 7, key >> 7 & 15, key >> 3 & 15, key & 7)
    return "S{}_{}_C{}_C{}_{}".format(*fields)


def _levels(c: int) -> str:
    return f"EL{c & 15} to EL{c >> 4 & 15}"
