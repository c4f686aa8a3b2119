# SPDX-License-Identifier: Apache-2.0
"""Names for addresses in the EL2 binary."""

import bisect
import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.errors import UserError

# Labels in assembly have no type; mapping symbols, as $x, begin with a dollar sign.
DAMAGED = (ELFError, struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What pyelftools raises for a damaged file."""
_TYPES = ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")


@dataclass(frozen=True, slots=True)
class Symbols:
    """Functions and objects of an image, by rising address; addresses are those it runs at. An
    empty name ends a part of the image in front of others."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]
    end: int
    loaded: range = range(0)
    """Where the image was loaded, if it runs at two places."""

    def at(self, address: int) -> str | None:
        """`name+offset` for an address inside the image; None for any other."""
        index = bisect.bisect_right(self.addresses, address) - 1
        if index < 0 or address >= self.end or not self.names[index]:
            return None
        offset = address - self.addresses[index]
        return self.names[index] + (f"+{offset:#x}" if offset else "")

    def address_of(self, name: str) -> int | None:
        """Where a symbol is, in the image as it was loaded; None for a name the image has not."""
        found = [a for a, n in zip(self.addresses, self.names, strict=True) if n == name]
        return next((a for a in found if a in self.loaded), found[0] if found else None)


NO_SYMBOLS = Symbols((), (), 0)


def check_aarch64(elf: ELFFile, where: str) -> None:
    """UserError for an ELF file of another machine."""
    if elf["e_machine"] != "EM_AARCH64":
        machine = str(elf["e_machine"]).removeprefix("EM_")
        fix = "give that of the binary that runs"
        raise UserError(f"is an ELF file for {machine}, not AArch64", where=where, fix=fix)


def linked_at(elf: ELFFile) -> int:
    """The VA of the first byte of an ELF file that is loaded: that of a section, since the file's
    own headers may be in a segment."""
    sections = (
        section
        for section in elf.iter_sections()
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
        and section["sh_type"] != "SHT_NOBITS"
        and section["sh_size"]
    )
    return min((int(section["sh_addr"]) for section in sections), default=0)


def load(elf_path: Path | None, loaded: range) -> Symbols:
    """The symbols of an ELF file whose lowest load address came to lie at `loaded.start`.

    One that is linked for another address than 0 may move itself there with its MMU: then its
    symbols are at both. None, or a file without symbols, gives none.
    """
    if elf_path is None:
        return NO_SYMBOLS
    try:
        with elf_path.open("rb") as file:
            return read(file, loaded)
    except OSError:
        return NO_SYMBOLS


def read(file: BinaryIO, loaded: range) -> Symbols:
    """The same, of an open file."""
    try:
        elf = ELFFile(file)
        linked = linked_at(elf)
        names = sorted(_names(elf))
    except DAMAGED:
        return NO_SYMBOLS
    return placed(names, linked, loaded)


def placed(names: Sequence[tuple[int, str]], linked: int, loaded: range) -> Symbols:
    """Addresses and names as linked, for an image that is linked at the VA `linked`, and loaded as
    `load` says."""
    places = [loaded]
    if linked and linked != loaded.start:
        places.append(range(linked, linked + len(loaded)))
    places.sort(key=lambda place: place.start)
    if any(low.stop > high.start for low, high in itertools.pairwise(places)):
        places = [loaded]
    found = [(a - linked + place.start, name) for place in places for a, name in names]
    found += [(place.stop, "") for place in places[:-1]]
    # Behind a symbol that marks the end of the image.
    found.sort(key=lambda one: (one[0], not one[1], one[1]))
    addresses, named = tuple(a for a, _ in found), tuple(n for _, n in found)
    return Symbols(addresses, named, places[-1].stop, loaded)


def _names(elf: ELFFile) -> Iterator[tuple[int, str]]:
    """Address and name of each symbol, as linked."""
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                if (
                    symbol["st_info"]["type"] in _TYPES
                    and symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS")
                    and symbol.name
                    and not symbol.name.startswith("$")
                ):
                    yield int(symbol["st_value"]), str(symbol.name)
