# SPDX-License-Identifier: Apache-2.0
"""Where the members of the hypervisor's structures are, by the debug information of its ELF."""

from functools import cache
from pathlib import Path

from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

_SOURCES = ("/frames.c", "/vm.c")
"""They use the structures that are asked for."""


@cache
def offsets(elf: Path, name: str) -> dict[str, int]:
    """Of the members of `struct name`, by name; "" is its size. KeyError without such a struct."""
    with elf.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            if not _name(unit.get_top_DIE()).endswith(_SOURCES):
                continue  # reading it takes a second
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_structure_type" and _name(die) == name and _size(die):
                    members = {
                        _name(member): int(member.attributes["DW_AT_data_member_location"].value)
                        for member in die.iter_children()
                        if member.tag == "DW_TAG_member"
                    }
                    return {**members, "": _size(die)}
    raise KeyError(name)


def _name(die: DIE) -> str:
    attribute = die.attributes.get("DW_AT_name")
    return "" if attribute is None else attribute.value.decode()


def _size(die: DIE) -> int:
    attribute = die.attributes.get("DW_AT_byte_size")
    return 0 if attribute is None else int(attribute.value)
