# SPDX-License-Identifier: Apache-2.0
"""Strategies for boards: RAM, CPUs and devices elsewhere; and for device trees that describe a
board in other words, or leave something out."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt, virt_spin_table
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.fdt import Node, Property, cells, text, wide

MIB = 1 << 20
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Described:
    """A board and a tree that describes it. `reserved` is the memory that the tree keeps for
    firmware."""

    board: Board
    dtb: bytes
    reserved: tuple[range, ...] = ()


@st.composite
def boards(draw: st.DrawFn) -> Board:
    """RAM of any size, 1 to 4 CPUs by PSCI or spin table, and devices anywhere below it."""
    ram_size = draw(st.integers(8, 32)) * 2 * MIB
    make = draw(st.sampled_from((virt, virt_spin_table)))
    board = make(ram_size, draw(st.integers(1, 4)))
    if draw(st.booleans()):
        return board
    order = draw(st.permutations(range(len(board.devices))))
    at = draw(st.integers(0x0100, 0x3000)) << 16
    bases: dict[int, int] = {}
    for number in order:
        bases[number] = at
        at += (1 + draw(st.integers(0, 3))) << 16
    moved = tuple(replace(node, base=bases[i]) for i, node in enumerate(board.devices))
    return replace(board, devices=moved)


def tree(board: Board, initrd: range | None) -> Node:
    """What the board's firmware says of it."""
    return fdt.read(build_dtb(board, initrd=initrd), where="board")


@st.composite
def retold(draw: st.DrawFn, board: Board, initrd: range, image: range, dtb: range) -> Described:
    """The same board: memory in several banks or with less than there is, memory that is kept,
    nodes in another order, nodes and properties that nobody knows."""
    root = tree(board, initrd)
    kept = (image, initrd, dtb)
    banks = [(board.ram.start, board.ram.stop)]
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, len(banks) - 1))
        start, stop = banks[number]
        cut = start + draw(st.integers(1, max(1, (stop - start) // PAGE - 1))) * PAGE
        hole = draw(st.integers(0, 16)) * PAGE
        if not start < cut < cut + hole < stop or any(
            cut < place.stop and place.start < cut + hole for place in kept
        ):
            continue
        if any(place.start < cut < place.stop for place in kept):
            continue
        banks[number : number + 1] = [(start, cut), (cut + hole, stop)]
    numbers = [n for start, stop in draw(st.permutations(banks)) for n in (start, stop - start)]
    reserved: list[range] = []
    for _ in range(draw(st.integers(0, 4))):
        start = board.ram.start + draw(st.integers(0, board.ram_size // PAGE - 1)) * PAGE
        stop = min(start + draw(st.integers(1, 64)) * PAGE, board.ram.stop)
        if not any(start < place.stop and place.start < stop for place in kept):
            reserved.append(range(start, stop))
    children: list[Node] = []
    for child in root.children:
        if child.name.startswith("memory"):
            child = replace(child, properties=(Property("device_type", text("memory")),
                                               Property("reg", wide(*numbers))))  # fmt: skip
        if child.name == "cpus" and draw(st.booleans()):
            odd = Property("capacity-dmips-mhz", cells(1024))
            known = tuple(replace(cpu, properties=(odd, *cpu.properties)) for cpu in child.children)
            child = replace(child, children=(Node("cpu-map"), *known))
        children.append(child)
    if reserved:
        ranges = tuple(
            Node(f"kept@{place.start:x}", (Property("reg", wide(place.start, len(place))),
                                           *((Property("no-map", b""),) if i % 2 else ())))
            for i, place in enumerate(reserved)
        )  # fmt: skip
        before = [child for child in children if child.name == "reserved-memory"]
        children = [child for child in children if child.name != "reserved-memory"]
        inner = tuple(node for old in before for node in old.children)
        children.append(
            Node(
                "reserved-memory",
                (Property("#address-cells", cells(2)), Property("#size-cells", cells(2)),
                 Property("ranges", b"")),
                inner + ranges,
            )
        )  # fmt: skip
    if draw(st.booleans()):
        children.append(Node("odd", (Property("reg", b"\1\2\3"),), (Node("inner"),)))
    root = replace(root, children=tuple(draw(st.permutations(children))))
    return Described(board, fdt.write(root), tuple(reserved))


@st.composite
def poorer(draw: st.DrawFn, root: Node) -> Node:
    """A tree that leaves something out: a node, a property, some bytes of one, or says that a
    device is not there."""
    nodes = _inner(root)
    node = draw(st.sampled_from(nodes))
    what = draw(st.integers(0, 3))
    if what == 0:
        return _swap(root, node, ())
    if what == 1:
        disabled = Property("status", text(draw(st.sampled_from(("disabled", "okay", "fail", "")))))
        return _swap(root, node, (replace(node, properties=(*node.properties, disabled)),))
    if not node.properties:
        return root
    chosen = draw(st.sampled_from(node.properties))
    changed: tuple[Property, ...] = ()
    if what == 3 and chosen.value:
        length = draw(st.integers(0, len(chosen.value) - 1))
        changed = (replace(chosen, value=chosen.value[:length]),)
    properties = tuple(p for old in node.properties for p in (changed if old is chosen else (old,)))
    return _swap(root, node, (replace(node, properties=properties),))


def _inner(node: Node) -> list[Node]:
    return [inner for child in node.children for inner in (child, *_inner(child))]


def _swap(node: Node, old: Node, new: tuple[Node, ...]) -> Node:
    children = tuple(
        replaced
        for child in node.children
        for replaced in (new if child is old else (_swap(child, old, new),))
    )
    return replace(node, children=children)
