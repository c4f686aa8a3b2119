# SPDX-License-Identifier: Apache-2.0
"""Which function an instruction belongs to."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.emulator.elf.symbols import Symbols

_PAGE = 4096
_INSTRUCTION = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Instructions of one function: how many of those that ran, from which address (VA) on. `start`
    is the function's."""

    name: str
    start: int
    address: int
    instructions: int


class CodeNames:
    """Functions of an image by their symbols, each up to the next one. What has no symbol goes by
    its page of 4 KiB."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._known: dict[tuple[int, int], tuple[Piece, ...]] = {}

    def cut(self, pc: int, instructions: int) -> tuple[Piece, ...]:
        """So many instructions from `pc` on, one after the other, by function."""
        found = self._known.get((pc, instructions))
        if found is None:
            found = self._known[pc, instructions] = tuple(self._cut(pc, instructions))
        return found

    def _cut(self, pc: int, instructions: int) -> Iterator[Piece]:
        end = pc + instructions * _INSTRUCTION
        while pc < end:
            name, start, stop = self._function(pc)
            last = min(end, stop)
            count = -(-(last - pc) // _INSTRUCTION)
            yield Piece(name, start, pc, count)
            pc += count * _INSTRUCTION

    def _function(self, pc: int) -> tuple[str, int, int]:
        """Name and [start, stop) of the function, or the part of a page, around `pc`."""
        addresses, names = self._symbols.addresses, self._symbols.names
        index = bisect.bisect_right(addresses, pc)
        is_last = index == len(addresses)
        stop = self._symbols.end if is_last else addresses[index]
        if index and names[index - 1] and pc < stop:
            return names[index - 1], addresses[index - 1], stop
        page = pc & -_PAGE
        stop = page + _PAGE if is_last else min(addresses[index], page + _PAGE)
        return f"page {page:#x}", page, stop
