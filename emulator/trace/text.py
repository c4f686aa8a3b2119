# SPDX-License-Identifier: Apache-2.0
"""A trace as text: one line an instruction, or as QEMU's `-d exec,cpu` prints."""

from collections.abc import Iterator
from functools import lru_cache

import capstone
import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.exits import kind_name
from aether_edgecloud.emulator.trace.chunk import (
    ERET,
    EXCEPTION,
    NO_ADDRESS,
    REGISTER,
    Chunk,
    register_name,
)
from aether_edgecloud.emulator.trace.operations import PSTATE, SP
from aether_edgecloud.emulator.trace.recorder import EVERYTHING, Selection

_FLAGS = (("N", 31), ("Z", 30), ("C", 29), ("V", 28))
_A64 = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)


@lru_cache(maxsize=1 << 16)
def _mnemonic(word: int, pc_low: int) -> str:
    for found in _A64.disasm(word.to_bytes(4, "little"), pc_low):
        return f"{found.mnemonic} {found.op_str}".rstrip()
    return f".inst {word:#010x}"


def disassemble(word: int, pc: int) -> str:
    """The instruction's text; targets of branches are addresses."""
    is_relative = word & 0x1F00_0000 == 0x1000_0000 or word & 0x3B00_0000 == 0x1800_0000
    is_branch = word & 0x1C00_0000 == 0x1400_0000 and word >> 25 != 0x6B
    return _mnemonic(word, pc if is_relative or is_branch else 0)


def chosen(chunk: Chunk, wanted: Selection) -> npt.NDArray[np.int64]:
    """The instructions of a chunk that are wanted, by number."""
    found = (chunk.position >= wanted.begin) & (chunk.position < wanted.end)
    found &= np.isin(chunk.el, list(wanted.els))
    if wanted.vm is not None:
        found &= chunk.vm == wanted.vm
    return np.flatnonzero(found)


def _events(chunk: Chunk) -> dict[int, list[str]]:
    lines: dict[int, list[str]] = {}
    for event in chunk.events:
        kind, a = int(event["kind"]), int(event["a"])
        if kind == EXCEPTION:
            name = kind_name(a & 0xFF)
            text = (
                f"{name} from EL{a >> 8 & 15} to EL{a >> 12 & 15}"
                f"  esr={int(event['b']):#x} far={int(event['c']):#x} elr={int(event['d']):#x}"
            )
        elif kind == ERET:
            text = f"eret from EL{a & 15} to EL{a >> 4 & 15}  pc={int(event['d']):#x}"
        else:
            continue
        line = f"{int(event['position']):>14,} cpu{int(event['cpu'])} -- {text}"
        lines.setdefault(int(event["index"]), []).append(line)
    return lines


def lines(chunk: Chunk, wanted: Selection = EVERYTHING) -> Iterator[str]:
    """The instructions that are wanted, one a line, with the registers that changed and
    the memory that was accessed; exceptions and returns from them between."""
    some = chosen(chunk, wanted)
    if len(some) == 0:
        return
    writes, accesses = chunk.writes, chunk.accesses
    write_at = np.searchsorted(writes.instruction, np.arange(chunk.count + 1))
    access_at = np.searchsorted(accesses.instruction, np.arange(chunk.count + 1))
    events = _events(chunk)
    for i in some.tolist():
        yield from events.get(i, ())
        pc = int(chunk.pc[i])
        text = (
            f"{int(chunk.position[i]):>14,} cpu{chunk.cpu[i]} EL{chunk.el[i]} vm{chunk.vm[i]} "
            f"{pc:016x} {disassemble(int(chunk.word[i]), pc):<36}"
        )
        notes = [
            f"{register_name(int(writes.register[k]))}={int(writes.value[k]):#x}"
            for k in range(write_at[i], write_at[i + 1])
        ]
        for k in range(access_at[i], access_at[i + 1]):
            size, pa = int(accesses.size[k]), int(accesses.pa[k])
            data = accesses.words[k].tobytes()[:size]
            value = int.from_bytes(data, "little")
            place = "" if pa == NO_ADDRESS else f" pa {pa:#x}"
            arrow = "<-" if accesses.is_store[k] else "->"
            notes.append(f"[{int(accesses.va[k]):#x}{place}]{arrow}{value:#x}:{size}")
        yield f"{text} {' '.join(notes)}".rstrip()
    if some[-1] + 1 == chunk.count:
        yield from events.get(chunk.count, ())


def exec_cpu(chunk: Chunk, wanted: Selection = EVERYTHING) -> Iterator[str]:
    """The same instructions, each with all registers before it, in the layout of QEMU 7.2's
    `-singlestep -d exec,cpu,nochain`. The host's address and the block's flags are 0."""
    some = chosen(chunk, wanted)
    if len(some) == 0:
        return
    values = _Registers(chunk, int(some[0]))
    for i in some.tolist():
        cpu, pc = int(chunk.cpu[i]), int(chunk.pc[i])
        registers = values.before(i, cpu)
        yield f"Trace {cpu}: 0x0 [0000000000000000/{pc:016x}/00000000/00000000] "
        first = f" PC={pc:016x} X00={registers[0]:016x} X01={registers[1]:016x}"
        yield first
        for n in range(2, 29, 3):
            yield " ".join(f"X{k:02d}={registers[k]:016x}" for k in range(n, n + 3))
        yield f"X29={registers[29]:016x} X30={registers[30]:016x}  SP={registers[SP]:016x}"
        pstate = registers[PSTATE]
        flags = "".join(letter if pstate >> bit & 1 else "-" for letter, bit in _FLAGS)
        level, stack = pstate >> 2 & 3, "h" if pstate & 1 else "t"
        yield f"PSTATE={pstate:08x} {flags} EL{level}{stack}"


class _Registers:
    """Registers that follow the instructions of a chunk, from one of them on."""

    def __init__(self, chunk: Chunk, first: int) -> None:
        self._chunk = chunk
        self._next = first
        cpus = len(chunk.columns.registers)
        self._values = [chunk.registers_before(first, cpu) for cpu in range(cpus)]
        writes = chunk.writes
        self._register, self._value = writes.register, writes.value
        self._at = np.searchsorted(writes.instruction, np.arange(chunk.count + 1))
        self._others: dict[int, list[tuple[int, int, int]]] = {}
        for event in chunk.events:
            if event["kind"] == REGISTER:
                row = (int(event["cpu"]), int(event["a"]), int(event["c"]))
                self._others.setdefault(int(event["index"]), []).append(row)

    def before(self, index: int, cpu: int) -> list[int]:
        """The registers of a CPU before an instruction, later than the last."""
        for i in range(self._next, index + 1):
            if i > self._next:
                self._apply(i - 1)
            for owner, number, value in self._others.get(i, ()):
                turned = (value >> 4 | value << 28) & 0xFFFF_FFFF
                self._values[owner][number] = turned if number == PSTATE else value
        self._next = index
        return self._values[cpu]

    def _apply(self, index: int) -> None:
        values = self._values[int(self._chunk.cpu[index])]
        for k in range(self._at[index], self._at[index + 1]):
            values[int(self._register[k])] = int(self._value[k])
