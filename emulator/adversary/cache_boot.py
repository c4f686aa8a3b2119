# SPDX-License-Identifier: Apache-2.0
"""What RAM and caches hold at reset: what firmware has loaded, and a pattern everywhere else.

Firmware that follows the arm64 boot protocol has cleaned what it loaded to the point of coherency.
All lines may be in the cache, clean: what is then written past it, with the MMU off, leaves them
behind. Those of the image's BSS, which is not loaded, may even be dirty.
"""

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.cpu.hooks import LINE_SIZE
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.monitor.poison import POISON

_POISON_PAGE = POISON.to_bytes(8, "little") * (PAGE_SIZE // 8)


class BootContents:
    """The contents of RAM at reset by page, numbered from its start. The BSS of the image counts as
    not loaded."""

    def __init__(self, setup: Setup) -> None:
        base = setup.board.ram_base
        self._loads = [(pa - base, data) for pa, data in setup.loads() if data]
        self.loaded = frozenset(
            page
            for offset, data in self._loads
            for page in range(offset // PAGE_SIZE, -(-(offset + len(data)) // PAGE_SIZE))
        )
        """Pages of which firmware has loaded at least a part."""
        image = setup.place().image
        self._bss = range(image.start - base + len(setup.image.data), image.stop - base)

    def dirty(self, number: int) -> int:
        """The lines of a page that may be dirty: bit n for line n."""
        start = number * PAGE_SIZE
        first = max(-(-(self._bss.start - start) // LINE_SIZE), 0)
        end = min((self._bss.stop - start) // LINE_SIZE, PAGE_SIZE // LINE_SIZE)
        return (1 << end) - (1 << first) if first < end else 0

    def page(self, number: int) -> bytes:
        """What a page holds."""
        if number not in self.loaded:
            return _POISON_PAGE
        page, start = bytearray(_POISON_PAGE), number * PAGE_SIZE
        for offset, data in self._loads:
            first, end = max(offset, start), min(offset + len(data), start + PAGE_SIZE)
            if first < end:
                page[first - start : end - start] = data[first - offset : end - offset]
        return bytes(page)
