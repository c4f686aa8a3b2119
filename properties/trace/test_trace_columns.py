# SPDX-License-Identifier: Apache-2.0
"""The encoder in C fills the same columns as the one in Python, and what was encoded comes back."""

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.emulator.trace.chunk import ERET, EXCEPTION, REGISTER, STATE, Chunk
from aether_edgecloud.emulator.trace.columns import ColumnBuffers, Columns
from aether_edgecloud.emulator.trace.file import pack, unpack
from aether_edgecloud.emulator.trace.operations import MEMORY, PSTATE, REGISTERS, Op, V, operation
from aether_edgecloud.properties.trace.columns_twin import Block, TwinColumns

CPUS = 2
WORDS = (
    0x9100_0421,  # add x1, x1, #1
    0xEB02_0021,  # subs x1, x1, x2
    0xA9BF_7BFD,  # stp x29, x30, [sp, #-16]!
    0xF840_8422,  # ldr x2, [x1], #8
    0xB862_5823,  # ldr w3, [x1, w2, uxtw #2]
    0xF940_003F,  # ldr xzr, [x1]
    0x3DC0_0020,  # ldr q0, [x1]
    0x4C40_2020,  # ld1 {v0.16b-v3.16b}, [x1]
    0xC800_7C22,  # stxr w0, x2, [x1]
    0xD50B_7421,  # dc zva, x1
    0x5800_0041,  # ldr x1, .+8
    0xD69F_03E0,  # eret
    0x1400_0000,  # b .
)
u64 = st.one_of(
    st.integers(0, (1 << 64) - 1), st.integers(0, 300), st.integers((1 << 64) - 300, (1 << 64) - 1)
)


@dataclass(frozen=True)
class Step:
    """One execution of a block: of instructions [begun, begun + done), with values for all that
    they write. `pages` are physical ones, by access."""

    block: Block
    begun: int
    done: int
    values: tuple[int, ...]
    pages: tuple[int, ...]
    epoch: int
    cpu: int
    el: int
    vm: int
    event: tuple[int, int, int, int] | None
    changed: tuple[int, int] | None  # a register that something else has written


blocks = st.builds(
    Block,
    st.integers(0, 40).map(lambda n: 0xFFFF_8000_0000_0000 + 64 * n),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(tuple),
)


@st.composite
def steps(draw: st.DrawFn) -> Step:
    block = draw(blocks)
    begun = draw(st.integers(0, len(block.words) - 1))
    some = st.lists(u64, min_size=1, max_size=5).map(tuple)
    return Step(
        block,
        begun,
        draw(st.integers(0, len(block.words) - begun)),
        draw(some),
        draw(st.lists(st.integers(0, 1 << 20), min_size=1, max_size=3).map(tuple)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, CPUS - 1)),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 3)),
        draw(st.none() | st.tuples(u64, u64, u64, u64)),
        draw(st.none() | st.tuples(st.integers(0, MEMORY - 1), u64)),
    )


class CColumns:
    """The encoder in C, with the calls of the twin."""

    def __init__(self) -> None:
        self.buffers = ColumnBuffers(4096, CPUS)
        self.library = c.CDLL(str(shared_library("hooks")))
        self.state = c.byref(self.buffers.state)
        self.places: dict[Block, int] = {}

    def value(self, cpu: int, register: int, value: int) -> None:
        self.library.aether_trace_value(self.state, cpu, register, c.c_uint64(value))

    def event(self, kind: int, *values: int) -> None:
        self.library.aether_trace_event(self.state, kind, *map(c.c_uint64, values))

    def execution(self, block: Block) -> None:
        self.library.aether_trace_execution(self.state, self._place(block))

    def leave(self, block: Block, begun: int, done: int) -> None:
        self.library.aether_trace_leave(self.state, self._place(block), begun, done)

    def page(self, page: int, physical: int, epoch: int, cpu: int, el: int) -> None:
        rest = (c.c_uint64(epoch), cpu, el)
        if self.library.aether_trace_is_new_page(self.state, c.c_uint64(page), *rest):
            pages = c.c_uint64(page), c.c_uint64(physical)
            self.library.aether_trace_page(self.state, *pages, *rest)

    def begin_chunk(self) -> None:
        self.library.aether_trace_begin_chunk(self.state)

    def _place(self, block: Block) -> c.c_void_p:
        """Puts the block in the tables, as trace.c does."""
        b, s = self.buffers, self.buffers.state
        if block not in self.places:
            row = self.places[block] = s.block_count
            s.block_count += 1
            b.block_table[row]["pc"] = block.pc
            b.block_table[row]["code"] = s.code_count
            b.block_table[row]["count"] = len(block.words)
            for word in block.words:
                number = WORDS.index(word)
                o = operation(word)
                b.ops[number]["word"] = word
                for name in ("x", "v", "offset", "flags", "base", "index", "extend", "shift"):
                    b.ops[number][name] = getattr(o, name)
                for name in ("size", "words", "status"):
                    b.ops[number][name] = getattr(o, name)
                b.code[s.code_count] = (word, number)
                s.code_count += 1
        return c.c_void_p(b.block_table.ctypes.data + self.places[block] * b.block_table.itemsize)


@dataclass
class Expected:
    """What was told."""

    pcs: list[int]
    places: list[tuple[int, int, int, int]]
    writes: list[tuple[int, int, int]]
    accesses: list[tuple[int, int, int]]


def _numbers(word: int) -> list[int]:
    o = operation(word)
    found = [n for n in range(32) if o.x >> n & 1]
    found += [PSTATE] if o.flags & Op.PSTATE else []
    return found + [V + 2 * n + half for n in range(32) if o.v >> n & 1 for half in (0, 1)]


def tell(run: list[Step], twin: TwinColumns, in_c: CColumns) -> Expected:
    """Tells both encoders what the recorder would, as trace.c does it."""
    told = Expected([], [], [], [])
    both = (twin, in_c)
    state = in_c.buffers.state
    for step in run:
        position = 1000 * len(told.pcs)
        twin.position = state.next_position = position
        twin.cpu = state.cpu = step.cpu
        twin.el = state.el = step.el
        twin.vm = state.vm = step.vm
        for e in both:
            e.event(STATE, 0, 0, 0, 0)
        if step.event is not None:
            for e in both:
                e.event(EXCEPTION, *step.event)
        if step.changed is not None:
            number, value = step.changed
            value &= 0xFFFF_FFFF if number == PSTATE else (1 << 64) - 1
            added = (value - twin.shadow[step.cpu][number]) & ((1 << 64) - 1)
            for e in both:
                e.event(REGISTER, number, added, value, 0)
            twin.shadow[step.cpu][number] = value
            in_c.buffers.shadow[step.cpu, number] = value
        for e in both:
            e.execution(step.block)
        supply = iter(step.values * 600)
        for k in range(step.begun, step.begun + step.done):
            _tell_one(step, k, position + k - step.begun, supply, told, twin, in_c)
        for e in both:
            e.leave(step.block, step.begun, step.done)
    return told


def _tell_one(
    step: Step,
    k: int,
    position: int,
    supply: Iterator[int],
    told: Expected,
    twin: TwinColumns,
    in_c: CColumns,
) -> None:
    both = (twin, in_c)
    word, pc = step.block.words[k], step.block.pc + 4 * k
    o, shadow = operation(word), twin.shadow[step.cpu]
    values = [next(supply) for _ in _numbers(word)]
    index, state = len(told.pcs), in_c.buffers.state
    if o.size and (o.status == 255 or values[0] & 0xFFFF_FFFF == 0):
        va = (pc if o.base == 32 else shadow[o.base]) + o.offset
        if o.index != 255:
            va += (shadow[o.index] & 0xFFFF_FFFF) << o.shift
        va &= (1 << 64) - 1
        va = va & ~63 if o.flags & Op.LINE else va
        physical = step.pages[index % len(step.pages)]
        slot = twin.slots.get(((va >> 12) ^ (va >> 24)) % 4096)
        if slot is not None and slot[0] == va >> 12 and slot[2:] == (step.epoch, step.cpu, step.el):
            physical = slot[1]  # it cannot have changed
        for e in both:
            e.page(va >> 12, physical, step.epoch, step.cpu, step.el)
        told.accesses.append((index, va, physical << 12 | va & 0xFFF))
        twin.accesses += 1
        state.accesses += 1
        for _ in range(o.words):
            value = next(supply)
            for e in both:
                e.value(step.cpu, MEMORY, value)
    elif o.words:
        raise AssertionError
    for number, value in zip(_numbers(word), values, strict=True):
        kept = value & 0xFFFF_FFFF if number == PSTATE else value
        for e in both:
            e.value(step.cpu, number, kept)
        shown = (kept >> 4 | kept << 28) & 0xFFFF_FFFF if number == PSTATE else kept
        told.writes.append((index, number, shown))
    twin.instructions += 1
    state.instructions += 1
    told.pcs.append(pc)
    told.places.append((position, step.cpu, step.el, step.vm))
    if o.flags & Op.ERET:
        for e in both:
            e.event(ERET, 0x12, 0, 0, pc)


def same(one: Columns, other: Columns) -> None:
    """All columns are equal, their types too; what numbers an op had in the tables does not
    count."""
    for name in Columns.__dataclass_fields__:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray) and a.dtype.names is not None:
            for part in set(a.dtype.names) - {"id", "chunk"}:
                assert a[part].tolist() == b[part].tolist(), (name, part)
        elif isinstance(a, np.ndarray):
            assert a.tolist() == b.tolist(), name
        else:
            assert a == b, name


IN_C = CColumns()


@given(st.lists(steps(), min_size=1, max_size=12))
def test_both_encoders_say_the_same_and_it_comes_back(run: list[Step]) -> None:
    IN_C.begin_chunk()
    IN_C.buffers.shadow[:] = 0
    IN_C.buffers._at = ((1 << 64) - 1, 0, 0, 0)
    IN_C.buffers._before = np.zeros((CPUS, REGISTERS), np.uint64)
    twin = TwinColumns(CPUS)
    told = tell(run, twin, IN_C)
    made = IN_C.buffers.take()
    expected = twin.columns([[0] * REGISTERS for _ in range(CPUS)])
    same(made, expected)
    again = unpack(pack(made))
    same(again, expected)
    chunk = Chunk(again)
    assert chunk.pc.tolist() == told.pcs
    columns = (chunk.position, chunk.cpu, chunk.el, chunk.vm)
    assert list(zip(*(x.tolist() for x in columns), strict=True)) == told.places
    w, a = chunk.writes, chunk.accesses
    found = zip(w.instruction.tolist(), w.register.tolist(), w.value.tolist(), strict=True)
    assert list(found) == told.writes
    rows = zip(a.instruction.tolist(), a.va.tolist(), a.pa.tolist(), strict=True)
    assert list(rows) == told.accesses
    for cpu in range(CPUS):
        last = chunk.registers_before(chunk.count, cpu)
        twins = list(twin.shadow[cpu][:MEMORY])
        twins[PSTATE] = (twins[PSTATE] >> 4 | twins[PSTATE] << 28) & 0xFFFF_FFFF
        assert last == twins
