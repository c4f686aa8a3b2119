# SPDX-License-Identifier: Apache-2.0
"""The device tree of a board with what QEMU's loader writes into it: RAM, the command line, the
initrd, modules, PSCI."""

from collections.abc import Sequence

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.dtb import build_tree, handed_over, psci_node
from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.fdt import Node, Property, cells, text, wide
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.guest_loader import Module, ModuleKind

LoadedModule = tuple[Module, int]
"""A module and its size in bytes."""

_CHOSEN = "chosen"
_KINDS = {ModuleKind.KERNEL: "multiboot,kernel", ModuleKind.RAMDISK: "multiboot,ramdisk"}
_FIX = "give the DTB of a board like this; without --dtb one is made"


def made(
    board: Board, initrd: range | None, bootargs: str | None, modules: Sequence[LoadedModule]
) -> bytes:
    """The board's own."""
    tree = build_tree(board, initrd=initrd, bootargs=bootargs or "")
    return fdt.write(_with_chosen(tree, (), modules))


def patched(
    data: bytes,
    where: str,
    board: Board,
    initrd: range | None,
    bootargs: str | None,
    modules: Sequence[LoadedModule],
) -> bytes:
    """The user's, with the RAM of `board`; PSCI is added only if it has none, and what is not
    given of the others stays as it is there. UserError, with the place `where`, for a broken one.
    """
    tree = fdt.read(data, where=where)
    reserved = fdt.reservations(data)
    memory = Node(
        f"memory@{board.ram_base:x}",
        (
            Property("device_type", text("memory")),
            Property("reg", _region(tree, board.ram_base, board.ram_size, where)),
        ),
    )
    others = tuple(node for node in tree.children if node.name.partition("@")[0] != "memory")
    if not any(node.name == "psci" for node in others):
        others += (psci_node(),)
    tree = Node(tree.name, tree.properties, (*others, memory))
    return fdt.write(_with_chosen(tree, handed_over(initrd, bootargs or ""), modules), reserved)


def _with_chosen(
    tree: Node, properties: tuple[Property, ...], modules: Sequence[LoadedModule]
) -> Node:
    tree = fdt.with_properties(tree, _CHOSEN, properties)
    nodes = tuple(_module(module, size) for module, size in modules)
    names = {node.name for node in nodes}
    chosen, *others = tree.children
    kept = tuple(child for child in chosen.children if child.name not in names)
    chosen = Node(_CHOSEN, chosen.properties, kept + nodes)
    return Node(tree.name, tree.properties, (chosen, *others))


def _module(module: Module, size: int) -> Node:
    """As QEMU writes it, whatever the cells of /chosen are."""
    properties = [
        Property("compatible", text("multiboot,module", _KINDS[module.kind])),
        Property("reg", wide(module.address, size)),
    ]
    if module.bootargs is not None:
        properties.append(Property("bootargs", text(module.bootargs)))
    return Node(f"module@{module.address:#010x}", tuple(properties))


def _region(tree: Node, address: int, size: int, where: str) -> bytes:
    """A `reg` under the root."""
    found = b""
    for name, value in (("#address-cells", address), ("#size-cells", size)):
        told = tree.get(name)
        if told not in (cells(1), cells(2)):
            raise UserError(f"its root has no sound {name}", where=where, fix=_FIX)
        if told == cells(1) and value >= 1 << 32:
            raise UserError(f"its {name} are too few for the RAM", where=where, fix=_FIX)
        found += cells(value) if told == cells(1) else wide(value)
    return found
