# SPDX-License-Identifier: Apache-2.0
"""What panes show, from the views they are given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from aether_edgecloud.emulator.arch.fields import fields
from aether_edgecloud.emulator.arch.mmu_faults import WalkStep
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.recording.recording import Mark
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.views.backtrace import Frame, StackWord
from aether_edgecloud.emulator.replay.views.code import Instruction
from aether_edgecloud.emulator.replay.views.maps import Map, MapView, Region
from aether_edgecloud.emulator.replay.views.memory import MemoryView, Piece, Space
from aether_edgecloud.emulator.replay.views.registers import CpuView, RegisterView
from aether_edgecloud.emulator.replay.views.surroundings import EventView
from aether_edgecloud.emulator.ui.model import (
    code,
    happenings,
    maps,
    memory,
    registers,
    stack,
)
from aether_edgecloud.emulator.ui.model import row as rows
from aether_edgecloud.emulator.ui.model.history import Bookmark
from aether_edgecloud.properties.ui import stand_in


def plain(shown: list[rows.Row]) -> list[str]:
    """The rows as they are read."""
    return [row.text.plain.rstrip() for row in shown]


# Code.


def _instruction(
    va: int, line: int, *, file: str = "el2/trap.c", name: str = "trap"
) -> Instruction:
    source = SourceLine(file, line, f"  line({line});")
    return Instruction(va, va, 0xD503201F, "nop", f"{name}+{va & 0xFFF:#x}", source)


def test_source_lines_stand_before_the_first_of_their_instructions() -> None:
    shown = code.rows(
        (
            _instruction(0x1000, 7),
            _instruction(0x1004, 7),
            _instruction(0x1008, 9),
            _instruction(0x100C, 7, name="other"),
        ),
        code.Code(0x1000),
    )
    assert plain(shown) == [
        "trap:",
        "  trap.c:7 line(7);",
        "  1000 nop",
        "  1004 nop",
        "  trap.c:9 line(9);",
        "  1008 nop",
        "other:",
        "  trap.c:7 line(7);",
        "  100c nop",
    ]


def test_assembly_has_its_line_beside_it() -> None:
    (_, shown) = code.rows((_instruction(0x1000, 7, file="el2/boot.S"),), code.Code(0))
    assert shown.text.plain == "  1000 nop  boot.S:7"


def test_the_current_instruction_and_breakpoints_are_marked_without_colour() -> None:
    current = Instruction(0x1000, 0x1000, 0, "nop", is_current=True)
    nothing = Instruction(0x1004, None, None, "not mapped")
    shown = code.rows((current, nothing), code.Code(0x1000, frozenset({0x1000, 0x1004})))
    assert plain(shown) == ["●▶1000 nop", "● 1004 not mapped"]


@given(st.integers(1, 40), st.integers(-20, 20), st.integers(1, 4))
def test_the_code_cursor_is_always_on_its_instruction(height: int, away: int, lines: int) -> None:
    at = 0x8000 + 4 * away
    around = tuple(_instruction(at + 4 * n, n // lines) for n in range(-height, height + 1))
    filled = code.fill(around, code.Code(at), "", height)
    assert filled.subject == rows.Instruction(at)
    assert len(filled.rows) == height


# Registers.


def _cpu(*system: RegisterView) -> CpuView:
    general = stand_in.cpu_view().general
    return CpuView(0, 2, 0, None, 0, None, "running", 0, 0, general, system)


def test_what_the_last_step_changed_has_a_star_and_its_old_value() -> None:
    shown = plain(registers.rows(_cpu(), 40))
    assert "*x3  0000000000000030 was 99" in shown
    assert " x4  0000000000000040" in shown
    assert "*pc  0000000040080110 was 4008010c" in shown
    assert registers.changes(_cpu()) == "x3 was 99"


def test_fields_that_are_not_zero_or_became_so_are_shown() -> None:
    value, before = 0x8000_0019, 0x8000_0039
    view = RegisterView("HCR_EL2", value, before, fields("HCR_EL2", value))
    shown = " ".join(plain(registers.rows(_cpu(view), 200)))
    for field in fields("HCR_EL2", before):
        is_flag = field.hi == field.lo
        changed = before >> field.lo & 1 != value >> field.lo & 1
        if is_flag and field.value:
            assert (f"*{field.name}=0x0" in shown) is changed
            assert field.name in shown
    assert "HCR_EL2      0000000080000019 was 80000039" in shown


@given(st.integers(28, 200))
def test_rows_of_registers_fit_and_have_all_of_them(width: int) -> None:
    value = 0x5A00_0000
    shown = registers.rows(
        _cpu(RegisterView("ESR_EL2", value, None, fields("ESR_EL2", value))), width
    )
    named = [s.name for row in shown if row.subject for s in (row.subject, *row.others)]  # type: ignore[union-attr]
    assert sorted(named) == sorted([*(f"X{n}" for n in range(31)), "SP", "PC", "ESR_EL2"])
    assert max(row.text.cell_len for row in shown if row.subject) <= width


def test_a_column_of_a_row_has_its_own_subject() -> None:
    shown = registers.rows(_cpu(), 60)
    row = next(row for row in shown if row.others)
    assert [row.at(n) for n in range(3)] == [
        rows.Register("X0", 0),
        rows.Register("X16", 0x100),
        rows.Register("X16", 0x100),
    ]


# Stack.


def test_the_stack_shows_where_an_exception_came_from() -> None:
    frames = (
        Frame(0, 2, 0x1000, 0, "pc", "trap+0x4", SourceLine("el2/trap.c", 3, "")),
        Frame(1, 2, 0x1100, 0, "frame", "vectors"),
        Frame(2, 1, 0xFFFF_8000_0000_1234, 0, "exception"),
    )
    shown = stack.rows(frames, (StackWord(0x9000, 0x1100, "vectors"), StackWord(0x9008, None)))
    assert plain(shown) == [
        "#0  trap+0x4 trap.c:3",
        "#1  vectors",
        "-- interrupted at EL1",
        "#2  ffff800000001234",
        "-- from SP",
        "9000 0000000000001100 vectors",
        "9008 nothing mapped",
    ]
    assert shown[0].subject == rows.Instruction(0x1000)
    assert shown[5].subject == rows.Address(Space.VA, 0x9000)


# Memory.


def _view(start: int, data: bytes, changed: frozenset[int] = frozenset()) -> MemoryView:
    pieces = (Piece(start, len(data), start, data),)
    return MemoryView(Space.PA, start, len(data), pieces, changed)


@given(st.integers(0, (1 << 64) - 1), st.integers(29, 200), st.integers(2, 50))
def test_the_memory_cursor_is_on_its_byte(cursor: int, width: int, height: int) -> None:
    across = memory.bytes_across(width)
    start = memory.first_of(cursor, across, height)
    assert start <= cursor < start + across * height
    assert 0 <= start <= (1 << 64) - across * height
    data = bytes(n & 0xFF for n in range(across * height))
    filled = memory.fill(_view(start, data), cursor, width, "")
    assert filled.subject == rows.Address(Space.PA, cursor)
    assert len(filled.rows) == height
    text = filled.rows[filled.cursor or 0].text
    (marked,) = [span for span in text.spans if "reverse" in str(span.style)]
    assert text.plain[marked.start : marked.end] == f"{(cursor - start) & 0xFF:02x}"


def test_a_row_of_memory() -> None:
    pieces = (
        Piece(0x1000, 6, 0x1000, b"Hello\0"),
        Piece(0x1006, 1, None, None, "nothing"),
        Piece(0x1007, 9, 0x1007, bytes(range(9))),
    )
    view = MemoryView(Space.PA, 0x1000, 16, pieces, frozenset({1}))
    (shown,) = memory.fill(view, 0x1000, 90, "").rows
    assert shown.text.plain == (
        "0000000000001000 48*65 6c 6c 6f 00 .. 00 01 02 03 04 05 06 07 08 Hello..........."
    )


def test_where_a_byte_is() -> None:
    pieces = (
        Piece(0xFFE, 2, 0x4FFE, bytes(2)),
        Piece(0x1000, 6, None, None, "not mapped: stage 1 translation fault, level 3"),
    )
    view = MemoryView(Space.VA, 0xFFE, 8, pieces)
    assert memory.where(view, 0xFFF) == "PA 0x4fff"
    assert memory.where(view, 0x1001) == "not mapped: stage 1 translation fault, level 3"


# Maps.

_MAP = MapView(
    Map.STAGE2,
    0x4700_0000,
    (
        Region(0x4000_0000, 0x4800_0000, 0x5000_0000, "rwx", "Normal WB", "linux", True),
        Region(0x0900_0000, 0x0900_1000, 0x0900_0000, "rw-", "Device-nGnRE"),
    ),
    malformed=("level 3 entry at 0x1000: reserved",),
)


def test_regions_by_owner() -> None:
    assert plain(maps.rows([_MAP], 80)) == [
        "IPA to PA, root 0x47000000",
        "▶40000000-47ffffff rwx linux to 50000000 128 MiB Normal WB",
        " 9000000-9000fff rw- same 4 KiB Device-nGnRE",
        "  level 3 entry at 0x1000: reserved",
    ]
    assert plain(maps.rows([_MAP], 30))[1] == "▶40000000-47ffffff rwx linux >50000000"


def test_a_map_that_is_not_there_says_why() -> None:
    view = MapView(Map.STAGE2, None, (), none="stage 2 is off (HCR_EL2.VM is 0)")
    assert plain(maps.rows([view], 80)) == [
        "IPA to PA",
        "  stage 2 is off (HCR_EL2.VM is 0)",
    ]


def test_entries_of_a_walk() -> None:
    steps = [
        WalkStep(2, 1, 0, 0x4700_0008, 0x4700_0008, 0x47001003),
        WalkStep(2, 2, 0, 0x10, 0x10, None),
    ]
    assert plain(maps.entries(steps, 80)) == [
        "level 1 at 47000008 0000000047001003",
        "level 2 at 10 no memory",
    ]
    assert plain(maps.entries(steps, 30)) == ["L1 47000008 47001003", "L2 10 no memory"]


# Lists.


@given(st.integers(0, 60), st.integers(0, 59), st.integers(0, 80), st.integers(1, 20))
def test_a_window_has_the_cursor_and_is_full(
    count: int, cursor: int, top: int, height: int
) -> None:
    every = [rows.Row(Text(str(n))) for n in range(count)]
    on = cursor if cursor < count else None
    shown = rows.window(every, on, top, height)
    assert len(shown) == min(count, height)
    assert shown.start >= 0
    assert shown.stop <= count
    if on is not None:
        assert on in shown


def test_a_cursor_stays_on_the_same_thing_at_another_value() -> None:
    assert rows.is_same(rows.Register("x1", 1), rows.Register("x1", 2))
    assert not rows.is_same(rows.Register("x1", 1), rows.Register("x2", 1))
    low = rows.Mapped(Map.STAGE1_LOW, 0x1000, 0)
    assert rows.is_same(low, rows.Mapped(Map.STAGE1_LOW, 0x1000, 0x5000))
    assert not rows.is_same(low, rows.Mapped(Map.STAGE2, 0x1000, 0))
    assert not rows.is_same(None, None)


# What happened.


def test_events_at_the_moment_are_pointed_at() -> None:
    event = EventView(3, 1_234_567, 0, 2, EventKind.MMIO, "read of 0x9000018")
    assert happenings.event_row(event, 0).text.plain == " 1,234,567 vm2 read of 0x9000018"
    here = happenings.event_row(event, 1_234_567)
    assert here.text.plain.startswith("▶")
    assert here.subject == rows.Place(1_234_567)


def test_an_event_behind_an_exception_has_its_attempt() -> None:
    row = happenings.event_row(EventView(3, 1_234, 0, 2, EventKind.MMIO, "read", 1), 0)
    assert row.text.plain == " 1,234.1 vm2 read"
    assert row.subject == rows.Place(1_234, 1)


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"one\r\ntwo\n", ["one", "two", ""]),
        (b"\x1b[1;32mgreen\x1b[0m\x1b]0;title\x07 end", ["green end"]),
        (b"10%\r20%\r30%\r\n", ["30%", ""]),
        (b"a\tb\x07\xff", ["a       b\xb7\ufffd"]),
        (b"\x1b[2J\x1b[Hcleared", ["cleared"]),
        (b"", [""]),
    ],
)
def test_console_output_moves_nothing_on_this_terminal(output: bytes, lines: list[str]) -> None:
    assert happenings.console_lines(output) == lines


@given(st.binary(max_size=80), st.integers(1, 40))
def test_console_rows_fit_and_are_printable(output: bytes, width: int) -> None:
    for row in happenings.wrapped(happenings.console_lines(output), width):
        assert len(row.text.plain) <= width
        assert row.text.plain.isprintable()


def test_marks() -> None:
    shown = happenings.marks(
        [Mark(0, "reset"), Mark(90, "guest 1")],
        [Bookmark(Moment(90), "call"), Bookmark(Moment(90, 1), "handler")],
        ["on x"],
        ["cut off"],
        Moment(90, 1),
    )
    bookmarks = [" 90 ◆ call", "▶90.1 ◆ handler"]
    assert plain(shown) == [*bookmarks, " ● on x", " 0 reset", "▶90 guest 1", " ! cut off"]
    assert shown[1].subject == rows.Place(90, 1)
    assert shown[4].subject == rows.Place(90)
