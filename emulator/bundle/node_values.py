# SPDX-License-Identifier: Apache-2.0
"""Values of a device-tree node, each checked for its shape. UserError names node and property."""

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.errors import UserError

FIX = "make the bundle again with `aether bundle`"


def value(node: fdt.Node, name: str, place: str) -> bytes:
    """The raw value of a property that has to be there."""
    found = node.get(name)
    if found is None:
        raise UserError(f"property {name!r} is missing", where=place, fix=FIX)
    return found


def expect(node: fdt.Node, name: str, expected: bytes, place: str) -> None:
    """Refuses any other value."""
    if value(node, name, place) != expected:
        text = expected.rstrip(b"\0").decode()
        raise UserError(f"property {name!r} is not {text!r}", where=place, fix=FIX)


def cell(node: fdt.Node, name: str, place: str) -> int:
    """A 32-bit number."""
    found = value(node, name, place)
    if len(found) != 4:
        raise UserError(f"property {name!r} is not one cell", where=place, fix=FIX)
    return int.from_bytes(found, "big")


def cells(node: fdt.Node, name: str, place: str) -> tuple[int, ...]:
    """Any number of 32-bit numbers."""
    found = value(node, name, place)
    if len(found) % 4:
        raise UserError(f"property {name!r} is not whole cells", where=place, fix=FIX)
    return tuple(int.from_bytes(found[i : i + 4], "big") for i in range(0, len(found), 4))


def number(node: fdt.Node, name: str, place: str) -> int:
    """A 64-bit number."""
    found = value(node, name, place)
    if len(found) != 8:
        raise UserError(f"property {name!r} is not two cells", where=place, fix=FIX)
    return int.from_bytes(found, "big")


def ranges(node: fdt.Node, count: int, place: str) -> tuple[tuple[int, int], ...]:
    """`reg` as exactly `count` pairs of (address, size)."""
    found = value(node, "reg", place)
    if len(found) != 16 * count:
        raise UserError(f"property 'reg' is not {4 * count} cells", where=place, fix=FIX)
    words = [int.from_bytes(found[i : i + 8], "big") for i in range(0, len(found), 8)]
    return tuple(zip(words[::2], words[1::2], strict=True))


def string(node: fdt.Node, name: str, place: str) -> str:
    """One ASCII string."""
    found = value(node, name, place)
    if len(found) < 2 or found.find(b"\0") != len(found) - 1 or not found[:-1].isascii():
        raise UserError(f"property {name!r} is not one ASCII string", where=place, fix=FIX)
    return found[:-1].decode("ascii")


def only(node: fdt.Node, known: tuple[str, ...], place: str) -> None:
    """Refuses a property that a newer format may have brought, rather than ignoring a wish."""
    for item in node.properties:
        if item.name not in known:
            raise UserError(f"property {item.name!r} is not known", where=place, fix=FIX)


def leaf(node: fdt.Node, place: str) -> None:
    """Refuses subnodes."""
    if node.children:
        raise UserError("has subnodes", where=place, fix=FIX)
