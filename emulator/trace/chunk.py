# SPDX-License-Identifier: Apache-2.0
"""One chunk of a trace as arrays: instructions, the registers they wrote, their accesses."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.trace.columns import NO_PAGE, SLOTS, Columns
from aether_edgecloud.emulator.trace.operations import (
    MEMORY,
    NO_REGISTER,
    PC,
    PSTATE,
    REGISTERS,
    SP,
    Op,
    V,
)
from aether_edgecloud.emulator.trace.transfers import Transfers

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
NO_ADDRESS = (1 << 64) - 1
"""In place of an address that is not known."""

# Kinds of event, as in `trace.h`.
STATE, EXCEPTION, REGISTER, ERET = range(4)

_TIME_BITS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Writes:
    """What the instructions of a chunk wrote, in order: one row for each register, whether its
    value changed or not. `register` is a number of `register_name`; `instruction` counts from the
    start of the chunk."""

    instruction: I64
    register: U8
    value: U64


@dataclass(frozen=True, slots=True, eq=False)
class Accesses:
    """Memory accesses, in order: one row for each instruction that made one.

    `va` is that of the first byte, `pa` too (NO_ADDRESS if not known: a page's end may be crossed).
    `size` in bytes, up to 64. `words` u64[n, 8]: what was read or written, 8 bytes at a time,
    little-endian; what an instruction read from a device into XZR is 0.
    """

    instruction: I64
    va: U64
    pa: U64
    size: U8
    is_store: npt.NDArray[np.bool_]
    words: U64


def register_name(number: int) -> str:
    """X0-X30, SP, PSTATE; V0.lo, V0.hi and so on, the halves of vector registers."""
    if number < SP:
        return f"x{number}"
    if number == SP:
        return "sp"
    if number == PSTATE:
        return "pstate"
    half = number - V
    return f"v{half // 2}.{'hi' if half & 1 else 'lo'}"


def _ragged(starts: I64, counts: I64) -> I64:
    """starts[0], starts[0]+1, ... counts[0] of them, then those of the next."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)


class Chunk:
    """Instructions in the order in which they were retired.

    `position` u64[n] of the machine, `cpu`, `el`, `vm` u8[n] (`vm`: VMID in VTTBR_EL2), `pc` u64[n]
    (VA), `word` u32[n]; `events` as docs/trace.md has them.
    """

    def __init__(self, columns: Columns) -> None:
        c = columns
        self.columns = c
        self.count = c.instructions
        self.events = c.events
        counts = c.block_counts.astype(np.int64)
        starts = np.cumsum(counts) - counts
        ran = counts[c.executions]
        first = np.zeros(len(c.executions), np.int64)
        ran[c.partials["execution"]] = c.partials["count"]
        first[c.partials["execution"]] = c.partials["start"]
        places = _ragged(starts[c.executions] + first, ran)
        if len(places) != self.count:
            raise ValueError("blocks and instructions do not agree")
        inside = places - np.repeat(starts[c.executions], ran)
        self.pc: U64 = np.repeat(c.block_pcs[c.executions], ran) + 4 * inside.astype(np.uint64)
        self._op: I64 = c.code[places].astype(np.int64)
        self.word: U32 = c.ops["word"][self._op]
        self._states()

    def _states(self) -> None:
        """Position, CPU, EL and VM of each instruction."""
        c, n = self.columns, self.count
        rows = c.events[c.events["kind"] == STATE]
        before = np.zeros(1, c.events.dtype)
        before["position"], before["cpu"], before["el"], before["vm"] = (
            c.position,
            c.cpu,
            c.el,
            c.vm,
        )
        rows = np.concatenate([before, rows])
        index = np.arange(n)
        row = np.searchsorted(rows["index"], index, side="right") - 1
        self.position: U64 = rows["position"][row] + (index - rows["index"][row]).astype(np.uint64)
        self.cpu: U8 = rows["cpu"][row]
        self.el: U8 = rows["el"][row]
        self.vm: U8 = rows["vm"][row]

    @cached_property
    def _registers_of_ops(self) -> tuple[I64, I64]:
        """By operation, in the order of the values: where in the second its registers begin."""
        rows: list[list[int]] = []
        for x, v, flags, words in self.columns.ops[["x", "v", "flags", "words"]].tolist():
            row = [MEMORY] * words + [n for n in range(32) if x >> n & 1]
            if flags & Op.PSTATE:
                row.append(PSTATE)
            for n in range(32):
                if v >> n & 1:
                    row += [V + 2 * n, V + 2 * n + 1]
            rows.append(row)
        counts = np.array([len(row) for row in rows], np.int64)
        return np.concatenate([[0], np.cumsum(counts)]), np.array(
            [n for row in rows for n in row], np.int64
        )

    @cached_property
    def _differences(self) -> U64:
        """The values as they are in the file."""
        lengths, payload = self.columns.lengths, self.columns.payload
        ends = np.cumsum(lengths, dtype=np.int64)
        if (int(ends[-1]) if len(ends) else 0) != len(payload) or (lengths > 8).any():
            raise ValueError("values and their lengths do not agree")
        starts = ends - lengths
        found = np.zeros(len(lengths), np.uint64)
        for byte in range(8):
            rows = np.flatnonzero(lengths > byte)
            if len(rows) == 0:
                break
            data = payload[starts[rows] + byte].astype(np.uint64)
            found[rows] |= data << np.uint64(8 * byte)
        sign = np.uint64(64) - 8 * lengths.astype(np.uint64)
        some = lengths > 0
        found[some] = (
            (found[some] << sign[some]).view(np.int64) >> sign[some].view(np.int64)
        ).view(np.uint64)
        return found

    @cached_property
    def _history(self) -> tuple[U64, U64, U64, I64, U8]:
        """All values that registers had: keys (CPU, register, time) that rise, and the values;
        then, as they are in the file, the values, instructions and registers of the writes.

        Time is 0 for what the chunk began with, 2i+1 before instruction i, 2i+2 after it.
        """
        c = self.columns
        begin, registers = self._registers_of_ops
        counts = (begin[1:] - begin[:-1])[self._op]
        register = registers[_ragged(begin[self._op], counts)]
        instruction = np.repeat(np.arange(self.count), counts)
        if len(register) != len(c.lengths):
            raise ValueError("instructions and values do not agree")
        cpu = self.cpu[instruction].astype(np.int64)
        others = c.events[c.events["kind"] == REGISTER]
        cpus = len(c.registers)
        slots = np.concatenate(
            [
                np.arange(cpus * REGISTERS),
                others["cpu"].astype(np.int64) * REGISTERS + others["a"].astype(np.int64),
                cpu * REGISTERS + register,
            ]
        )
        times = np.concatenate(
            [
                np.zeros(cpus * REGISTERS, np.int64),
                2 * others["index"].astype(np.int64) + 1,
                2 * instruction + 2,
            ]
        )
        steps = np.concatenate([c.registers.reshape(-1), others["b"], self._differences])
        keys = (slots.astype(np.uint64) << np.uint64(_TIME_BITS)) | times.astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        keys, sums = keys[order], np.cumsum(steps[order], dtype=np.uint64)
        # What came before the first row of a register is not its own.
        firsts = np.searchsorted(
            keys, np.arange(cpus * REGISTERS, dtype=np.uint64) << np.uint64(_TIME_BITS)
        )
        base = np.concatenate([np.zeros(1, np.uint64), sums])[firsts]
        sums -= base[keys >> np.uint64(_TIME_BITS)]
        values = np.empty_like(sums)
        values[order] = sums
        return (
            keys,
            sums,
            values[-len(register) :] if len(register) else values[:0],
            instruction,
            register.astype(np.uint8),
        )

    def _look_up(self, instruction: I64, register: I64, *, after: bool) -> U64:
        """Values of registers before or after instructions."""
        keys, values, *_ = self._history
        slots = self.cpu[instruction].astype(np.uint64) * np.uint64(REGISTERS)
        slots += register.astype(np.uint64)
        times = 2 * instruction.astype(np.uint64) + np.uint64(2 if after else 1)
        wanted = (slots << np.uint64(_TIME_BITS)) | times
        return values[np.searchsorted(keys, wanted, side="right") - 1]

    @cached_property
    def writes(self) -> Writes:
        """The registers that the instructions wrote."""
        _, _, values, instruction, register = self._history
        rows = register != MEMORY
        return Writes(instruction[rows], register[rows], _turned(register[rows], values[rows]))

    @cached_property
    def accesses(self) -> Accesses:
        """The instructions' accesses to memory."""
        c = self.columns
        ops = c.ops[self._op]
        rows = np.flatnonzero(ops["size"])
        status = ops["status"][rows].astype(np.int64)
        is_store_exclusive = status != NO_REGISTER
        failed = np.zeros(len(rows), bool)
        if is_store_exclusive.any():
            asked = rows[is_store_exclusive]
            answer = self._look_up(asked, status[is_store_exclusive], after=True)
            failed[is_store_exclusive] = answer.astype(np.uint32) != 0
        rows = rows[~failed]
        if len(rows) != c.accesses:
            raise ValueError("instructions and accesses do not agree")
        ops = c.ops[self._op[rows]]
        va = self._addresses(rows, ops)
        is_store = (ops["flags"] & Op.STORE) != 0
        return Accesses(
            rows, va, self._physical(va), ops["size"], is_store, self._words(rows, ops, is_store)
        )

    def _addresses(self, rows: I64, ops: npt.NDArray[Any]) -> U64:
        base = ops["base"].astype(np.int64)
        of_pc = base == PC
        va = self._look_up(rows, np.where(of_pc, 0, base), after=False)
        va = np.where(of_pc, self.pc[rows], va) + ops["offset"].astype(np.int64).view(np.uint64)
        indexed = np.flatnonzero(ops["index"] != NO_REGISTER)
        if len(indexed):
            index = self._look_up(
                rows[indexed], ops["index"][indexed].astype(np.int64), after=False
            )
            extend = ops["extend"][indexed]
            low = index & np.uint64(0xFFFF_FFFF)
            index = np.where(extend == 2, low, index)
            signed = low.astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)
            index = np.where(extend == 6, signed, index)
            va[indexed] += index << ops["shift"][indexed].astype(np.uint64)
        line = (ops["flags"] & Op.LINE) != 0
        return np.where(line, va & ~np.uint64(63), va)

    def _physical(self, va: U64) -> U64:
        """The recorder tells the page of an access when it is not what was told last in its
        slot."""
        page = va >> np.uint64(12)
        slot = (page ^ page >> np.uint64(12)) % np.uint64(SLOTS)
        access = np.arange(len(va), dtype=np.uint64)
        told = self.columns.pages
        keys = told["slot"].astype(np.uint64) << np.uint64(32) | told["access"].astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        found = np.searchsorted(keys[order], slot << np.uint64(32) | access, side="right") - 1
        if (found < 0).any():
            raise ValueError("an access without a page")
        physical = told["page"][order][found]
        pa = physical << np.uint64(12) | va & np.uint64(0xFFF)
        return np.where(physical == NO_PAGE, np.uint64(NO_ADDRESS), pa)

    def _words(self, rows: I64, ops: npt.NDArray[Any], is_store: npt.NDArray[np.bool_]) -> U64:
        """What was transferred: from the registers, or as it was told."""
        words = np.zeros((len(rows), 8), np.uint64)
        transfers = Transfers(self.columns.ops["word"])
        op = self._op[rows]
        for piece in range(transfers.most):
            register = transfers.registers[op, piece]
            for stored in (False, True):
                some = np.flatnonzero((register != NO_REGISTER) & (is_store == stored))
                if len(some) == 0:
                    continue
                of = register[some].astype(np.int64)
                value = self._look_up(rows[some], of, after=not stored)
                width = transfers.widths[op[some]].astype(np.int64)
                mask = np.where(width == 8, NO_ADDRESS, (1 << (8 * np.minimum(width, 7))) - 1)
                byte = piece * width
                words[some, byte // 8] |= (value & mask.astype(np.uint64)) << (
                    8 * (byte % 8)
                ).astype(np.uint64)
        told = ops["words"].astype(np.int64)
        some = np.flatnonzero(told)
        if len(some):
            _, _, values, _, register = self._history
            memory = values[register == MEMORY]
            at = _ragged(np.zeros(len(some), np.int64), told[some])
            words[np.repeat(some, told[some]), at] = memory
        return words

    def registers_before(self, index: int, cpu: int | None = None) -> list[int]:
        """All registers of a CPU (that of the instruction) before instruction `index`, which may be
        `count`: values by number."""
        if cpu is None:
            cpu = int(self.cpu[index]) if index < self.count else self._last_cpu()
        keys, values, *_ = self._history
        slots = np.uint64(cpu * REGISTERS) + np.arange(MEMORY, dtype=np.uint64)
        wanted = (slots << np.uint64(_TIME_BITS)) | np.uint64(2 * index + 1)
        found = values[np.searchsorted(keys, wanted, side="right") - 1]
        return [int(v) for v in _turned(np.arange(MEMORY, dtype=np.uint8), found)]

    def _last_cpu(self) -> int:
        return int(self.cpu[-1]) if self.count else int(self.columns.cpu)


def _turned(register: U8, value: U64) -> U64:
    """PSTATE is kept rotated, so that the flags are in the low bits."""
    turned = value >> np.uint64(4) | (value & np.uint64(15)) << np.uint64(28)
    return np.where(register == PSTATE, turned, value)
