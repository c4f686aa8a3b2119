# SPDX-License-Identifier: Apache-2.0
"""What is read out of a linked ELF file: the flat image, the sizes, and two things it may not hold.

Addresses are link addresses; the flat image starts at the lowest load address.
"""

import bisect
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import capstone
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain.artefacts import Sizes


def flat_image(elf: ELFFile) -> bytes:
    """The bytes a loader without ELF knowledge puts in memory, gaps filled with zeros.

    The same bytes as `objcopy -O binary`: every allocated section with contents, at its load
    address (program header's physical address) relative to the lowest one.
    """
    loaded = [
        (_load_address(elf, section), section.data())
        for section in elf.iter_sections()
        if _has_contents(section) and section["sh_size"] > 0
    ]
    if not loaded:
        return b""
    base = min(address for address, _ in loaded)
    image = bytearray(max(address + len(data) for address, data in loaded) - base)
    for address, data in loaded:
        image[address - base : address - base + len(data)] = data
    return bytes(image)


def sizes(elf: ELFFile) -> Sizes:
    """Bytes of code and constants, of writable contents, and of memory without contents."""
    text = data = bss = 0
    for section in elf.iter_sections():
        if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
            continue
        if section["sh_type"] == "SHT_NOBITS":
            bss += section["sh_size"]
        elif section["sh_flags"] & SH_FLAGS.SHF_WRITE:
            data += section["sh_size"]
        else:
            text += section["sh_size"]
    return Sizes(text, data, bss)


def check_no_fp(elf: ELFFile, name: str, exempt: tuple[str, ...] = ()) -> None:
    """UserError at the first FP or SIMD instruction: at EL2 those registers are a guest's.

    Functions named in `exempt` are left out, as far as their symbol's size goes.
    """
    symbols = _Symbols(elf)
    allowed = [
        range(symbol["st_value"], symbol["st_value"] + symbol["st_size"])
        for symbol in _iter_symbols(elf)
        if symbol.name in exempt and symbol["st_info"]["type"] == "STT_FUNC"
    ]
    for address, word in _instructions(elf):
        if is_fp_or_simd(word) and not any(address in function for function in allowed):
            raise UserError(
                f"FP/SIMD instruction at {symbols.at(address)}: {_disassemble(word, address)}",
                where=name,
                fix="EL2 may not touch the guest's FP registers; use general registers",
            )


def check_no_relocations(elf: ELFFile, name: str) -> None:
    """UserError at the first absolute address: the image runs anywhere without being relocated."""
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection):
            for relocation in section.iter_relocations():
                place = _Symbols(elf).at(relocation["r_offset"])
                raise UserError(
                    f"absolute address in {place}",
                    where=name,
                    fix="the image is not relocated: keep offsets instead of pointers in tables",
                )


def is_fp_or_simd(word: int) -> bool:
    """Whether an A64 instruction is in a class that uses V registers.

    Arm ARM C4.1, op0 = bits 28:25: x111 is FP and SIMD data processing; x1x0 are loads and
    stores, of V registers when bit 26 is set (or FEAT_MOPS, which no supported CPU has).
    """
    op0 = word >> 25 & 0xF
    return op0 & 0b0111 == 0b0111 or (op0 & 0b0101 == 0b0100 and bool(word >> 26 & 1))


def _has_contents(section: Any) -> bool:
    return bool(section["sh_flags"] & SH_FLAGS.SHF_ALLOC) and section["sh_type"] != "SHT_NOBITS"


def _load_address(elf: ELFFile, section: Any) -> int:
    for segment in elf.iter_segments("PT_LOAD"):
        if segment.section_in_segment(section):
            return int(segment["p_paddr"] + section["sh_addr"] - segment["p_vaddr"])
    return int(section["sh_addr"])


def _instructions(elf: ELFFile) -> Iterator[tuple[int, int]]:
    """(address, word) of every instruction; data between code is told by mapping symbols."""
    marks = sorted(
        (symbol["st_value"], symbol.name.startswith("$x"))
        for symbol in _iter_symbols(elf)
        if symbol.name.split(".")[0] in ("$x", "$d")
    )
    starts = [address for address, _ in marks]
    for section in elf.iter_sections():
        if not section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR or not _has_contents(section):
            continue
        data = section.data()
        for offset in range(0, len(data) - 3, 4):
            address = section["sh_addr"] + offset
            mark = bisect.bisect_right(starts, address) - 1
            if mark < 0 or marks[mark][1]:
                yield address, int.from_bytes(data[offset : offset + 4], "little")


def _iter_symbols(elf: ELFFile) -> Iterator[Any]:
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            yield from section.iter_symbols()


def _disassemble(word: int, address: int) -> str:
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    for _, _, mnemonic, operands in engine.disasm_lite(word.to_bytes(4, "little"), address):
        return f"{mnemonic} {operands}"
    return f".word {word:#010x}"


class _Symbols:
    """Names for addresses: the nearest symbol at or below in the same section."""

    def __init__(self, elf: ELFFile) -> None:
        self._sections = [
            (section["sh_addr"], section["sh_addr"] + section["sh_size"], section.name, index)
            for index, section in enumerate(elf.iter_sections())
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
        ]
        self._known = sorted(
            (symbol["st_value"], symbol.name, symbol["st_shndx"])
            for symbol in _iter_symbols(elf)
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE")
            and isinstance(symbol["st_shndx"], int)
            and symbol.name
            and not symbol.name.startswith("$")
        )

    def at(self, address: int) -> str:
        for start, end, name, index in self._sections:
            if start <= address < end:
                inside = [known for known in self._known if known[2] == index]
                nearest = bisect.bisect_right(inside, address, key=lambda known: known[0]) - 1
                if nearest >= 0:
                    start, name, _ = inside[nearest]
                return f"{name}+{address - start:#x}"
        return f"{address:#x}"


def open_elf(path: Path) -> ELFFile:
    """Read the whole file, so that it need not stay open."""
    return ELFFile(io.BytesIO(path.read_bytes()))
