# SPDX-License-Identifier: Apache-2.0
"""Source lines of addresses in an ELF file, by its DWARF line table."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.cli import symbols


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a file as the compiler named it; `text` is empty where the file is not found."""

    file: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class _Row:
    """From `start` on, up to the next row; number 0 ends a run of code."""

    start: int
    file: str
    number: int


class SourceLines:
    """The line table of an ELF file. Relative names of files are looked for below `roots`."""

    def __init__(self, elf_path: Path, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._texts: dict[str, list[str]] = {}
        with elf_path.open("rb") as file:
            elf = ELFFile(file)
            self._rows = _rows(elf)
            self._linked_at = symbols.linked_at(elf)
        self._starts = [row.start for row in self._rows]

    def at(self, offset: int) -> SourceLine | None:
        """The line of the byte at an offset in the loaded image; None where the table says
        nothing."""
        index = bisect.bisect_right(self._starts, self._linked_at + offset) - 1
        if index < 0 or not self._rows[index].number:
            return None
        row = self._rows[index]
        lines = self._text(row.file)
        text = lines[row.number - 1] if row.number <= len(lines) else ""
        return SourceLine(self._short(row.file), row.number, text)

    def _short(self, name: str) -> str:
        """From a root, if it is below one."""
        for root in self._roots:
            if root != Path("/") and Path(name).is_relative_to(root):
                return str(Path(name).relative_to(root))
        return name

    def _text(self, name: str) -> list[str]:
        if name not in self._texts:
            found = next((p for p in (root / name for root in self._roots) if p.is_file()), None)
            text = "" if found is None else found.read_text(encoding="utf-8", errors="replace")
            self._texts[name] = text.splitlines()
        return self._texts[name]


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
