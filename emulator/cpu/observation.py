# SPDX-License-Identifier: Apache-2.0
"""What a monitor is told of one CPU while EL2 runs, as `observe.h` has it."""

import ctypes as c
from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

import numpy as np
import unicorn
from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE, MmuMode

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


class Wanted:
    """WANT_*: bits for what is reported now. Stores to watched pages, TLBI, the registers that
    control translation at EL2 and the first execution from a page always are."""

    BARRIERS = 1
    ERET = 2
    ALL = 4
    CACHES = 8


_OBSERVE_FN = c.CFUNCTYPE(None, c.c_uint32, c.c_uint64, c.c_uint64, c.c_uint64)
_IS_HOOKED_FN = c.CFUNCTYPE(c.c_uint32, c.c_uint64)


class Observer(c.Structure):
    """`struct observer`."""

    _fields_ = [
        ("wanted", c.c_uint32),
        ("stored", c.c_uint32),
        ("dsbs", c.c_uint32),
        ("has_lower", c.c_uint32),
        ("store_pc", c.c_uint64),
        ("lower", c.c_uint64),
        ("alias", c.c_uint64),
        ("watched", c.c_void_p),
        ("code", c.c_void_p),
        ("stored_at", c.c_void_p),
        ("observe", c.c_void_p),
        ("is_hooked", c.c_void_p),
    ]


class Listener(Protocol):
    """What is told. `kind` is one of Observed; what a, b and c are, `observe.h` says."""

    def __call__(self, kind: int, a: int, b: int, c: int, /) -> None: ...


class Pages:
    """Facts about pages of RAM that all CPUs share: one byte for each."""

    def __init__(self, ram_base: int, ram_size: int) -> None:
        self.ram_base = ram_base
        self.count = ram_size // PAGE_SIZE
        self.watched = (c.c_uint8 * self.count)()
        self.code = (c.c_uint8 * self.count)()


class Observation:
    """The observation of one CPU. It changes nothing in a run."""

    def __init__(self, cpu: Cpu, pages: Pages, listener: Listener) -> None:
        assert cpu.engine.mmu is MmuMode.MODEL
        self.is_dirty = True
        """What decides about the next ERET from EL2 may have changed since the last."""
        self._engine = cpu.engine
        self._ram_size = pages.count * PAGE_SIZE
        self._pc = cpu.engine.batch([reg.PC])
        self._stored_at = (c.c_uint32 * pages.count)()

        def observe(kind: int, a: int, b: int, d: int) -> None:
            try:
                listener(kind, a, b, d)
            except BaseException as error:  # C cannot carry it
                self._engine.fail(error)

        self._observe = _OBSERVE_FN(observe)
        self._is_hooked = _IS_HOOKED_FN(lambda pc: pc in self._barriers)
        self._barriers: set[int] = set()
        self._wanted = 0
        self.state = Observer(
            dsbs=1,
            alias=ALIAS,
            watched=c.addressof(pages.watched),
            code=c.addressof(pages.code),
            stored_at=c.addressof(self._stored_at),
            observe=c.cast(self._observe, c.c_void_p).value,
            is_hooked=c.cast(self._is_hooked, c.c_void_p).value,
        )
        self._map_alias()
        self._engine.hook_barriers = self._hook_barriers
        self._engine.state.observer = c.addressof(self.state)
        self._engine.code.flush()

    def close(self) -> None:
        """Report nothing any more."""
        self._engine.state.observer = None
        self._engine.flush_tlb()
        _LIB.uc_mem_unmap(self._engine.handle, c.c_uint64(ALIAS), c.c_uint64(self._ram_size))

    def want(self, wanted: int) -> None:
        """Report these (Wanted) from now on."""
        if wanted != self._wanted:
            self._wanted = self.state.wanted = wanted

    def pc(self, *, of_store: bool = False) -> int:
        """VA of the instruction that is being reported."""
        return int(self.state.store_pc) if of_store else self._pc.read()[0]

    def instruction(self, pc: int) -> int:
        """Instructions that this CPU had retired at `pc`, in the block that runs."""
        return self._engine.position(pc)

    def unseen(self, page: int) -> bool:
        """Whether EL2 has stored to this page of RAM, by number, after the last DSB that would
        have shown it to walkers."""
        return bool(self._stored_at[page] == self.state.dsbs)

    def unseen_pages(self) -> list[int]:
        """All such pages."""
        seen = np.frombuffer(memoryview(self._stored_at), dtype=np.uint32)
        return [int(n) for n in np.flatnonzero(seen == self.state.dsbs)]

    def set_unseen(self, pages: Sequence[int]) -> None:
        """Only these have been stored to after the last such DSB."""
        self.state.dsbs += 1
        self.state.stored = bool(pages)
        for page in pages:
            self._stored_at[page] = self.state.dsbs

    def _map_alias(self) -> None:
        user = c.c_void_p(c.addressof(self._engine.state))
        read, write = (
            c.c_void_p(self._engine.hooks.address(f"aether_on_alias_{way}"))
            for way in ("read", "write")
        )
        status = _LIB.uc_mmio_map(
            self._engine.handle,
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
        state = self._engine.state
        pc, end = state.watch_pc, state.watch_pc + state.watch_size
        for at in range(pc, end, 4):
            word = self._engine.fetch_word(at)
            is_barrier = word is not None and word & 0xFFFF_F0FF in (_DSB, _ISB)
            if is_barrier and at not in self._barriers:
                self._barriers.add(at)
                self._engine.hook(unicorn_const.UC_HOOK_CODE, "aether_on_barrier", at, at + 3)
        self._engine.code.drop(pc, end)

    def flush(self) -> None:
        """Watched pages have changed: no translation may be left that lets stores pass unseen."""
        self._engine.flush_tlb()
