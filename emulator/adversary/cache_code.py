# SPDX-License-Identifier: Apache-2.0
"""What instruction caches hold: lines as they were fetched once, until IC removes them.

Seen as one cache for all CPUs. At reset it may hold any line as memory was then; of the loaded
image that is the image itself, which the boot protocol promises. Fetches that are not cacheable
find lines there too, and leave some: for such memory the Arm ARM (B2, concurrent modification of
instructions) waives DC CVAU, not IC.
"""

from collections.abc import Callable

import numpy as np

from aether_edgecloud.emulator.adversary.cache_lines import LINES, Chooser, Words, words
from aether_edgecloud.emulator.cpu.views import Shared

_ALL = (1 << LINES) - 1


class InstructionLines:
    """`held` of `shared` says, by page and line, which lines may be old. `at_reset` gives a page's
    contents at reset; `choices` where hardware has one."""

    def __init__(self, shared: Shared, at_reset: Callable[[int], bytes], choices: Chooser) -> None:
        self._held = shared.all_held
        self._at_reset = at_reset
        self._choices = choices
        self._fetched: dict[int, bytes] = {}
        self._held.fill(_ALL)

    def fetch(self, page: int, now: Words) -> Words:
        """What a page shows to fetches, if a fetch from memory or data caches would see `now`."""
        held = int(self._held[page])
        if not held:
            return now
        old = words(self._fetched.get(page) or self._at_reset(page))
        shown = now
        for line in np.flatnonzero((old != now).any(axis=1)).tolist():
            if not held >> line & 1:
                continue
            if self._choices.against():
                if shown is now:
                    shown = now.copy()
                shown[line] = old[line]
            else:
                held &= ~(1 << line)
        self._held[page] = held
        return shown

    def keep(self, page: int, shown: Words) -> None:
        """A page is about to be written; what it showed to fetches stays behind."""
        self._fetched[page] = shown.tobytes()
        self._held[page] = _ALL

    def forget_line(self, page: int, line: int) -> None:
        """The next fetch of a line is from memory or data caches."""
        self._held[page] = int(self._held[page]) & ~(1 << line)

    def forget(self) -> None:
        """IC of everything."""
        self._held.fill(0)
        self._fetched.clear()

    def save(self) -> tuple[dict[int, int], int, dict[int, bytes]]:
        """The state: `held` where it is not what it mostly is, that, and old lines."""
        usual = _ALL if np.count_nonzero(self._held) * 2 > len(self._held) else 0
        pages = np.flatnonzero(self._held != np.uint64(usual)).tolist()
        return {page: int(self._held[page]) for page in pages}, usual, dict(self._fetched)

    def restore(self, saved: tuple[dict[int, int], int, dict[int, bytes]]) -> None:
        """Become what was saved."""
        held, usual, fetched = saved
        self._held.fill(usual)
        for page, lines in held.items():
            self._held[page] = lines
        self._fetched = dict(fetched)
