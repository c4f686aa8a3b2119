# SPDX-License-Identifier: Apache-2.0
"""What cannot be booted ends with one clear line on the console and a machine that is off."""

from collections.abc import Callable

import pytest

from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.toolchain import Artefact

MIB = 1 << 20
BASE = 0x4000_0000
UART = Device(DeviceKind.VPL011, 0x900_0000, 0x1000)
# x0 = PSCI SYSTEM_OFF; HVC #0
OFF = bytes.fromhex("0001b0d2 0000 80f2".replace(" ", "")) if False else b""


def bundle(*memory: Memory, image: bytes = bytes(64), devices: tuple[Device, ...] = ()) -> bytes:
    vm = Vm("test", 1, BASE, 0, memory, (Image(0, BASE),), devices)
    tree = manifest.encode(manifest.Manifest((vm,)))
    return format.pack(format.Bundle(tree, (format.Blob("image", image),)))


GOOD = bundle(Memory(BASE, MIB))


def test_placeholder() -> None:
    assert GOOD
