# SPDX-License-Identifier: Apache-2.0
"""The outer layout of a bundle: what is written is read, and nothing else is."""

import hashlib
import struct
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.format import Blob, Bundle, pack, unpack
from aether_edgecloud.emulator.errors import UserError

from .vm_strategies import bundles, small_bundle

SMALL = pack(small_bundle())
HEADER_FIELDS = {
    "magic": (0, "<Q"), "version": (8, "<I"), "header_size": (12, "<I"), "total_size": (16, "<Q"),
    "manifest_offset": (24, "<Q"), "manifest_size": (32, "<Q"), "manifest_crc32": (40, "<I"),
    "blob_count": (44, "<I"), "blob_table_offset": (48, "<Q"), "blob_table_crc32": (56, "<I"),
}  # fmt: skip


def refused(data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        unpack(data, where="x.bundle")
    error = caught.value
    assert str(error).startswith("x.bundle: "), "says where"
    assert error.fix, "says what to do"
    assert "\n" not in str(error)
    return error


def reseal(data: bytearray) -> bytes:
    """Makes the CRCs of header and blob table right again, where there is a table."""
    count, offset = struct.unpack_from("<IQ", data, 44)
    table = data[offset : offset + 64 * count] if count <= 32 else b""
    struct.pack_into("<I", data, 56, zlib.crc32(table))
    struct.pack_into("<I", data, 60, zlib.crc32(data[:60]))
    return bytes(data)


@given(bundles())
def test_what_is_packed_is_unpacked(bundle: Bundle) -> None:
    data = pack(bundle)
    assert unpack(data, where="x") == bundle
    assert pack(unpack(data, where="x")) == data


@given(bundles(), st.binary(max_size=100))
def test_an_initrd_may_be_longer_than_the_bundle(bundle: Bundle, more: bytes) -> None:
    assert unpack(pack(bundle) + more, where="x") == bundle


def test_the_layout_is_the_documented_one() -> None:
    bundle = Bundle(b"M" * 20, (Blob("a", b"A" * 5), Blob("second.bin", b"")))
    data = pack(bundle)
    magic, version, header_size, total = struct.unpack_from("<8sIIQ", data)
    assert (magic, version, header_size, total) == (b"AETHERB1", 1, 64, len(data))
    manifest_offset, manifest_size, manifest_crc = struct.unpack_from("<QQI", data, 24)
    count, table_offset, table_crc, header_crc = struct.unpack_from("<IQII", data, 44)
    assert data[manifest_offset : manifest_offset + manifest_size] == b"M" * 20
    assert manifest_offset % 8 == 0
    assert manifest_crc == zlib.crc32(b"M" * 20)
    assert header_crc == zlib.crc32(data[:60])
    assert count == 2
    assert table_crc == zlib.crc32(data[table_offset : table_offset + 128])
    for index, blob in enumerate(bundle.blobs):
        entry = data[table_offset + 64 * index : table_offset + 64 * index + 64]
        offset, size, digest, name = struct.unpack("<QQ32s16s", entry)
        assert offset % 4096 == 0
        assert size == len(blob.data)
        assert data[offset : offset + size] == blob.data
        assert digest == hashlib.sha256(blob.data).digest()
        assert name.rstrip(b"\0") == blob.name.encode()


@given(st.integers(0, len(SMALL) - 1))
@example(0)
@example(1)
@example(7)
@example(8)
@example(63)
@example(64)
def test_every_truncation_is_refused(length: int) -> None:
    refused(SMALL[:length])


@given(st.integers(0, len(SMALL) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(position: int, change: int) -> None:
    data = bytearray(SMALL)
    data[position] ^= change
    refused(bytes(data))


@pytest.mark.parametrize("position", [*range(256), 4095, 4096, 4294, 4295, 8191, 8192])
def test_every_changed_byte_of_the_structure_is_noticed(position: int) -> None:
    data = bytearray(SMALL)
    data[position] ^= 0x40
    refused(bytes(data))


@given(st.sampled_from(sorted(HEADER_FIELDS)), st.data())
def test_a_header_field_that_lies_is_refused_or_harmless(name: str, data: st.DataObject) -> None:
    """The CRCs are right, as in a bundle made with bad intent: only the values can tell."""
    offset, form = HEADER_FIELDS[name]
    limit = 8 * struct.calcsize(form)
    near = st.integers(0, 3 * 4096) | st.integers((1 << limit) - 5000, (1 << limit) - 1)
    changed = bytearray(SMALL)
    struct.pack_into(form, changed, offset, data.draw(near | st.integers(0, (1 << limit) - 1)))
    sealed = reseal(changed)
    try:
        found = unpack(sealed, where="x.bundle")
    except UserError:
        return
    assert found == small_bundle()


@given(st.integers(0, 127), st.binary(min_size=1, max_size=16))
def test_a_blob_table_that_lies_is_refused_or_harmless(position: int, change: bytes) -> None:
    changed = bytearray(SMALL)
    start = 64 + position
    changed[start : start + len(change)] = change[: 192 - start]
    try:
        found = unpack(reseal(changed), where="x.bundle")
    except UserError:
        return
    assert [b.data for b in found.blobs] == [b.data for b in small_bundle().blobs]


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize(
    ("offset", "form", "value", "words"),
    [
        (8, "<I", 2, "version 2"),
        (12, "<I", 128, "128 bytes"),
        (16, "<Q", len(SMALL) + 1, "cut short"),
        (24, "<Q", 0, "CRC"),
        (24, "<Q", 1 << 63, "past the end"),
        (32, "<Q", (1 << 64) - 1, "past the end"),
        (44, "<I", 0, "0 blobs"),
        (44, "<I", 33, "33 blobs"),
        (48, "<Q", 1 << 40, "past the end"),
        (64, "<Q", 1, "aligned"),
        (64, "<Q", 1 << 20, "past the end"),
        (72, "<Q", (1 << 64) - 4096, "past the end"),
        (72, "<Q", 198, "SHA-256"),
        (64, "<Q", 0, "SHA-256"),
    ],
)
def test_each_lie_is_named(offset: int, form: str, value: int, words: str) -> None:
    changed = bytearray(SMALL)
    struct.pack_into(form, changed, offset, value)
    assert words in str(refused(reseal(changed)))


def test_blobs_that_overlap_are_refused() -> None:
    blob = Blob("a", b"same")
    data = bytearray(pack(Bundle(b"M", (blob, Blob("b", b"same")))))
    first = struct.unpack_from("<Q", data, 64)[0]
    struct.pack_into("<Q", data, 128, first)
    assert "overlaps" in str(refused(reseal(data)))


def test_bytes_between_the_parts_are_zero() -> None:
    data = bytearray(SMALL)
    data[4095] = 1
    assert "not zero" in str(refused(bytes(data)))


def test_bytes_after_the_last_part_are_zero() -> None:
    for more, sound in ((b"\0" * 9, True), (b"\0" * 8 + b"\1", False)):
        data = bytearray(SMALL + more)
        struct.pack_into("<Q", data, 16, len(data))
        if sound:
            assert unpack(reseal(data), where="x") == small_bundle()
        else:
            assert "not zero" in str(refused(reseal(data)))


@pytest.mark.parametrize("name", ["", "x" * 16, "a b", "ä"])
def test_the_writer_refuses_what_the_format_cannot_hold(name: str) -> None:
    with pytest.raises(ValueError):
        pack(Bundle(b"M", (Blob(name, b""),)))
