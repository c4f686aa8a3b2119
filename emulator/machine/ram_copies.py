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
from aether_edgecloud.emulator.machine.nonzero_pages import nonzero_pages

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
        self._is_shared = False  # somebody else has it too

    def take(self) -> Pages:
        """A copy of RAM as it is."""
        self.take_changes()
        self._is_shared = True
        return self._last or {}

    def take_changes(self) -> dict[int, bytes | None]:
        """The pages that differ from the last copy that was taken or put back, or from the RAM of
        the last such call; None is a page of zeros. It takes no copy of the others."""
        found: dict[int, bytes | None] = {}
        before = self._last or {}
        for page in self._changed(before):
            data = self._read(page)
            if data == _ZERO:
                if page in before:
                    found[page] = None
            elif before.get(page) != data:
                found[page] = data
        if found:
            pages = dict(before) if self._is_shared else before
            self._is_shared = False
            for number, content in found.items():
                if content is None:
                    del pages[number]
                else:
                    pages[number] = content
            before = pages
        self._settle(before)
        return found

    def restore(
        self,
        pages: Pages,
        code_in: Callable[[Sequence[int]], Iterable[int]],
    ) -> list[int]:
        """Make RAM what a copy says. Returns those pages of `code_in` that are different now."""
        changed = self._changed(pages)
        before = self._last
        if before is not None and before is not pages:
            differ = {page for page, data in pages.items() if before.get(page) is not data}
            differ |= before.keys() - pages.keys()
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
        self._is_shared = True
        return stale

    def _changed(self, expected: Pages) -> list[int]:
        """The pages that may differ from the last copy; if there is none, or stores are silent,
        those that are not zero and those expected not to be."""
        if self._is_tracked and self._last is not None:
            dirty = np.frombuffer(memoryview(self._memory.dirty_pages), dtype=np.bool_)
            found: list[int] = np.flatnonzero(dirty).tolist()
            return found
        return sorted(expected.keys() | nonzero_pages(self._memory))

    def _settle(self, pages: Pages) -> None:
        self._last = pages
        if self._is_tracked:
            dirty = self._memory.dirty_pages
            c.memset(dirty, 0, len(dirty))

    def _read(self, page: int) -> bytes:
        return bytes(self._memory.bytes[page * PAGE_SIZE : (page + 1) * PAGE_SIZE])
