# SPDX-License-Identifier: Apache-2.0
"""What a search through a run is told by one CPU, as `watch.h` has it."""

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass

import unicorn
from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode

_LIB = binding.uclib

ALIAS = 1 << 45
"""PA of the window over RAM through which watched pages are accessed; no machine has RAM there."""
READS, WRITES = 1, 2
ALL_LEVELS = 0b1111
ANY_VMID = (1 << 32) - 1
MOST_SP = (1 << 64) - 1
_CAPACITY = 1 << 14
_FAR = (1 << 63) - 1


class WatchedRange(c.Structure):
    """`struct watched_range`."""

    _fields_ = [
        ("start", c.c_uint64),
        ("end", c.c_uint64),
        ("accesses", c.c_uint32),
        ("id", c.c_uint32),
    ]


class WatchedCode(c.Structure):
    """`struct watched_code`."""

    _fields_ = [
        ("va", c.c_uint64),
        ("sp_least", c.c_uint64),
        ("sp_most", c.c_uint64),
        ("levels", c.c_uint32),
        ("vmid", c.c_uint32),
        ("id", c.c_uint32),
    ]


class WatchHit(c.Structure):
    """`struct hit`."""

    _fields_ = [
        ("ahead", c.c_int64),
        ("pc", c.c_uint64),
        ("address", c.c_uint64),
        ("value", c.c_uint64),
        ("id", c.c_uint32),
        ("size", c.c_uint16),
        ("is_store", c.c_uint16),
    ]


class WatchState(c.Structure):
    """`struct watch`."""

    _fields_ = [
        ("alias", c.c_uint64),
        ("pages", c.c_void_p),
        ("ranges", c.c_void_p),
        ("codes", c.c_void_p),
        ("sysregs", c.c_void_p),
        ("hits", c.c_void_p),
        ("count", c.c_uint64),
        ("pc", c.c_uint64),
        ("access_pa", c.c_uint64),
        ("access_size", c.c_uint64),
        ("value", c.c_uint64),
        ("value_pc", c.c_uint64),
        ("value_ahead", c.c_int64),
        ("nearest", c.c_int64),
        ("farthest", c.c_int64),
        ("capacity", c.c_uint32),
        ("keeps_last", c.c_uint32),
        ("is_exact", c.c_uint32),
        ("range_count", c.c_uint32),
        ("code_count", c.c_uint32),
        ("sysreg_count", c.c_uint32),
        ("has_value", c.c_uint32),
        ("reg", c.c_int32),
        ("reg_id", c.c_uint32),
    ]


@dataclass(frozen=True, slots=True)
class SoughtRange:
    """Accesses (READS, WRITES) to RAM in [start, end), PAs."""

    start: int
    end: int
    accesses: int
    id: int


@dataclass(frozen=True, slots=True)
class SoughtCode:
    """Executions of the instruction at `va`, at these levels (bit n: ELn), with this VMID in
    VTTBR_EL2, with SP in [sp_least, sp_most]."""

    va: int
    id: int
    levels: int = ALL_LEVELS
    vmid: int = ANY_VMID
    sp_least: int = 0
    sp_most: int = MOST_SP


@dataclass(frozen=True, slots=True)
class SoughtSysreg:
    """MSR, or SYS, with this encoding."""

    key: int
    id: int


@dataclass(frozen=True, slots=True)
class SoughtRegister:
    """Instructions after which a general-purpose register has another value."""

    register: reg.CoreRegister
    id: int


@dataclass(frozen=True, slots=True)
class Sought:
    """All that is sought in a run at once; an `id` tells which of them was found."""

    ranges: tuple[SoughtRange, ...] = ()
    codes: tuple[SoughtCode, ...] = ()
    sysregs: tuple[SoughtSysreg, ...] = ()
    register: SoughtRegister | None = None

    @property
    def is_store_only(self) -> bool:
        """Whether nothing but stores to memory is."""
        others = self.codes or self.sysregs or self.register
        return not others and all(r.accesses == WRITES for r in self.ranges)

    def is_access(self, found: "Found") -> bool:
        """Whether it is an access to memory that was found."""
        return any(r.id == found.id for r in self.ranges)


@dataclass(frozen=True, slots=True)
class Found:
    """`ahead`: how many instructions before the one at which the run was to end; of an access that
    was not sought exactly, those of its block's start."""

    ahead: int
    pc: int
    address: int
    value: int
    id: int
    size: int
    is_store: bool


class CpuWatch:
    """The watch of one CPU. Attaching it and what it does change nothing in a run; nothing is
    sought to begin with. `pages`: READS and WRITES for each page of RAM; `capacity`: how much of
    what is found is kept."""

    def __init__(self, cpu: Cpu, pages: "c.Array[c.c_uint8]", capacity: int = _CAPACITY) -> None:
        assert cpu.engine.mmu is MmuMode.MODEL
        self._engine = cpu.engine
        self._capacity = capacity
        self._hits = (WatchHit * capacity)()
        self._kept: list[object] = [pages]
        self._hooks: list[int] = []
        self._access_hook: int | None = None
        self._sought = Sought()
        self.state = WatchState(
            alias=ALIAS,
            pages=c.addressof(pages),
            hits=c.addressof(self._hits),
            capacity=capacity,
            farthest=_FAR,
        )
        user = c.c_void_p(c.addressof(self._engine.state))
        read, write = (
            c.c_void_p(self._engine.hooks.address(f"aether_on_watched_{way}"))
            for way in ("read", "write")
        )
        size = c.c_size_t(len(pages) * PAGE_SIZE)
        status = _LIB.uc_mmio_map(
            self._engine.handle, c.c_uint64(ALIAS), size, read, user, write, user
        )
        if status:
            raise unicorn.UcError(status)
        self._engine.state.watch = c.addressof(self.state)

    def seek(self, sought: Sought, ram_base: int) -> None:
        """Seek this from now on. Not while the machine runs; `pages` has been set."""
        state = self.state
        ranges = [
            WatchedRange(r.start - ram_base, r.end - ram_base, r.accesses, r.id)
            for r in sought.ranges
        ]
        codes = [
            WatchedCode(code.va, code.sp_least, code.sp_most, code.levels, code.vmid, code.id)
            for code in sought.codes
        ]
        sysregs = [WatchedRange(start=r.key, id=r.id) for r in sought.sysregs]
        arrays = (
            (WatchedRange * len(ranges))(*ranges),
            (WatchedCode * len(codes))(*codes),
            (WatchedRange * len(sysregs))(*sysregs),
        )
        self._kept[1:] = arrays
        state.ranges, state.codes, state.sysregs = (c.addressof(array) for array in arrays)
        state.range_count, state.code_count = len(ranges), len(codes)
        state.sysreg_count = len(sysregs)
        if sought.register is not None:
            state.reg, state.reg_id = sought.register.register.number, sought.register.id
        self._hook_code(sought)
        self._engine.flush_tlb()
        self._sought = sought

    def _hook_code(self, sought: Sought) -> None:
        """Code that was translated without the hooks, in whatever address space, goes."""
        before = ({code.va for code in self._sought.codes}, self._sought.register is not None)
        now = ({code.va for code in sought.codes}, sought.register is not None)
        if before == now:
            return
        for handle in self._hooks:
            self._engine.unhook(handle)
        code = unicorn_const.UC_HOOK_CODE
        self._hooks = [self._engine.hook(code, "aether_on_sought", va, va + 3) for va in now[0]]
        if now[1]:
            self._hooks.append(self._engine.hook(code, "aether_on_any"))
        self._engine.code.flush()

    def begin(self, *, nearest: int, farthest: int, keeps_last: bool, is_exact: bool) -> None:
        """Forget what was found. What counts is what is found from `farthest` to `nearest` ahead;
        of much only the first is kept, or the last."""
        state = self.state
        state.count = state.has_value = 0
        state.nearest, state.farthest = nearest, farthest
        state.keeps_last, state.is_exact = keeps_last, is_exact
        # Not for good: what is translated meanwhile accesses all memory on Unicorn's slow path.
        if is_exact and self._access_hook is None:
            kinds = unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE
            self._access_hook = self._engine.hook(kinds, "aether_on_access")
        elif not is_exact and self._access_hook is not None:
            self._engine.unhook(self._access_hook)
            self._access_hook = None

    def found(self) -> Sequence[Found]:
        """What was found, in the order of the run."""
        count, capacity = int(self.state.count), self._capacity
        if count <= capacity:
            numbers: Sequence[int] = range(count)
        elif self.state.keeps_last:
            numbers = [n % capacity for n in range(count - capacity, count)]
        else:
            numbers = range(capacity)
        hits = self._hits
        return [
            Found(h.ahead, h.pc, h.address, h.value, h.id, h.size, bool(h.is_store))
            for h in (hits[n] for n in numbers)
        ]

    @property
    def is_overfull(self) -> bool:
        """More was found than is kept."""
        return int(self.state.count) > self._capacity
