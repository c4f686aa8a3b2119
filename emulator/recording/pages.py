# SPDX-License-Identifier: Apache-2.0
"""Contents of pages of RAM, by number: 0 is a page of zeros, then come the pages of RAM at reset,
then those that were written, in frames that are compressed together."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import zstandard

from aether_edgecloud.emulator.cpu.engine import PAGE_SIZE
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.document import Malformed

FRAME_PAGES = 64
LEVEL = 1
"""zstandard's: 3 makes a Linux boot's pages 6 % smaller and takes half as long again."""

_MOST_KEPT = 1 << 17
"""Contents that are kept decompressed."""
_ZERO = bytes(PAGE_SIZE)
U32 = npt.NDArray[np.uint32]


def pages_at_reset(setup: Setup) -> Pages:
    """RAM as firmware leaves it: its pages, by number from the start of RAM, zeros left out."""
    pages: dict[int, bytes] = {}
    for pa, data in setup.loads():
        offset = pa - setup.board.ram_base
        for at in range(-(offset % PAGE_SIZE), len(data), PAGE_SIZE):
            number = (offset + at) // PAGE_SIZE
            part = data[max(at, 0) : at + PAGE_SIZE]
            if len(part) < PAGE_SIZE:
                whole = bytearray(pages.get(number, _ZERO))
                start = max(-at, 0)
                whole[start : start + len(part)] = part
                part = bytes(whole)
            pages[number] = part
    return {number: pages[number] for number in sorted(pages) if pages[number] != _ZERO}


class PageWriter:
    """Numbers contents, and hands over a frame (the number of its first content, its compressed
    bytes) whenever one is full. Contents of `at_reset` are not written again."""

    def __init__(self, at_reset: Pages, add: Callable[[int, bytes], None]) -> None:
        self._add = add
        self._at_reset = {data: n for n, data in enumerate(at_reset.values(), 1)}
        self._next = 1 + len(at_reset)
        self._frame: list[bytes] = []
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)

    def number(self, contents: Iterable[bytes | None]) -> U32:
        """The number of each content; None stands for zeros."""
        return np.array([self._number(data) for data in contents], dtype=np.uint32)

    def flush(self) -> None:
        """Hand over what has been numbered."""
        if self._frame:
            data = self._compressor.compress(b"".join(self._frame))
            self._add(self._next - len(self._frame), data)
            self._frame = []

    def _number(self, data: bytes | None) -> int:
        if data is None:
            return 0
        number = self._at_reset.get(data)
        if number is not None:
            return number
        self._next += 1
        self._frame.append(data)
        if len(self._frame) == FRAME_PAGES:
            self.flush()
        return self._next - 1


class PageReader:
    """Contents by number. `first_numbers` are those of the frames, in order; `read` gives the
    compressed bytes of a frame. Malformed if they are not in order."""

    def __init__(
        self, at_reset: Pages, first_numbers: Sequence[int], read: Callable[[int], bytes]
    ) -> None:
        self._at_reset = at_reset
        self._contents: dict[int, bytes] = dict(enumerate(at_reset.values(), 1))
        self._firsts = np.array(first_numbers, dtype=np.uint32)
        if any(a >= b for a, b in itertools.pairwise(first_numbers)):
            raise Malformed("frames of pages that are not in order")
        self._read = read

    def table_at_reset(self, pages: int) -> U32:
        """The number of the content of each page of RAM."""
        table = np.zeros(pages, dtype=np.uint32)
        table[list(self._at_reset)] = np.arange(1, 1 + len(self._at_reset), dtype=np.uint32)
        return table

    def pages(self, table: U32) -> Pages:
        """The pages of a table of content numbers. One content is always the same object, as long
        as it is kept.

        Malformed if a content is not there.
        """
        used = np.flatnonzero(table)
        numbers = table[used]
        self._load(np.unique(numbers))
        contents = self._contents
        if any(n not in contents for n in numbers.tolist()):
            raise Malformed("a content that no frame has")
        return {p: contents[n] for p, n in zip(used.tolist(), numbers.tolist(), strict=True)}

    def _load(self, numbers: U32) -> None:
        missing = np.array([n for n in numbers.tolist() if n not in self._contents], np.uint32)
        if not len(missing):
            return
        if len(self._contents) + len(missing) > _MOST_KEPT:
            kept = set(numbers.tolist()) | set(range(1, 1 + len(self._at_reset)))
            self._contents = {n: data for n, data in self._contents.items() if n in kept}
        for frame in np.unique(np.searchsorted(self._firsts, missing, side="right") - 1).tolist():
            if frame < 0:
                raise Malformed("a content that no frame has")
            self._unpack(int(self._firsts[frame]), self._read(frame), numbers)

    def _unpack(self, first: int, payload: bytes, wanted: U32) -> None:
        data = chunks.decompress(payload, FRAME_PAGES * PAGE_SIZE)
        if len(data) % PAGE_SIZE:
            raise Malformed("a frame that is no pages")
        low, high = np.searchsorted(wanted, [first, first + FRAME_PAGES]).tolist()
        for number in wanted[low:high].tolist():
            at = (number - first) * PAGE_SIZE
            if at < len(data) and number not in self._contents:
                self._contents[number] = data[at : at + PAGE_SIZE]
