# SPDX-License-Identifier: Apache-2.0
"""The binary at EL2 as its author wrote it: names and source lines of addresses."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.line_table import NO_LINES, LineTable, Row, SourceLine
from aether_edgecloud.emulator.elf.symbols import NO_SYMBOLS, Symbols

__all__ = ["NO_PROGRAM", "Program", "SourceLine", "Symbols"]


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`image`: the addresses it takes when it runs, VA = PA; `moved`: those it is linked at, where
    it may go on with its MMU on. Empty tables where there is no ELF file, or one without them."""

    image: range
    symbols: Symbols = NO_SYMBOLS
    lines: LineTable = NO_LINES
    _sources: Mapping[str, list[str]] = field(default_factory=dict)
    moved: range = range(0)

    @classmethod
    def load(cls, elf: bytes | None, image: range, sources: Mapping[str, str]) -> "Program":
        """An ELF file that came to lie at `image`; `sources` are texts by path."""
        if elf is None:
            return cls(image)
        read = _read(elf, image)
        if read is None:
            return cls(image)
        lines, moved = read
        texts = {path: text.splitlines() for path, text in sources.items()}
        return cls(image, symbols.read(elf, image), lines, texts, moved)

    def has(self, va: int) -> bool:
        """Whether an address of EL2 is one of the binary's."""
        return va in self.image or va in self.moved

    def everywhere(self, va: int) -> tuple[int, ...]:
        """An address in the image as it was loaded, and where that may run besides."""
        if va not in self.image or not self.moved:
            return (va,)
        return va, va - self.image.start + self.moved.start

    def line(self, va: int) -> SourceLine | None:
        """The source line of an address; None where the tables say nothing."""
        if va in self.moved:
            va += self.image.start - self.moved.start
        row = self.lines.at(va) if va in self.image else None
        return None if row is None else SourceLine(row.file, row.number, self._text(row))

    def addresses(self, file: str, number: int) -> tuple[int, ...]:
        """Where the code of a line begins, as it was loaded; `file` may be the end of a path. Empty
        for no code."""
        return self.lines.addresses(file, number)

    def _text(self, row: Row) -> str:
        lines = self._sources.get(row.file, ())
        return lines[row.number - 1] if row.number <= len(lines) else ""


NO_PROGRAM = Program(range(0))


@lru_cache(maxsize=4)
def _read(elf: bytes, image: range) -> tuple[LineTable, range] | None:
    """Source lines, and where the image may move itself; None for a file that is damaged. Kept: it
    takes long, and a process opens one binary many times."""
    try:
        file = ELFFile(io.BytesIO(elf))
        linked = symbols.linked_at(file)
        return LineTable.of(file, image.start - linked), symbols.moves_to(linked, image)
    except ELFError:
        return None
