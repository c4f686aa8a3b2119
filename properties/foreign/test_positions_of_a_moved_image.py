# SPDX-License-Identifier: Apache-2.0
"""Symbols as positions in a run of an image that moves itself: it begins where it was loaded, and
goes on where it is linked when its MMU is on."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf.line_table import LineTable, Row, SourceLine
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.replay import Direction, Replay, parse
from aether_edgecloud.emulator.replay.program import Program
from aether_edgecloud.emulator.replay.views.backtrace import stack
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.replay.views.registers import registers
from aether_edgecloud.properties.foreign.test_symbols_at_both_places import elf_with_names
from aether_edgecloud.properties.machine.bare import LOAD, RAM_SIZE, assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

LINKED = 0x20_0000
NAMES = {"start": 0x40, "trap": 0x400, "high": 0x800, "data": 0xC00}
TEXT = f"""
bl trap
{p.EL2_MMU_ON}
{constant("x1", LINKED + NAMES["high"])}
msr elr_el2, x1
msr vbar_el2, x1
mov sp, x1
br x1
.balign 0x400
trap:
adr x3, data
str x3, [x3]
ret
.balign 0x800
high:
bl trap
movz x0, #0x8400, lsl #16
movk x0, #8
smc #0
b .
.balign 0x400
data: .quad 0
"""


@pytest.fixture
def replay() -> Iterator[Replay]:
    image = assemble(TEXT)
    machine = Machine(virt(RAM_SIZE), BootImage(image, 0x1000), mmu=MmuMode.MODEL)
    p.load(machine)
    low = {p.entry(p.EL2_ROOT, 0): p.SPARE | p.TABLE, p.entry(p.SPARE, 1): LOAD | p.EXECUTABLE}
    for entry, word in low.items():
        machine.memory.write(entry, word.to_bytes(8, "little"))
    program = Program.load(elf_with_names(LINKED, NAMES), machine.loaded[0], {})
    rows = (Row(LOAD + NAMES["trap"], "trap.S", 7), Row(LOAD + NAMES["trap"] + 4, "", 0))
    replay = Replay.live(machine, program=replace(program, lines=LineTable(rows)))
    yield replay
    replay.close()


def pcs(replay: Replay, text: str) -> list[int]:
    """Where it is found, from reset to the end."""
    found = []
    replay.goto(0)
    while hit := replay.find(parse.condition(replay, text), Direction.FORWARD):
        found.append(replay.machine.cpu.pc)
        assert hit.position == replay.position
    return found


@pytest.mark.parametrize("text", ["exec:trap", "exec:el2:trap"])
def test_it_is_found_at_either_address(replay: Replay, text: str) -> None:
    assert pcs(replay, text) == [LOAD + NAMES["trap"], LINKED + NAMES["trap"]]
    assert pcs(replay, text + "+4") == [LOAD + NAMES["trap"] + 4, LINKED + NAMES["trap"] + 4]


def test_an_address_is_that_one(replay: Replay) -> None:
    for base in (LOAD, LINKED):
        assert pcs(replay, f"exec:{base + NAMES['trap']:#x}") == [base + NAMES["trap"]]


def test_what_runs_at_one_of_them_only(replay: Replay) -> None:
    assert pcs(replay, "exec:high") == [LINKED + NAMES["high"]]
    assert pcs(replay, "exec:start") == [LOAD + NAMES["start"]]


def test_memory_is_where_it_is_mapped_at_the_cursor(replay: Replay) -> None:
    """EL2's tables have it at both places, then at the second only."""
    assert parse.place(replay, "data") == (Space.VA, LOAD + NAMES["data"])
    assert len(pcs(replay, "write:data")) == 2
    replay.goto(0)
    assert replay.find(parse.condition(replay, "exec:high"), Direction.FORWARD)
    replay.machine.memory.write(p.entry(p.EL2_ROOT, 1), bytes(8))
    assert parse.place(replay, "data") == (Space.VA, LINKED + NAMES["data"])
    assert parse.place(replay, "el2:data") == (Space.VA_EL2, LINKED + NAMES["data"])
    assert parse.place(replay, "pa:data") == (Space.PA, LOAD + NAMES["data"])


def test_lines_of_source_are_at_both(replay: Replay) -> None:
    places = [LOAD + NAMES["trap"], LINKED + NAMES["trap"]]
    assert pcs(replay, "exec:trap.S:7") == places
    for va in places:
        assert replay.source_line(va) == SourceLine("trap.S", 7, "")
        assert replay.source_line(va + 4) is None


def test_which_addresses_are_of_the_image(replay: Replay) -> None:
    program = replay.program
    for base in (LOAD, LINKED):
        assert program.has(base) and program.has(base + 0xFFF)
        assert not program.has(base - 1) and not program.has(base + 0x1000)
    assert program.everywhere(LINKED + 4) == (LINKED + 4,)
    assert program.everywhere(LOAD + 0x1000) == (LOAD + 0x1000,)


def test_what_registers_and_the_stack_point_to(replay: Replay) -> None:
    """ELR_EL2 may hold a guest's address, which is the binary's by chance."""
    assert replay.find(parse.condition(replay, "exec:high"), Direction.FORWARD)
    shown = registers(replay, system=("VBAR_EL2", "ELR_EL2"))
    notes = {one.name: one.note for one in (*shown.general, *shown.system)}
    assert (shown.symbol, notes["X1"], notes["PC"]) == ("high", "high", "high")
    assert (notes["VBAR_EL2"], notes["ELR_EL2"], notes["X2"]) == ("high", None, None)
    replay.machine.memory.write(
        LOAD + NAMES["high"], (LINKED + NAMES["trap"]).to_bytes(8, "little")
    )
    (word,) = stack(replay, 1)
    assert word.symbol == "trap"
