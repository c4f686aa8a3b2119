# SPDX-License-Identifier: Apache-2.0
"""Strategies for manifests: sound ones that use all there is, ones with a rule broken, and trees
with nodes and properties moved."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.fdt import Node, Property
from aether_edgecloud.emulator.bundle.manifest import (
    Device,
    DeviceKind,
    Image,
    Manifest,
    Memory,
    Restart,
    Vm,
    Window,
)
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot

MIB = 1 << 20
PAGE = 4096
RAM_SIZE = 32 * MIB
CPUS = 2
PINNED = 0x4130_0000
"""Behind what the firmware loads into so much RAM."""
WINDOW_END = 0x7040_0000
HOLE = 0x1000_0000
LOOP = bytes.fromhex("00000014")
"""A branch to itself: guests do nothing."""

Case = tuple[Manifest, tuple[bytes, ...]]


@dataclass(slots=True)
class _Given:
    """What has been given away."""

    ram: int = PINNED
    hole: int = HOLE
    spis: list[int] = field(default_factory=lambda: [i for i in range(35, 96)])
    blobs: list[bytes] = field(default_factory=lambda: [LOOP])


SIZES = st.integers(1, 40) | st.integers(1, 40) | st.sampled_from((1, 2, 511, 512, 513))


@st.composite
def _memory(draw: st.DrawFn, given: _Given) -> tuple[list[Memory], int]:
    """Ranges apart, and the first IPA behind them."""
    cursor = draw(st.sampled_from((0x4000_0000, 0, 0x7040_0000, 0x1_0000_0000, 0xFF_0000_0000)))
    cursor += draw(st.integers(0, 1024)) * PAGE
    ranges: list[Memory] = []
    for _ in range(draw(st.sampled_from((1, 1, 2, 3, 4)))):
        size = draw(SIZES) * PAGE
        host = None
        if draw(st.booleans()):
            given.ram += draw(st.sampled_from((0, 1, 3))) * PAGE
            if draw(st.booleans()):
                given.ram = -(-given.ram // (2 * MIB)) * 2 * MIB
            host = given.ram
            given.ram += size
        ranges.append(Memory(cursor, size, host))
        cursor += size + draw(st.sampled_from((0, 0, 1, 511, 512))) * PAGE
    return ranges, cursor


@st.composite
def _devices(draw: st.DrawFn, given: _Given, cursor: int) -> tuple[Device, ...]:
    kinds = draw(st.lists(st.sampled_from(DeviceKind), max_size=6))
    found: list[Device] = []
    for kind in sorted(kinds, key=lambda kind: kind is not DeviceKind.VGICV2):
        have = [device.kind for device in found]
        match kind:
            case DeviceKind.VGICV2 | DeviceKind.TELEMETRY if kind in have:
                continue
            case DeviceKind.VGICV2:
                gicc = Window(cursor + PAGE, 2 * PAGE)
                found.append(Device(kind, cursor, PAGE, cpu_interface=gicc))
                cursor += 3 * PAGE
            case DeviceKind.TELEMETRY:
                found.append(Device(kind, cursor, PAGE))
                cursor += PAGE
            case DeviceKind.VPL011:
                size = draw(st.integers(1, 2)) * PAGE
                line = (given.spis.pop(),) if draw(st.booleans()) else ()
                found.append(Device(kind, cursor, size, line))
                cursor += size
            case DeviceKind.PASSTHROUGH:
                size = draw(st.integers(1, 3)) * PAGE
                count = draw(st.integers(0, 2)) if DeviceKind.VGICV2 in have else 0
                intids = tuple(given.spis.pop() for _ in range(count))
                found.append(Device(kind, cursor, size, intids, given.hole))
                given.hole += size
                cursor += size
        cursor += draw(st.integers(0, 1)) * PAGE
    return tuple(found)


@st.composite
def _images(draw: st.DrawFn, given: _Given, memory: list[Memory]) -> tuple[Image, ...]:
    """In every range one that begins at its start and perhaps one that ends at its end."""
    images = [Image(0, memory[0].ipa)]
    for number, range_ in enumerate(memory):
        if draw(st.booleans()):
            size = draw(st.integers(1, min(3 * PAGE, range_.size - 4)))
            byte = draw(st.integers(1, 255))
            images.append(Image(len(given.blobs), range_.ipa + range_.size - size))
            given.blobs.append(bytes((byte + i) % 256 for i in range(size)))
        if number and draw(st.booleans()) and len(images) < 8:
            start = Image(0, range_.ipa)
            if images[-1].load_address >= range_.ipa + 4 or images[-1].load_address < range_.ipa:
                images.append(start)
    return tuple(draw(st.permutations(images[:8])))


@st.composite
def vms(draw: st.DrawFn, name: str, given: _Given) -> Vm:
    """A VM that keeps all the rules."""
    memory, cursor = draw(_memory(given))
    if 0x6FC0_0000 <= cursor < WINDOW_END:
        cursor = WINDOW_END
    devices = draw(_devices(given, cursor))
    images = draw(_images(given, memory))
    return Vm(
        name,
        draw(st.sampled_from((1, 1, 2, 3))),
        memory[0].ipa,
        draw(st.sampled_from((0, memory[-1].ipa))),
        tuple(memory),
        images,
        devices,
        draw(st.sampled_from(Restart)),
    )


UUIDS = st.none() | st.integers(1, (1 << 128) - 1).map(lambda number: UUID(int=number))


@st.composite
def _rights(draw: st.DrawFn, found: list[Vm]) -> list[Vm]:
    """Peers on both sides, who manages whom, and who waits to be started: not all."""
    count = len(found)
    pairs = [(a, b) for a in range(count) for b in range(a)]
    linked = [pair for pair in pairs if draw(st.booleans())]
    for number in range(count):
        peers = tuple(sorted(a + b - number for a, b in linked if number in (a, b)))
        partition = bool(peers) or draw(st.booleans())
        uuid = draw(UUIDS) if partition else None
        manages = tuple(n for n in range(count) if n != number and draw(st.integers(0, 3)) == 3)
        found[number] = replace(
            found[number], peers=peers if partition else None, uuid=uuid, manages=manages
        )
    managed = {n for vm in found for n in vm.manages}
    for number in range(1, count):
        manual = number in managed and draw(st.booleans())
        found[number] = replace(found[number], manual_start=manual)
    return found


@st.composite
def _schedules(draw: st.DrawFn, all_vms: list[Vm], cpus: int) -> Schedule:
    window = draw(st.integers(50, 100))
    slots: list[list[Slot]] = [[] for _ in range(cpus)]
    for number, vm in enumerate(all_vms):
        for vcpu in range(vm.vcpus):
            home = slots[draw(st.integers(0, cpus - 1))]
            for _ in range(draw(st.integers(1, 2)) if len(home) < 8 else 1):
                home.append(Slot(number, vcpu, window + draw(st.integers(113, 300))))
    frame = max(sum(slot.length_us for slot in cpu) for cpu in slots) + window + 1
    for cpu in slots:
        cpu.append(Slot(None, 0, frame - sum(slot.length_us for slot in cpu)))
    return Schedule(frame, window, tuple(CpuSlots(i, tuple(slots[i])) for i in range(cpus)))


@st.composite
def manifests(draw: st.DrawFn, cpus: int = CPUS, *, most: int = 3) -> Case:
    """Up to so many VMs that keep all the rules, and the blobs."""
    names = draw(st.lists(st.text("abxyz09-", min_size=1, max_size=15), min_size=1, max_size=most,
                          unique=True))  # fmt: skip
    given = _Given()
    found = [draw(vms(name, given)) for name in names]
    found = draw(_rights(found))
    return Manifest(tuple(found), draw(_schedules(found, cpus))), tuple(given.blobs)


EDGES = st.sampled_from(
    (0, 1, 3, PAGE - 1, PAGE, 0x900_0000, 0x4000_0000, 0x4020_0000, 0x4130_0000, 0x4200_0000,
     0x6FFF_F000, 0x7000_0000, WINDOW_END, (1 << 40) - PAGE, 1 << 40, (1 << 48) - PAGE, 1 << 63,
     (1 << 64) - PAGE, (1 << 64) - 1)
)  # fmt: skip
SMALL = st.integers(0, 9) | st.sampled_from((15, 16, 17, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF))

Edit = Callable[[Manifest], Manifest]


@st.composite
def broken(draw: st.DrawFn, whole: Manifest) -> Manifest:
    """One value of one VM, or of the schedule, becomes another."""
    number = draw(st.integers(0, len(whole.vms) - 1))
    vm = whole.vms[number]
    memory, image = draw(st.sampled_from(vm.memory)), draw(st.sampled_from(vm.images))
    device = draw(st.sampled_from(vm.devices)) if vm.devices else None
    address, small = draw(EDGES), draw(SMALL)
    indices = tuple(draw(st.lists(st.integers(0, 8), max_size=3)))
    choices: list[Manifest | Vm | Memory | Image | Device] = [
        replace(vm, entry=address),
        replace(vm, dtb_address=address),
        replace(vm, vcpus=small),
        replace(vm, name=draw(st.sampled_from(("", "aether", "Big", "x" * 16, whole.vms[0].name)))),
        replace(vm, peers=indices),
        replace(vm, manages=indices),
        replace(vm, peers=None),
        replace(vm, uuid=UUID(int=7)),
        replace(vm, manual_start=True),
        replace(vm, memory=()),
        replace(vm, memory=(*vm.memory, memory)),
        replace(vm, memory=vm.memory * 3),
        replace(vm, images=(*vm.images, image)),
        replace(memory, ipa=address),
        replace(memory, size=address),
        replace(memory, host_address=address),
        replace(image, blob=small),
        replace(image, load_address=address),
        Manifest(whole.vms[:number] + whole.vms[number + 1 :], whole.schedule),
        Manifest(whole.vms * 3, whole.schedule),
        replace(whole, schedule=replace(whole.schedule, frame_us=small)),
        replace(whole, schedule=replace(whole.schedule, window_us=small)),
        replace(whole, schedule=replace(whole.schedule, cpus=whole.schedule.cpus[1:])),
        replace(whole, schedule=replace(whole.schedule, cpus=whole.schedule.cpus * 2)),
        replace(whole, schedule=replace(whole.schedule, cpus=whole.schedule.cpus[::-1])),
    ]
    if device is not None:
        choices += [
            replace(device, ipa=address),
            replace(device, size=address),
            replace(device, interrupts=(small,)),
            replace(device, host_address=address),
            replace(vm, devices=(*vm.devices, device)),
        ]
    chosen = draw(st.sampled_from(choices))
    match chosen:
        case Manifest():
            return chosen
        case Memory():
            kept = tuple(chosen if item is memory else item for item in vm.memory)
            chosen = replace(vm, memory=kept)
        case Image():
            chosen = replace(vm, images=tuple(chosen if i is image else i for i in vm.images))
        case Device():
            chosen = replace(vm, devices=tuple(chosen if d is device else d for d in vm.devices))
    return replace(whole, vms=tuple(chosen if item is vm else item for item in whole.vms))


def _nodes(node: Node) -> list[Node]:
    return [node, *(inner for child in node.children for inner in _nodes(child))]


def _swap(node: Node, old: Node, new: tuple[Node, ...]) -> Node:
    children = tuple(
        replaced
        for child in node.children
        for replaced in (new if child is old else (_swap(child, old, new),))
    )
    return replace(node, children=children)


@st.composite
def rearranged(draw: st.DrawFn, root: Node) -> Node:
    """A node dropped, doubled or moved, its children in another order, a property dropped, doubled,
    renamed, or with other bytes."""
    node = draw(st.sampled_from(_nodes(root)))
    new = node
    what = draw(st.integers(0, 7))
    properties = node.properties
    if properties and what >= 3:
        chosen = draw(st.sampled_from(properties))
        changed: tuple[Property, ...] = ()
        if what == 4:
            changed = (chosen, chosen)
        elif what == 5:
            changed = (replace(chosen, name=draw(st.sampled_from(("reg", "x", "host-address")))),)
        elif what == 6:
            changed = (replace(chosen, value=draw(st.binary(max_size=20))),)
        elif what == 7:
            value = bytearray(chosen.value or b"\0")
            value[draw(st.integers(0, len(value) - 1))] ^= 1 << draw(st.integers(0, 7))
            changed = (replace(chosen, value=bytes(value)),)
        new = replace(
            node,
            properties=tuple(
                p for old in properties for p in (changed if old is chosen else (old,))
            ),
        )
    elif what == 0 and node is not root:
        return _swap(root, node, ())
    elif what == 1 and node is not root:
        return _swap(root, node, (node, node))
    else:
        new = replace(node, children=tuple(draw(st.permutations(node.children))))
    return new if node is root else _swap(root, node, (new,))
