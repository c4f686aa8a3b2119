# SPDX-License-Identifier: Apache-2.0
"""Two views of RAM, that of the caches and that of memory, behind the TLB fills of the CPUs.

The binding of `views.c`. What the views hold, and when they differ, is decided by whoever listens.
"""

import ctypes as c
import mmap
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Protocol

import numpy as np
import unicorn
from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.arch import mmu, sysregs
from aether_edgecloud.emulator.arch.mmu_attributes import resultant_attributes
from aether_edgecloud.emulator.arch.mmu_regime import TranslationRegime
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.hooks import LINE_SIZE, PAGE_SIZE, SysregAction

_LIB = binding.uclib

# Windows over RAM (VIEW_* in hooks.h).
INSTRUCTIONS, MEMORY, LINES = 1 << 44, 1 << 45, 1 << 47
DATA_PAST, FETCH_PAST = 1, 2
"""Bits of `TlbEntry.view`: accesses that go past the caches."""

PAGE_LINES = PAGE_SIZE // LINE_SIZE
SWEEP_SLOTS = 512 + 16384
_DEFERRED_PAGES = 4096
_ATTENTION = 8  # ATTENTION_CACHES


class PageBit(IntEnum):
    """PAGE_* of `views.h`."""

    CACHED = 1
    MEMORY = 2
    SPLIT = 4
    LINES = 8
    WRITTEN = 16
    READ = 32
    EXECUTED = 64
    HELD = 128


class Look(IntEnum):
    """`enum look_kind`."""

    OPEN = 0
    EXECUTE = 1
    REWRITE = 2
    UNWRITTEN = 3
    MAINTAIN = 4
    SWEEP = 5
    INVALIDATE = 6
    ALLOWED = 7
    TURN = 8
    AGREED = 9
    DEFER = 10
    COMPLETE = 11


class Maintain(IntEnum):
    """MAINTAIN_*."""

    INVALIDATE = 1
    CLEAN = 2


class Invalidation(IntEnum):
    """IC_*: whose translated code an IC of everything drops. 0: there was none."""

    OWN = 1
    EVERYONE = 2


SWEEP_DEFERRED = 4
"""A bit of what `Look.SWEEP` is told: it takes effect with `Look.COMPLETE`."""


LOOK_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint32, c.c_uint64, c.c_uint64)


class Views(c.Structure):
    """`struct views`."""

    _fields_ = [
        ("pages", c.c_void_p),
        ("has_agreed", c.c_void_p),
        ("agreed", c.c_void_p),
        ("memory", c.c_void_p),
        ("stored", c.c_void_p),
        ("held", c.c_void_p),
        ("swept", c.c_void_p),
        ("look", c.c_void_p),
        ("probes", c.c_uint32),
        ("turns", c.c_uint32),
        ("swept_count", c.c_uint32),
        ("swept_as", c.c_uint32),
        ("deferred", c.c_void_p),
        ("queue", c.c_void_p),
        ("queue_count", c.c_uint32),
        ("number", c.c_uint32),
        ("code_deferred", c.c_uint32),
        ("sweep_waits", c.c_uint32),
        ("probed", c.c_uint32),
    ]


CLEAN, INVALIDATE, CODE, OWNER = range(4)
"""Columns of `Shared.deferred`: lines of a page that DC or IC has named, to clean or to invalidate
them, without a DSB since; and the CPU that executed it, counted from 1."""


class Window:
    """As many bytes as RAM has, that take no memory until they are used."""

    def __init__(self, size: int) -> None:
        self._mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.bytes = (c.c_char * size).from_buffer(self._mapping)
        self.address = c.addressof(self.bytes)


class Shared:
    """What the views of all CPUs share. Pages are numbered from the start of RAM."""

    def __init__(self, ram_size: int) -> None:
        count = ram_size // PAGE_SIZE
        self.pages = (c.c_uint8 * count)()
        self.has_agreed = (c.c_uint8 * count)()
        self.stored = (c.c_uint64 * count)()
        self.held = (c.c_uint64 * count)()
        self._deferred = (c.c_uint64 * (4 * count))()
        self.deferred = np.frombuffer(memoryview(self._deferred), np.uint64).reshape(count, 4)
        """By page: `CLEAN`, `INVALIDATE`, `CODE`, `OWNER`."""
        self.all_pages = np.frombuffer(memoryview(self.pages), np.uint8)
        self.all_agreed = np.frombuffer(memoryview(self.has_agreed), np.uint8)
        self.all_stored = np.frombuffer(memoryview(self.stored), np.uint64)
        self.all_held = np.frombuffer(memoryview(self.held), np.uint64)
        """The same as arrays."""
        self.deferred_at = c.addressof(self._deferred)
        self.agreed = Window(ram_size)
        self.memory = Window(ram_size)
        self.instructions = Window(ram_size)


@dataclass(frozen=True, slots=True)
class SavedViews:
    """How far a sweep by set and way of one CPU has come, and its maintenance that waits for a DSB:
    pages with what `Shared.deferred` has of them, and `Invalidation` as a whole."""

    swept: bytes
    swept_count: int
    swept_as: int
    deferred: tuple[tuple[int, int, int, int], ...]
    code: int
    sweep: bool


class Listener(Protocol):
    """What is asked; see `enum look_kind` for what `page` and `a` are."""

    def __call__(self, kind: int, page: int, a: int, /) -> int: ...


class CpuViews:
    """The views of one CPU."""

    def __init__(self, cpu: Cpu, number: int, shared: Shared, listener: Listener) -> None:
        self._engine = engine = cpu.engine
        self._shared = shared
        self._swept = (c.c_uint8 * SWEEP_SLOTS)()
        self._queue = (c.c_uint32 * _DEFERRED_PAGES)()

        def look(kind: int, page: int, a: int) -> int:
            try:
                return listener(kind, page, a)
            except BaseException as error:  # C cannot carry it
                engine.fail(error)
                return 0

        self._look = LOOK_FN(look)
        self.state = Views(
            pages=c.addressof(shared.pages),
            has_agreed=c.addressof(shared.has_agreed),
            agreed=shared.agreed.address,
            memory=shared.memory.address,
            stored=c.addressof(shared.stored),
            held=c.addressof(shared.held),
            swept=c.addressof(self._swept),
            look=c.cast(self._look, c.c_void_p).value,
            swept_as=Maintain.CLEAN | Maintain.INVALIDATE,
            deferred=shared.deferred_at,
            queue=c.addressof(self._queue),
            number=number + 1,
        )
        self._map(INSTRUCTIONS, shared.instructions)
        self._map(MEMORY, shared.memory)
        self._map_lines()
        for op in sysregs.SYSOPS:
            if op.name.startswith("DC ") and op.name != "DC ZVA":
                key = reg.key(1, op.op1, op.crn, op.crm, op.op2)
                engine.tables.actions[key] = SysregAction.CACHE
        engine.code.instructions = INSTRUCTIONS
        complete = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)
        self._complete = complete(engine.hooks.address("aether_view_complete"))
        engine.state.views = c.addressof(self.state)

    def save(self) -> SavedViews:
        """What is this CPU's own."""
        state, deferred = self.state, self._shared.deferred
        return SavedViews(
            bytes(self._swept),
            state.swept_count,
            state.swept_as,
            tuple((page, *deferred[page, :OWNER].tolist()) for page in self.queue()),
            state.code_deferred,
            bool(state.sweep_waits),
        )

    def restore(self, saved: SavedViews) -> None:
        """Become what was saved. What the views share has nothing deferred."""
        state = self.state
        self._swept[:] = list(saved.swept)
        state.swept_count, state.swept_as = saved.swept_count, saved.swept_as
        state.queue_count = len(saved.deferred)
        for place, (page, *lines) in enumerate(saved.deferred):
            self._queue[place] = page
            self._shared.deferred[page] = (*lines, state.number)
        state.code_deferred, state.sweep_waits = saved.code, saved.sweep
        state.probed = 0  # the TLB is empty
        waits = saved.deferred or saved.code or saved.sweep
        attention = self._engine.state.attention & ~_ATTENTION
        self._engine.state.attention = attention | (_ATTENTION if waits else 0)

    def queue(self) -> list[int]:
        """Pages of which something waits for a DSB of this CPU."""
        return list(self._queue[: self.state.queue_count])

    def complete(self) -> None:
        """What waits takes effect, as at a DSB."""
        self._complete(self._engine.handle, c.byref(self._engine.state))

    def _base(self, window: int) -> int:
        return window + int(self._engine.state.ram_base)

    def _map(self, window: int, over: Window) -> None:
        status = _LIB.uc_mem_map_ptr(
            self._engine.handle,
            c.c_uint64(self._base(window)),
            c.c_uint64(len(over.bytes)),
            c.c_uint32(unicorn_const.UC_PROT_ALL),
            c.c_void_p(over.address),
        )
        if status:
            raise unicorn.UcError(status)

    def _map_lines(self) -> None:
        engine = self._engine
        user = c.c_void_p(c.addressof(engine.state))
        read, write = (
            c.c_void_p(engine.hooks.address(f"aether_on_line_{way}")) for way in ("read", "write")
        )
        size = c.c_size_t(engine.state.ram_size)
        status = _LIB.uc_mmio_map(
            engine.handle, c.c_uint64(self._base(LINES)), size, read, user, write, user
        )
        if status:
            raise unicorn.UcError(status)


def view_of(regime: TranslationRegime, translation: mmu.Translation) -> int:
    """DATA_PAST, FETCH_PAST: which accesses by this translation find no cache."""
    stage1, leaf, leaf2 = regime.stage1, translation.stage1_leaf, translation.stage2_leaf
    attr2, stage2 = (None, None) if leaf2 is None else (leaf2.descriptor >> 2 & 0xF, regime.stage2)
    view = 0
    for fetch, bit in ((False, DATA_PAST), (True, FETCH_PAST)):
        if leaf is None:
            output = mmu.s1_disabled_output(stage1, translation.ipa, fetch)
            assert not isinstance(output, mmu.Fault)
            attr, on = output[1], True
        else:
            attr = stage1.mair[leaf.descriptor >> 2 & 0b111]
            on = stage1.fetch_cacheable if fetch else stage1.data_cacheable
        on2 = stage2 is None or (stage2.fetch_cacheable if fetch else stage2.data_cacheable)
        view |= 0 if _is_cacheable(attr, on, attr2, on2, fetch) else bit
    return view


@cache
def _is_cacheable(attr: int, on: bool, attr2: int | None, on2: bool, fetch: bool) -> bool:
    """Shareability does not come into it."""
    return resultant_attributes(attr, 0, on, attr2, 0, on2, fetch).cacheable
