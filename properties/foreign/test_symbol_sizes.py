# SPDX-License-Identifier: Apache-2.0
"""How far a name reaches: as far as its size says; without one up to the next, or to the end of its
section. Sizes are st_size (ELF, symbol table) and what `nm -S` prints."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from aether_edgecloud.emulator.check.names import read_names
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbols import Symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.profile import symbol_file
from aether_edgecloud.properties.foreign.test_symbols_at_both_places import SIZE, elf_with_names

LINKED = 0x20_0000
BASE = 0x4020_0000
LONG = range(BASE, BASE + 0x1000)
"""The image, with memory behind its section that no file has."""


def named(names: Mapping[str, int], sizes: Mapping[str, int], loaded: range = LONG) -> Symbols:
    return symbols.read(elf_with_names(LINKED, names, sizes), loaded)


@pytest.mark.parametrize("base", [BASE, LINKED], ids=["loaded", "linked"])
def test_a_size_ends_it(base: int) -> None:
    found = named({"first": 0, "second": 0x40}, {"first": 0x20, "second": 0x10})
    assert found.at(base + 0x1F) == "first+0x1f"
    assert found.at(base + 0x20) is None
    assert found.at(base + 0x4F) == "second+0xf"
    for beyond in (0x50, SIZE, len(LONG) - 1, len(LONG)):
        assert found.at(base + beyond) is None


def test_without_a_size_it_goes_on_to_the_next_or_to_the_end_of_its_section() -> None:
    found = named({"first": 0, "second": 0x40}, {})
    assert found.at(BASE + 0x3F) == "first+0x3f"
    assert found.at(BASE + SIZE - 1) == "second+0xbf"
    assert found.at(BASE + SIZE) is None


def test_nothing_between_the_two_places_is_named() -> None:
    """Also where a symbol lies behind what was loaded."""
    loaded = range(BASE, BASE + 0x80)
    found = named({"start": 0, "bss": 0x90}, {"bss": 0x20}, loaded)
    assert found.at(LINKED + 0x7F) == "start+0x7f"
    for address in (LINKED + 0x80, LINKED + 0x90, BASE - 1, BASE + 0x80, BASE + 0x98):
        assert found.at(address) is None
    assert found.address_of("bss") is not None


def test_the_innermost_of_several() -> None:
    """A label or an object in another, and what goes on behind it; at one address the shortest that
    has a size."""
    sizes = {"whole": 0x40, "inner": 0x8, "head": 0x4}
    found = named({"whole": 0, "head": 0, "zero": 0, "inner": 0x10}, sizes)
    assert [found.at(BASE + at) for at in (0, 4, 0x10, 0x17, 0x18, 0x3F, 0x40)] == [
        "head", "whole+0x4", "inner", "inner+0x7", "whole+0x18", "whole+0x3f", None,
    ]  # fmt: skip
    # A label goes no further than what it is in.
    labels = {"whole": 0, "zero": 0, "inner": 0x10, "one": 0x14, "two": 0x30, "next": 0x80}
    found = named(labels, sizes)
    places = (0x14, 0x17, 0x18, 0x2F, 0x30, 0x3F, 0x40, 0x7F, 0x80)
    assert [found.at(BASE + at) for at in places] == [
        "one", "one+0x3", "whole+0x18", "whole+0x2f", "two", "two+0xf", None, None, "next",
    ]  # fmt: skip


def test_the_mark_of_an_end_is_there_itself() -> None:
    found = named({"code": 0, "code_end": SIZE}, {"code": 0x10})
    assert found.at(BASE + SIZE) == "code_end"
    assert found.at(BASE + SIZE + 1) is None


def listed(tmp_path: Path, text: str) -> Symbols:
    file = tmp_path / "System.map"
    file.write_text(text)
    return read_names(file, LONG).symbols


def test_a_list_with_sizes(tmp_path: Path) -> None:
    """nm -S; some have none."""
    found = listed(
        tmp_path,
        "0000000000200000 0000000000000020 T first\n"
        "0000000000200040 t second\n"
        "0000000000200060 0000000000000008 d third\n",
    )
    for base in (BASE, LINKED):
        assert found.at(base + 0x1F) == "first+0x1f"
        assert found.at(base + 0x20) is None
        assert found.at(base + 0x5F) == "second+0x1f"
        assert found.at(base + 0x67) == "third+0x7"
        assert found.at(base + 0x68) is None


def test_a_list_without_sizes(tmp_path: Path) -> None:
    """The last one goes on to the end of the image: nobody knows better. What has no place is left
    out."""
    text = "                 U elsewhere\n0000000000000040 A constant\n                 w maybe\n"
    found = listed(tmp_path, text + "0000000000200000 T first\n200010 b b [module]\n")
    assert found.at(BASE + 0xF) == "first+0xf"
    assert found.at(BASE + len(LONG) - 1) == f"b+{len(LONG) - 0x11:#x}"
    assert found.names.count("first") == 2 and "constant" not in found.names


@pytest.mark.parametrize(
    ("text", "line"),
    [("hello world\n", 1), ("0000000000200000 T one\n200040 20 t two\n", 2), ("\x7f\n", 1)],
)
def test_what_is_no_list(tmp_path: Path, text: str, line: int) -> None:
    """A size has 8 to 16 digits. `aether check` and `aether profile` say the same."""
    file = tmp_path / "System.map"
    file.write_text(text)
    said = []
    for read in (read_names, symbol_file.read):
        with pytest.raises(UserError) as raised:
            read(file, LONG)
        said.append(str(raised.value))
    assert said[0] == said[1] and f"System.map:{line}: is no list of symbols" in said[0]
    assert "lines of ADDRESS [SIZE] TYPE NAME as nm prints them" in said[0]


def test_lists_that_both_read(tmp_path: Path) -> None:
    """Undefined symbols stand alone, at any column; where functions are cut sizes do not count."""
    file = tmp_path / "System.map"
    file.write_text("U elsewhere\n200000\t0000000000000020 T first\n200040 t second [module]\n")
    assert read_names(file, LONG).symbols.at(BASE + 0x30) is None
    assert symbol_file.read(file, LONG).at(BASE + 0x30) == "first+0x30"
    assert symbol_file.read(file, LONG).at(BASE + 0x40) == "second"


def test_a_list_of_nothing_that_has_a_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no symbols"):
        listed(tmp_path, "                 U elsewhere\n0000000000000040 A constant\n")
