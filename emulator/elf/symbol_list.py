# SPDX-License-Identifier: Apache-2.0
"""Lists of symbols as nm and System.map have them: lines of ADDRESS [SIZE] TYPE NAME."""

import re
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.elf.symbols import Symbol
from aether_edgecloud.emulator.errors import UserError

FIX = "give an ELF file, or lines of ADDRESS [SIZE] TYPE NAME as nm prints them"
# A size has more digits than a type. What follows the name is for people.
_LINE = re.compile(r"([0-9a-fA-F]{1,16})(?:\s+([0-9a-fA-F]{8,16}))?\s+([A-Za-z?])\s+(\S+)(?:\s.*)?")
_UNDEFINED = re.compile(r"[Uvw]\s+\S+")


def read_list(data: bytes, file: Path) -> Iterator[tuple[str, Symbol]]:
    """Type and symbol of each line; those that are undefined, and those for debuggers, as $x, left
    out. UserError at the first line that is none."""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        line = line.strip()
        if not line or _UNDEFINED.fullmatch(line):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError("is no list of symbols", where=f"{file}:{number}", fix=FIX)
        address, size, kind, name = match.groups()
        if not name.startswith("$"):
            yield kind, Symbol(int(address, 16), name, int(size or "0", 16))
