# SPDX-License-Identifier: Apache-2.0
"""Lines of source for addresses, by the DWARF line table of an ELF file (DWARF 5, 6.2)."""

import bisect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a file as the compiler named it; `text` is empty where the file is not there."""

    file: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """From `start` on, up to the next row; number 0 ends a run of code."""

    start: int
    file: str
    number: int


@dataclass(frozen=True, slots=True)
class LineTable:
    """The rows of all units, by rising address."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, elf: ELFFile, shift: int = 0) -> "LineTable":
        """That of a file which runs `shift` above the addresses it was linked at; empty where it
        has none. ELFError for a file that is damaged."""
        return cls(tuple(Row(r.start + shift, r.file, r.number) for r in _rows(elf)))

    def at(self, address: int) -> Row | None:
        """The row of an address; None where the table says nothing."""
        index = bisect.bisect_right(self.rows, address, key=lambda row: row.start) - 1
        return None if index < 0 or not self.rows[index].number else self.rows[index]

    def addresses(self, file: str, number: int) -> tuple[int, ...]:
        """Where the code of a line begins; `file` may be the end of a path. Empty for no code."""
        return tuple(
            row.start
            for row in self.rows
            if row.number == number and (row.file == file or row.file.endswith("/" + file))
        )


NO_LINES = LineTable(())


def _rows(elf: ELFFile) -> list[Row]:
    if not elf.has_dwarf_info():
        return []
    dwarf = elf.get_dwarf_info()
    ends: list[Row] = []
    found: list[Row] = []
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
                ends.append(Row(state.address, "", 0))
                continue
            if state.file not in names:
                names[state.file] = _file_name(unit, program, state.file)
            # Line 0 is code of no line: it goes with the line before.
            if state.line:
                found.append(Row(state.address, names[state.file], state.line))
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
