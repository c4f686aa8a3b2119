# SPDX-License-Identifier: Apache-2.0
"""The columns that the C recorder fills, mirrored from `trace.h`, and the memory they are in.

The mirror is checked against the sizes and offsets that the compiled library reports.
"""

import ctypes as c
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.hooks import HookState
from aether_edgecloud.emulator.trace.operations import REGISTERS, operation

CPUS = 8
BLOCKS, CODES, OPS, SLOTS = 1 << 18, 1 << 21, 1 << 18, 4096
MOST_BLOCK = 1024
MOST_ID = 0xFFFF
NO_PAGE = 1 << 52
_VALUES_OF_BLOCK = MOST_BLOCK * 20
_FREE = 0xFF

OP = np.dtype(
    [
        ("word", "<u4"),
        ("x", "<u4"),
        ("v", "<u4"),
        ("offset", "<i4"),
        ("flags", "u1"),
        ("base", "u1"),
        ("index", "u1"),
        ("extend", "u1"),
        ("shift", "u1"),
        ("size", "u1"),
        ("words", "u1"),
        ("status", "u1"),
        ("id", "<u4"),
        ("chunk", "<u4"),
    ]
)
BLOCK = np.dtype(
    [
        ("pc", "<u8"),
        ("pa", "<u8"),
        ("code", "<u4"),
        ("count", "<u4"),
        ("id", "<u4"),
        ("chunk", "<u4"),
        ("whole", "<u4"),
        ("measured", "<u4"),
    ]
)
CODE = np.dtype([("word", "<u4"), ("op", "<u4")])
EVENT = np.dtype(
    [
        ("position", "<u8"),
        ("a", "<u8"),
        ("b", "<u8"),
        ("c", "<u8"),
        ("d", "<u8"),
        ("index", "<u4"),
        ("kind", "u1"),
        ("cpu", "u1"),
        ("el", "u1"),
        ("vm", "u1"),
    ]
)
PARTIAL = np.dtype([("execution", "<u4"), ("start", "<u2"), ("count", "<u2")])
PAGE = np.dtype([("access", "<u4"), ("slot", "<u4"), ("page", "<u8")])
SLOT = np.dtype(
    [("page", "<u8"), ("physical", "<u8"), ("epoch", "<u8"), ("el", "<u4"), ("cpu", "<u4")]
)


class Op(c.Structure):
    """`struct trace_op`."""

    _fields_ = [
        ("word", c.c_uint32),
        ("x", c.c_uint32),
        ("v", c.c_uint32),
        ("offset", c.c_int32),
        *[
            (name, c.c_uint8)
            for name in ("flags", "base", "index", "extend", "shift", "size", "words", "status")
        ],
        ("id", c.c_uint32),
        ("chunk", c.c_uint32),
    ]


DESCRIBE_FN = c.CFUNCTYPE(None, c.POINTER(Op))
FLUSH_FN = c.CFUNCTYPE(None)

_COUNTS = (
    "chunk",
    "instructions",
    "executions",
    "accesses",
    "lengths",
    "payload",
    "partials",
    "pages",
    "events",
    "used_blocks",
    "used_ops",
)
_LIMITS = (
    "most_instructions",
    "most_executions",
    "most_lengths",
    "most_payload",
    "most_events",
)
_ARRAYS = (
    "execution_ids",
    "value_lengths",
    "payload_bytes",
    "partial",
    "page",
    "event",
    "block_numbers",
    "op_numbers",
    "slots",
    "shadow",
)


class TraceColumns(c.Structure):
    """`struct trace_columns`."""

    _fields_ = [
        *[(name, c.c_uint32) for name in (*_COUNTS, *_LIMITS)],
        *[(name, c.c_void_p) for name in _ARRAYS],
        ("block_count", c.c_uint32),
        ("code_count", c.c_uint32),
        ("op_count", c.c_uint32),
        ("block_table", c.c_void_p),
        ("code", c.c_void_p),
        ("ops", c.c_void_p),
        ("next_position", c.c_uint64),
        ("cpu", c.c_uint32),
        ("el", c.c_uint32),
        ("vm", c.c_uint32),
        ("begin", c.c_uint64),
        ("end", c.c_uint64),
        ("els", c.c_uint32),
        ("vms", c.c_uint32),
        ("only_vm", c.c_uint32),
        ("generation", c.c_uint32),
        ("last", c.c_void_p),
        ("describe", c.c_void_p),
        ("flush", c.c_void_p),
    ]


class Pending(c.Structure):
    """`struct trace_pending`."""

    _fields_ = [
        ("op", c.c_void_p),
        ("pc", c.c_uint64),
        ("position", c.c_uint64),
        ("next_pc", c.c_uint64),
        ("values", c.c_uint64 * REGISTERS),
    ]


class TracerState(c.Structure):
    """`struct tracer`."""

    _fields_ = [
        ("columns", c.c_void_p),
        ("uc", c.c_void_p),
        ("state", c.c_void_p),
        ("cpu", c.c_uint32),
        ("reg_q0", c.c_int32),
        *[(name, c.c_uint32) for name in ("stopped", "synced", "el", "vm")],
        *[(name, c.c_uint64) for name in ("exceptions", "base", "block_pc", "block_position")],
        *[(name, c.c_uint32) for name in ("first", "span", "open", "begun", "done")],
        ("block", c.c_void_p),
        *[(name, c.c_uint64) for name in ("vm_epoch", "code_page", "code_physical", "code_epoch")],
        ("code_el", c.c_uint32),
        *[(name, c.c_uint64) for name in ("whole_end", "whole_next", "stop_pc")],
        ("pending", Pending),
    ]


def check_layout(library: c.CDLL) -> None:
    """RuntimeError if the library was built from other structs."""
    layout = library.aether_trace_layout
    layout.argtypes, layout.restype = [c.c_uint32], c.c_uint64
    mine = [
        *[kind.itemsize for kind in (OP, BLOCK, CODE, EVENT, PARTIAL, PAGE, SLOT)],
        c.sizeof(TraceColumns),
        c.sizeof(TracerState),
        *[
            getattr(TraceColumns, name).offset
            for name in ("execution_ids", "shadow", "next_position", "describe")
        ],
    ]
    theirs = [layout(i) for i in range(len(mine))]
    if mine != theirs:
        raise RuntimeError(f"layout of the trace is {theirs}, expected {mine}")


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One chunk of a trace as it was recorded. docs/trace.md says what the columns mean.

    `position`, `cpu`, `el`, `vm` are what held before the first event; `registers` u64[CPUs, 98]
    the registers as they had been told.
    """

    position: int
    cpu: int
    el: int
    vm: int
    instructions: int
    accesses: int
    registers: npt.NDArray[np.uint64]
    ops: npt.NDArray[Any]
    block_pcs: npt.NDArray[np.uint64]
    block_counts: npt.NDArray[np.uint16]
    code: npt.NDArray[np.uint32]
    executions: npt.NDArray[np.uint16]
    partials: npt.NDArray[Any]
    lengths: npt.NDArray[np.uint8]
    payload: npt.NDArray[np.uint8]
    pages: npt.NDArray[Any]
    events: npt.NDArray[Any]


class ColumnBuffers:
    """The memory that the recorder writes to."""

    def __init__(self, most_instructions: int, cpus: int) -> None:
        n = most_instructions
        self.cpus = cpus
        room = MOST_BLOCK
        self.execution_ids = np.zeros(n + room, np.uint16)
        self.value_lengths = np.zeros(2 * n + _VALUES_OF_BLOCK, np.uint8)
        self.payload_bytes = np.zeros(8 * n + 8 * _VALUES_OF_BLOCK, np.uint8)
        self.partial = np.zeros(n + room, PARTIAL)
        self.page = np.zeros(n + room, PAGE)
        self.event = np.zeros(n // 4 + 1024, EVENT)
        self.block_numbers = np.zeros(MOST_ID + 1, np.uint32)
        self.op_numbers = np.zeros(OPS, np.uint32)
        self.slots = np.zeros(SLOTS, SLOT)
        self.shadow = np.zeros((CPUS, REGISTERS), np.uint64)
        self.block_table = np.zeros(BLOCKS, BLOCK)
        self.code = np.zeros(CODES, CODE)
        self.ops = np.zeros(OPS, OP)
        self.ops["size"] = _FREE
        self.slots["page"] = np.uint64(2**64 - 1)
        self.state = TraceColumns(
            chunk=1,
            most_instructions=n,
            most_executions=n,
            most_lengths=2 * n,
            most_payload=8 * n,
            most_events=n // 4,
            next_position=2**64 - 1,
            end=2**64 - 1,
            els=7,
            generation=1,
        )
        for name in (*_ARRAYS, "block_table", "code", "ops"):
            setattr(self.state, name, getattr(self, name).ctypes.data)
        self._describe = DESCRIBE_FN(_describe)
        self.state.describe = c.cast(self._describe, c.c_void_p).value
        self._mark()

    def _mark(self) -> None:
        """What the next chunk begins with."""
        state = self.state
        self._before = self.shadow[: self.cpus].copy()
        self._at = (int(state.next_position), int(state.cpu), int(state.el), int(state.vm))

    def take(self) -> Columns:
        """The chunk up to here; `aether_trace_begin_chunk` is due."""
        s = self.state
        blocks = self.block_table[self.block_numbers[: s.used_blocks]]
        ops = self.ops[self.op_numbers[: s.used_ops]]
        starts, counts = blocks["code"].astype(np.int64), blocks["count"].astype(np.int64)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        places = np.repeat(starts - (ends - counts), counts) + np.arange(total)
        code = self.ops["id"][self.code["op"][places]]
        position, cpu, el, vm = self._at
        columns = Columns(
            position,
            cpu,
            el,
            vm,
            int(s.instructions),
            int(s.accesses),
            self._before,
            ops,
            blocks["pc"].copy(),
            counts.astype(np.uint16),
            code,
            self.execution_ids[: s.executions].copy(),
            self.partial[: s.partials].copy(),
            self.value_lengths[: s.lengths].copy(),
            self.payload_bytes[: s.payload].copy(),
            self.page[: s.pages].copy(),
            self.event[: s.events].copy(),
        )
        self._mark()
        return columns


def _describe(pointer: "c._Pointer[Op]") -> None:
    op = pointer.contents
    o = operation(op.word)
    op.x, op.v, op.flags, op.offset = o.x, o.v, int(o.flags), o.offset
    op.base, op.index, op.extend, op.shift = o.base, o.index, o.extend, o.shift
    op.size, op.words, op.status = o.size, o.words, o.status


def tracer_state(columns: TraceColumns, uc: int, state: HookState, cpu: int) -> TracerState:
    """A CPU's, that has seen nothing yet."""
    return TracerState(
        columns=c.addressof(columns),
        uc=uc,
        state=c.addressof(state),
        cpu=cpu,
        stopped=1,
        exceptions=state.exceptions,
        code_page=2**64 - 1,
        stop_pc=2**64 - 1,
    )
