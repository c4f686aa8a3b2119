# SPDX-License-Identifier: Apache-2.0
"""What monitors are told while EL2 runs, as `observe.h` has it."""

import ctypes as c
import itertools
import mmap
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np
import unicorn
from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory

_LIB = binding.uclib
_DSB, _ISB = 0xD503_309F, 0xD503_30DF  # CRm 0

ALIAS = 1 << 46
"""PA of the window over RAM through which watched pages are written; no machine has RAM there."""


class Observed(IntEnum):
    """`enum observed_kind`."""

    STORE = 0
    SYSREG = 1
    BARRIER = 2
    CODE = 3
    ENTRY = 4
    ERET = 5
    LOWER_TLBI = 6
    LOWER_DSB = 7


class Wanted:
    """WANT_*: bits for what is reported now. Stores to watched pages, TLBI, the registers that
    control translation at EL2 and the first execution from a page always are."""

    BARRIERS = 1
    ERET = 2
    ALL = 4
    CACHES = 8
    LOWER = 16
    LOWER_DSB = 32


_OBSERVE_FN = c.CFUNCTYPE(None, c.c_uint32, c.c_uint64, c.c_uint64, c.c_uint64)
_IS_HOOKED_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint64)
_MOST_LISTENERS = 8


class Observer(c.Structure):
    """`struct observer`."""

    _fields_ = [
        ("wanted", c.c_uint32),
        ("stored", c.c_uint32),
        ("dsbs", c.c_uint32),
        ("published", c.c_uint32),
        ("has_lower", c.c_uint32),
        ("store_pc", c.c_uint64),
        ("lower", c.c_uint64),
        ("alias", c.c_uint64),
        ("watched", c.c_void_p),
        ("code", c.c_void_p),
        ("stored_at", c.c_void_p),
        ("before", c.c_void_p),
        ("observe", c.c_void_p),
        ("is_hooked", c.c_void_p),
    ]


class Listener(Protocol):
    """What is told of CPU number `cpu`. `kind` is one of Observed; what a, b and c are, `observe.h`
    says."""

    def __call__(self, cpu: int, kind: int, a: int, b: int, c: int, /) -> None: ...


class Pages:
    """Facts about pages of RAM that all CPUs share: one byte for each."""

    def __init__(self, ram_base: int, ram_size: int) -> None:
        self.ram_base = ram_base
        self.count = ram_size // PAGE_SIZE
        self.watched = (c.c_uint8 * self.count)()
        """A bit for each listener that is told of stores."""
        self.code = (c.c_uint8 * self.count)()
        """Not 0: all listeners know that EL2 executes from it."""


Unseen = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
"""Pages of RAM, by number, that walkers may not see as EL2 stored them: see Observation."""


class Observation:
    """What one listener is told of all CPUs of a machine. It changes nothing in a run, and several
    do not disturb each other."""

    def __init__(self, cpus: Sequence[Cpu], memory: PhysicalMemory, listener: Listener) -> None:
        self._shared = _Shared.of(cpus, memory)
        self.listener = listener
        self.wanted = [0] * len(cpus)
        self.bit = self._shared.join(self)

    def close(self) -> None:
        """Report nothing any more."""
        self._shared.leave(self)

    def want(self, cpu: int, wanted: int) -> None:
        """Report these (Wanted) of a CPU from now on."""
        if wanted != self.wanted[cpu]:
            self.wanted[cpu] = wanted
            self._shared.want(cpu)

    def is_watched(self, page: int) -> bool:
        """Whether stores to a page of RAM, by number, are reported."""
        return bool(self._shared.pages.watched[page] & self.bit)

    def watch(self, page: int, *, is_watched: bool = True) -> None:
        """Report EL2's stores to a page of RAM, or report them no more. `flush` follows."""
        watched = self._shared.pages.watched
        watched[page] = watched[page] & ~self.bit | self.bit * is_watched

    def watch_nothing(self) -> None:
        """Watch no page. `flush` follows."""
        watched = np.frombuffer(memoryview(self._shared.pages.watched), dtype=np.uint8)
        watched &= 0xFF ^ self.bit

    def forget_code(self, page: int) -> None:
        """Report again when EL2 executes from a page; those who know it are told too."""
        self._shared.pages.code[page] = 0

    def flush(self) -> None:
        """Watched pages have changed: no translation may be left that lets stores pass unseen."""
        for one in self._shared.observers:
            one.engine.flush_tlb()

    def pc(self, cpu: int, *, of_store: bool = False) -> int:
        """VA of the instruction that is being reported."""
        one = self._shared.observers[cpu]
        return int(one.state.store_pc) if of_store else one.pc.read()[0]

    def instruction(self, cpu: int, pc: int) -> int:
        """Instructions that a CPU had retired at `pc`, in the block that runs."""
        return self._shared.observers[cpu].engine.position(pc)

    def unseen(self, page: int) -> bool:
        """Whether EL2 has stored to this page of RAM, by number, after the last DSB of the CPU that
        would have shown it to all walkers."""
        return any(one.stored_at[page] >= one.state.published for one in self._shared.observers)

    def published(self) -> tuple[int, ...]:
        """By CPU, the number of the last such DSB."""
        return tuple(int(one.state.published) for one in self._shared.observers)

    def stored_at(self, cpu: int) -> c.Array[c.c_uint32]:
        """By page, the number of the DSB behind which EL2 has stored to it last."""
        return self._shared.observers[cpu].stored_at

    def keep_before(self) -> None:
        """From now on keep what pages were before stores that walkers may not see."""
        for one in self._shared.observers:
            one.keep_before()

    def unseen_words(self, cpu: int, pa: int) -> list[int]:
        """What a walk of `cpu` may find at `pa`, in RAM, instead of what memory has, if anything:
        stores come first for the CPU that makes them. After `keep_before`."""
        page = (pa - self._shared.pages.ram_base) // PAGE_SIZE
        return [
            one.word_before(pa)
            for number, one in enumerate(self._shared.observers)
            if one.stored_at[page] >= (one.state.dsbs if number == cpu else one.state.published)
        ]

    def page_before(self, page: int) -> list[Sequence[int]]:
        """What a page of RAM, by number, was to walkers before stores that some do not see yet:
        the words, for each CPU that has stored to it. After `keep_before`."""
        return [
            one.page_before(page)
            for one in self._shared.observers
            if one.stored_at[page] >= one.state.published
        ]

    def unseen_pages(self) -> Unseen:
        """All pages that EL2 has stored to, by CPU: after the last DSB of any kind, and besides
        those, after the last that reached further than the CPU."""
        return tuple(one.unseen_pages() for one in self._shared.observers)

    def set_unseen(self, pages: Unseen) -> None:
        """Only these have been stored to."""
        for one, unseen in zip(self._shared.observers, pages, strict=True):
            one.set_unseen(*unseen)

    def contents_before(self) -> tuple[bytes, ...]:
        """By CPU: what those pages were before, in the same order."""
        return tuple(one.contents_before() for one in self._shared.observers)

    def set_before(self, contents: Sequence[bytes]) -> None:
        """After `set_unseen`: put that back."""
        for one, data in zip(self._shared.observers, contents, strict=True):
            one.set_before(data)


class _Shared:
    """The observation of a machine, for all who listen; it lasts as long as its CPUs."""

    def __init__(self, cpus: Sequence[Cpu], memory: PhysicalMemory) -> None:
        self.pages = Pages(memory.ram_base, memory.ram_size)
        self.listening: list[Observation] = []
        self.observers = [
            _CpuObserver(cpu, self.pages, self._report(number)) for number, cpu in enumerate(cpus)
        ]

    @staticmethod
    def of(cpus: Sequence[Cpu], memory: PhysicalMemory) -> "_Shared":
        """That of these CPUs."""
        engine = cpus[0].engine
        if not isinstance(engine.observation, _Shared):
            engine.observation = _Shared(cpus, memory)
        return engine.observation

    def join(self, who: Observation) -> int:
        """Somebody listens. Returns a bit that is free."""
        if not self.listening:
            for one in self.observers:
                one.open()
        taken = sum(other.bit for other in self.listening)
        free = next(1 << n for n in range(_MOST_LISTENERS) if not taken >> n & 1)
        self.listening.append(who)
        # What the others know already, this one does not.
        c.memset(self.pages.code, 0, self.pages.count)
        for one in self.observers:
            one.engine.flush_tlb()
        return free

    def leave(self, who: Observation) -> None:
        """Somebody listens no more."""
        who.watch_nothing()
        self.listening.remove(who)
        for cpu, one in enumerate(self.observers):
            self.want(cpu)
            one.engine.flush_tlb()
            if not self.listening:
                one.close()

    def want(self, cpu: int) -> None:
        """What is wanted of a CPU has changed."""
        wanted = 0
        for who in self.listening:
            wanted |= who.wanted[cpu]
        self.observers[cpu].state.wanted = wanted

    def _report(self, cpu: int) -> Callable[[int, int, int, int], None]:
        def report(kind: int, a: int, b: int, new: int) -> None:
            for who in self.listening:
                if self._concerns(who, cpu, kind, a):
                    who.listener(cpu, kind, a, b, new)

        return report

    def _concerns(self, who: Observation, cpu: int, kind: int, a: int) -> bool:
        if kind == Observed.STORE:
            page = (a - self.pages.ram_base) // PAGE_SIZE
            return bool(self.pages.watched[page] & who.bit)
        needed = _NEEDED.get(kind, 0)
        if kind == Observed.SYSREG and a >> 7 & 15 == _CRN_CACHES and a >> 14 == 1:
            needed = Wanted.CACHES
        return not needed or bool(who.wanted[cpu] & needed)


_CRN_CACHES = 7
_NEEDED: dict[int, int] = {
    Observed.BARRIER: Wanted.BARRIERS | Wanted.ALL,
    Observed.ENTRY: Wanted.ALL,
    Observed.ERET: Wanted.ERET | Wanted.ALL,
    Observed.LOWER_TLBI: Wanted.LOWER,
    Observed.LOWER_DSB: Wanted.LOWER_DSB,
}


class _CpuObserver:
    """The C side of one CPU."""

    def __init__(
        self, cpu: Cpu, pages: Pages, report: Callable[[int, int, int, int], None]
    ) -> None:
        assert cpu.engine.mmu is MmuMode.MODEL
        self.engine = cpu.engine
        self.pc = cpu.engine.batch([reg.PC])
        self.stored_at = (c.c_uint32 * pages.count)()
        self._ram_base, self._ram_size = pages.ram_base, pages.count * PAGE_SIZE
        self._before: memoryview | None = None

        def observe(kind: int, a: int, b: int, d: int) -> None:
            try:
                report(kind, a, b, d)
            except BaseException as error:  # C cannot carry it
                self.engine.fail(error)

        self._observe = _OBSERVE_FN(observe)
        self._is_hooked = _IS_HOOKED_FN(lambda pc: pc in self._barriers)
        self._barriers: set[int] = set()
        self.state = Observer(
            dsbs=1,
            published=1,
            alias=ALIAS,
            watched=c.addressof(pages.watched),
            code=c.addressof(pages.code),
            stored_at=c.addressof(self.stored_at),
            observe=c.cast(self._observe, c.c_void_p).value,
            is_hooked=c.cast(self._is_hooked, c.c_void_p).value,
        )

    def open(self) -> None:
        """Begin to report."""
        self._map_alias()
        self.engine.hook_barriers = self._hook_barriers
        self.engine.state.observer = c.addressof(self.state)
        self.engine.code.flush()

    def close(self) -> None:
        """Report nothing any more. The hooks over barriers stay."""
        self.engine.state.observer = None
        self.engine.flush_tlb()
        _LIB.uc_mem_unmap(self.engine.handle, c.c_uint64(ALIAS), c.c_uint64(self._ram_size))

    def unseen_pages(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See Observation."""
        at = np.frombuffer(memoryview(self.stored_at), dtype=np.uint32)
        by_all = np.flatnonzero(at == self.state.dsbs)
        by_others = np.flatnonzero((at >= self.state.published) & (at != self.state.dsbs))
        return tuple(by_all.tolist()), tuple(by_others.tolist())

    def set_unseen(self, by_all: Sequence[int], by_others: Sequence[int]) -> None:
        """See Observation."""
        state = self.state
        state.published = state.dsbs + 1
        state.dsbs += 2
        state.stored = bool(by_all)
        for pages, mark in ((by_all, state.dsbs), (by_others, state.published)):
            for page in pages:
                self.stored_at[page] = mark

    def keep_before(self) -> None:
        """Keep what pages were before stores that walkers may not see."""
        if self._before is None:
            # Private: what is never kept takes no memory.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            self._before = memoryview(mmap.mmap(-1, self._ram_size, flags=flags))
            at = (c.c_uint8 * self._ram_size).from_buffer(self._before)
            self.state.before = c.addressof(at)

    def word_before(self, pa: int) -> int:
        """The word at `pa` of a page that is kept."""
        assert self._before is not None
        offset = pa - self._ram_base
        return int.from_bytes(self._before[offset : offset + 8], "little")

    def page_before(self, page: int) -> Sequence[int]:
        """The words of a page that is kept."""
        assert self._before is not None
        return self._before[page * PAGE_SIZE : (page + 1) * PAGE_SIZE].cast("Q").tolist()

    def contents_before(self) -> bytes:
        """See Observation."""
        assert self._before is not None
        pages = itertools.chain(*self.unseen_pages())
        return b"".join(self._before[n * PAGE_SIZE : (n + 1) * PAGE_SIZE] for n in pages)

    def set_before(self, contents: bytes) -> None:
        """See Observation."""
        assert self._before is not None
        for number, page in enumerate(itertools.chain(*self.unseen_pages())):
            data = contents[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
            self._before[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = data

    def _map_alias(self) -> None:
        user = c.c_void_p(c.addressof(self.engine.state))
        read, write = (
            c.c_void_p(self.engine.hooks.address(f"aether_on_alias_{way}"))
            for way in ("read", "write")
        )
        status = _LIB.uc_mmio_map(
            self.engine.handle,
            c.c_uint64(ALIAS),
            c.c_size_t(self._ram_size),
            read,
            user,
            write,
            user,
        )
        if status:
            raise unicorn.UcError(status)

    def _hook_barriers(self) -> None:
        """The block that is about to run has DSB or ISB: it is translated anew, with hooks."""
        state = self.engine.state
        pc, end = state.watch_pc, state.watch_pc + state.watch_size
        for at in range(pc, end, 4):
            word = self.engine.fetch_word(at)
            is_barrier = word is not None and word & 0xFFFF_F0FF in (_DSB, _ISB)
            if is_barrier and at not in self._barriers:
                self._barriers.add(at)
                self.engine.hook(unicorn_const.UC_HOOK_CODE, "aether_on_barrier", at, at + 3)
        self.engine.code.drop(pc, end)
