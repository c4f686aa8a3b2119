# SPDX-License-Identifier: Apache-2.0
"""What cannot be booted ends with one clear line on the console, and a machine that is off."""

import struct
from collections.abc import Callable
from itertools import pairwise

import pytest

from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.emulator.toolchain import Artefact

MIB = 1 << 20
BASE = 0x4000_0000
LOADED_AT = 0x4020_0000
"""Where QEMU puts the hypervisor."""
MOV_W0_SYSTEM_OFF = (0x5280_0100, 0x72B0_8000)
HVC = 0xD400_0002
GUEST = struct.pack("<3I", *MOV_W0_SYSTEM_OFF, HVC)
"""Switches itself off."""

Boot = Callable[..., str]


def bundle(*memory: Memory, image: bytes = GUEST, load: int = BASE) -> bytes:
    vm = Vm("test", 1, BASE, 0, memory, (Image(0, load),), ())
    tree = manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))
    return format.pack(format.Bundle(tree, (format.Blob("image", image),)))


GOOD = bundle(Memory(BASE, MIB))
CORRUPT = GOOD[:100] + bytes([GOOD[100] ^ 1]) + GOOD[101:]

REFUSED: dict[str, tuple[bytes | None, str]] = {
    "no bundle": (None, "bundle: there is none;"),
    "not a bundle": (b"#!/bin/sh\n" * 20, "bundle: not a bundle"),
    "too short": (GOOD[:40], "bundle: too short"),
    "truncated": (GOOD[: len(GOOD) // 2], "bundle: truncated;"),
    "corrupt": (CORRUPT, "bundle blob table: checksum mismatch;"),
    "overlapping memory": (
        bundle(Memory(BASE, MIB), Memory(BASE + MIB - 4096, MIB)),
        "manifest memory: overlaps another range of the VM;",
    ),
    "image larger than memory": (
        bundle(Memory(BASE, 4096), image=bytes(5000)),
        "manifest image: does not fit into the VM's memory;",
    ),
    "image outside": (bundle(Memory(BASE, MIB), load=0), "manifest image: does not fit"),
    "over the hypervisor": (
        bundle(Memory(BASE, MIB, LOADED_AT)),
        "vm memory: host-address is not free memory of this board;",
    ),
    "over the hypervisor's end": (
        bundle(Memory(BASE, 2 * MIB, LOADED_AT - 2 * MIB + 4096)),
        "vm memory: host-address is not free memory of this board;",
    ),
    "over the bundle": (
        bundle(Memory(BASE, MIB, 0x4800_0000)),
        "vm memory: host-address is not free memory of this board;",
    ),
    "not memory": (
        bundle(Memory(BASE, MIB, 0x900_0000)),
        "vm memory: host-address is not free memory of this board;",
    ),
    "beyond memory": (
        bundle(Memory(BASE, MIB, BASE + 256 * MIB - 4096)),
        "vm memory: host-address is not free memory of this board;",
    ),
    "more than there is": (
        bundle(Memory(BASE, 512 * MIB)),
        "vm memory: the board has no free range of that size;",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_boot_that_cannot_be_says_so_in_one_line(boot: Boot, el2: Artefact, case: str) -> None:
    data, expected = REFUSED[case]
    console = boot(data)
    lines = console.split("\r\n")
    assert lines[0].startswith("[aether] Aether EdgeCloud EL2 ")
    assert lines[1].startswith(f"[aether] boot: {expected}")
    assert lines[2:] == ["[aether] end: boot-failed", ""]


@pytest.mark.parametrize(
    "memory",
    [
        (Memory(BASE, MIB),),
        (Memory(BASE, 2 * MIB, 0x4A00_0000),),
        # At no place where blocks could be used, beside a range that is one page.
        (Memory(BASE, 3 * MIB, 0x4A00_1000), Memory(0, 4096)),
        # What is pinned lies where the other would be put.
        (Memory(BASE, 64 * MIB), Memory(BASE + 64 * MIB, 2 * MIB, 0x4100_0000)),
        (Memory(BASE, 64 * MIB), *(Memory(i << 30, 4096) for i in (0, 2, 512))),
    ],
    ids=["anywhere", "pinned", "no blocks", "in the way", "far apart"],
)
def test_a_guest_starts_in_whatever_memory_it_is_given(
    boot: Boot, memory: tuple[Memory, ...]
) -> None:
    console = boot(bundle(*memory))
    assert console.split("\r\n")[1:] == [
        "[aether] vm test: start",
        "[aether] end: guest-off",
        "",
    ]


@pytest.mark.parametrize("memory", ["128M", "1G", "4G"])
def test_boards_of_every_size(boot: Boot, memory: str) -> None:
    assert boot(GOOD, memory=memory).endswith("[aether] end: guest-off\r\n")


def test_a_board_without_a_gicv2_is_refused(boot: Boot) -> None:
    console = boot(GOOD, machine="gic-version=3")
    assert "boot: board device tree: no GICv2 with virtualisation" in console
    assert console.endswith("[aether] end: boot-failed\r\n")


def test_the_least_memory_that_will_not_do(boot: Boot) -> None:
    console = boot(bundle(Memory(BASE, 120 * MIB)), memory="128M")
    assert "vm memory: the board has no free range of that size;" in console


def test_two_runs_write_the_same(boot: Boot) -> None:
    runs = [boot(GOOD) for _ in range(2)]
    assert all(a == b for a, b in pairwise(runs))
