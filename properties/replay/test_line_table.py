# SPDX-License-Identifier: Apache-2.0
"""The line table of a binary, beside what pyelftools makes of the same programs."""

import io
import subprocess
from pathlib import Path

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf.line_table import LineTable
from aether_edgecloud.emulator.launch import binary

_C = """
static inline int twice(int x)
{
    return x > 3 ? 2 * x : x - 1;
}
int first(int x)
{
    for (int i = 0; i < x; i++) {
        x += twice(i);
    }
    return x;
}
#line 70000 "far.h"
__attribute__((section(".other"))) int second(int x)
{
    return twice(x) / (x + 1);
}
"""


def _elf(folder: Path, version: int) -> bytes:
    source, out = folder / "a.c", folder / "a.o"
    source.write_text(_C)
    command = ["aarch64-linux-gnu-gcc", f"-gdwarf-{version}", "-O1", "-nostdlib", "-static", "-e0"]
    subprocess.run([*command, "-o", str(out), str(source)], check=True, capture_output=True)
    return out.read_bytes()


def _expected(elf: ELFFile) -> dict[int, int]:
    """The line of each address at which a row begins; 0 where a run of code ends."""
    dwarf = elf.get_dwarf_info()
    lines: dict[int, int] = {}
    ends: set[int] = set()
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        assert program is not None
        for entry in program.get_entries():
            state = entry.state
            if state is not None and state.end_sequence:
                ends.add(state.address)
            elif state is not None and state.line:
                lines[state.address] = state.line
    return dict.fromkeys(ends, 0) | lines


def _check(data: bytes) -> LineTable:
    table = LineTable.of(ELFFile(io.BytesIO(data)))
    assert {row.start: row.number for row in table.rows} == _expected(ELFFile(io.BytesIO(data)))
    return table


def test_the_lines_of_our_binary() -> None:
    elf = binary.load(None).elf
    assert elf is not None
    assert len(_check(elf.read_bytes()).rows) > 1_000


@pytest.mark.parametrize("version", [3, 4, 5])
def test_every_version_of_the_format(version: int, tmp_path: Path) -> None:
    table = _check(_elf(tmp_path, version))
    assert {Path(row.file).name for row in table.rows if row.number} == {"a.c", "far.h"}
    assert {row.number for row in table.rows} >= {0, 4, 8, 9, 70002}


def test_a_program_that_breaks_off(tmp_path: Path) -> None:
    data = bytearray(_elf(tmp_path, 4))
    section = ELFFile(io.BytesIO(data)).get_section_by_name(".debug_line")
    assert section is not None
    end = section["sh_offset"] + section["sh_size"]
    data[end - 3 : end] = b"\x02\x80\x80"
    with pytest.raises(ELFError):
        LineTable.of(ELFFile(io.BytesIO(bytes(data))))
