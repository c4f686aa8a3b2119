# SPDX-License-Identifier: Apache-2.0
"""The binary at EL2 as its author wrote it: names and source lines of addresses."""

import bisect
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.cli import symbols
from aether_edgecloud.emulator.cli.symbols import NO_SYMBOLS, Symbols

__all__ = ["NO_PROGRAM", "Program", "SourceLine", "Symbols"]


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a file as the compiler named it; `text` is empty where the file is not there."""

    file: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    """From `start` on, up to the next row; number 0 ends a run of code."""

    start: int
    file: str
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`image`: the addresses it takes when it runs, VA = PA. Empty tables where there is no ELF
    file, or one without them."""

    image: range
    symbols: Symbols = NO_SYMBOLS
    _rows: tuple[_Row, ...] = ()
    _sources: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, elf: bytes | None, image: range, sources: Mapping[str, str]) -> "Program":
        """An ELF file that came to lie at `image`; `sources` are texts by path."""
        if elf is None:
            return cls(image)
        try:
            file = ELFFile(io.BytesIO(elf))
            shift = image.start - symbols.linked_at(file)
            rows = tuple(_Row(r.start + shift, r.file, r.number) for r in _rows(file))
        except ELFError:
            return cls(image)
        names = symbols.read(io.BytesIO(elf), image)
        return cls(image, names, rows, {p: text.splitlines() for p, text in sources.items()})

    def line(self, va: int) -> SourceLine | None:
        """The source line of an address; None where the tables say nothing."""
        index = bisect.bisect_right(self._rows, va, key=lambda row: row.start) - 1
        if index < 0 or not self._rows[index].number or va not in self.image:
            return None
        row = self._rows[index]
        return SourceLine(row.file, row.number, self._text(row.file, row.number))

    def addresses(self, file: str, number: int) -> tuple[int, ...]:
        """Where the code of a line begins; `file` may be the end of a path. Empty for no code."""
        return tuple(
            row.start
            for row in self._rows
            if row.number == number and (row.file == file or row.file.endswith("/" + file))
        )

    def _text(self, path: str, number: int) -> str:
        lines = self._sources.get(path, ())
        return lines[number - 1] if number <= len(lines) else ""


NO_PROGRAM = Program(range(0))


def _rows(elf: ELFFile) -> list[_Row]:
    if not elf.has_dwarf_info():
        return []
    dwarf = elf.get_dwarf_info()
    ends: list[_Row] = []
    found: list[_Row] = []
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        names: dict[int, str] = {}
        for entry in program.get_entries():
            state = entry.state
            if state is None:
                continue
            if state.end_sequence:
                ends.append(_Row(state.address, "", 0))
                continue
            if state.file not in names:
                names[state.file] = _file_name(unit, program, state.file)
            # Line 0 is code of no line: it goes with the line before.
            if state.line:
                found.append(_Row(state.address, names[state.file], state.line))
    # Of several rows for one address the last counts, and an end only where nothing begins.
    by_address = {row.start: row for row in (*ends, *found)}
    return [by_address[address] for address in sorted(by_address)]


def _file_name(unit: Any, program: Any, number: int) -> str:
    header = program.header
    is_5 = header.version >= 5
    files, folders = header.file_entry, header.include_directory
    index = number if is_5 else number - 1
    if not 0 <= index < len(files):
        return "?"
    entry = files[index]
    folder = b""
    if is_5 or entry.dir_index:
        at = entry.dir_index if is_5 else entry.dir_index - 1
        folder = folders[at] if 0 <= at < len(folders) else b""
    base = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
    start = Path("." if base is None else base.value.decode("utf-8", "replace"))
    return str(start / folder.decode("utf-8", "replace") / entry.name.decode("utf-8", "replace"))
