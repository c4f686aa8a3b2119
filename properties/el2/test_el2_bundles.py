# SPDX-License-Identifier: Apache-2.0
"""EL2's readers of the bundle and its manifest take any bytes: they read what is sound, say one
line about what is not, and never leave the blob (ASan and UBSan watch)."""

import struct
import zlib
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import format, manifest
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm

from .damage import damaged, is_clear_error, overlap, ranges
from .host_readers import Answer, Readers

MIB = 1 << 20
PAGE = 4096
IPA_END = 1 << 40


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
        assert window[1] > 0 and window[0] + window[1] <= IPA_END
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


def changed(**changes: object) -> bytes:
    values = {name: getattr(SMALL, name) for name in SMALL.__slots__} | changes
    return manifest.encode(manifest.Manifest((Vm(**values),)))


ONE = Memory(0x4000_0000, MIB)
REFUSED_MANIFESTS = {
    "more than one VM": manifest.encode(manifest.Manifest((SMALL, SMALL))),
    "no VM": manifest.encode(manifest.Manifest(())),
    "one vCPU": changed(vcpus=2),
    "vm-name": changed(name="Big"),
    "vm-name is not": changed(name="x" * 16),
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
