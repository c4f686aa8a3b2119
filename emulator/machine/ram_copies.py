# SPDX-License-Identifier: Apache-2.0
"""Copies of RAM, page by page, and the way back to any of them.

A copy holds all pages that are not zero. Copies share the bytes of pages that did not change
between them. With the MMU model every page that is written tells so (`PhysicalMemory.dirty_pages`),
and only those are looked at; with Unicorn's walker stores are silent, and all of RAM is compared.
"""

import ctypes as c
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory

Pages = dict[int, bytes]
"""Pages by number from the start of RAM; those left out are zero. Never changed once made."""
_ZERO = bytes(PAGE_SIZE)


class RamCopies:
    """Takes copies of one RAM and puts them back. `is_tracked`: `memory.dirty_pages` tells of every
    page that is written, once it has been cleared and all TLBs are flushed."""

    def __init__(self, memory: PhysicalMemory, *, is_tracked: bool) -> None:
        self._memory = memory
        self._is_tracked = is_tracked
        self._last: Pages | None = None  # what RAM was, apart from the dirty pages

    def take(self) -> Pages:
        """A copy of RAM as it is."""
        before = self._last or {}
        pages = dict(before)
        for page in self._changed(before):
            data = self._read(page)
            if data == _ZERO:
                pages.pop(page, None)
            elif pages.get(page) != data:
                pages[page] = data
        self._settle(pages)
        return pages

    def restore(
        self,
        pages: Pages,
        code_in: Callable[[Sequence[int]], Iterable[int]],
    ) -> list[int]:
        """Make RAM what a copy says. Returns those pages of `code_in` that are different now."""
        changed = self._changed(pages)
        before = self._last
        if before is not None and before is not pages:
            differ = before.keys() ^ pages.keys()
            differ |= {p for p in before.keys() & pages.keys() if before[p] is not pages[p]}
            changed = sorted(differ.union(changed))
        has_code = set(code_in(changed))
        stale = []
        ram = self._memory.bytes
        for page in changed:
            data = pages.get(page, _ZERO)
            if page in has_code and self._read(page) != data:
                stale.append(page)
            ram[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = data
        self._settle(pages)
        return stale

    def _changed(self, expected: Pages) -> list[int]:
        """The pages that may differ from the last copy; if there is none, or stores are silent,
        those that are not zero and those expected not to be."""
        if self._is_tracked and self._last is not None:
            dirty = np.frombuffer(memoryview(self._memory.dirty_pages), dtype=np.uint8)
            found: list[int] = np.flatnonzero(dirty).tolist()
            return found
        words = np.frombuffer(self._memory.bytes, dtype=np.uint64).reshape(-1, PAGE_SIZE // 8)
        nonzero: list[int] = np.flatnonzero(words.any(axis=1)).tolist()
        return sorted(expected.keys() | nonzero)

    def _settle(self, pages: Pages) -> None:
        self._last = pages
        if self._is_tracked:
            dirty = self._memory.dirty_pages
            c.memset(dirty, 0, len(dirty))

    def _read(self, page: int) -> bytes:
        return bytes(self._memory.bytes[page * PAGE_SIZE : (page + 1) * PAGE_SIZE])
