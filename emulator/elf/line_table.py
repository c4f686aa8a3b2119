# SPDX-License-Identifier: Apache-2.0
"""Lines of source for addresses, by the DWARF line table of an ELF file (DWARF 5, 6.2)."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

# Opcodes of line number programs (7.22).
_EXTENDED, _COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE = range(5)
_CONST_ADD_PC, _FIXED_ADVANCE_PC = 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2


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
        for address, number, line, is_end in _program(program):
            if is_end:
                ends.append(Row(address, "", 0))
                continue
            if number not in names:
                names[number] = _file_name(unit, program, number)
            # Line 0 is code of no line: it goes with the line before.
            if line:
                found.append(Row(address, names[number], line))
    # Of several rows for one address the last counts, and an end only where nothing begins.
    by_address = {row.start: row for row in (*ends, *found)}
    return [by_address[address] for address in sorted(by_address)]


def _program(program: Any) -> Iterator[tuple[int, int, int, bool]]:
    """Address, number of the file, line, and whether a run of code ends, of each row that a line
    number program makes (6.2.5). Columns and all else are left out: this is the slowest part of
    opening a binary."""
    header, stream = program.header, program.stream
    stream.seek(program.program_start_offset)
    code: bytes = stream.read(program.program_end_offset - program.program_start_offset)
    unit, base = header.minimum_instruction_length, header.opcode_base
    at, end = 0, len(code)
    address, file, line = 0, 1, 1

    def leb(*, signed: bool = False) -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = code[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    try:
        while at < end:
            opcode = code[at]
            at += 1
            if opcode >= base:  # special
                step, advance = divmod(opcode - base, header.line_range)
                address += step * unit
                line += header.line_base + advance
                yield address, file, line, False
            elif opcode == _EXTENDED:
                size = leb()
                following = at + size
                if size and code[at] == _END_SEQUENCE:
                    yield address, file, line, True
                    address, file, line = 0, 1, 1
                elif size and code[at] == _SET_ADDRESS:
                    address = int.from_bytes(code[at + 1 : following], "little")
                at = following
            elif opcode == _COPY:
                yield address, file, line, False
            elif opcode == _ADVANCE_PC:
                address += leb() * unit
            elif opcode == _ADVANCE_LINE:
                line += leb(signed=True)
            elif opcode == _SET_FILE:
                file = leb()
            elif opcode == _CONST_ADD_PC:
                address += (255 - base) // header.line_range * unit
            elif opcode == _FIXED_ADVANCE_PC:
                address += int.from_bytes(code[at : at + 2], "little")
                at += 2
            else:
                for _ in range(header.standard_opcode_lengths[opcode - 1]):
                    leb()
    except (IndexError, ZeroDivisionError):
        raise ELFError("a line number program breaks off") from None


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
