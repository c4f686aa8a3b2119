# SPDX-License-Identifier: Apache-2.0
"""EL2's reader of the board's device tree takes any bytes: it reads what is sound, says one line
about what is not, and never leaves the blob (ASan and UBSan watch)."""

import struct
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt, virt_spin_table
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.fdt import Node, Property

from .damage import damaged, is_clear_error, overlap, ranges
from .host_readers import Readers

MIB = 1 << 20
PAGE = 4096

PSCI, SPIN_TABLE = 1, 2
VIRT = build_dtb(virt(256 * MIB), initrd=range(0x4800_0000, 0x4800_2000))


def simple_bus_tree(*, status: str = "okay", stdout: str = "serial0:115200n8") -> Node:
    """A console behind two buses that translate, one cell below two, with an alias for it."""
    uart = Node(
        "serial@201000",
        (
            Property("compatible", fdt.text("vendor,uart", "arm,pl011")),
            Property("reg", fdt.cells(0x201000, 0x200)),
            Property("status", fdt.text(status)),
        ),
    )
    inner = Node(
        "bus@7e000000",
        (
            Property("#address-cells", fdt.cells(1)),
            Property("#size-cells", fdt.cells(1)),
            Property("ranges", fdt.cells(0, 0x7E00_0000, 0x100_0000)),
        ),
        (uart,),
    )
    outer = Node(
        "soc",
        (
            Property("#address-cells", fdt.cells(1)),
            Property("#size-cells", fdt.cells(1)),
            Property(
                "ranges",
                fdt.cells(0x4000_0000, 0, 1, 0x1000) + fdt.cells(0x7E00_0000, 1, 0, 0x180_0000),
            ),
        ),
        (inner,),
    )
    return Node(
        "",
        (Property("#address-cells", fdt.cells(2)), Property("#size-cells", fdt.cells(1))),
        (
            Node("aliases", (Property("serial0", fdt.text("/soc/bus@7e000000/serial")),)),
            Node(
                "chosen",
                (
                    Property("stdout-path", fdt.text(stdout)),
                    Property("linux,initrd-start", fdt.cells(0x100_0000)),
                    Property("linux,initrd-end", fdt.cells(0x180_0000)),
                ),
            ),
            Node("memory@0", (Property("reg", fdt.cells(0, 0, 0x4000_0000, 2, 0, 0x2000_0000)),)),
            Node(
                "reserved-memory",
                (
                    Property("#address-cells", fdt.cells(2)),
                    Property("#size-cells", fdt.cells(1)),
                    Property("ranges", b""),
                ),
                (Node("fw@1234", (Property("reg", fdt.cells(0, 0x1234, 0x1000)),)),),
            ),
            outer,
        ),
    )


BUS = fdt.write(simple_bus_tree())


def test_the_emulators_virt_board_is_read(readers: Readers) -> None:
    answer = readers.board(VIRT)
    assert ranges(answer["uart"]) == [(0x900_0000, PAGE)]
    assert int(answer["intid"], 16) == 33
    assert answer["smc"] == "1"
    assert ranges(answer["cpus"]) == [(0, PSCI, 0)]
    assert ranges(answer["banks"]) == [(0x4000_0000, 256 * MIB)]
    assert ranges(answer["bundle"]) == [(0x4800_0000, 0x2000)]


def test_addresses_are_translated_through_every_bus(readers: Readers) -> None:
    answer = readers.board(BUS)
    assert ranges(answer["uart"]) == [(0x1_0020_1000, PAGE)]
    assert answer["intid"] == "0"
    assert answer["smc"] == "0"
    assert answer["cpus"] == ""
    assert ranges(answer["banks"]) == [(0, 0x4000_0000), (2 << 32, 0x2000_0000)]
    assert ranges(answer["reserved"]) == [(0x1000, 0x2000)]
    assert ranges(answer["bundle"]) == [(0x100_0000, 0x80_0000)]


def test_a_disabled_console_is_no_console(readers: Readers) -> None:
    tree = simple_bus_tree(status="disabled", stdout="/nothing")
    assert readers.board(fdt.write(tree))["uart"] == "0+0"


def raw_tree(
    structure: bytes, *, strings: bytes = b"reg\0", reservations: bytes = bytes(16)
) -> bytes:
    """A tree with its blocks in an order that puts the end of the structure at the blob's end."""
    strings_at = 40 + len(reservations)
    structure_at = -(-(strings_at + len(strings)) // 4) * 4
    total = structure_at + len(structure)
    head = (
        0xD00DFEED,
        total,
        structure_at,
        strings_at,
        40,
        17,
        16,
        0,
        len(strings),
        len(structure),
    )
    body = reservations + strings
    return (struct.pack(">10I", *head) + body).ljust(structure_at, b"\0") + structure


BEGIN, CLOSE, PROP, NOP, STOP = (struct.pack(">I", n) for n in (1, 2, 3, 4, 9))
ROOT_NODE = BEGIN + bytes(4)


def raw_property(length: int, name: int, value: bytes) -> bytes:
    return PROP + struct.pack(">II", length, name) + value


def nested(depth: int) -> bytes:
    return ROOT_NODE + (BEGIN + b"a\0\0\0") * (depth - 1) + CLOSE * depth + STOP


REFUSED_TREES = {
    "an empty structure block": (raw_tree(b""), "not lie within"),
    "no root": (raw_tree(STOP), "does not start with the root"),
    "a name without its end": (raw_tree(ROOT_NODE + BEGIN + b"name"), "not lie within"),
    "half a property": (raw_tree(ROOT_NODE + PROP + bytes(4)), "not lie within"),
    "a property past the end": (
        raw_tree(ROOT_NODE + raw_property(8, 0, b"abcd")), "not lie within"
    ),
    "a huge property": (raw_tree(ROOT_NODE + raw_property(0xFFFFFFFF, 0, b"")), "not lie within"),
    "a property without its padding": (
        raw_tree(ROOT_NODE + raw_property(1, 0, b"a")), "not lie within"
    ),
    "a property's name outside": (
        raw_tree(ROOT_NODE + raw_property(0, 4, b"") + CLOSE + STOP), "not lie within"
    ),
    "a property's name far outside": (
        raw_tree(ROOT_NODE + raw_property(0, 0xFFFFFFF0, b"") + CLOSE + STOP), "not lie within"
    ),
    "a property's name without its end": (
        raw_tree(ROOT_NODE + raw_property(0, 1, b"") + CLOSE + STOP, strings=b"reg"),
        "not lie within",
    ),
    "an unknown token": (raw_tree(ROOT_NODE + struct.pack(">I", 5)), "not lie within"),
    "no last token": (raw_tree(ROOT_NODE + CLOSE), "does not end after the root"),
    "two roots": (raw_tree(ROOT_NODE + CLOSE + ROOT_NODE + CLOSE + STOP), "does not end after"),
    "an end inside a node": (raw_tree(ROOT_NODE + STOP), "ends inside a node"),
    "17 levels": (raw_tree(nested(17)), "nested too deeply"),
    "reservations without an end": (
        raw_tree(nested(1), reservations=b"\1" * 16, strings=b"\1" * 40), "has no end"
    ),
    "version 16": (VIRT[:23] + b"\x10" + VIRT[24:], "version 17"),
    "a later format": (VIRT[:27] + b"\x12" + VIRT[28:], "version 17"),
    "an unaligned structure block": (VIRT[:11] + bytes([VIRT[11] + 1]) + VIRT[12:], "outside"),
    "one byte short": (VIRT[:-1], "truncated"),
    "no memory": (raw_tree(nested(16)), "no memory"),
    "25 reserved ranges": (
        raw_tree(
            ROOT_NODE + BEGIN + b"memory\0\0" + raw_property(12, 0, fdt.cells(0, 0, PAGE))
            + CLOSE + CLOSE + STOP,
            reservations=struct.pack(">QQ", PAGE, PAGE) * 25 + bytes(16),
        ),
        "too many reserved",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_TREES)
def test_each_kind_of_damage_to_a_tree_is_named(readers: Readers, case: str) -> None:
    blob, expected = REFUSED_TREES[case]
    answer = readers.board(blob)
    assert expected in answer["error"]
    assert is_clear_error(answer)


@pytest.mark.parametrize("length", [*range(0, 40, 4), 1, 7])
def test_a_reg_of_anything_but_whole_entries_is_refused(readers: Readers, length: int) -> None:
    value = fdt.cells(0, 0, PAGE, 0, PAGE, PAGE, 0, 2 * PAGE, PAGE, 7)[:length]
    padded = value + bytes(-len(value) % 4)
    blob = raw_tree(
        ROOT_NODE + CLOSE.join([BEGIN + b"memory\0\0" + raw_property(length, 0, padded), b""])
        + CLOSE + STOP
    )  # fmt: skip
    answer = readers.board(blob)
    if length % 12 != 0:
        assert "bad, overlapping or too many memory ranges" in answer["error"]
    elif length == 0:
        assert "no memory" in answer["error"]
    else:
        assert ranges(answer["banks"]) == [(i * PAGE, PAGE) for i in range(length // 12)]


def reg_node(name: str, entries: int) -> Node:
    numbers = (n for i in range(entries) for n in (0, i * PAGE, 0))
    return Node(name, (Property("reg", fdt.cells(*numbers)),))


def tree_with(*nodes: Node, name: str = "memory@0", reg: bytes = fdt.cells(0, 0, MIB)) -> bytes:
    return fdt.write(Node("", (), (Node(name, (Property("reg", reg),)), *nodes)))


@pytest.mark.parametrize("count", [63, 64])
def test_entries_of_memory_are_counted_over_all_nodes(readers: Readers, count: int) -> None:
    # With the bank itself. Each costs a walk, so that 40,000 of them would stall the boot.
    one = readers.board(tree_with(reg_node("memory@1", count)))
    many = readers.board(tree_with(*(reg_node(f"memory@{i + 1}", 1) for i in range(count))))
    assert ("error" in one) == ("error" in many) == (count == 64)


@pytest.mark.parametrize("count", [64, 65, 40_000])
def test_entries_of_reserved_memory_are_counted(readers: Readers, count: int) -> None:
    reserved = Node("reserved-memory", (Property("ranges", b""),), (reg_node("fw", count),))
    answer = readers.board(tree_with(reserved))
    assert ("bad or too many reserved" in answer.get("error", "")) == (count > 64)


def test_a_reservation_that_cannot_be_translated_is_not_passed_over(readers: Readers) -> None:
    firmware = Node("fw@1000", (Property("reg", fdt.cells(0, PAGE, PAGE)),))
    answer = readers.board(tree_with(Node("reserved-memory", (), (firmware,))))
    assert "bad or too many reserved ranges" in answer["error"]
    sound = Node("reserved-memory", (Property("ranges", b""),), (firmware,))
    assert ranges(readers.board(tree_with(sound))["reserved"]) == [(PAGE, PAGE)]


@pytest.mark.parametrize("base", [-1, -PAGE + 1, -PAGE])
def test_memory_in_the_last_page_of_all_is_none(readers: Readers, base: int) -> None:
    last = (1 << 64) + base
    cells = Property("reg", fdt.cells(last >> 32, last & 0xFFFFFFFF, 1))
    answer = readers.board(tree_with(Node("memory@f", (cells,))))
    assert ranges(answer["banks"]) == [(0, MIB)]


@pytest.mark.parametrize("length", [63, 64, 1000])
def test_names_are_searched_for_63_characters_at_most(readers: Readers, length: int) -> None:
    node = readers.board(tree_with(Node("n" * length, ())))
    properties = tuple(Property("p" * length, b"") for _ in range(3))
    named = readers.board(tree_with(Node("n", properties)))
    for answer in (node, named):
        assert ("64 bytes" in answer.get("error", "")) == (length > 63)


@pytest.mark.parametrize("windows", range(5))
def test_a_gic_is_one_with_four_windows(readers: Readers, windows: int) -> None:
    numbers = (n for i in range(windows) for n in (0, 0x800_0000 + i * 0x1_0000, 0x2000))
    gic = (
        Property("compatible", fdt.text("arm,cortex-a15-gic")),
        Property("reg", fdt.cells(*numbers)),
    )
    answer = readers.board(tree_with(Node("intc", gic)))
    found = [ranges(answer[name])[0] for name in ("gicd", "gicc", "gich", "gicv")]
    there = [(0x800_0000 + i * 0x1_0000, 0x2000) for i in range(windows)]
    assert found == [*there, *[(0, 0)] * (4 - windows)]


def test_the_gic_of_the_emulators_boards_is_found(readers: Readers) -> None:
    answer = readers.board(VIRT)
    assert ranges(answer["gicd"])[0][0] == 0x800_0000
    assert ranges(answer["gicv"])[0][0] == 0x804_0000
    assert readers.board(BUS)["gicv"] == "0+0"


def cpu_node(name: str, *properties: Property, reg: bytes = fdt.cells(0)) -> Node:
    return Node(name, (Property("reg", reg), *properties))


def method(text: str) -> Property:
    return Property("enable-method", fdt.text(text))


def test_cpus_are_read_in_order_with_how_they_are_started(readers: Readers) -> None:
    release = Property("cpu-release-addr", fdt.wide(0xD8))
    cpus = Node(
        "cpus",
        (Property("#address-cells", fdt.cells(1)), Property("#size-cells", fdt.cells(0))),
        (
            Node("cpu-map", ()),
            cpu_node("cpu@101", method("psci"), reg=fdt.cells(0x101)),
            cpu_node("cpu@0", method("spin-table"), release),
            cpu_node("cpu@1", method("spin-table"), reg=fdt.cells(1)),
            cpu_node("cpu@2", reg=fdt.wide(0x2_8100_0002)),
            cpu_node("cpu@3", method("brcm,bcm2836-smp"), reg=fdt.cells(0x8000_0003)),
            cpu_node(
                "cpu@4",
                method("spin-table"),
                Property("cpu-release-addr", fdt.wide(0xD4)),
                reg=fdt.cells(4),
            ),
        ),
    )
    answer = readers.board(tree_with(cpus))
    assert ranges(answer["cpus"]) == [
        (0x101, PSCI, 0),
        (0, SPIN_TABLE, 0xD8),
        (1, 0, 0),
        (0x2_0000_0002, 0, 0),
        (3, 0, 0),
        (4, 0, 0),
    ]


def test_more_cpus_than_eight_stay_unused(readers: Readers) -> None:
    nodes = tuple(cpu_node(f"cpu@{i:x}", method("psci"), reg=fdt.cells(i)) for i in range(11))
    answer = readers.board(tree_with(Node("cpus", (), nodes)))
    assert ranges(answer["cpus"]) == [(i, PSCI, 0) for i in range(8)]


@pytest.mark.parametrize("board", [virt(256 * MIB, 4), virt_spin_table(256 * MIB, 4)])
def test_the_emulators_boards_say_how_to_start_their_cpus(readers: Readers, board: Board) -> None:
    cpus = ranges(readers.board(build_dtb(board, initrd=None))["cpus"])
    assert [c[0] for c in cpus] == [0, 1, 2, 3]
    assert {c[1] for c in cpus} == {SPIN_TABLE if "spin" in board.name else PSCI}
    assert all((c[2] != 0) == (c[1] == SPIN_TABLE) for c in cpus)


@pytest.mark.parametrize(
    ("cells", "intid"),
    [((0, 5, 4), 37), ((1, 5, 4), 0), ((0, 5), 0), ((0, 5, 4, 0), 0), ((), 0)],
)
def test_the_consoles_interrupt(readers: Readers, cells: tuple[int, ...], intid: int) -> None:
    uart = (
        Property("compatible", fdt.text("arm,pl011")),
        Property("reg", fdt.cells(0, 0x900_0000, 0x1000)),
        Property("interrupts", fdt.cells(*cells)),
    )
    assert int(readers.board(tree_with(Node("uart", uart)))["intid"], 16) == intid


def uart_page(flags: int) -> bytes:
    """A UART that answers with these flags, and with zeros."""
    page = bytearray(PAGE)
    page[0x18:0x1C] = struct.pack("<I", flags)
    return bytes(page)


def test_a_uart_that_is_ready_gets_bytes(readers: Readers) -> None:
    assert readers.uart(uart_page(0)) == {"data": f"{ord('b'):x}", "control": "1", "input": "1"}


def test_a_uart_that_never_answers_is_dropped_for_good(readers: Readers) -> None:
    assert readers.uart(uart_page(0xFFFFFFFF)) == {"data": "0", "control": "0", "input": "0"}


def test_a_uart_that_never_has_room_is_dropped_for_good(readers: Readers) -> None:
    assert readers.uart(uart_page(1 << 5))["data"] == "0"


def test_more_banks_than_there_is_room_for_stay_unused(readers: Readers) -> None:
    reg = fdt.cells(*(n for i in range(12) for n in (0, 2 * i * PAGE, PAGE)))
    memory = Node("memory", (Property("reg", reg),))
    answer = readers.board(fdt.write(Node("", (), (memory,))))
    assert ranges(answer["banks"]) == [(2 * i * PAGE, PAGE) for i in range(8)]


@pytest.mark.parametrize("length", range(12, 28, 4))
def test_only_whole_entries_of_ranges_translate(readers: Readers, length: int) -> None:
    cells = (Property("#address-cells", fdt.cells(1)), Property("#size-cells", fdt.cells(1)))
    entries = fdt.cells(0, 0x100000, PAGE, 0x1000, 0x200000, PAGE)
    uart = (Property("compatible", fdt.text("arm,pl011")), Property("reg", fdt.cells(0x1000, 1)))
    bus = Node("bus", (*cells, Property("ranges", entries[:length])), (Node("uart", uart),))
    memory = Node("memory", (Property("reg", fdt.cells(0, PAGE)),))
    answer = readers.board(fdt.write(Node("", cells, (memory, bus))))
    assert ranges(answer["uart"]) == [(0x20_0000, PAGE) if length >= 24 else (0, 0)]


@given(data=st.data())
def test_a_damaged_board_tree_is_read_or_refused(readers: Readers, data: st.DataObject) -> None:
    answer = readers.board(data.draw(damaged(data.draw(st.sampled_from((VIRT, BUS))))))
    if "error" in answer:
        assert is_clear_error(answer)
        return
    banks = ranges(answer["banks"])
    assert banks
    assert not any(overlap(a, b) for a, b in combinations(banks, 2))
    for base, size in [*banks, *ranges(answer["reserved"])]:
        assert size > 0
        assert base % PAGE == 0 and size % PAGE == 0
        assert base + size <= 1 << 64
    base, size = ranges(answer["bundle"])[0]
    assert size == 0 or any(b <= base and base + size <= b + s for b, s in banks)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_refused_as_a_tree(readers: Readers, tail: bytes, total: int) -> None:
    assert is_clear_error(readers.board(tail))
    assert is_clear_error(readers.board(struct.pack(">II", 0xD00DFEED, total) + tail))
