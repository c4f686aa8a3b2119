# SPDX-License-Identifier: Apache-2.0
"""EL2's readers of the bundle and its manifest take any bytes: they read what is sound, say one
line about what is not, and never leave the blob (ASan and UBSan watch)."""

import struct
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import fdt, format, manifest
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
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot, equal_shares

from ..bundle.vm_strategies import with_rights
from .bundle_seals import resealed
from .damage import damaged, is_clear_error, overlap, ranges
from .host_readers import Answer, Readers

MIB = 1 << 20
PAGE = 4096
IPA_END = 1 << 40
VPL011, VGICV2 = DeviceKind.VPL011, DeviceKind.VGICV2
PASSTHROUGH, TELEMETRY = DeviceKind.PASSTHROUGH, DeviceKind.TELEMETRY


CPUS = 4
BOARD = virt(256 * MIB, CPUS)
BOARD_TREE = build_dtb(BOARD)
UART_INTID = 33
FFA_WINDOW = (0x7000_0000, 4 * MIB)
HOLE = 0x1000_0000
"""Neither RAM nor a device that EL2 uses, for half a GiB."""


@pytest.fixture(scope="module")
def readers(readers: Readers) -> Readers:
    """The readers, on a board of four CPUs."""
    assert "error" not in readers.board(BOARD_TREE)
    return readers


@dataclass(slots=True)
class Given:
    """What of the board has been given away."""

    ram: int = BOARD.ram_base
    window: int = HOLE
    spis: list[int] = field(default_factory=lambda: [i for i in range(32, 96) if i != UART_INTID])
    blobs: list[bytes] = field(default_factory=list)


@st.composite
def vms(draw: st.DrawFn, name: str, given: Given) -> Vm:
    """A VM that keeps all the rules."""
    cursor = draw(st.integers(0, 1 << 20)) * PAGE
    memory: list[Memory] = []
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 1 << 14)) * PAGE
        pinned = draw(st.booleans())
        given.ram += draw(st.integers(0, 8)) * PAGE
        memory.append(Memory(cursor, size, given.ram if pinned else None))
        given.ram += size
        cursor += size + draw(st.integers(0, 1 << 10)) * PAGE
    devices: list[Device] = []
    has_gic = draw(st.booleans())
    if has_gic:
        gicc = Window(cursor, 2 * PAGE)
        devices.append(Device(DeviceKind.VGICV2, cursor + 2 * PAGE, PAGE, cpu_interface=gicc))
        cursor += 3 * PAGE
    if draw(st.booleans()):
        devices.append(Device(DeviceKind.TELEMETRY, cursor, PAGE))
        cursor += PAGE
    own = draw(st.lists(st.sampled_from(given.spis), max_size=8, unique=True))
    for kind in draw(st.lists(st.sampled_from((VPL011, PASSTHROUGH)), max_size=6)):
        size = draw(st.integers(1, 4)) * PAGE
        taken = draw(st.integers(0, 1 if kind is VPL011 else 8))
        passes = kind is PASSTHROUGH
        intids = own[:taken] if not passes or has_gic else []
        del own[: len(intids)]
        host = given.window if passes else None
        devices.append(Device(kind, cursor, size, tuple(intids), host))
        if passes:
            given.window += size
            given.spis = [i for i in given.spis if i not in intids]
        cursor += size
    images: list[Image] = []
    at = memory[0].ipa
    for _ in range(draw(st.integers(0, 4))):
        blob = bytes(draw(st.integers(1, 300)))
        if at + len(blob) > memory[0].ipa + memory[0].size or len(given.blobs) == 32:
            break
        images.append(Image(len(given.blobs), at))
        given.blobs.append(blob)
        at += len(blob) + draw(st.integers(0, 100))
    last = memory[-1]
    entry = last.ipa + draw(st.integers(0, last.size // 4 - 1)) * 4
    dtb = draw(st.sampled_from((0, memory[0].ipa)))
    restart = draw(st.sampled_from(Restart))
    vcpus = draw(st.integers(1, 8))
    return Vm(name, vcpus, entry, dtb, tuple(memory), tuple(images), tuple(devices), restart)


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Manifest, list[bytes]]:
    """VMs that keep all the rules, slots for all their vCPUs, and the blobs."""
    names = draw(
        st.lists(
            st.text("abcxyz019-", min_size=1, max_size=15), min_size=1, max_size=4, unique=True
        )
    )
    given = Given()
    all_vms = tuple(draw(vms(name, given)) for name in names)
    window = draw(st.integers(1, 100))
    slots: list[list[Slot]] = [[] for _ in range(CPUS)]
    for number, vm in enumerate(all_vms):
        for vcpu in range(vm.vcpus):
            home = slots[draw(st.integers(0, CPUS - 1))]
            for _ in range(draw(st.integers(1, 2))):
                home.append(Slot(number, vcpu, window + draw(st.integers(113, 1100))))
    frame = max(sum(slot.length_us for slot in cpu) for cpu in slots) + window + 1
    for cpu in slots:
        cpu.append(Slot(None, 0, frame - sum(slot.length_us for slot in cpu)))
    assume(all(len(cpu) <= 16 for cpu in slots))
    all_vms = draw(with_rights(all_vms))
    numbers = draw(st.permutations(range(CPUS)))
    schedule = Schedule(frame, window, tuple(CpuSlots(i, tuple(slots[i])) for i in numbers))
    return Manifest(all_vms, schedule), given.blobs or [b"x"]


def packed(tree: bytes, blobs: list[bytes]) -> bytes:
    return format.pack(format.Bundle(tree, tuple(format.Blob("blob", b) for b in blobs)))


SMALL = Vm(
    "small",
    2,
    0x4000_0000,
    0x4000_0000,
    (Memory(0x4000_0000, MIB, 0x4800_0000), Memory(0, PAGE, None)),
    (Image(0, 0x4000_0000), Image(1, 0x4000_1000)),
    (
        Device(VGICV2, 0x800_0000, PAGE, cpu_interface=Window(0x801_0000, 2 * PAGE)),
        Device(VPL011, 0x900_0000, PAGE, (33,)),
        Device(PASSTHROUGH, 0xA00_0000, PAGE, (34, 35), HOLE),
        Device(TELEMETRY, 0xB00_0000, PAGE),
    ),
    Restart.CRASH,
)
TWO_CPUS = equal_shares([[0, 1]])
SMALL_TREE = manifest.encode(Manifest((SMALL,), TWO_CPUS))
SMALL_BUNDLE = packed(SMALL_TREE, [bytes(64), bytes(5000)])
FIRST_BLOB = PAGE
KINDS = (VPL011, VGICV2, PASSTHROUGH, TELEMETRY)


@given(manifests())
def test_a_sound_bundle_is_read_as_it_was_written(
    readers: Readers, case: tuple[Manifest, list[bytes]]
) -> None:
    written, blobs = case
    answer = readers.bundle(packed(manifest.encode(written), blobs))
    assert "error" not in answer, answer["error"]
    assert int(answer["frame"], 16) == written.schedule.frame_us
    assert int(answer["window"], 16) == written.schedule.window_us
    for cpu in written.schedule.cpus:
        lengths = [slot.length_us for slot in cpu.slots]
        assert ranges(answer[f"slots{cpu.cpu}"]) == [
            (0xFFFF_FFFF if slot.vm is None else slot.vm, slot.vcpu, sum(lengths[:i]), lengths[i])
            for i, slot in enumerate(cpu.slots)
        ]
    assert f"name{len(written.vms)}" not in answer
    for n, vm in enumerate(written.vms):
        homes = {s.vcpu: c.cpu for c in written.schedule.cpus for s in c.slots if s.vm == n}
        assert answer[f"name{n}"] == vm.name
        assert int(answer[f"entry{n}"], 16) == vm.entry
        assert int(answer[f"dtb{n}"], 16) == vm.dtb_address
        assert int(answer[f"restart{n}"]) == vm.restart.value
        assert int(answer[f"manual{n}"]) == vm.manual_start
        assert int(answer[f"ffa{n}"]) == (vm.peers is not None)
        assert int(answer[f"peers{n}"], 16) == sum(1 << peer for peer in vm.peers or ())
        assert int(answer[f"manages{n}"], 16) == sum(1 << other for other in vm.manages)
        assert UUID(answer[f"uuid{n}"]) == (vm.uuid or UUID(int=0))
        assert ranges(answer[f"vcpus{n}"]) == [(homes[i],) for i in range(vm.vcpus)]
        assert ranges(answer[f"memory{n}"]) == [
            (m.ipa, m.size) if m.host_address is None else (m.ipa, m.size, m.host_address)
            for m in vm.memory
        ]
        assert ranges(answer[f"images{n}"]) == [
            (i.load_address, len(blobs[i.blob]), i.blob) for i in vm.images
        ]
        assert ranges(answer[f"devices{n}"]) == [
            (d.ipa, d.size, KINDS.index(d.kind), gicc.ipa, gicc.size, host, *d.interrupts)
            for d in vm.devices
            for gicc, host in [(d.cpu_interface or Window(0, 0), d.host_address or 0)]
        ]


def assert_keeps_the_rules(answer: Answer) -> None:
    """What EL2 relies on after the readers have accepted a bundle."""
    frame, window = int(answer["frame"], 16), int(answer["window"], 16)
    assert 0 < window < frame <= 1_000_000
    homes: dict[tuple[int, int], set[int]] = {}
    for cpu in range(8):
        at = 0
        for vm, vcpu, offset, length in ranges(answer[f"slots{cpu}"]):
            assert cpu < CPUS and offset == at and length > window
            at += length
            if vm != 0xFFFF_FFFF:
                assert length >= window + (113 if int(answer[f"ffa{vm}"]) else 58)
                homes.setdefault((vm, vcpu), set()).add(cpu)
        assert at in (0, frame)
    host: list[tuple[int, ...]] = [(0x900_0000, PAGE)]
    spis = [UART_INTID]
    vcpus = 0
    count = sum(f"name{i}" in answer for i in range(9))
    assert 1 <= count <= 8
    assert len({answer[f"name{i}"] for i in range(count)} | {"aether"}) == count + 1
    assert not all(int(answer[f"manual{n}"]) for n in range(count))
    peers = [int(answer[f"peers{n}"], 16) for n in range(count)]
    for n in range(count):
        assert (peers[n] | int(answer[f"manages{n}"], 16)) >> count == 0
        assert (peers[n] | int(answer[f"manages{n}"], 16)) >> n & 1 == 0
        assert all(peers[n] >> m & 1 == peers[m] >> n & 1 for m in range(count))
        assert int(answer[f"ffa{n}"]) or not (peers[n] or int(answer[f"uuid{n}"], 16))
        pins = ranges(answer[f"vcpus{n}"])
        assert 1 <= len(pins) <= 8
        assert all(homes[n, i] == {cpu} for i, (cpu,) in enumerate(pins))
        vcpus += len(pins)
        memory = ranges(answer[f"memory{n}"])
        devices = ranges(answer[f"devices{n}"])
        images = ranges(answer[f"images{n}"])
        assert 1 <= len(memory) <= 4
        assert len(devices) <= 8
        assert len(images) <= 8
        windows = [*memory, *devices, *(d[3:] for d in devices if d[4])]
        for place in windows:
            assert place[0] % PAGE == 0 and place[1] % PAGE == 0
            assert place[1] > 0 and place[0] + place[1] <= IPA_END
            assert not int(answer[f"ffa{n}"]) or not overlap(place, FFA_WINDOW)
        pairs = [*combinations(windows, 2), *combinations(images, 2)]
        assert not any(overlap(a, b) for a, b in pairs)
        entry = (int(answer[f"entry{n}"], 16), 4)
        for place in [entry, *images]:
            assert any(m[0] <= place[0] and place[0] + place[1] <= m[0] + m[1] for m in memory)
        assert 1 <= len(answer[f"name{n}"]) <= 15
        kinds = [d[2] for d in devices]
        assert kinds.count(KINDS.index(VGICV2)) <= 1
        assert kinds.count(KINDS.index(TELEMETRY)) <= 1
        passed = [d for d in devices if d[2] == KINDS.index(PASSTHROUGH)]
        host += [(m[2], m[1]) for m in memory if len(m) > 2] + [(d[5], d[1]) for d in passed]
        own = [i for d in devices for i in d[6:]]
        assert len(set(own)) == len(own) and all(32 <= i <= 95 for i in own)
        spis += [i for d in passed for i in d[6:]]
        for d in passed:
            assert not overlap((d[5], d[1]), (BOARD.ram_base, BOARD.ram_size))
            assert not overlap((d[5], d[1]), (0x800_0000, 0x5_0000))
    assert vcpus == len(homes)
    assert len(set(spis)) == len(spis)
    assert not any(overlap(a, b) for a, b in combinations(host, 2))


def judge(answer: Answer) -> None:
    if "error" in answer:
        assert is_clear_error(answer)
    else:
        assert_keeps_the_rules(answer)


@given(damaged(SMALL_BUNDLE[: FIRST_BLOB + 64]))
def test_a_damaged_bundle_is_read_or_refused(readers: Readers, data: bytes) -> None:
    judge(readers.bundle(data))


@given(st.integers(0, FIRST_BLOB - 1), st.integers(1, 255))
def test_every_flipped_byte_that_counts_is_noticed(readers: Readers, at: int, flip: int) -> None:
    data = bytearray(SMALL_BUNDLE)
    data[at] ^= flip
    answer = readers.bundle(bytes(data))
    covered = at < 64 + 2 * 64 + len(SMALL_TREE)
    assert ("error" in answer) == covered
    judge(answer)


NUMBERS = st.one_of(
    st.sampled_from((0, 1, 63, 64, 191, 192, PAGE, 2 * PAGE, (1 << 64) - 1, (1 << 64) - PAGE)),
    st.integers(0, 3 * PAGE),
)
FIELDS = [(16, "Q"), (24, "Q"), (32, "Q"), (44, "I"), (48, "Q"), (8, "I"), (12, "I")]
TABLE_FIELDS = [(64 + 64 * entry + at, "Q") for entry in (0, 1) for at in (0, 8)]


@given(st.lists(st.tuples(st.sampled_from(FIELDS + TABLE_FIELDS), NUMBERS), min_size=1, max_size=3))
def test_wrong_numbers_with_right_checksums_are_refused(
    readers: Readers, edits: list[tuple[tuple[int, str], int]]
) -> None:
    data = bytearray(SMALL_BUNDLE)
    for (at, kind), number in edits:
        struct.pack_into("<" + kind, data, at, number % (1 << (32 if kind == "I" else 64)))
    judge(readers.bundle(resealed(bytes(data))))


@pytest.mark.parametrize("size", [0x1_0000, 0x1_0001, 1 << 20])
def test_a_manifest_is_64_kib_at_most(readers: Readers, size: int) -> None:
    answer = readers.bundle(packed(SMALL_TREE.ljust(size, b"\0"), [bytes(64), bytes(5000)]))
    assert ("larger than 64 KiB" in answer.get("error", "")) == (size > 0x1_0000)


@pytest.mark.parametrize("missing", range(1, 10))
def test_a_bundle_that_lacks_a_byte_is_truncated(readers: Readers, missing: int) -> None:
    assert "truncated" in readers.bundle(SMALL_BUNDLE[:-missing])["error"]


def test_bytes_after_the_bundle_do_not_matter(readers: Readers) -> None:
    assert readers.bundle(SMALL_BUNDLE + b"\xff" * 9) == readers.bundle(SMALL_BUNDLE)


@pytest.mark.parametrize(
    ("offset", "size"),
    [(PAGE, 1), (2 * PAGE, PAGE), (2 * PAGE, 1), (0, 1), (PAGE, 2 * PAGE)],
)
def test_a_blob_over_another_part_is_refused(readers: Readers, offset: int, size: int) -> None:
    data = bytearray(packed(SMALL_TREE, [bytes(64), bytes(5000), bytes(5000)]))
    struct.pack_into("<QQ", data, 64 + 2 * 64, offset, size)
    assert "a blob over another part" in readers.bundle(resealed(bytes(data)))["error"]


@pytest.mark.parametrize("offset", [0, 56, 64, 64 + 2 * 64 - 8])
def test_a_manifest_over_another_part_is_refused(readers: Readers, offset: int) -> None:
    data = bytearray(SMALL_BUNDLE)
    struct.pack_into("<QQ", data, 24, offset, 8)
    expected = "bundle manifest: outside the bundle or over another part"
    assert readers.bundle(resealed(bytes(data)))["error"].startswith(expected)


@pytest.mark.parametrize(("count", "good"), [(32, True), (33, False), (0, False)])
def test_the_number_of_blobs_is_1_to_32(readers: Readers, count: int, good: bool) -> None:
    tree_at = 64 + 64 * count
    head = struct.pack("<8sIIQQQ", b"AETHERB1", 1, 64, PAGE, tree_at, len(SMALL_TREE))
    head += struct.pack("<IIQII", 0, count, 64, 0, 0)
    table = struct.pack("<QQ48x", PAGE, 0) * count
    answer = readers.bundle(resealed((head + table + SMALL_TREE).ljust(PAGE, b"\0")))
    assert answer.get("error", "").startswith("bundle header: not 1 to 32") == (not good)


@given(st.data())
def test_a_damaged_manifest_with_right_checksums(readers: Readers, data: st.DataObject) -> None:
    judge(readers.bundle(packed(data.draw(damaged(SMALL_TREE)) or b"x", [bytes(64), bytes(5000)])))


def changed(**changes: Any) -> bytes:
    values = {name: getattr(SMALL, name) for name in SMALL.__slots__} | changes
    return manifest.encode(Manifest((Vm(**values),), TWO_CPUS))


def pair(**changes: Any) -> bytes:
    """SMALL, and beside it one that has nothing of the board but what `changes` say."""
    other = replace(SMALL, name="other", vcpus=1, memory=(ONE,), images=(), devices=())
    both = (SMALL, replace(other, **changes))
    return manifest.encode(Manifest(both, equal_shares([[0, 1], [1]])))


def nodes(*chosen: int) -> bytes:
    """SMALL's manifest with these of its nodes: schedule, VM."""
    root = fdt.read(SMALL_TREE, where="test")
    return fdt.write(replace(root, children=tuple(root.children[i] for i in chosen)))


def scheduled(*cpus: CpuSlots, frame: int = 10_000, window: int = 64) -> bytes:
    return manifest.encode(Manifest((SMALL,), Schedule(frame, window, cpus)))


def device(kind: DeviceKind, *, at: int = 0x900_0000, size: int = PAGE, **more: Any) -> bytes:
    return changed(devices=(GIC, Device(kind, at, size, **more)))


def passed(host: int, size: int = PAGE) -> bytes:
    return device(PASSTHROUGH, size=size, host_address=host)


ONE = Memory(0x4000_0000, MIB)
GIC = SMALL.devices[0]
HALVES = (Slot(0, 0, 5000), Slot(0, 1, 5000))
ALL_OF_0 = Slot(0, 0, 10_000)


def short_slot(by: int, **changes: Any) -> bytes:
    """SMALL with a slot that is longer than the window by so much."""
    slots = (Slot(0, 0, 64 + by), Slot(0, 1, 5000))
    schedule = Schedule(5064 + by, 64, (CpuSlots(0, slots),))
    return manifest.encode(Manifest((replace(SMALL, **changes),), schedule))


def short_uuid() -> bytes:
    """Of a property's header the last words are its length and its name."""
    uuid = UUID("ffffffff-ffff-ffff-ffff-fffffffffffe")
    tree = changed(peers=(), uuid=uuid)
    at = tree.index(uuid.bytes) - 8
    assert tree[at : at + 4] == (16).to_bytes(4, "big")
    return tree[:at] + (15).to_bytes(4, "big") + tree[at + 4 :]


REFUSED_MANIFESTS = {
    "no VM": manifest.encode(Manifest((), equal_shares([]))),
    "more than 8 VMs": manifest.encode(
        Manifest(
            tuple(replace(SMALL, name=f"n{i}", memory=(ONE,), devices=()) for i in range(9)),
            TWO_CPUS,
        )
    ),
    "manifest: unknown node": SMALL_TREE.replace(b"aether,vm\0", b"aether,vn\0"),
    "unknown node in a VM": SMALL_TREE.replace(b"image@1", b"imago@1"),
    "version 3": SMALL_TREE.replace(b"aether,manifest", b"aether,manifesT"),
    "no schedule": nodes(1),
    "a second schedule": nodes(0, 1, 0),
    "vcpus is not 1 to 8": changed(vcpus=0),
    "vcpus is not": changed(vcpus=9),
    "restart": SMALL_TREE.replace(b"restart\0", b"resterT\0"),
    "vm-name": changed(name="Big"),
    "vm-name is not": changed(name="x" * 16),
    "the name aether": changed(name="aether"),
    "one vm-name": pair(name="small"),
    "no memory": changed(memory=()),
    "more than 4 memory": changed(memory=tuple(Memory(i * MIB, MIB) for i in range(5))),
    "overlaps another range": changed(memory=(ONE, Memory(0x400F_F000, MIB))),
    "overlaps another host-address": changed(
        memory=(Memory(0x4000_0000, MIB, 0x4800_0000), Memory(0, MIB, 0x480F_F000))
    ),
    "manifest memory: overlaps another host": pair(
        memory=(replace(ONE, host_address=0x480F_F000),)
    ),
    "whole 4 KiB pages": changed(memory=(Memory(0x4000_0000, MIB + 1),)),
    "below 2^40": changed(memory=(ONE, Memory(IPA_END - PAGE, 2 * PAGE))),
    "host-address is not": changed(memory=(Memory(0x4000_0000, MIB, 0x4800_0010),)),
    "no such blob": changed(images=(Image(2, 0x4000_0000),)),
    "does not fit": changed(images=(Image(1, 0x4000_0000 + MIB - PAGE),)),
    "overlaps another image": changed(images=(Image(0, 0x4000_0100), Image(1, 0x4000_0000))),
    "more than 8 images": changed(images=tuple(Image(0, 0x4000_0000 + 64 * i) for i in range(9))),
    "manifest device: overlaps": device(VPL011, at=0x4000_0000 + MIB - PAGE),
    "manifest device: overlaps another": device(VPL011, at=0x801_1000),
    "manifest device: not whole": device(VPL011, size=100),
    "more than 8 devices": changed(
        devices=tuple(Device(VPL011, (i + 1) * PAGE, PAGE) for i in range(9))
    ),
    "unknown kind": SMALL_TREE.replace(b"aether,vpl011", b"aether,vpl012"),
    "a second one of its kind": changed(
        devices=(GIC, Device(VGICV2, PAGE, PAGE, cpu_interface=Window(2 * PAGE, 2 * PAGE)))
    ),
    "device: a second one": changed(
        devices=(Device(TELEMETRY, PAGE, PAGE), Device(TELEMETRY, 2 * PAGE, PAGE))
    ),
    "not the windows of its kind": changed(devices=(Device(TELEMETRY, PAGE, 2 * PAGE),)),
    "not the windows": changed(devices=(replace(GIC, cpu_interface=Window(PAGE, PAGE)),)),
    "device: not the windows": changed(devices=(replace(GIC, size=2 * PAGE),)),
    "manifest device: not the windows": changed(devices=(replace(GIC, cpu_interface=None),)),
    "more interrupts than": device(VPL011, interrupts=(33, 34)),
    "device: more interrupts": device(
        PASSTHROUGH, interrupts=tuple(range(40, 49)), host_address=HOLE
    ),
    "not 32 to 95": device(VPL011, interrupts=(31,)),
    "that is not 32 to 95": device(VPL011, interrupts=(96,)),
    "the VM has already": device(PASSTHROUGH, interrupts=(40, 40), host_address=HOLE),
    "hypervisor has": device(PASSTHROUGH, interrupts=(UART_INTID,), host_address=HOLE),
    "another VM or": pair(devices=(GIC, Device(PASSTHROUGH, 0, PAGE, (35,), HOLE + PAGE))),
    "without an aether,vgicv2": changed(
        devices=(Device(PASSTHROUGH, 0x900_0000, PAGE, (40,), HOLE),)
    ),
    "device: host-address is not": device(PASSTHROUGH),
    "manifest device: host-address is not": passed(HOLE + 16),
    "device: host-address": passed((1 << 48) - PAGE, 2 * PAGE),
    "manifest device: overlaps another host-address": pair(
        devices=(Device(PASSTHROUGH, 0, PAGE, (), HOLE),)
    ),
    "cannot be passed through": passed(0x900_0000),
    "memory or a device": passed(BOARD.ram_base - PAGE, 2 * PAGE),
    "or a device of the hypervisor": passed(0x800_0000),
    "device of the hypervisor cannot": passed(0x804_1000),
    "hypervisor cannot be passed": passed(0x803_0000),
    "entry point": changed(entry=0x4000_0002),
    "an entry point is not": changed(entry=0x4010_0000),
    "dtb-address": changed(dtb_address=0x7000_0000),
    "ffa-peers or manages is not a list": changed(peers=tuple(range(1, 10))),
    "has a VM twice": pair(peers=(0, 0)),
    "the VM itself": pair(manages=(1,)),
    "or none": changed(manages=(8,)),
    "names a VM that there is not": changed(manages=(1,)),
    "only one has the other": pair(peers=(0,)),
    "ffa-uuid without peers": changed(uuid=UUID(int=1)),
    "or not 16 bytes": short_uuid(),
    "no VM starts by itself": changed(manual_start=True),
    "where FF-A memory": changed(memory=(ONE, Memory(0x703F_F000, MIB)), peers=()),
    "where FF-A memory of other VMs appears": changed(
        devices=(replace(GIC, cpu_interface=Window(0x6FFF_F000, 2 * PAGE)),), peers=()
    ),
    "frame-us is not": scheduled(CpuSlots(0, (ALL_OF_0,)), frame=0),
    "frame-us is not 1 to": scheduled(CpuSlots(0, (ALL_OF_0,)), frame=1_000_001),
    "window-us is not": scheduled(CpuSlots(0, HALVES), window=0),
    "window-us is not less": scheduled(CpuSlots(0, HALVES), window=10_000),
    "not longer than the window": scheduled(CpuSlots(0, HALVES), window=5000),
    "is not longer than the": scheduled(CpuSlots(0, (*HALVES, Slot(None, 0, 64))), frame=10_064),
    "small: a slot of it is not 58 us longer": short_slot(57),
    "small: a slot of it, a partition, is not 113 us longer": short_slot(112, peers=()),
    "exceed the frame": scheduled(CpuSlots(0, (*HALVES, Slot(None, 0, 100)))),
    "slots exceed": scheduled(CpuSlots(0, (Slot(0, 0, 5000), Slot(0, 1, 0xFFFF_FFFF)))),
    "do not fill the frame": scheduled(CpuSlots(0, HALVES), frame=10_100),
    "1 to 16 slots": scheduled(CpuSlots(0, HALVES), CpuSlots(1, ())),
    "does not have 1 to 16": scheduled(CpuSlots(0, tuple(Slot(0, i % 2, 500) for i in range(20)))),
    "described twice": scheduled(CpuSlots(0, HALVES), CpuSlots(0, HALVES)),
    "on two CPUs": scheduled(CpuSlots(0, HALVES), CpuSlots(1, (ALL_OF_0,))),
    "vCPU has no slot": scheduled(CpuSlots(0, (ALL_OF_0,))),
    "vCPU that there is not": scheduled(CpuSlots(0, (Slot(0, 2, 10_000),))),
    "a slot of a vCPU that": scheduled(CpuSlots(0, (Slot(1, 0, 10_000),))),
    "slot of a vCPU that there": scheduled(CpuSlots(0, (Slot(8, 0, 10_000),))),
    "board does not have": scheduled(CpuSlots(0, HALVES), CpuSlots(CPUS, (ALL_OF_0,))),
    "CPU that the board does not": SMALL_TREE.replace(b"cpu@1", b"cpu@x"),
    "a CPU that the board": SMALL_TREE.replace(b"cpu@1", b"cqu@1"),
}


@pytest.mark.parametrize("what", REFUSED_MANIFESTS)
def test_each_broken_rule_is_named(readers: Readers, what: str) -> None:
    answer = readers.bundle(packed(REFUSED_MANIFESTS[what], [bytes(64), bytes(5000)]))
    assert what in answer["error"]
    assert is_clear_error(answer)


def test_slots_that_are_just_long_enough(readers: Readers) -> None:
    for tree in (short_slot(58), short_slot(113, peers=())):
        assert "error" not in readers.bundle(packed(tree, [bytes(64), bytes(5000)]))
