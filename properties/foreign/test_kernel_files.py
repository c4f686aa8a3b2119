# SPDX-License-Identifier: Apache-2.0
"""What `--kernel` takes, and where QEMU's loader puts it (QEMU 7.2, hw/arm/boot.c)."""

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import kernel_file
from aether_edgecloud.properties.foreign.programs import Part, code, elf, image

KIB, MIB = 1 << 10, 1 << 20
BASES = st.sampled_from([0, 0x4000_0000, 0x8_0000_0000])
NOP = bytes.fromhex("1f2003d5")
CONTENTS = st.binary(max_size=32).map(lambda data: NOP + data)
"""Begins like no other kind of file."""


@given(CONTENTS, BASES)
def test_a_flat_binary_goes_to_512_kib(data: bytes, base: int) -> None:
    found = kernel_file.parse(data, base, "f")
    assert (found.data, found.address, found.entry) == (data, base + 512 * KIB, found.address)
    assert (found.memory_size, found.is_linux) == (len(data), True)


OFFSETS = st.sampled_from([0, 4 * KIB - 8, 4 * KIB, 512 * KIB]) | st.integers(0, 64 * MIB)


@given(OFFSETS, st.integers(1, 64 * MIB), BASES)
def test_an_image_goes_to_its_offset(offset: int, size: int, base: int) -> None:
    """2 MiB higher from the 4 KiB at the start of RAM that QEMU keeps for itself."""
    data = image(code(), text_offset=offset, size=size)
    found = kernel_file.parse(data, base, "f")
    assert found.address - base == (offset if offset >= 4 * KIB else offset + 2 * MIB)
    assert found.entry == found.address
    assert found.memory_size == max(size, len(data))


def test_an_image_that_does_not_tell_its_size_is_like_a_flat_one() -> None:
    data = image(code(), text_offset=0x1_0000, size=0)
    found = kernel_file.parse(data, 0, "f")
    assert (found.address, found.memory_size) == (512 * KIB, len(data))


@given(CONTENTS)
def test_gzip_is_unpacked(data: bytes) -> None:
    assert kernel_file.parse(gzip.compress(data), 0, "f") == kernel_file.parse(data, 0, "f")


def test_an_elf_file_goes_where_it_is_linked() -> None:
    """To physical addresses; the entry point is translated with the segment it is in."""
    low = Part(0xFFFF_0000_0000_0000, 0x4010_0000, b"l" * 0x100, 0x180)
    high = Part(0xFFFF_0000_0010_0000, 0x4020_0000, b"h" * 0x80, 0x1000)
    found = kernel_file.parse(elf(high, low, entry=high.vaddr + 0x40), 0, "f")
    assert (found.address, found.entry) == (0x4010_0000, 0x4020_0040)
    assert found.memory_size == 0x10_1000
    assert found.data == low.data + bytes(0x10_0000 - 0x100) + high.data
    assert not found.is_linux


NAME = "some file"
GOOD = Part(0x4010_0000, 0x4010_0000, code())


def bad_files() -> dict[str, bytes]:
    """By the words that have to be said of it."""
    pe = (b"MZ" + bytes(0x3A) + struct.pack("<I", 0x80)).ljust(0x80, b"\0") + b"PE\0\0"
    far = Part(0x8000_0000, 0x8000_0000, b"x")
    return {
        "is empty": b"",
        "is empty, unpacked": gzip.compress(b""),
        "broken gzip file": b"\x1f\x8b" + bytes(30),
        "a gzip file cut off": gzip.compress(bytes(range(256)))[:-9],
        "an ELF file for X86_64 (64 bits), not for AArch64": elf(
            GOOD, entry=0x4010_0000, machine=62
        ),
        "an ELF file for ARM (32 bits)": elf(GOOD, entry=0, machine=40, bits=32),
        "nothing to load": elf(entry=0x4010_0000, kind=1),
        "cut off": elf(GOOD, entry=0x4010_0000)[:-4],
        "entry point 0x12345678": elf(GOOD, entry=0x1234_5678),
        "within 256 MiB": elf(GOOD, far, entry=0x4010_0000),
        "broken ELF file": b"\x7fELF" + bytes(20),
        "a program for x86-64, not for AArch64": pe + b"\x64\x86" + bytes(100),
        "an EFI application": pe + b"\x64\xaa" + bytes(100),
        "a big-endian image": image(code(), flags=0xB),
        "a U-Boot image": bytes.fromhex("27051956") + bytes(60),
        "a kernel for 32-bit Arm": bytes(0x24) + bytes.fromhex("18286f01") + bytes(64),
        "is compressed with zstd": b"\x28\xb5\x2f\xfd" + bytes(60),
    }


@pytest.mark.parametrize("words", bad_files())
def test_what_is_refused(words: str) -> None:
    with pytest.raises(UserError) as caught:
        kernel_file.parse(bad_files()[words], 0x4000_0000, NAME)
    assert str(caught.value).startswith(f"{NAME}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gzip_cannot_fill_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_file, "_LARGEST", MIB)
    assert kernel_file.parse(gzip.compress(NOP + bytes(MIB - 4)), 0, "f").memory_size == MIB
    with pytest.raises(UserError, match="more than 256 MiB, unpacked"):
        kernel_file.parse(gzip.compress(NOP + bytes(MIB)), 0, "f")


WHOLE = elf(GOOD, Part(0x4020_0000, 0x4030_0000, b"data", 64), entry=0x4010_0000)


@given(st.data())
def test_a_damaged_elf_file_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, 64 + 2 * 56 - 1))
        whole[at] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
    cut = bytes(whole[: data.draw(st.sampled_from([len(whole), 64, 100, 200]))])
    try:
        found = kernel_file.parse(cut, 0x4000_0000, NAME)
    except UserError as error:
        assert str(error).startswith(f"{NAME}: ")
    else:
        assert found.entry in found.span
        assert len(found.data) <= found.memory_size
