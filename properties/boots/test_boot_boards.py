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
from aether_edgecloud.properties.boots.invariants import assert_as_described, assert_sound, pages_of
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


@pytest.mark.parametrize("release", [0xF000_0000_0000, 2**64 - 8, 2**64 - PAGE, 0, 4])
def test_a_cpu_that_waits_where_no_memory_is_keeps_none(release: int) -> None:
    """One that no VM uses."""
    board = virt_spin_table(16 << 20, 2)
    root = tree(board, places(board, bundle(described(2))).initrd)
    judge(board, fdt.write(with_cpu(root, release)), boots=True)


@pytest.mark.parametrize("others", [1, 30])
def test_the_place_of_a_cpu_that_is_one_too_many_is_kept(others: int) -> None:
    """Beyond those the hypervisor uses; there may be many, all in one page."""
    board = virt_spin_table(16 << 20, 2)
    root = tree(board, places(board, bundle(described(2))).initrd)
    booted = boot(board, bundle(described(2)), dtb=fdt.write(root))
    assert not isinstance(booted, Refused)
    page = min(page.pa for page in pages_of(booted.stage2(0)).values() if not page.is_device)
    booted.machine.close()
    for number in range(8 + others):
        root = with_cpu(root, page + 8 * number)
    judge(board, fdt.write(root), boots=True, reserved=(range(page, page + PAGE),))


def with_cpu(root: fdt.Node, release: int) -> fdt.Node:
    """One CPU more, which waits at `release`."""
    cpus = next(child for child in root.children if child.name == "cpus")
    number = 0x100 + len(cpus.children)
    more = fdt.Node(
        f"cpu@{number:x}",
        (
            fdt.Property("device_type", fdt.text("cpu")),
            fdt.Property("reg", fdt.cells(number)),
            fdt.Property("enable-method", fdt.text("spin-table")),
            fdt.Property("cpu-release-addr", fdt.wide(release)),
        ),
    )
    grown = replace(cpus, children=(*cpus.children, more))
    return replace(root, children=tuple(grown if c is cpus else c for c in root.children))


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_a_damaged_tree(data: st.DataObject) -> None:
    """One that is damaged may lie about where the devices are, and a boot cannot survive that; a
    tree whose damage is seen, or does not matter, is what is looked for here."""
    board = data.draw(boards(), label="board")
    root = tree(board, places(board, bundle(described(board.cpus))).initrd)
    judge(board, data.draw(damaged(fdt.write(root))))
