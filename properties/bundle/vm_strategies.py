# SPDX-License-Identifier: Apache-2.0
"""Random manifests that obey every rule, and bundles that hold them."""

import string
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.format import Blob, Bundle
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Restart,
    Vm,
    Window,
    encode,
)
from aether_edgecloud.emulator.bundle.schedule import (
    CpuSlots,
    Schedule,
    Slot,
    equal_shares,
)

PAGE = 4096
NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=15).filter(
    lambda name: name != "aether"
)
SPIS = range(32, 96)
ROOM = 113
"""What a slot leaves behind its window at least, in us: for a call of FF-A about one page."""


@st.composite
def sound_vms(draw: st.DrawFn) -> tuple[Vm, tuple[int, ...]]:
    """A VM that obeys every rule, and the sizes of its blobs. Ranges are cut from one line of
    pages, so that they cannot overlap and often touch."""
    memory: list[Memory] = []
    devices: list[Device] = []
    spis = draw(st.permutations(SPIS))
    page = draw(st.integers(1, 1 << 20))
    kinds = draw(st.lists(st.none() | st.sampled_from(DeviceKind), min_size=0, max_size=8))
    for kind in [None, *kinds]:
        pages = draw(st.integers(3, 64))
        if kind is None and len(memory) < 4:
            memory.append(Memory(page * PAGE, pages * PAGE))
        elif kind is not None and len(devices) < 8:
            intids = tuple(spis.pop() for _ in range(draw(st.integers(0, 4))))
            device = _device(kind, page, pages, intids)
            once = (DeviceKind.VGICV2, DeviceKind.TELEMETRY)
            if kind not in once or kind not in [d.kind for d in devices]:
                devices.append(device)
        page += pages + draw(st.integers(0, 3))
    images, sizes = _images(draw, memory)
    home = draw(st.sampled_from(memory))
    entry = home.ipa + draw(st.integers(0, home.size // 4 - 1)) * 4
    dtb = draw(st.sampled_from([0, home.ipa, home.ipa + home.size - 8]))
    order = draw(st.permutations(memory))
    vcpus = draw(st.integers(1, 8))
    restart = draw(st.sampled_from(Restart))
    vm = Vm(draw(NAMES), vcpus, entry, dtb, tuple(order), images, tuple(devices), restart)
    return vm, sizes


def _device(kind: DeviceKind, page: int, pages: int, intids: tuple[int, ...]) -> Device:
    ipa = page * PAGE
    match kind:
        case DeviceKind.VPL011:
            return Device(kind, ipa, pages * PAGE, intids[:1])
        case DeviceKind.VGICV2:
            return Device(kind, ipa, PAGE, cpu_interface=Window(ipa + PAGE, 2 * PAGE))
        case DeviceKind.TELEMETRY:
            return Device(kind, ipa, PAGE)
        case DeviceKind.PASSTHROUGH:
            return Device(kind, ipa, pages * PAGE, intids, host_address=ipa)


@st.composite
def schedules(draw: st.DrawFn, vcpus: list[int]) -> Schedule:
    """A schedule that obeys every rule for VMs with so many vCPUs each."""
    window = draw(st.integers(1, 100))
    frame = draw(st.integers(16 * 213, 1_000_000))
    pins: dict[int, list[tuple[int | None, int]]] = {0: []}
    for vm, count in enumerate(vcpus):
        for vcpu in range(count):
            free = [cpu for cpu in range(8) if len(pins.get(cpu, [])) < 16]
            pins.setdefault(draw(st.sampled_from(free)), []).append((vm, vcpu))
    cpus: list[CpuSlots] = []
    for cpu in sorted(pins):
        whose = pins[cpu]
        again = draw(st.lists(st.sampled_from([(None, 0), *whose]), max_size=16 - len(whose)))
        whose = draw(st.permutations(whose + again)) or [(None, 0)]
        rest = frame - len(whose) * (window + ROOM)
        cuts = sorted(draw(st.integers(0, rest)) for _ in whose[1:])
        parts = [b - a for a, b in zip([0, *cuts], [*cuts, rest], strict=True)]
        cpus.append(
            CpuSlots(
                cpu,
                tuple(
                    Slot(vm, vcpu, window + ROOM + part)
                    for (vm, vcpu), part in zip(whose, parts, strict=True)
                ),
            )
        )
    return Schedule(frame, window, tuple(cpus))


WINDOW = range(0x7000_0000, 0x7040_0000)
"""What an FF-A partition keeps free."""


@st.composite
def with_rights(draw: st.DrawFn, vms: Sequence[Vm]) -> tuple[Vm, ...]:
    """The VMs, some of them with peers, managers, and a start by hand."""

    def taken(vm: Vm) -> list[tuple[int, int]]:
        found = [(m.ipa, m.size) for m in vm.memory] + [(d.ipa, d.size) for d in vm.devices]
        return found + [
            (d.cpu_interface.ipa, d.cpu_interface.size) for d in vm.devices if d.cpu_interface
        ]

    able = [
        number
        for number, vm in enumerate(vms)
        if all(a >= WINDOW.stop or a + size <= WINDOW.start for a, size in taken(vm))
    ]
    partitions = draw(st.sets(st.sampled_from(able))) if able else set()
    links = [pair for pair in combinations(sorted(partitions), 2) if draw(st.booleans())]
    first = draw(st.integers(0, len(vms) - 1))
    found: list[Vm] = []
    for number, vm in enumerate(vms):
        others = [n for n in range(len(vms)) if n != number]
        manages = draw(st.lists(st.sampled_from(others), unique=True)) if others else []
        peers = [b if a == number else a for a, b in links if number in (a, b)]
        partition = number in partitions
        found.append(
            replace(
                vm,
                manages=tuple(manages),
                peers=tuple(draw(st.permutations(peers))) if partition else None,
                uuid=draw(st.none() | st.uuids()) if partition else None,
            )
        )
    return tuple(
        replace(
            vm,
            manual_start=number != first
            and any(number in other.manages for other in found)
            and draw(st.booleans()),
        )
        for number, vm in enumerate(found)
    )


@st.composite
def sound_manifests(draw: st.DrawFn) -> tuple[Manifest, tuple[int, ...]]:
    """Up to eight VMs that obey every rule, together too, and the sizes of their blobs."""
    vms: list[Vm] = []
    sizes: list[int] = []
    given: set[int] = set()
    host = 0x1000
    drawn = st.lists(sound_vms(), min_size=1, max_size=8, unique_by=lambda found: found[0].name)
    for vm, its_sizes in draw(drawn):
        devices: list[Device] = []
        for device in vm.devices:
            if device.kind is DeviceKind.PASSTHROUGH:
                intids = tuple(i for i in device.interrupts if i not in given)
                given |= set(intids)
                device = replace(device, interrupts=intids, host_address=host)
                host += device.size
            devices.append(device)
        memory = list(vm.memory)
        if draw(st.booleans()):
            memory[0] = replace(memory[0], host_address=host)
            host += memory[0].size
        images = tuple(replace(i, blob=i.blob + len(sizes)) for i in vm.images)
        sizes += its_sizes
        vms.append(replace(vm, memory=tuple(memory), devices=tuple(devices), images=images))
    schedule = draw(schedules([vm.vcpus for vm in vms]))
    return Manifest(draw(with_rights(vms)), schedule), tuple(sizes)


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
    devices: list[Device] = []
    for ipa in ipas[half:]:
        kind = draw(st.sampled_from(DeviceKind))
        second = Window(draw(u64), draw(u64)) if kind is DeviceKind.VGICV2 else None
        interrupts = tuple(draw(st.lists(u32, max_size=9)))
        devices.append(Device(kind, ipa, draw(u64), interrupts, draw(hosts), second))
    images = tuple(Image(draw(u32), draw(u64)) for _ in range(draw(st.integers(0, 9))))
    name = draw(st.text(string.printable.strip(), min_size=1, max_size=20))
    restart = draw(st.sampled_from(Restart))
    numbers = st.lists(u32, max_size=9).map(tuple)
    vm = Vm(
        name, draw(u32), draw(u64), draw(u64), memory, images, tuple(devices), restart,
        draw(st.booleans()), draw(st.none() | numbers), draw(st.none() | st.uuids()),
        draw(numbers),
    )  # fmt: skip
    slots = st.builds(Slot, st.none() | st.integers(0, (1 << 32) - 2), u32, u32)
    cpus = st.builds(CpuSlots, u32, st.lists(slots, max_size=17).map(tuple))
    schedule = st.builds(
        Schedule, u32, u32, st.lists(cpus, max_size=3, unique_by=lambda c: c.cpu).map(tuple)
    )
    return Manifest((vm,) * draw(st.integers(0, 2)), draw(schedule))


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
    devices = (Device(DeviceKind.VPL011, 0x0900_0000, 0x1000, (33,)),)
    vm = Vm("small", 1, 0x4000_8000, 0x4000_0000, memory, images, devices)
    blobs = (Blob("image.bin", bytes(range(1, 200))), Blob("small.dtb", b"\xd0\x0d\xfe\xed" * 9))
    return Bundle(encode(Manifest((vm,), equal_shares([[0]]))), blobs)
