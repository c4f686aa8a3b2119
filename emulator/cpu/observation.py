# SPDX-License-Identifier: Apache-2.0
"""What monitors are told while EL2 runs, as `observe.h` has it."""

import ctypes as c
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
_BARRIERS = 0xD503_309F, 0xD503_30DF, 0xD503_30BF  # DSB, ISB, DMB; CRm 0
_ERET = 0xD69F_03E0

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
    CONTEXT = 8


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


class StoreClock(c.Structure):
    """`struct store_clock`."""

    _fields_ = [("now", c.c_uint32), ("published", c.c_uint32)]


class Observer(c.Structure):
    """`struct observer`."""

    _fields_ = [
        ("wanted", c.c_uint32),
        ("stored", c.c_uint32),
        ("seen", c.c_uint32),
        ("ordered", c.c_uint32),
        ("has_lower", c.c_uint32),
        ("store_pc", c.c_uint64),
        ("lower", c.c_uint64),
        ("alias", c.c_uint64),
        ("clock", c.c_void_p),
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
        self.clock = StoreClock(1, 1)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Which stores of EL2 some walkers may not see. Times are counted from the last DSB that
    published stores (`struct store_clock`)."""

    now: int
    seen: tuple[int, ...]
    """By CPU: its last DSB for stores."""
    ordered: tuple[int, ...]
    """By CPU: its last barrier or release that orders them for all."""
    stored: tuple[tuple[tuple[int, int], ...], ...]
    """By CPU: the pages of RAM that it has stored to, by number, and when."""


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

    def unseen(self, page: int, *, is_ordered: bool) -> bool:
        """Whether EL2 has stored to this page of RAM, by number, and no DSB of any CPU has shown it
        to all walkers since; `is_ordered`: nor does a DMB or a store-release of the same CPU
        order it before the stores to come."""
        published = self.published()
        return any(
            one.stored_at[page] >= max(published, int(one.state.ordered) if is_ordered else 0)
            for one in self._shared.observers
        )

    def published(self) -> int:
        """When stores were last shown to all walkers."""
        return int(self._shared.pages.clock.published)

    def stored_at(self, cpu: int) -> c.Array[c.c_uint32]:
        """By page, when EL2 has stored to it last."""
        return self._shared.observers[cpu].stored_at

    def keep_before(self) -> None:
        """From now on keep what pages were before stores that walkers may not see."""
        for one in self._shared.observers:
            one.keep_before()

    def unseen_words(self, cpu: int, pa: int) -> list[tuple[int, int]]:
        """What a walk of `cpu` may find at `pa`, in RAM, instead of what memory has, and when that
        was stored over: a walk that has found a later store finds what was ordered before it too.
        A DSB shows a CPU all stores before it in the run, of other CPUs too: it is cumulative.
        After `keep_before`."""
        page, observers = (pa - self._shared.pages.ram_base) // PAGE_SIZE, self._shared.observers
        seen = max(int(observers[cpu].state.seen), self.published())
        return [
            (one.word_before(pa), one.stored_at[page])
            for one in observers
            if one.stored_at[page] >= seen
        ]

    def page_before(self, page: int) -> list[tuple[Sequence[int], tuple[bool, ...]]]:
        """What a page of RAM, by number, was to walkers before stores that some do not see yet:
        the words, for each CPU that has stored to it, and by CPU whether its walks may find them.
        After `keep_before`."""
        published, observers = self.published(), self._shared.observers
        return [
            (
                one.page_before(page),
                tuple(one.stored_at[page] >= int(other.state.seen) for other in observers),
            )
            for one in observers
            if one.stored_at[page] >= published
        ]

    def unseen_pages(self) -> Unseen:
        """Which stores of EL2 some walkers may not see."""
        clock, observers = self._shared.pages.clock, self._shared.observers
        return Unseen(
            clock.now - clock.published,
            tuple(max(one.state.seen - clock.published, 0) for one in observers),
            tuple(max(one.state.ordered - clock.published, 0) for one in observers),
            tuple(one.unseen_pages(clock.published) for one in observers),
        )

    def set_unseen(self, unseen: Unseen) -> None:
        """Only these have been stored to."""
        clock = self._shared.pages.clock
        clock.published = start = clock.now + 1
        clock.now = start + unseen.now
        for cpu, one in enumerate(self._shared.observers):
            one.state.seen = start + unseen.seen[cpu]
            one.state.ordered = start + unseen.ordered[cpu]
            one.state.stored = 1  # perhaps
            for page, when in unseen.stored[cpu]:
                one.stored_at[page] = start + when

    def contents_before(self) -> tuple[bytes, ...]:
        """By CPU: what those pages were before, in the same order."""
        published = self.published()
        return tuple(one.contents_before(published) for one in self._shared.observers)

    def set_before(self, contents: Sequence[bytes]) -> None:
        """After `set_unseen`: put that back."""
        for one, data in zip(self._shared.observers, contents, strict=True):
            one.set_before(data, self.published())


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
    Observed.CONTEXT: Wanted.BARRIERS,
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
        self._cpu = cpu
        self.engine = cpu.engine
        self.pc = cpu.engine.batch([reg.PC])
        self.stored_at = (c.c_uint32 * pages.count)()
        self._ram_base, self._ram_size = pages.ram_base, pages.count * PAGE_SIZE
        self._before: memoryview | None = None

        self._report = report

        def observe(kind: int, a: int, b: int, d: int) -> None:
            try:
                report(kind, a, b, d)
            except BaseException as error:  # C cannot carry it
                self.engine.fail(error)

        self._observe = _OBSERVE_FN(observe)
        self._is_hooked = _IS_HOOKED_FN(lambda pc: pc in self._barriers)
        self._barriers: set[int] = set()
        self.state = Observer(
            seen=1,
            ordered=1,
            alias=ALIAS,
            clock=c.addressof(pages.clock),
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
        self._cpu.on_context = self._context
        self.engine.state.observer = c.addressof(self.state)
        self.engine.code.flush()

    def close(self) -> None:
        """Report nothing any more. The hooks over barriers stay."""
        self.engine.state.observer = None
        self._cpu.on_context = None
        self.engine.flush_tlb()
        _LIB.uc_mem_unmap(self.engine.handle, c.c_uint64(ALIAS), c.c_uint64(self._ram_size))

    def _context(self) -> None:
        """The CPU, at EL2, synchronises its context outside of the hooks."""
        if self.state.wanted & Wanted.BARRIERS:
            self._report(Observed.CONTEXT, 0, 0, 0)

    def unseen_pages(self, published: int) -> tuple[tuple[int, int], ...]:
        """See Unseen."""
        at = np.frombuffer(memoryview(self.stored_at), dtype=np.uint32)
        pages = np.flatnonzero(at >= published)
        return tuple(zip(pages.tolist(), (at[pages] - published).tolist(), strict=True))

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

    def contents_before(self, published: int) -> bytes:
        """See Observation."""
        assert self._before is not None
        pages = (page for page, _ in self.unseen_pages(published))
        return b"".join(self._before[n * PAGE_SIZE : (n + 1) * PAGE_SIZE] for n in pages)

    def set_before(self, contents: bytes, published: int) -> None:
        """See Observation."""
        assert self._before is not None
        for number, (page, _) in enumerate(self.unseen_pages(published)):
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
        """The block that is about to run has barriers: it is translated anew, with hooks."""
        state = self.engine.state
        pc, end = state.watch_pc, state.watch_pc + state.watch_size
        for at in range(pc, end, 4):
            word = self.engine.fetch_word(at)
            if word is not None and _is_barrier(word) and at not in self._barriers:
                self._barriers.add(at)
                self.engine.hook(unicorn_const.UC_HOOK_CODE, "aether_on_barrier", at, at + 3)
        self.engine.code.drop(pc, end)


def _is_barrier(word: int) -> bool:
    """As `is_barrier` of observe.c."""
    is_release = word & 0x3F40_8000 == 0x0800_8000
    return word & 0xFFFF_F0FF in _BARRIERS or is_release or word == _ERET
