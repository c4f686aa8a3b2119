# SPDX-License-Identifier: Apache-2.0
"""Names and source lines for addresses at EL2: from an ELF file, or from a list of symbols as nm
and System.map have it."""

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf.line_table import LineTable
from aether_edgecloud.emulator.elf.symbol_list import FIX, read_list
from aether_edgecloud.emulator.elf.symbols import (
    NO_SYMBOLS,
    Symbols,
    check_aarch64,
    linked_at,
    load,
    placed,
)
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.target import read_file

_ELF = b"\x7fELF"
_NO_PLACES = "aAN"
"""Types of constants, and of what is for debuggers."""


@dataclass(frozen=True, slots=True)
class Names:
    """What is known of an image."""

    symbols: Symbols = NO_SYMBOLS
    lines: tuple[LineTable, ...] = ()
    """One for each place where the image may run."""

    def symbol(self, pc: int) -> str | None:
        """ "name+offset"; None where nothing is known."""
        return self.symbols.at(pc)

    def source(self, pc: int) -> str | None:
        """ "file:line"; None where nothing is known."""
        for table in self.lines:
            row = table.at(pc)
            if row is not None:
                return f"{row.file}:{row.number}"
        return None


NO_NAMES = Names()


def is_elf(file: Path) -> bool:
    """Whether a file says that it is an ELF file. UserError if it cannot be read."""
    return read_file(file).startswith(_ELF)


def read_names(file: Path | None, loaded: range) -> Names:
    """The names in an ELF file or a list of symbols, for an image loaded at these PAs. UserError
    for a file that is neither. Without a file there are none."""
    if file is None:
        return NO_NAMES
    data = read_file(file)
    if not data.startswith(_ELF):
        return Names(_listed(data, file, loaded))
    try:
        with file.open("rb") as opened:
            elf = ELFFile(opened)
            check_aarch64(elf, str(file))
            linked = linked_at(elf)
            shifts = dict.fromkeys((loaded.start - linked, 0))
            lines = tuple(LineTable.of(elf, shift) for shift in shifts)
    except ELFError as e:
        raise UserError(f"is a damaged ELF file ({e})", where=str(file)) from None
    return Names(load(file, loaded), lines)


def _listed(data: bytes, file: Path, loaded: range) -> Symbols:
    found = [symbol for kind, symbol in read_list(data, file) if kind not in _NO_PLACES]
    if not found:
        raise UserError("has no symbols", where=str(file), fix=FIX)
    return placed(found, min(symbol.address for symbol in found), loaded)
