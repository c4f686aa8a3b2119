# SPDX-License-Identifier: Apache-2.0
"""The real binary on any board: the guest as described, or one line and the end."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.virt import virt_spin_table
from aether_edgecloud.emulator.bundle import fdt, format, manifest
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Vm,
    Window,
)
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.properties.boots.boards import boards, poorer, retold, tree
from aether_edgecloud.properties.boots.booting import Refused, boot, places
from aether_edgecloud.properties.boots.invariants import assert_as_described, assert_sound
from aether_edgecloud.properties.boots.manifests import LOOP
from aether_edgecloud.properties.el2.damage import damaged

EXAMPLES = settings().max_examples // 12
PAGE = 4096
BASE = 0x4000_0000


def described(cpus: int) -> Manifest:
    """Two small VMs on so many CPUs."""
    gic = Device(DeviceKind.VGICV2, 0x800_0000, PAGE, cpu_interface=Window(0x801_0000, 2 * PAGE))
    telemetry = Device(DeviceKind.TELEMETRY, 0xA00_0000, PAGE)
    memory = (Memory(BASE, 37 * PAGE), Memory(BASE + 64 * PAGE, 5 * PAGE))
    one = Vm("one", cpus, BASE, 0, memory, (Image(0, BASE),), (gic, telemetry))
    two = Vm("two", 1, BASE, 0, memory[:1], (Image(0, BASE),), (telemetry,), peers=())
    homes = [list(range(cpus)), [cpus - 1]]
    return Manifest((one, two), equal_shares(homes))


def bundle(whole: Manifest) -> bytes:
    return format.pack(format.Bundle(manifest.encode(whole), (format.Blob("loop", LOOP),)))


def judge(
    board: Board, dtb: bytes, *, boots: bool = False, reserved: tuple[range, ...] = ()
) -> None:
    whole = described(board.cpus)
    found = boot(board, bundle(whole), dtb=dtb)
    if isinstance(found, Refused):
        assert not boots, found.line
        return
    try:
        assert_sound(found, reserved=reserved)
        assert_as_described(found, whole, (LOOP,))
    finally:
        found.machine.close()


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_board_told_in_any_words_boots(data: st.DataObject) -> None:
    board = data.draw(boards(), label="board")
    place = places(board, bundle(described(board.cpus)))
    assert place.initrd is not None
    told = data.draw(retold(board, place.initrd, place.image, place.dtb), label="told")
    judge(board, told.dtb, boots=True, reserved=told.reserved)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_tree_that_leaves_something_out(data: st.DataObject) -> None:
    board = data.draw(boards(), label="board")
    root = tree(board, places(board, bundle(described(board.cpus))).initrd)
    for _ in range(data.draw(st.integers(1, 2))):
        root = data.draw(poorer(root), label="poorer")
    judge(board, fdt.write(root))


@pytest.mark.parametrize("cpus", [2, 4])
def test_the_place_where_cpus_wait_is_kept_even_if_the_tree_forgets_it(cpus: int) -> None:
    board = virt_spin_table(16 << 20, cpus)
    root = tree(board, places(board, bundle(described(cpus))).initrd)
    children = tuple(child for child in root.children if child.name != "reserved-memory")
    assert len(children) < len(root.children)
    judge(board, fdt.write(replace(root, children=children)), boots=True)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_damaged_tree(data: st.DataObject) -> None:
    """One that is damaged may lie about where the devices are, and a boot cannot survive that; a
    tree whose damage is seen, or does not matter, is what is looked for here."""
    board = data.draw(boards(), label="board")
    root = tree(board, places(board, bundle(described(board.cpus))).initrd)
    judge(board, data.draw(damaged(fdt.write(root))))
