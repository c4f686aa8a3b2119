# SPDX-License-Identifier: Apache-2.0
"""Source lines of addresses in an ELF file, with their texts where these are found."""

from collections.abc import Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.line_table import LineTable, SourceLine


class SourceLines:
    """The line table of an ELF file. Relative names of files are looked for below `roots`."""

    def __init__(self, elf_path: Path, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._texts: dict[str, list[str]] = {}
        with elf_path.open("rb") as file:
            elf = ELFFile(file)
            self._lines = LineTable.of(elf)
            self._linked_at = symbols.linked_at(elf)

    def at(self, offset: int) -> SourceLine | None:
        """The line of the byte at an offset in the loaded image; None where the table says
        nothing."""
        row = self._lines.at(self._linked_at + offset)
        if row is None:
            return None
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
