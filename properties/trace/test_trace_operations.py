# SPDX-License-Identifier: Apache-2.0
"""What an instruction is said to write and access is what it writes and accesses, on Unicorn."""

import ctypes as c
from dataclasses import dataclass, field

import numpy as np
import unicorn
from hypothesis import given
from hypothesis import strategies as st
from unicorn import arm64_const as regs
from unicorn import unicorn_const as uc
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.cpu import registers
from aether_edgecloud.emulator.trace.operations import (
    NO_REGISTER,
    PC,
    PSTATE,
    SP,
    Op,
    Operation,
    V,
    operation,
)
from aether_edgecloud.emulator.trace.transfers import Transfers

_LIB = binding.uclib
CODE, DATA, SIZE = 0x10_0000, 0x4000_0000, 0x40_0000
MASK = (1 << 64) - 1


ALL = (
    *(r.number for r in registers.X),
    regs.UC_ARM64_REG_SP,
    regs.UC_ARM64_REG_PSTATE,
    *(r.number for r in registers.V),
)


@dataclass
class Seen:
    """What one instruction did: registers by number, bytes by address."""

    changed: dict[int, int] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)


class Cpu:
    """A Cortex-A72 that executes one instruction at a time, with FP on and the MMU off."""

    def __init__(self) -> None:
        self.uc = unicorn.Uc(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM)
        self.uc.ctl_set_cpu_model(regs.UC_CPU_ARM64_A72)
        self.uc.mem_map(CODE, 0x1000)
        self.uc.mem_map(DATA, SIZE)
        self.uc.mem_write(DATA, (np.arange(SIZE) * 2654435761 >> 13).astype(np.uint8).tobytes())
        self.uc.reg_write(regs.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        self.seen = Seen()
        self.uc.hook_add(uc.UC_HOOK_MEM_READ, self._on_read)
        self.uc.hook_add(uc.UC_HOOK_MEM_WRITE, self._on_write)
        self.uc.hook_add(uc.UC_HOOK_INTR, lambda *_: self._fail())
        self.failed = False
        # Unicorn's own binding would take most of the time.
        self._values = (c.c_uint64 * (2 * len(ALL) - PSTATE - 1))()
        places = [n if n <= PSTATE else 2 * n - PSTATE - 1 for n in range(len(ALL))]
        start = c.addressof(self._values)
        self._cells = (c.c_void_p * len(ALL))(*(start + 8 * place for place in places))
        self._numbers = (c.c_int * len(ALL))(*ALL)

    def _fail(self) -> None:
        self.failed = True
        self.uc.emu_stop()

    def _on_read(self, _uc: object, _kind: int, address: int, size: int, *_: object) -> None:
        data = bytes(self.uc.mem_read(address, size))
        self.seen.read.update(zip(range(address, address + size), data, strict=True))

    def _on_write(
        self, _uc: object, _kind: int, address: int, size: int, value: int, *_: object
    ) -> None:
        data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        self.seen.written.update(zip(range(address, address + size), data, strict=True))

    def all(self) -> list[int]:
        """X0-X30, SP, PSTATE, and V0-V31 in halves."""
        _LIB.uc_reg_read_batch(self.uc._uch, self._numbers, self._cells, len(ALL))
        return list(self._values)

    def prepare(self, values: list[int]) -> None:
        """X0-X30 and SP; what is in the others does not matter."""
        for number, value in enumerate(values):
            self._values[number] = value
        _LIB.uc_reg_write_batch(self.uc._uch, self._numbers, self._cells, SP + 1)

    def step(self, word: int) -> Seen | None:
        """None if it does not retire."""
        self.uc.mem_write(CODE, word.to_bytes(4, "little"))
        self.uc.ctl_remove_cache(CODE, CODE + 4)
        self.seen, self.failed = Seen(), False
        before = self.all()
        try:
            self.uc.emu_start(CODE, CODE + 4)
        except unicorn.UcError:
            return None
        if self.failed:
            return None
        after = self.all()
        self.seen.changed = {
            n: new for n, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
        }
        return self.seen


def said(o: Operation) -> set[int]:
    found = {n for n in range(32) if o.x >> n & 1}
    found |= {PSTATE} if o.flags & Op.PSTATE else set()
    return found | {V + 2 * n + half for n in range(32) if o.v >> n & 1 for half in (0, 1)}


def address(o: Operation, values: list[int]) -> int:
    va = (CODE if o.base == PC else values[o.base]) + o.offset
    if o.index != NO_REGISTER:
        index = values[o.index]
        if o.extend in (2, 6):
            index &= 0xFFFF_FFFF
        if o.extend == 6 and index >> 31:
            index -= 1 << 32
        va += index << o.shift
    return (va & ~63 if o.flags & Op.LINE else va) & MASK


# Branches go elsewhere, and what system instructions do is the machine's to say.
GROUPS = (0b1000, 0b1001, 0b0101, 0b1101, 0b0111, 0b1111) + (4, 6, 12, 14) * 2
words = st.builds(
    lambda group, rest: rest & ~(15 << 25) | group << 25,
    st.sampled_from(GROUPS),
    st.integers(0, (1 << 32) - 1),
)
pointers = st.integers(DATA + 0x10_0000, DATA + 0x20_0000)
CPU = Cpu()


@given(st.lists(words, min_size=15, max_size=15), st.lists(pointers, min_size=32, max_size=32))
def test_what_is_said_is_what_happens(code: list[int], values: list[int]) -> None:
    values[SP] &= ~15
    for word in code:
        CPU.prepare(values)
        seen = CPU.step(word)
        if seen is None:
            continue
        o, where = operation(word), f"{word:#010x}"
        assert set(seen.changed) <= said(o), where
        accessed = {**seen.read, **seen.written}
        if not o.size:
            assert not accessed, where
            continue
        if not seen.written and _is_store_exclusive(word):
            continue
        start = address(o, values)
        assert set(accessed) == set(range(start, start + o.size)), where
        assert bool(seen.written) == bool(o.flags & Op.STORE), where
        _check_transfer(word, o, seen, values, start)


def _is_store_exclusive(word: int) -> bool:
    """Told by its status, if that goes to a register."""
    ls = a64.decode(word)
    return isinstance(ls, a64.LoadStore) and ls.exclusive and ls.is_store


def _is_unpredictable(word: int) -> bool:
    """A register is written twice (CONSTRAINED UNPREDICTABLE)."""
    ls = a64.decode(word)
    assert isinstance(ls, a64.LoadStore) or word & 0xFFFF_FFE0 == 0xD50B_7420
    if not isinstance(ls, a64.LoadStore):
        return False
    targets = (ls.rt,) if ls.rt2 is None else (ls.rt, ls.rt2)
    twice = ls.is_load and len(set(targets)) < len(targets)
    if ls.simd:
        return twice
    return twice or (ls.writeback and ls.rn != SP and ls.rn in targets) or ls.rs in targets


def _check_transfer(word: int, o: Operation, seen: Seen, values: list[int], start: int) -> None:
    """Registers hold what was transferred."""
    if o.words or _is_unpredictable(word):
        return
    transfers = Transfers(np.array([word], np.uint32))
    width = int(transfers.widths[0])
    accessed = {**seen.read, **seen.written}
    after = CPU.all()
    for piece, number in enumerate(transfers.registers[0].tolist()):
        at = start + piece * width
        if at >= start + o.size:
            break
        found = int.from_bytes(bytes(accessed[at + k] for k in range(width)), "little")
        if number == NO_REGISTER:
            assert found == 0
            continue
        value = after[number]
        if seen.written and number < SP:
            value = values[number]
        assert value & ((1 << 8 * width) - 1) == found, f"{word:#010x}"
