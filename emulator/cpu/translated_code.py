# SPDX-License-Identifier: Apache-2.0
"""The code that Unicorn has translated, and how it is made to forget some of it.

Unicorn drops code by itself only where the same engine stores over it. What maintenance, another
CPU or a restore makes stale goes here.
"""

import ctypes as c
from collections.abc import Sequence

from unicorn import unicorn_const
from unicorn.unicorn_py3 import unicorn as binding

from aether_edgecloud.emulator.cpu.hook_tables import (
    CTL_TB_FLUSH,
    CTL_TB_REMOVE_CACHE,
    CTL_TLB_FLUSH,
    CTL_TLB_TYPE,
)
from aether_edgecloud.emulator.cpu.hooks import CODE_LINES, LINE_SIZE, PAGE_SIZE, HookState

_LIB = binding.uclib
_PAGE_LINES = PAGE_SIZE // LINE_SIZE


class TranslatedCode:
    """Of one engine, by its Unicorn `handle`. Pages are numbered from the start of RAM.

    Nothing here may be called inside a callback: Unicorn would run freed code.
    """

    def __init__(
        self, handle: c.c_void_p, state: HookState, ram_size: int, *, is_native: bool
    ) -> None:
        self._handle = handle
        self._state = state
        self._is_native = is_native
        self._executed = (c.c_uint8 * (ram_size // LINE_SIZE))()
        self._code_pages = (c.c_uint8 * (ram_size // PAGE_SIZE))()
        self.constant_pages = range(0)
        """Pages that nobody writes after they have been executed: maintenance of all code leaves
        what is translated of them."""
        self.instructions = 0
        """Where caches are modelled: how far from RAM the window is that shows old instructions."""
        state.executed_lines = c.addressof(self._executed)
        state.code_pages = c.addressof(self._code_pages)

    def flush(self) -> None:
        """Drop all of it."""
        _LIB.uc_ctl(self._handle, c.c_int(CTL_TB_FLUSH))
        self._forget_pages(self._pages_with_code())
        self._flush_tlb()
        self._state.code_changed = self._state.code_line_count = 0
        self._state.code_flushes += 1

    def drop(self, start: int, end: int) -> None:
        """Drop what is translated of [start, end), VAs that can be fetched."""
        for page in range(start & -PAGE_SIZE, end, PAGE_SIZE):
            first, last = max(start, page), min(end, page + PAGE_SIZE)
            control = c.c_int(CTL_TB_REMOVE_CACHE)
            _LIB.uc_ctl(self._handle, control, c.c_uint64(first), c.c_uint64(last))

    def drop_changed(self) -> None:
        """Drop it where instruction cache maintenance was done."""
        state = self._state
        if state.code_line_count > CODE_LINES and self.constant_pages:
            state.code_changed = state.code_line_count = 0
            pages = self._pages_with_code()
            self.drop_pages([page for page in pages if page not in self.constant_pages])
            return
        if state.code_line_count > CODE_LINES:
            self.flush()
            return
        lines = sorted(set(state.code_lines[: state.code_line_count]))
        state.code_changed = state.code_line_count = 0
        self._drop_physical([line * LINE_SIZE for line in lines], LINE_SIZE)
        for line in lines:
            self._executed[line] = 0

    def has_line(self, line: int) -> bool:
        """Whether some of this line of RAM, by number, is translated."""
        return bool(self._executed[line])

    def pages_of(self, pages: Sequence[int]) -> list[int]:
        """Those of these pages that have translated code."""
        code = self._code_pages
        return [page for page in pages if code[page]]

    def drop_pages(self, pages: Sequence[int]) -> None:
        """Drop what is translated of pages."""
        if not pages:
            return
        self._drop_physical([page * PAGE_SIZE for page in pages], PAGE_SIZE)
        self._forget_pages(pages)

    def _pages_with_code(self) -> list[int]:
        """Software may drop all code for every page it gives away: so this has to be fast, and the
        lines, of which there are many more, are not looked at."""
        flags = bytes(self._code_pages)
        pages = []
        page = flags.find(1)
        while page >= 0:
            pages.append(page)
            page = flags.find(1, page + 1)
        return pages

    def _forget_pages(self, pages: Sequence[int]) -> None:
        lines = c.addressof(self._executed)
        for page in pages:
            self._code_pages[page] = 0
            c.memset(lines + page * _PAGE_LINES, 0, _PAGE_LINES)

    def _drop_physical(self, offsets: Sequence[int], size: int) -> None:
        """Drop what is translated of so many bytes at each offset into RAM."""
        state = self._state
        # Unicorn drops code by VA only, of what can be fetched: let VAs be PAs meanwhile. Without
        # a hook for its fills, that is what its virtual TLB does.
        state.is_identity = 1
        self._set_tlb(unicorn_const.UC_TLB_VIRTUAL)
        self._flush_tlb()
        for offset in offsets:
            pa = state.ram_base + offset
            self.drop(pa, pa + size)
            if self.instructions:
                pa += self.instructions
                self.drop(pa, pa + size)
        if self._is_native:
            self._set_tlb(unicorn_const.UC_TLB_CPU)
        state.is_identity = 0
        self._flush_tlb()

    def _set_tlb(self, mode: int) -> None:
        _LIB.uc_ctl(self._handle, c.c_int(CTL_TLB_TYPE), c.c_int(mode))

    def _flush_tlb(self) -> None:
        _LIB.uc_ctl(self._handle, c.c_int(CTL_TLB_FLUSH))
