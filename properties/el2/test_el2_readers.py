# SPDX-License-Identifier: Apache-2.0
"""The readers at EL2 take any bytes: they accept what is sound, say one line about what is not,
and never leave the blob (ASan and UBSan watch)."""

import struct
import zlib
from itertools import combinations

import pytest
from conftest import Answer, Readers
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.dtb import build_dtb
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle import fdt, format, manifest
from aether_edgecloud.emulator.bundle.fdt import Node, Property
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm

MIB = 1 << 20
PAGE = 4096
IPA_END = 1 << 40


def ranges(text: str) -> list[tuple[int, ...]]:
    """"base+size,base+size" of an answer, all hexadecimal."""
    return [tuple(int(n, 16) for n in item.split("+")) for item in text.split(",") if item]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[0] + b[1] and b[0] < a[0] + a[1]


def is_clear_error(answer: Answer) -> bool:
    """Where, what and what to do, in one line."""
    where, what = answer["error"].split(": ", 1)
    what, fix = what.split("; ", 1)
    return bool(where and what and fix) and answer["error"].isprintable()


@st.composite
def damaged(draw: st.DrawFn, blob: bytes) -> bytes:
    """`blob` with some bytes or words changed, cut short, or with a piece moved."""
    data = bytearray(blob)
    edits = draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6))
    for at, value in edits:
        data[at] = value
    words = st.sampled_from((0, 1, 2, 3, 4, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF))
    for at, word in draw(st.lists(st.tuples(st.integers(0, len(data) // 4 - 1), words), max_size=3)):
        struct.pack_into(">I", data, 4 * at, word)
    if draw(st.booleans()):
        source, size = draw(st.tuples(st.integers(0, len(data)), st.integers(0, 64)))
        target = draw(st.integers(0, len(data)))
        data[target:target] = data[source : source + size]
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


# ---- the board's device tree ----

VIRT = build_dtb(virt(256 * MIB), initrd=range(0x4800_0000, 0x4800_2000))


def simple_bus_tree(*, status: str = "okay", stdout: str = "serial0:115200n8") -> Node:
    """A console behind two buses that translate, one cell below two, with an alias for it."""
    uart = Node(
        "serial@201000",
        (
            Property("compatible", fdt.text("vendor,uart", "arm,pl011")),
            Property("reg", fdt.cells(0x201000, 0x200)),
            Property("status", fdt.text(status)),
        ),
    )
    inner = Node(
        "bus@7e000000",
        (
            Property("#address-cells", fdt.cells(1)),
            Property("#size-cells", fdt.cells(1)),
            Property("ranges", fdt.cells(0, 0x7E00_0000, 0x100_0000)),
        ),
        (uart,),
    )
    outer = Node(
        "soc",
        (
            Property("#address-cells", fdt.cells(1)),
            Property("#size-cells", fdt.cells(1)),
            Property(
                "ranges", fdt.cells(0x4000_0000, 0, 1, 0x1000) + fdt.cells(0x7E00_0000, 1, 0, 0x180_0000)
            ),
        ),
        (inner,),
    )
    return Node(
        "",
        (Property("#address-cells", fdt.cells(2)), Property("#size-cells", fdt.cells(1))),
        (
            Node("aliases", (Property("serial0", fdt.text("/soc/bus@7e000000/serial")),)),
            Node(
                "chosen",
                (
                    Property("stdout-path", fdt.text(stdout)),
                    Property("linux,initrd-start", fdt.cells(0x100_0000)),
                    Property("linux,initrd-end", fdt.cells(0x180_0000)),
                ),
            ),
            Node("memory@0", (Property("reg", fdt.cells(0, 0, 0x4000_0000, 2, 0, 0x2000_0000)),)),
            Node(
                "reserved-memory",
                (
                    Property("#address-cells", fdt.cells(2)),
                    Property("#size-cells", fdt.cells(1)),
                    Property("ranges", b""),
                ),
                (Node("fw@1234", (Property("reg", fdt.cells(0, 0x1234, 0x1000)),)),),
            ),
            outer,
        ),
    )


BUS = fdt.write(simple_bus_tree())


def test_the_emulators_virt_board_is_read(readers: Readers) -> None:
    answer = readers.board(VIRT)
    assert answer["uart"] == "9000000"
    assert answer["smc"] == "1"
    assert ranges(answer["banks"]) == [(0x4000_0000, 256 * MIB)]
    assert ranges(answer["bundle"]) == [(0x4800_0000, 0x2000)]


def test_addresses_are_translated_through_every_bus(readers: Readers) -> None:
    answer = readers.board(BUS)
    assert answer["uart"] == f"{0x1_0020_1000:x}"
    assert answer["smc"] == "0"
    assert ranges(answer["banks"]) == [(0, 0x4000_0000), (2 << 32, 0x2000_0000)]
    assert ranges(answer["reserved"]) == [(0x1000, 0x2000)]
    assert ranges(answer["bundle"]) == [(0x100_0000, 0x80_0000)]


def test_a_disabled_console_is_no_console(readers: Readers) -> None:
    tree = simple_bus_tree(status="disabled", stdout="/nothing")
    assert readers.board(fdt.write(tree))["uart"] == "0"


@given(data=st.data())
def test_a_damaged_board_tree_is_read_or_refused(readers: Readers, data: st.DataObject) -> None:
    answer = readers.board(data.draw(damaged(data.draw(st.sampled_from((VIRT, BUS))))))
    if "error" in answer:
        assert is_clear_error(answer)
        return
    banks = ranges(answer["banks"])
    assert banks
    assert not any(overlap(a, b) for a, b in combinations(banks, 2))
    for base, size in [*banks, *ranges(answer["reserved"])]:
        assert size > 0
        assert base % PAGE == 0 and size % PAGE == 0
        assert base + size <= 1 << 64
    base, size = ranges(answer["bundle"])[0]
    assert size == 0 or any(b <= base and base + size <= b + s for b, s in banks)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_bytes_are_refused_as_a_tree(readers: Readers, tail: bytes, total: int) -> None:
    assert is_clear_error(readers.board(tail))
    assert is_clear_error(readers.board(struct.pack(">II", 0xD00DFEED, total) + tail))


# ---- the bundle ----


@st.composite
def vms(draw: st.DrawFn) -> tuple[Vm, list[bytes]]:
    """A VM that keeps all the rules, and its blobs."""
    cursor = draw(st.integers(0, 1 << 20)) * PAGE
    memory: list[Memory] = []
    host = 0
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.integers(1, 1 << 14)) * PAGE
        pinned = draw(st.booleans())
        host += draw(st.integers(0, 8)) * PAGE
        memory.append(Memory(cursor, size, host if pinned else None))
        host += size
        cursor += size + draw(st.integers(0, 1 << 10)) * PAGE
    devices = [
        Device(DeviceKind.VPL011, cursor + i * PAGE, PAGE) for i in range(draw(st.integers(0, 4)))
    ]
    blobs: list[bytes] = []
    images: list[Image] = []
    at = memory[0].ipa
    for _ in range(draw(st.integers(0, 8))):
        blob = bytes(draw(st.integers(1, 300)))
        if at + len(blob) > memory[0].ipa + memory[0].size:
            break
        images.append(Image(len(blobs), at))
        blobs.append(blob)
        at += len(blob) + draw(st.integers(0, 100))
    name = draw(st.text("abcxyz019-", min_size=1, max_size=15))
    last = memory[-1]
    entry = last.ipa + draw(st.integers(0, last.size // 4 - 1)) * 4
    dtb = draw(st.sampled_from((0, memory[0].ipa)))
    return Vm(name, 1, entry, dtb, tuple(memory), tuple(images), tuple(devices)), blobs or [b"x"]


def packed(tree: bytes, blobs: list[bytes]) -> bytes:
    return format.pack(format.Bundle(tree, tuple(format.Blob("blob", b) for b in blobs)))


SMALL = Vm(
    "small",
    1,
    0x4000_0000,
    0x4000_0000,
    (Memory(0x4000_0000, MIB, 0x4800_0000), Memory(0, PAGE, None)),
    (Image(0, 0x4000_0000), Image(1, 0x4000_1000)),
    (Device(DeviceKind.VPL011, 0x900_0000, PAGE),),
)
SMALL_TREE = manifest.encode(manifest.Manifest((SMALL,)))
SMALL_BUNDLE = packed(SMALL_TREE, [bytes(64), bytes(5000)])
FIRST_BLOB = PAGE


@given(vms())
def test_a_sound_bundle_is_read_as_it_was_written(
    readers: Readers, case: tuple[Vm, list[bytes]]
) -> None:
    vm, blobs = case
    answer = readers.bundle(packed(manifest.encode(manifest.Manifest((vm,))), blobs))
    assert "error" not in answer, answer["error"]
    assert answer["name"] == vm.name
    assert int(answer["entry"], 16) == vm.entry
    assert int(answer["dtb"], 16) == vm.dtb_address
    assert ranges(answer["memory"]) == [
        (m.ipa, m.size) if m.host_address is None else (m.ipa, m.size, m.host_address)
        for m in vm.memory
    ]
    assert ranges(answer["images"]) == [
        (i.load_address, len(blobs[i.blob]), i.blob) for i in vm.images
    ]
    assert ranges(answer["devices"]) == [(d.ipa, d.size) for d in vm.devices]


def assert_keeps_the_rules(answer: Answer) -> None:
    """What EL2 relies on after the readers have accepted a bundle."""
    memory = ranges(answer["memory"])
    devices = ranges(answer["devices"])
    images = ranges(answer["images"])
    assert 1 <= len(memory) <= 4
    assert len(devices) <= 4
    assert len(images) <= 8
    for window in [*memory, *devices]:
        assert window[0] % PAGE == 0 and window[1] % PAGE == 0
        assert 0 < window[1] and window[0] + window[1] <= IPA_END
    pairs = [*combinations([*memory, *devices], 2), *combinations(images, 2)]
    assert not any(overlap(a, b) for a, b in pairs)
    entry = (int(answer["entry"], 16), 4)
    for place in [entry, *images]:
        assert any(m[0] <= place[0] and place[0] + place[1] <= m[0] + m[1] for m in memory)
    assert 1 <= len(answer["name"]) <= 15


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


def resealed(data: bytes) -> bytes:
    """A bundle whose CRCs are right again, so that what they guard is looked at."""
    blob = bytearray(data)
    offset, size = struct.unpack_from("<QQ", blob, 24)
    struct.pack_into("<I", blob, 40, zlib.crc32(blob[offset : offset + size]))
    count, table = struct.unpack_from("<IQ", blob, 44)
    struct.pack_into("<I", blob, 56, zlib.crc32(blob[table : table + min(count, 64) * 64]))
    struct.pack_into("<I", blob, 60, zlib.crc32(blob[:60]))
    return bytes(blob)


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


@given(st.data())
def test_a_damaged_manifest_with_right_checksums(readers: Readers, data: st.DataObject) -> None:
    judge(readers.bundle(packed(data.draw(damaged(SMALL_TREE)) or b"x", [bytes(64), bytes(5000)])))


def changed(**changes: object) -> bytes:
    values = {name: getattr(SMALL, name) for name in SMALL.__slots__} | changes
    return manifest.encode(manifest.Manifest((Vm(**values),)))


ONE = Memory(0x4000_0000, MIB)
REFUSED_MANIFESTS = {
    "more than one VM": manifest.encode(manifest.Manifest((SMALL, SMALL))),
    "no VM": manifest.encode(manifest.Manifest(())),
    "one vCPU": changed(vcpus=2),
    "vm-name": changed(name="Big"),
    "no memory": changed(memory=()),
    "more than 4 memory": changed(memory=tuple(Memory(i * MIB, MIB) for i in range(5))),
    "overlaps another range": changed(memory=(ONE, Memory(0x400F_F000, MIB))),
    "overlaps another host-address": changed(
        memory=(Memory(0x4000_0000, MIB, 0x4800_0000), Memory(0, MIB, 0x480F_F000))
    ),
    "whole 4 KiB pages": changed(memory=(Memory(0x4000_0000, MIB + 1),)),
    "below 2^40": changed(memory=(ONE, Memory(IPA_END - PAGE, 2 * PAGE))),
    "host-address is not": changed(memory=(Memory(0x4000_0000, MIB, 0x4800_0010),)),
    "no such blob": changed(images=(Image(2, 0x4000_0000),)),
    "does not fit": changed(images=(Image(1, 0x4000_0000 + MIB - PAGE),)),
    "overlaps another image": changed(images=(Image(0, 0x4000_0100), Image(1, 0x4000_0000))),
    "more than 8 images": changed(images=tuple(Image(0, 0x4000_0000 + 64 * i) for i in range(9))),
    "manifest device: overlaps": changed(
        devices=(Device(DeviceKind.VPL011, 0x4000_0000 + MIB - PAGE, PAGE),)
    ),
    "more than 4 devices": changed(
        devices=tuple(Device(DeviceKind.VPL011, (i + 1) * PAGE, PAGE) for i in range(5))
    ),
    "entry point": changed(entry=0x4000_0002),
    "the entry point is not": changed(entry=0x4010_0000),
    "dtb-address": changed(dtb_address=0x7000_0000),
}


@pytest.mark.parametrize("what", REFUSED_MANIFESTS)
def test_each_broken_rule_is_named(readers: Readers, what: str) -> None:
    answer = readers.bundle(packed(REFUSED_MANIFESTS[what], [bytes(64), bytes(5000)]))
    assert what in answer["error"]
    assert is_clear_error(answer)
