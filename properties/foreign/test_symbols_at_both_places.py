# SPDX-License-Identifier: Apache-2.0
"""Names of an image that is linked for another address than it was loaded at."""

import struct
from collections.abc import Mapping

import pytest

from aether_edgecloud.emulator.elf import symbols

_NOTYPE_GLOBAL = 0x10
NAMES = {"start": 0x0, "trap": 0x40, "end": 0x100}
SIZE = 0x100
NO_SIZES: dict[str, int] = {}


def elf_with_names(
    linked: int, names: Mapping[str, int] = NAMES, sizes: Mapping[str, int] = NO_SIZES
) -> bytes:
    """An ELF file with a .text of SIZE bytes at the VA `linked`, and names of what is so far in
    it."""
    strings, table = b"\0", bytes(24)
    for name, offset in names.items():
        span = (linked + offset, sizes.get(name, 0))
        table += struct.pack("<IBBHQQ", len(strings), _NOTYPE_GLOBAL, 0, 1, *span)
        strings += name.encode() + b"\0"
    titles = b"\0.text\0.symtab\0.strtab\0"
    parts, at = (bytes(SIZE), table, strings, titles), 64
    offsets = []
    for part in parts:
        offsets.append(at)
        at += len(part)
    headers = bytes(64)
    for title, kind, flags, address, number, link, entry in (
        (1, 1, 6, linked, 0, 0, 0),  # .text
        (7, 2, 0, 0, 1, 3, 24),  # .symtab
        (15, 3, 0, 0, 2, 0, 0),  # .strtab
        (15, 3, 0, 0, 3, 0, 0),  # names of sections
    ):
        size = len(parts[number])
        place = (flags, address, offsets[number], size, link, 1, 1, entry)
        headers += struct.pack("<II4QIIQQ", title, kind, *place)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    numbers = (2, 183, 1, linked, 0, at, 0, 64, 56, 0, 64, 5, 4)
    return ident + struct.pack("<HHIQQQIHHHHHH", *numbers) + b"".join(parts) + headers


@pytest.mark.parametrize("linked", [0x20_0000, 0xFFFF_8000_0000_0000])
def test_they_are_where_it_lies_and_where_it_is_linked(linked: int) -> None:
    loaded = range(0x4020_0000, 0x4020_0000 + SIZE)
    found = symbols.read(elf_with_names(linked), loaded)
    for base in (loaded.start, linked):
        assert found.at(base) == "start"
        assert found.at(base + 0x44) == "trap+0x4"
        assert found.at(base + SIZE) is None
        assert found.at(base - 1) is None
    assert found.address_of("trap") == loaded.start + 0x40


@pytest.mark.parametrize("linked", [0, 0x4020_0000])
def test_one_that_is_linked_for_0_or_for_where_it_lies_has_one_place(linked: int) -> None:
    loaded = range(0x4020_0000, 0x4020_0000 + SIZE)
    found = symbols.read(elf_with_names(linked), loaded)
    assert found.at(loaded.start + 0x40) == "trap"
    assert found.at(0x40) is None
    assert found.address_of("trap") == loaded.start + 0x40
    assert len(found.names) == len(NAMES)


def test_where_the_two_places_overlap_it_lies() -> None:
    loaded = range(0x4020_0000, 0x4020_0000 + SIZE)
    found = symbols.read(elf_with_names(0x4020_0080), loaded)
    assert found.at(0x4020_0080) == "trap+0x40"


def test_a_damaged_file_has_none() -> None:
    whole = elf_with_names(0)
    for data in (b"", whole[:80], whole[:40] + b"\xff" * 24 + whole[64:]):
        assert symbols.read(data, range(4096)) == symbols.NO_SYMBOLS
