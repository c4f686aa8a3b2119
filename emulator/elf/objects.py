# SPDX-License-Identifier: Apache-2.0
"""Where an object of an ELF file lies."""

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.errors import UserError

_WORD = 8


def place_of(file: Path, name: str, *, where: str) -> range:
    """The addresses of the symbol `name`, as linked; one without a size is taken for a word.
    UserError for a file that is no ELF file or has no such symbol."""
    try:
        with file.open("rb") as data:
            for section in ELFFile(data).iter_sections():
                if isinstance(section, SymbolTableSection):
                    for symbol in section.get_symbol_by_name(name) or ():
                        start = int(symbol["st_value"])
                        return range(start, start + (int(symbol["st_size"]) or _WORD))
    except OSError as e:
        what = f"{file} cannot be read ({e.strerror})"
        raise UserError(what, where=where, fix="name a file that exists") from None
    except ELFError as e:
        raise UserError(f"{file} is no ELF file ({e})", where=where, fix="name one") from None
    raise UserError(f"{file} has no symbol {name!r}", where=where, fix="see `nm`")
