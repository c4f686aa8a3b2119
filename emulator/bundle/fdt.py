# SPDX-License-Identifier: Apache-2.0
"""Flattened device trees as plain values, read and written through pylibfdt.

`read` accepts any bytes: libfdt's full check runs over them before a single node is visited.
"""

import struct
from dataclasses import dataclass

import libfdt

from aether_edgecloud.emulator.errors import UserError

HEADER_SIZE = 40
"""Bytes of `struct fdt_header`, version 17."""

_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Property:
    """One property: its name and its raw value."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Node:
    """One node, with properties and subnodes in the order of the blob; the root's name is ''."""

    name: str
    properties: tuple[Property, ...] = ()
    children: tuple["Node", ...] = ()

    def get(self, name: str) -> bytes | None:
        """The raw value of a property, or None."""
        return next((p.value for p in self.properties if p.name == name), None)


def cells(*values: int) -> bytes:
    """Big-endian 32-bit cells."""
    return struct.pack(f">{len(values)}I", *values)


def wide(*values: int) -> bytes:
    """Big-endian 64-bit numbers: two cells each, high cell first."""
    return struct.pack(f">{len(values)}Q", *values)


def text(*strings: str) -> bytes:
    """A string list: each string with its NUL."""
    return b"".join(s.encode() + b"\0" for s in strings)


def with_properties(root: Node, name: str, properties: tuple[Property, ...]) -> Node:
    """The tree with `properties` set in the root's child `name`, which is added if need be."""
    names = {p.name for p in properties}
    child = next((c for c in root.children if c.name == name), Node(name))
    kept = tuple(p for p in child.properties if p.name not in names)
    changed = Node(name, kept + properties, child.children)
    others = tuple(c for c in root.children if c.name != name)
    return Node(root.name, root.properties, (changed, *others))


def write(root: Node, reserved: tuple[tuple[int, int], ...] = ()) -> bytes:
    """The tree as an FDT, version 17, packed; the same bytes for the same tree. `reserved` are the
    entries of its memory reservation block: PA and size each."""
    # pylibfdt makes room for each property, but not for the end it writes behind them.
    writer = libfdt.FdtSw(_room_for(root) + _SLACK + _RESERVATION * len(reserved))
    for address, size in reserved:
        writer.add_reservemap_entry(address, size)
    writer.finish_reservemap()
    _write_node(writer, root)
    tree = writer.as_fdt()
    tree.pack()
    return bytes(tree.as_bytearray())


_SLACK = 4096
_RESERVATION = 16


def _room_for(node: Node) -> int:
    """At least the bytes that a node takes in the structure and strings blocks."""
    properties = sum(len(p.name) + len(p.value) + 24 for p in node.properties)
    return len(node.name) + 24 + properties + sum(_room_for(child) for child in node.children)


def _write_node(writer: "libfdt.FdtSw", node: Node) -> None:
    with writer.add_node(node.name):
        for item in node.properties:
            writer.property(item.name, item.value)
        for child in node.children:
            _write_node(writer, child)


def read(data: bytes, *, where: str) -> Node:
    """The tree in `data`. Raises UserError (place `where`) when it is no sound FDT."""
    if len(data) < HEADER_SIZE:
        raise UserError(f"{len(data)} bytes are too few for a device tree", where=where, fix=_FIX)
    error = libfdt.fdt_check_full(bytearray(data), len(data))
    if error != 0:
        raise UserError(
            f"not a sound device tree ({libfdt.strerror(error)})", where=where, fix=_FIX
        )
    try:
        return _read(libfdt.Fdt(bytearray(data)), where)
    except (SystemError, UnicodeDecodeError):
        # pylibfdt wraps the UnicodeDecodeError of a property's name in the other.
        raise UserError("a name in it is not text", where=where, fix=_FIX) from None
    except libfdt.FdtException as e:
        raise UserError(f"not a sound device tree ({e})", where=where, fix=_FIX) from None


def reservations(data: bytes) -> tuple[tuple[int, int], ...]:
    """The memory reservation block of a tree that `read` has found sound: PA and size each."""
    tree = libfdt.Fdt(bytearray(data))
    entries = (tree.get_mem_rsv(n) for n in range(tree.num_mem_rsv()))
    return tuple((int(address), int(size)) for address, size in entries)


_FIX = "give a DTB made by dtc or by `aether bundle`"


def _read(tree: "libfdt.Fdt", where: str) -> Node:
    """Every node, by a walk with an explicit stack: nesting is the input's to choose."""
    open_nodes: list[_OpenNode] = []
    offset, depth = 0, 0
    while offset >= 0 and depth >= 0:
        if depth >= _MAX_DEPTH:
            raise UserError(f"nodes are nested deeper than {_MAX_DEPTH}", where=where, fix=_FIX)
        while len(open_nodes) > depth:
            _close(open_nodes)
        open_nodes.append(_OpenNode(tree.get_name(offset), _properties(tree, offset, where), []))
        offset, depth = tree.next_node(offset, depth, (libfdt.NOTFOUND,))
    while len(open_nodes) > 1:
        _close(open_nodes)
    return open_nodes[0].close()


@dataclass(frozen=True, slots=True)
class _OpenNode:
    name: str
    properties: tuple[Property, ...]
    children: list[Node]

    def close(self) -> Node:
        return Node(self.name, self.properties, tuple(self.children))


def _close(open_nodes: list[_OpenNode]) -> None:
    """Ends the innermost open node and hangs it under its parent."""
    node = open_nodes.pop().close()
    open_nodes[-1].children.append(node)


def _properties(tree: "libfdt.Fdt", node: int, where: str) -> tuple[Property, ...]:
    found: list[Property] = []
    offset = tree.first_property_offset(node, (libfdt.NOTFOUND,))
    while offset >= 0:
        item = tree.get_property_by_offset(offset)
        if any(item.name == other.name for other in found):
            raise UserError(f"property {item.name!r} stands twice", where=where, fix=_FIX)
        found.append(Property(item.name, bytes(item)))
        offset = tree.next_property_offset(offset, (libfdt.NOTFOUND,))
    return tuple(found)
