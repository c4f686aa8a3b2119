# SPDX-License-Identifier: Apache-2.0
"""What holds when the first guest is entered: the frame table, every stage 2 and EL2's own map say
what the manifest says, and no more."""

from dataclasses import dataclass

from aether_edgecloud.emulator.boards.board import DeviceKind as BoardDevice
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Manifest, Vm
from aether_edgecloud.properties.boots.booting import (
    EL2,
    FIRMWARE,
    FREE,
    IS_FREE,
    IS_OWNED,
    IS_SHOWN,
    IS_TABLE,
    VM,
    Booted,
)
from aether_edgecloud.stage2.decode import Decoded, Leaf

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Page:
    """A page that a VM reaches."""

    pa: int
    read: bool
    write: bool
    execute: bool
    is_device: bool


def assert_sound(booted: Booted, *, reserved: tuple[range, ...] = ()) -> None:
    """What holds for any manifest. `reserved`: memory that the firmware keeps."""
    console = bytes(booted.machine.console.output).decode("latin-1")
    assert "panic" not in console and "boot:" not in console, console
    frames = booted.frames()
    maps = [booted.stage2(number) for number in range(booted.vm_count)]
    _assert_owners_are_known(frames, len(maps))
    _assert_the_tables_are_apart(maps, frames)
    seen: set[int] = set()
    for number, decoded in enumerate(maps):
        reached = {page.pa for page in pages_of(decoded).values() if not page.is_device}
        assert not reached & seen, "two VMs reach one page"
        seen |= reached
        assert {frames[pa] for pa in reached} <= {
            (VM + number + 1, IS_OWNED),
            (VM + number + 1, IS_SHOWN),
        }
    image = booted.image
    assert not any(pa in image for pa in seen), "the hypervisor's memory is a guest's"
    assert not any(pa in place for pa in seen for place in reserved), "firmware's memory"
    _assert_own_map(booted, frames)


def assert_as_described(booted: Booted, manifest: Manifest, blobs: tuple[bytes, ...]) -> None:
    """Every VM has what the manifest gives it."""
    assert booted.vm_count == len(manifest.vms)
    frames = booted.frames()
    for number, vm in enumerate(manifest.vms):
        decoded = booted.stage2(number)
        found = pages_of(decoded)
        _assert_reaches(booted, number, vm, found, frames)
        if vm.peers is not None:
            assert all(leaf.levels == (3,) for leaf in decoded.leaves), "a partition's block"
        if not vm.manual_start:
            _assert_loaded(booted, vm, blobs, found)


def _assert_owners_are_known(frames: dict[int, tuple[int, int]], vms: int) -> None:
    known = {(FREE, IS_FREE), (FIRMWARE, IS_OWNED), (EL2, IS_OWNED), (EL2, IS_TABLE)}
    for number in range(vms):
        known |= {(VM + number + 1, IS_OWNED), (VM + number + 1, IS_SHOWN)}
    assert set(frames.values()) <= known, set(frames.values()) - known


def _assert_the_tables_are_apart(maps: list[Decoded], frames: dict[int, tuple[int, int]]) -> None:
    seen: set[int] = set()
    for decoded in maps:
        assert not decoded.malformed, decoded.malformed
        tables = {table.pa for table in decoded.tables}
        assert not tables & seen, "two VMs share a table"
        seen |= tables
    assert all(frames[pa] == (EL2, IS_TABLE) for pa in seen), "a table in a frame of no table"


def pages_of(decoded: Decoded) -> dict[int, Page]:
    """By IPA."""
    found: dict[int, Page] = {}
    for leaf in decoded.leaves:
        assert leaf.af, f"no access flag at {leaf.ia:#x}"
        assert leaf.exec_el1 == leaf.exec_el0
        for at in range(0, leaf.size, PAGE):
            found[leaf.ia + at] = _page(leaf, at)
    return found


def _page(leaf: Leaf, at: int) -> Page:
    return Page(leaf.pa + at, leaf.read, leaf.write, leaf.exec_el1, leaf.memory.is_device)


def _assert_reaches(
    booted: Booted,
    number: int,
    vm: Vm,
    found: dict[int, Page],
    frames: dict[int, tuple[int, int]],
) -> None:
    """The VM reaches what the manifest gives it, and nothing else."""
    owner = VM + number + 1
    rest = dict(found)
    mine: set[int] = set()
    for memory in vm.memory:
        for at in range(0, memory.size, PAGE):
            page = rest.pop(memory.ipa + at)
            assert (page.read, page.write, page.execute, page.is_device) == (True,) * 3 + (False,)
            assert frames[page.pa] == (owner, IS_OWNED), frames[page.pa]
            mine.add(page.pa)
            if memory.host_address is not None:
                assert page.pa == memory.host_address + at
    assert len(mine) * PAGE == sum(memory.size for memory in vm.memory)
    assert mine == {pa for pa, frame in frames.items() if frame == (owner, IS_OWNED)}
    for device in vm.devices:
        match device.kind:
            case DeviceKind.TELEMETRY:
                page = rest.pop(device.ipa)
                rights = (page.read, page.write, page.execute, page.is_device)
                assert rights == (True, False, False, False)
                assert frames[page.pa][1] == IS_SHOWN
            case DeviceKind.PASSTHROUGH:
                assert device.host_address is not None
                for at in range(0, device.size, PAGE):
                    page = rest.pop(device.ipa + at)
                    assert page == Page(device.host_address + at, True, True, False, True)
            case DeviceKind.VGICV2:
                assert device.cpu_interface is not None
                page = rest.pop(device.cpu_interface.ipa)
                gicv = booted.machine.board.device(BoardDevice.GICV2_VIRTUAL_CPU_INTERFACE)
                assert page == Page(gicv.base, True, True, False, True)
    assert not rest, f"reaches {min(rest):#x} too"


def _assert_loaded(
    booted: Booted, vm: Vm, blobs: tuple[bytes, ...], found: dict[int, Page]
) -> None:
    """Its memory holds its images and zeros."""
    for memory in vm.memory:
        expected = bytearray(memory.size)
        for image in vm.images:
            start = image.load_address - memory.ipa
            if 0 <= start < memory.size:
                expected[start : start + len(blobs[image.blob])] = blobs[image.blob]
        pages = (found[memory.ipa + at].pa for at in range(0, memory.size, PAGE))
        held = b"".join(booted.read(pa, PAGE) for pa in pages)
        assert held == expected, f"the memory at {memory.ipa:#x} is not as it was to be loaded"


def _assert_own_map(booted: Booted, frames: dict[int, tuple[int, int]]) -> None:
    """W^X, one to one, nothing executable outside the image, no page of a guest's memory."""
    own = booted.el2_map()
    assert not own.malformed, own.malformed
    image = booted.image
    text = range(booted.symbol("text_start"), booted.symbol("text_end"))
    for leaf in own.leaves:
        assert not (leaf.write and leaf.exec_el1), hex(leaf.ia)
        assert leaf.exec_el1 == (leaf.ia in text), hex(leaf.ia)
        for pa in range(leaf.pa, leaf.pa + leaf.size, PAGE):
            assert leaf.ia == leaf.pa, f"{leaf.ia:#x} maps {leaf.pa:#x}"
            owner, state = frames.get(pa, (EL2, IS_OWNED))
            assert owner < VM or state == IS_SHOWN, f"EL2 has a guest's page {pa:#x} mapped"
            assert owner != FREE or leaf.memory.is_device or pa in image, hex(pa)
