# SPDX-License-Identifier: Apache-2.0
"""The monitor with another way to see stores to tables: by what has changed when a barrier, TLB
maintenance or an ERET comes, and not each store by itself.

A store is then told of at the barrier behind it, and by the barrier's PC. What was set and put back
in between is not seen, nor are stores from below EL2, nor whether a table was linked before its
contents were visible (`Rule.NOT_VISIBLE`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.observation import Observed, Wanted
from aether_edgecloud.emulator.monitor.monitor import Monitor

_MOMENTS = (Observed.BARRIER, Observed.SYSREG, Observed.ERET)


class DifferenceMonitor(Monitor):
    """As `Monitor`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._copies: dict[int, NDArray[np.uint64]] = {}
        """By PA: what a live table held when it was looked at last."""
        self._live: NDArray[np.intp] | None = None
        """The numbers of the pages in `_copies`."""
        self._published: list[int] | None = None
        """By CPU: what was, when it was looked at last."""
        super().__init__(*arguments, **options)
        self._published = [self._seen.published()] * len(self._machine.cpus)

    def place_of_store(self, cpu: int) -> tuple[int, int]:
        """Of the barrier behind it."""
        pc = self._seen.pc(cpu)
        return pc, self._seen.instruction(cpu, pc)

    def unseen(self, pa: int, /, *, is_ordered: bool) -> bool:
        """Not known: a page may have been written before it was linked, or after."""
        return False

    def _listen(self, cpu: int, kind: int, a: int, b: int, c: int) -> None:
        if kind in _MOMENTS and self.violation is None:
            self._compare(cpu)
        super()._listen(cpu, kind, a, b, c)
        if self._published is not None:
            self._published[cpu] = self._seen.published()

    def _compare(self, cpu: int) -> None:
        """Tell of the words that have changed."""
        if self._published is None or not self._copies:
            return
        if self._live is None:
            self._live = np.array([self._number(pa) for pa in self._copies], np.intp)
        stored_at = np.frombuffer(memoryview(self._seen.stored_at(cpu)), np.uint32)
        stored = self._live[stored_at[self._live] >= self._published[cpu]]
        base = self._memory.ram_base
        for pa in sorted(base + int(number) * PAGE_SIZE for number in stored):
            before, now = self._copies.get(pa), self._read(pa)
            if before is None:
                continue  # not live any more
            self._copies[pa] = now
            for index in np.flatnonzero(before != now):
                word = pa + 8 * int(index)
                super()._listen(cpu, Observed.STORE, word, int(before[index]), int(now[index]))

    def _read(self, pa: int) -> NDArray[np.uint64]:
        offset = pa - self._memory.ram_base
        page = self._memory.bytes[offset : offset + PAGE_SIZE]
        return np.frombuffer(page, np.uint64).copy()

    def _page_changed(self, pa: int) -> None:
        if pa not in self.trees.pages:
            self._live = None if self._copies.pop(pa, None) is not None else self._live
        elif pa not in self._copies:
            self._copies[pa] = self._read(pa)
            self._live = None

    def _want(self) -> None:
        for cpu in range(len(self._machine.cpus)):
            self._seen.want(cpu, Wanted.BARRIERS | Wanted.ERET)
