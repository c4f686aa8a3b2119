# SPDX-License-Identifier: Apache-2.0
"""Names of functions from a file: ELF, or text as `nm` prints it and System.map has it."""

import io
import re
from contextlib import suppress
from pathlib import Path

from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbols import Symbol, Symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.target import read_file

_ELF = b"\x7fELF"
_LINE = re.compile(r"([0-9a-fA-F]{1,16})(?: +[0-9a-fA-F]{1,16})? +([A-Za-z?]) +(\S+)(?:\s.*)?")
_CODE = "tTwWi"
_FIX = "give an ELF file with symbols, or text with lines like `0000000000200000 T start`"


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
        names = _names(data, str(path))
        found = symbols.placed(names, min((s.address for s in names), default=0), loaded)
    if not found.names:
        raise UserError("has no symbols", where=str(path), fix=_FIX)
    return found


def _names(data: bytes, where: str) -> list[Symbol]:
    """Those of code. Each goes on to the next one, whatever size is told."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise UserError("is neither an ELF file nor text", where=where, fix=_FIX) from None
    names = list[Symbol]()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line[0] == " ":  # undefined ones have no address
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise UserError(f"line {number} is no symbol: {line[:60]!r}", where=where, fix=_FIX)
        if match[2] in _CODE and not match[3].startswith("$"):
            names.append(Symbol(int(match[1], 16), match[3]))
    return names
