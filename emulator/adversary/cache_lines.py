# SPDX-License-Identifier: Apache-2.0
"""The lines of one page, as the caches and as memory hold them. A pure model.

A line is dirty if it was stored to since cache and memory last agreed; whether by another value, or
by the same one (`stored`). The architecture lets the hardware write back a dirty line and drop a
clean one whenever it likes; software that shares a location between cacheable and other accesses
has to maintain the cache in between (Arm ARM B2, mismatched memory attributes).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.cpu.hooks import LINE_SIZE, PAGE_SIZE

LINES = PAGE_SIZE // LINE_SIZE
_WORDS = LINE_SIZE // 8
Words = npt.NDArray[np.uint64]
"""The 64-bit words of a page: (64 lines, 8 words)."""
Flags = npt.NDArray[np.bool_]
"""One for each line of a page."""


class Chooser(Protocol):
    """Where the hardware has a choice."""

    def against(self) -> bool:
        """Whether it is made against the program."""


def words(data: bytes) -> Words:
    """A copy of a page's bytes."""
    return np.frombuffer(data, np.uint64).reshape(LINES, _WORDS).copy()


@dataclass(slots=True)
class Lines:
    """What an access through the caches sees, what one past them sees, and what both last were;
    bit n of `stored`: line n has been stored to since then, with whatever value."""

    cached: Words
    memory: Words
    agreed: Words
    stored: int = 0

    def dirty(self) -> Flags:
        """Lines that must not be lost."""
        differ: Flags = (self.cached != self.agreed).any(axis=1)
        if self.stored:
            marks = np.frombuffer(self.stored.to_bytes(LINES // 8, "little"), np.uint8)
            differ |= np.unpackbits(marks, bitorder="little").astype(np.bool_)
        return differ

    def changed(self) -> Flags:
        """Lines that memory has been given past the caches."""
        found: Flags = (self.memory != self.agreed).any(axis=1)
        return found

    def stale(self) -> bool:
        """Whether some clean line shows what memory no longer holds."""
        return bool((self.changed() & ~self.dirty()).any())

    def let_go(self, choices: Chooser) -> None:
        """What happens to the lines between an access of one type and one of the other. Against the
        program: clean lines that memory has left behind stay, dirty ones wait, except over what
        memory has got meanwhile, which they overwrite."""
        dirty, changed = self.dirty(), self.changed()
        for line in np.flatnonzero(dirty | changed).tolist():
            overwrites = dirty[line] and changed[line]
            if choices.against() != overwrites:
                continue
            if dirty[line]:
                self._write_back(line)
            else:
                self._drop(line)

    def overwrite(self, choices: Chooser) -> None:
        """Memory is in use; dirty lines may be written back over what it has got."""
        dirty, changed = self.dirty(), self.changed()
        for line in np.flatnonzero(dirty).tolist():
            if choices.against() == changed[line]:
                self._write_back(line)

    def maintain(self, line: int, *, clean: bool, invalidate: bool, choices: Chooser) -> None:
        """DC on one line. A dirty line that is invalidated alone is lost, unless it happens to have
        been written back before: against the program, over what memory has got."""
        if self.dirty()[line] and (clean or choices.against() == self.changed()[line]):
            self._write_back(line)
        if invalidate:
            self._drop(line)

    def maintain_all(self, *, clean: bool, invalidate: bool, choices: Chooser) -> None:
        """The same for every line."""
        for line in np.flatnonzero(self.dirty() | self.changed()).tolist():
            self.maintain(line, clean=clean, invalidate=invalidate, choices=choices)

    def _write_back(self, line: int) -> None:
        self.memory[line] = self.agreed[line] = self.cached[line]
        self.stored &= ~(1 << line)

    def _drop(self, line: int) -> None:
        self.cached[line] = self.agreed[line] = self.memory[line]
        self.stored &= ~(1 << line)
