# SPDX-License-Identifier: Apache-2.0
"""Names of functions from a file: ELF, or text as `nm` prints it and System.map has it."""

import io
from contextlib import suppress
from pathlib import Path

from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbol_list import FIX, read_list
from aether_edgecloud.emulator.elf.symbols import Symbol, Symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.target import read_file

_ELF = b"\x7fELF"
_CODE = "tTwWi"


def read(path: Path, loaded: range) -> Symbols:
    """The symbols in a file of a binary that was loaded at the PAs `loaded`.

    In text the lowest symbol of code is taken for the first byte of the binary. UserError for a
    file that has none, or cannot be read.
    """
    data = read_file(path)
    if data.startswith(_ELF):
        with suppress(*symbols.DAMAGED):
            symbols.check_aarch64(ELFFile(io.BytesIO(data)), str(path))
        found = symbols.read(data, loaded)
    else:
        # Each goes on to the next one, whatever size is told.
        listed = (symbol for kind, symbol in read_list(data, path) if kind in _CODE)
        names = [Symbol(symbol.address, symbol.name) for symbol in listed]
        found = symbols.placed(names, min((s.address for s in names), default=0), loaded)
    if not found.names:
        raise UserError("has no symbols", where=str(path), fix=FIX)
    return found
