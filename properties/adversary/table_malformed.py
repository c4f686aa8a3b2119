# SPDX-License-Identifier: Apache-2.0
"""Bundles that no tool makes: each is sound but for one thing, and all checksums are right. A
hypervisor that takes one of them starts a guest, which switches itself off."""

import struct
from dataclasses import replace

from aether_edgecloud.emulator.bundle import fdt, format, manifest
from aether_edgecloud.emulator.bundle.manifest import Image, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import equal_shares
from aether_edgecloud.properties.el2.bundle_seals import resealed

PAGE = 4096
MEMORY_IPA = 0x4000_0000
IPA_END = 1 << 40
_MEMORY = Memory(MEMORY_IPA, 16 * PAGE)
_OFF = struct.pack("<3I", 0x5280_0100, 0x72B0_8000, 0xD400_0002)
"""MOV W0, #8; MOVK W0, #0x8400, LSL #16 (PSCI SYSTEM_OFF); HVC #0"""
_PROPERTY = 3
"""Token of a device tree."""
_NAME = b"not-known"


def sound(*memory: Memory, load: int = MEMORY_IPA) -> bytes:
    """One VM with one image, of less than a page."""
    return format.pack(format.Bundle(_manifest(memory or (_MEMORY,), load), (_blob(),)))


def bundles() -> dict[str, bytes]:
    """Each by what is wrong with it."""
    return {
        "part with a size that wraps": _size_wraps(),
        "image beyond the memory": sound(load=MEMORY_IPA + _MEMORY.size - len(_OFF) + 4),
        "memory beyond 40 bits": sound(_MEMORY, Memory(IPA_END, PAGE)),
        "name beyond the strings": _name_beyond_strings(),
    }


def _blob() -> format.Blob:
    return format.Blob("image", _OFF)


def _manifest(memory: tuple[Memory, ...], load: int) -> bytes:
    vm = Vm("test", 1, MEMORY_IPA, 0, memory, (Image(0, load),), ())
    return manifest.encode(manifest.Manifest((vm,), equal_shares([[0]])))


def _size_wraps() -> bytes:
    """The first blob ends at 2^64, which is 0."""
    data = bytearray(sound())
    entry = format.HEADER_SIZE
    offset = int.from_bytes(data[entry : entry + 8], "little")
    struct.pack_into("<Q", data, entry + 8, (1 << 64) - offset)
    return resealed(bytes(data))


def _name_beyond_strings() -> bytes:
    """A property that nobody reads, whose name begins one byte behind the strings block."""
    root = fdt.read(_manifest((_MEMORY,), MEMORY_IPA), where="the malformed bundle")
    more = fdt.Property(_NAME.decode(), b"")
    tree = bytearray(fdt.write(replace(root, properties=(*root.properties, more))))
    strings, size = (int.from_bytes(tree[field : field + 4], "big") for field in (12, 32))
    name = tree.index(_NAME + b"\0", strings) - strings
    at = tree.index(struct.pack(">III", _PROPERTY, 0, name))
    struct.pack_into(">I", tree, at + 8, size + 1)
    return format.pack(format.Bundle(bytes(tree), (_blob(),)))
