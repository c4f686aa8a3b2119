# SPDX-License-Identifier: Apache-2.0
"""A binary that QEMU's `-kernel` takes, and where in RAM it goes (QEMU, hw/arm/boot.c).

An ELF file goes where it is linked and begins at its entry point. An arm64 Image, which may be
packed with gzip, goes to its text_offset from the start of RAM; the first 4 KiB there are taken, so
it goes 2 MiB higher if it wants to be in them. Anything else is a flat binary, and goes to 512 KiB.
"""

import io
import struct
import zlib
from dataclasses import dataclass

from elftools.elf.elffile import ELFFile
from elftools.elf.segments import Segment

from aether_edgecloud.emulator.bundle import linux_image
from aether_edgecloud.emulator.elf.symbols import DAMAGED
from aether_edgecloud.emulator.errors import UserError

RAW_OFFSET = 0x8_0000
_TAKEN = 4 << 10
_HIGHER = 2 << 20
_LARGEST = 256 << 20

_HEADER = struct.Struct("<8xQQQ24x4s")
_MAGIC = b"ARM\x64"
_BIG_ENDIAN = 1
_ZIMAGE = (0x24, bytes.fromhex("18286f01"))
_UIMAGE = bytes.fromhex("27051956")
_PE_MACHINES = {0x14C: "x86", 0x8664: "x86-64", 0x1C0: "32-bit Arm", 0x1C4: "32-bit Arm"}
_PE_AARCH64 = 0xAA64
_FIX = "give an arm64 Image, an AArch64 ELF file or a flat binary"
_EXECUTABLE = 1
_PAST_ADDRESSES = 1 << 48


@dataclass(frozen=True, slots=True)
class Kernel:
    """`data` goes to the PA `address` and takes `memory_size` bytes there, its BSS included; it is
    entered at the PA `entry`. Only what `is_linux` is told of an initrd, and of the DTB by X0."""

    data: bytes
    address: int
    memory_size: int
    entry: int
    is_linux: bool = True

    @property
    def span(self) -> range:
        """The PAs it takes."""
        return range(self.address, self.address + self.memory_size)


def parse(data: bytes, ram_base: int, where: str) -> Kernel:
    """What to make of a file; `where` names it. UserError for what cannot be AArch64 code."""
    if not data:
        raise UserError("is empty", where=where, fix=_FIX)
    if data.startswith(b"\x1f\x8b"):
        data = _unzipped(data, where)
    if data.startswith(b"\x7fELF"):
        return _elf(data, where)
    _check_flat(data, where)
    return _flat(data, ram_base, where)


def _unzipped(data: bytes, where: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(data, _LARGEST)
    except zlib.error as error:
        raise UserError(f"broken gzip file ({error})", where=where, fix=_FIX) from None
    if not unpacker.eof:
        words = "more than 256 MiB, unpacked" if unpacker.unconsumed_tail else "a gzip file cut off"
        raise UserError(words, where=where, fix=_FIX)
    if not found:
        raise UserError("is empty, unpacked", where=where, fix=_FIX)
    return found


def _check_flat(data: bytes, where: str) -> None:
    """Refuses what is known to be something else."""
    has_magic = data[linux_image.MAGIC_OFFSET :].startswith(_MAGIC)
    if data.startswith(b"MZ") and not has_magic:
        machine = _pe_machine(data)
        if machine == _PE_AARCH64:
            raise UserError("an EFI application without an Image header", where=where, fix=_FIX)
        if machine is not None:
            name = _PE_MACHINES.get(machine, f"machine {machine:#x}")
            raise UserError(f"a program for {name}, not for AArch64", where=where, fix=_FIX)
    if data.startswith(_UIMAGE):
        raise UserError("a U-Boot image", where=where, fix="give what is packed in it")
    at, magic = _ZIMAGE
    if data[at:].startswith(magic):
        raise UserError("a kernel for 32-bit Arm, not for AArch64", where=where, fix=_FIX)
    packed = linux_image.compression(data)
    if packed is not None:
        raise UserError(f"is compressed with {packed}", where=where, fix="decompress it")


def _pe_machine(data: bytes) -> int | None:
    at = int.from_bytes(data[0x3C:0x40], "little")
    head = data[at : at + 6]
    return int.from_bytes(head[4:6], "little") if head.startswith(b"PE\0\0") else None


def _flat(data: bytes, ram_base: int, where: str) -> Kernel:
    offset, size = RAW_OFFSET, 0
    if len(data) >= _HEADER.size:
        text_offset, size, flags, magic = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            size = 0
        elif flags & _BIG_ENDIAN:
            fix = "build it for little-endian AArch64"
            raise UserError("a big-endian image", where=where, fix=fix)
        elif size:  # a kernel so old that it does not tell its size tells a wrong offset
            offset = text_offset if text_offset >= _TAKEN else text_offset + _HIGHER
    address = ram_base + offset
    return Kernel(data, address, max(size, len(data)), address)


def _elf(data: bytes, where: str) -> Kernel:
    try:
        elf = ELFFile(io.BytesIO(data))
        if elf["e_machine"] != "EM_AARCH64" or elf.elfclass != 64:
            machine = f"{elf['e_machine']}".removeprefix("EM_")
            words = f"an ELF file for {machine} ({elf.elfclass} bits), not for AArch64"
            raise UserError(words, where=where, fix=_FIX)
        if not elf.little_endian:
            fix = "build it for little-endian AArch64"
            raise UserError("a big-endian ELF file", where=where, fix=fix)
        loads = [s for s in elf.iter_segments("PT_LOAD") if s["p_memsz"]]
        return _linked(elf, loads, where)
    except DAMAGED as error:
        raise UserError(f"broken ELF file ({error})", where=where, fix=_FIX) from None


def _linked(elf: ELFFile, loads: list[Segment], where: str) -> Kernel:
    if not loads:
        fix = "link it: an object file has none"
        raise UserError("an ELF file with nothing to load", where=where, fix=fix)
    start = min(s["p_paddr"] for s in loads)
    end = max(s["p_paddr"] + s["p_memsz"] for s in loads)
    if end - start > _LARGEST or end > _PAST_ADDRESSES:
        words = f"its segments reach from {start:#x} to {end:#x}"
        raise UserError(words, where=where, fix="link it within 256 MiB of RAM")
    flat = bytearray(end - start)
    used = 0
    for segment in loads:
        contents = segment.data()
        size, at = segment["p_filesz"], segment["p_paddr"] - start
        if len(contents) != size or size > segment["p_memsz"]:
            raise UserError("an ELF file that is cut off", where=where, fix="copy it again")
        flat[at : at + size] = contents
        used = max(used, at + size)
    entry = _entry(elf, loads)
    if not start <= entry < end:
        words = f"its entry point {entry:#x} is in nothing it loads"
        raise UserError(words, where=where, fix="link it with an entry point")
    return Kernel(bytes(flat[:used]), start, end - start, entry, is_linux=False)


def _entry(elf: ELFFile, loads: list[Segment]) -> int:
    """Its PA, where the segment it is in is linked for one address and loaded at another."""
    entry = int(elf["e_entry"])
    for segment in loads:
        behind = entry - segment["p_vaddr"]
        if 0 <= behind < segment["p_filesz"] and segment["p_flags"] & _EXECUTABLE:
            return behind + int(segment["p_paddr"])
    return entry
