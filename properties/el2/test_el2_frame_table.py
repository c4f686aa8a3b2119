# SPDX-License-Identifier: Apache-2.0
"""Where the frame table goes: any place that the board's memory has for it, the first of a bank,
or behind what is taken."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import fdt, format, manifest
from aether_edgecloud.emulator.bundle.fdt import Node, Property, cells, text, wide
from aether_edgecloud.emulator.bundle.manifest import Image, Manifest, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.properties.boots.boards import tree
from aether_edgecloud.properties.boots.booting import EL2, IS_OWNED, Refused, boot, places
from aether_edgecloud.properties.boots.invariants import assert_sound
from aether_edgecloud.properties.boots.manifests import LOOP

PAGE = 4096
BASE = 0x4000_0000
SECOND = 1 << 20
"""Between the banks."""


def one_vm() -> bytes:
    """A bundle of one small VM."""
    vm = Vm("a", 1, BASE, 0, (Memory(BASE, 16 * PAGE),), (Image(0, BASE),), ())
    whole = manifest.encode(Manifest((vm,), equal_shares([[0]])))
    return format.pack(format.Bundle(whole, (format.Blob("loop", LOOP),)))


def told(root: Node, banks: Sequence[range], firmware: Sequence[range]) -> bytes:
    """The device tree with these banks of memory, and with memory that firmware keeps."""
    numbers = [n for bank in banks for n in (bank.start, len(bank))]
    memory = (Property("device_type", text("memory")), Property("reg", wide(*numbers)))
    nodes = tuple(
        Node(f"kept@{r.start:x}", (Property("reg", wide(r.start, len(r))),)) for r in firmware
    )
    cell_counts = [Property(f"#{name}-cells", cells(2)) for name in ("address", "size")]
    reserved = Node("reserved-memory", (*cell_counts, Property("ranges", b"")), nodes)
    children = tuple(
        replace(child, properties=memory) if child.name.startswith("memory") else child
        for child in root.children
    )
    return fdt.write(replace(root, children=(*children, reserved)))


@pytest.mark.parametrize("at_the_start", [True, False])
def test_one_place_is_enough(at_the_start: bool) -> None:
    """The first bank is taken whole; of the second one end is free, and the other is kept for
    firmware."""
    bundle = one_vm()
    board = virt(64 << 20, 1)
    place = places(board, bundle)
    assert place.initrd is not None
    kept = sorted((place.image, place.initrd, place.dtb), key=lambda r: r.start)
    first = range(board.ram.start, -(-max(r.stop for r in kept) // PAGE) * PAGE + PAGE)
    second = range(first.stop + SECOND, board.ram.stop)
    middle = second.start + len(second) // 2
    firmware = [range(middle, second.stop) if at_the_start else range(second.start, middle)]
    at = first.start
    for taken in (*kept, range(first.stop, first.stop)):
        start, stop = -(-at // PAGE) * PAGE, taken.start // PAGE * PAGE
        if start < stop:
            firmware.append(range(start, stop))
        at = max(at, taken.stop)
    found = boot(board, bundle, dtb=told(tree(board, place.initrd), [first, second], firmware))
    assert not isinstance(found, Refused), found.line
    try:
        assert_sound(found, reserved=tuple(firmware))
    finally:
        found.machine.close()


@pytest.mark.parametrize("banks", [7, 8, 9])
def test_as_many_banks_as_there_may_be(banks: int) -> None:
    """Eight; what is more stays unused. The table has room for their frames, and EL2 keeps nothing
    besides it, its image and what it was given. Firmware keeps more than all of them but one."""
    bundle = one_vm()
    board = virt(128 << 20, 1)
    place = places(board, bundle)
    assert place.initrd is not None
    kept = (place.image, place.initrd, place.dtb)
    end = board.ram.stop - (banks - 1) * SECOND
    assert max(r.stop for r in kept) < end
    ram = [range(board.ram.start, end)]
    for number in range(banks - 1):
        ram.append(range(end + number * SECOND + PAGE, end + (number + 1) * SECOND))
    firmware = [range(end - (32 << 20), end)]
    found = boot(board, bundle, dtb=told(tree(board, place.initrd), ram, firmware))
    assert not isinstance(found, Refused), found.line
    try:
        assert_sound(found)
        frames = found.frames()
        assert len(frames) == sum(len(bank) for bank in ram[:8]) // PAGE
        own = {pa for pa, entry in frames.items() if entry == (EL2, IS_OWNED)}
        given = {pa for r in kept for pa in range(r.start // PAGE * PAGE, r.stop, PAGE)}
        assert found.frame_table() <= own <= given | found.frame_table()
    finally:
        found.machine.close()
