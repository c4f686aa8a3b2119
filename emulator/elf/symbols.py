# SPDX-License-Identifier: Apache-2.0
"""Names for addresses in the EL2 binary."""

import bisect
import heapq
import itertools
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.errors import UserError

# Labels in assembly have no type; mapping symbols, as $x, begin with a dollar sign.
DAMAGED = (ELFError, struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What pyelftools raises for a damaged file."""
_TYPES = ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")
_FOREVER = 1 << 64


@dataclass(frozen=True, slots=True)
class Symbol:
    """One as it is linked. `size` is in bytes; one without, as a label, reaches to the next symbol,
    but not past one with a size that it lies in, nor `limit`: where its section ends, if known."""

    address: int
    name: str
    size: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Symbols:
    """Functions and objects of an image, by rising address; addresses are those it runs at. An
    empty name ends a part of the image in front of others."""

    addresses: tuple[int, ...]
    names: tuple[str, ...]
    stops: tuple[int, ...]
    """Where each ends; what is there belongs to it no more."""
    end: int
    loaded: range = range(0)
    """Where the image was loaded, if it runs at two places."""
    _reach: tuple[int, ...] = field(init=False, repr=False, compare=False)
    """By index: where the last of those up to it ends."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reach", tuple(itertools.accumulate(self.stops, max)))

    def at(self, address: int) -> str | None:
        """`name+offset` for an address that belongs to a symbol, the innermost of several; None for
        any other."""
        index = bisect.bisect_right(self.addresses, address) - 1
        while index >= 0 and address < self._reach[index]:
            if address < self.stops[index]:
                offset = address - self.addresses[index]
                return self.names[index] + (f"+{offset:#x}" if offset else "")
            index -= 1
        return None

    def address_of(self, name: str) -> int | None:
        """Where a symbol is, in the image as it was loaded; None for a name the image has not."""
        found = [a for a, n in zip(self.addresses, self.names, strict=True) if n == name]
        return next((a for a in found if a in self.loaded), found[0] if found else None)


NO_SYMBOLS = Symbols((), (), (), 0)


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


def moves_to(linked: int, loaded: range) -> range:
    """Where an image that is linked at the VA `linked` may run besides where it was loaded; empty
    if nowhere. One that is linked for 0 runs where it lies, and so does one whose two places are
    not apart."""
    moved = range(linked, linked + len(loaded))
    is_apart = moved.stop <= loaded.start or loaded.stop <= moved.start
    return moved if linked and is_apart else range(0)


def load(elf_path: Path | None, loaded: range) -> Symbols:
    """The symbols of an ELF file whose lowest load address came to lie at `loaded.start`.

    One that is linked for another address than 0 may move itself there with its MMU: then its
    symbols are at both. None, or a file without symbols, gives none.
    """
    if elf_path is None:
        return NO_SYMBOLS
    try:
        return read(elf_path.read_bytes(), loaded)
    except OSError:
        return NO_SYMBOLS


@lru_cache(maxsize=4)
def read(data: bytes, loaded: range) -> Symbols:
    """The same, of what is in the file. Kept: a process opens one binary many times."""
    try:
        elf = ELFFile(BytesIO(data))
        linked = linked_at(elf)
        found = list(_named(elf))
    except DAMAGED:
        return NO_SYMBOLS
    return placed(found, linked, loaded)


def placed(found: Iterable[Symbol], linked: int, loaded: range) -> Symbols:
    """Symbols of an image that is linked at the VA `linked`, and loaded as `load` says."""
    places = [loaded]
    if moved := moves_to(linked, loaded):
        places = sorted((loaded, moved), key=lambda place: place.start)
    reaching = _reaching(found)
    rows = [
        (address - linked + place.start, min(stop - linked + place.start, place.stop), name)
        for place in places
        for address, stop, name in reaching
    ]
    rows += [(place.stop, place.stop, "") for place in places[:-1]]
    # Behind a symbol that marks the end of the image; stable, so that the innermost comes last.
    rows.sort(key=lambda row: (row[0], not row[2]))
    addresses = tuple(address for address, _, _ in rows)
    stops, names = tuple(stop for _, stop, _ in rows), tuple(name for _, _, name in rows)
    return Symbols(addresses, names, stops, places[-1].stop, loaded)


def _reaching(found: Iterable[Symbol]) -> list[tuple[int, int, str]]:
    """Address, where it ends, and name of each, as linked, by rising address; of several at one
    address those without a size first, then the longest."""
    symbols = sorted(found, key=lambda s: (s.address, bool(s.size), -s.size, s.name))
    rows: list[tuple[int, int, str]] = []
    around = _around(symbols)
    following = _FOREVER
    for index in reversed(range(len(symbols))):
        symbol = symbols[index]
        is_last = index + 1 == len(symbols) or symbols[index + 1].address != symbol.address
        if is_last and index + 1 < len(symbols):
            following = symbols[index + 1].address
        stop = symbol.address + symbol.size
        if not symbol.size:
            # What marks an end is at least there itself.
            limit = _FOREVER if symbol.limit is None else symbol.limit
            stop = max(min(following, limit, around[index]), symbol.address + 1)
        rows.append((symbol.address, stop, symbol.name))
    rows.reverse()
    return rows


def _around(symbols: list[Symbol]) -> list[int]:
    """By index, of symbols by rising address: where the first ends of those with a size that each
    lies in."""
    stops: list[int] = []  # a heap
    around = []
    at = 0
    for symbol in symbols:
        while at < len(symbols) and symbols[at].address <= symbol.address:
            if symbols[at].size:
                heapq.heappush(stops, symbols[at].address + symbols[at].size)
            at += 1
        while stops and stops[0] <= symbol.address:
            heapq.heappop(stops)
        around.append(stops[0] if stops else _FOREVER)
    return around


def _named(elf: ELFFile) -> Iterator[Symbol]:
    """Each symbol that names a place in the image."""
    limits = [int(section["sh_addr"] + section["sh_size"]) for section in elf.iter_sections()]
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                index = symbol["st_shndx"]
                if (
                    symbol["st_info"]["type"] in _TYPES
                    and index not in ("SHN_UNDEF", "SHN_ABS")
                    and symbol.name
                    and not symbol.name.startswith("$")
                ):
                    is_known = isinstance(index, int) and index < len(limits)
                    yield Symbol(
                        int(symbol["st_value"]),
                        str(symbol.name),
                        int(symbol["st_size"]),
                        limits[index] if is_known else None,
                    )
