# SPDX-License-Identifier: Apache-2.0
"""Random manifests that obey every rule, and bundles that hold them."""

import string

from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.format import Blob, Bundle
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Vm,
    encode,
)

PAGE = 4096
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=15)


@st.composite
def sound_vms(draw: st.DrawFn) -> tuple[Vm, tuple[int, ...]]:
    """A VM that obeys every rule, and the sizes of its blobs. Ranges are cut from one line of
    pages, so that they cannot overlap and often touch."""
    memory: list[Memory] = []
    devices: list[Device] = []
    page = draw(st.integers(1, 1 << 20))
    kinds = draw(st.lists(st.booleans(), min_size=0, max_size=6))
    for is_memory in [True, *kinds]:
        pages = draw(st.integers(1, 64))
        if is_memory and len(memory) < 4:
            memory.append(Memory(page * PAGE, pages * PAGE))
        elif not is_memory and len(devices) < 4:
            devices.append(Device(DeviceKind.VPL011, page * PAGE, pages * PAGE))
        page += pages + draw(st.integers(0, 3))
    images, sizes = _images(draw, memory)
    home = draw(st.sampled_from(memory))
    entry = home.ipa + draw(st.integers(0, home.size // 4 - 1)) * 4
    dtb = draw(st.sampled_from([0, home.ipa, home.ipa + home.size - 8]))
    order = draw(st.permutations(memory))
    vm = Vm(draw(NAMES), 1, entry, dtb, tuple(order), images, tuple(devices))
    return vm, sizes


def _images(draw: st.DrawFn, memory: list[Memory]) -> tuple[tuple[Image, ...], tuple[int, ...]]:
    images: list[Image] = []
    sizes: list[int] = []
    for home in memory:
        start = home.ipa
        for _ in range(draw(st.integers(0, 2))):
            start += draw(st.integers(0, 5000))
            room = home.ipa + home.size - start
            if room < 1:
                break
            size = draw(st.integers(1, min(room, 9000)))
            images.append(Image(len(sizes), start))
            sizes.append(size)
            start += size
    return tuple(images), tuple(sizes)


@st.composite
def any_manifests(draw: st.DrawFn) -> Manifest:
    """Values of every size the fields can hold, sensible or not."""
    u64 = st.integers(0, (1 << 64) - 1)
    u32 = st.integers(0, (1 << 32) - 1)
    # The addresses are names of nodes too: each must be there once.
    ipas = draw(st.lists(u64, unique=True, min_size=2, max_size=6))
    half = len(ipas) // 2
    hosts = st.none() | u64
    memory = tuple(Memory(ipa, draw(u64), draw(hosts)) for ipa in ipas[:half])
    devices = tuple(Device(DeviceKind.VPL011, ipa, draw(u64)) for ipa in ipas[half:])
    images = tuple(Image(draw(u32), draw(u64)) for _ in range(draw(st.integers(0, 9))))
    name = draw(st.text(string.printable.strip(), min_size=1, max_size=20))
    vm = Vm(name, draw(u32), draw(u64), draw(u64), memory, images, devices)
    return Manifest((vm,) * draw(st.integers(0, 2)))


BLOB_NAMES = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=15)


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    """Any contents the format can hold."""
    manifest = draw(st.binary(min_size=1, max_size=300))
    data = st.binary(max_size=40) | st.integers(4090, 4100).map(lambda n: b"\xa5" * n)
    blobs = draw(st.lists(st.builds(Blob, BLOB_NAMES, data), min_size=1, max_size=5))
    return Bundle(manifest, tuple(blobs))


def small_bundle() -> Bundle:
    """One VM with two blobs, a few KiB in all."""
    memory = (Memory(0x4000_0000, 0x10000),)
    images = (Image(0, 0x4000_8000), Image(1, 0x4000_0000))
    devices = (Device(DeviceKind.VPL011, 0x0900_0000, 0x1000),)
    vm = Vm("small", 1, 0x4000_8000, 0x4000_0000, memory, images, devices)
    blobs = (Blob("image.bin", bytes(range(1, 200))), Blob("small.dtb", b"\xd0\x0d\xfe\xed" * 9))
    return Bundle(encode(Manifest((vm,))), blobs)
