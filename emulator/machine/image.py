# SPDX-License-Identifier: Apache-2.0
"""A binary to boot at EL2: a flat image with the arm64 Image header, or an ELF that holds one
(Linux, Documentation/arch/arm64/booting.rst)."""

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from aether_edgecloud.emulator.elf.symbols import DAMAGED
from aether_edgecloud.emulator.errors import UserError

HEADER_SIZE = 64
MAGIC = b"ARM\x64"
MAGIC_OFFSET = 0x38
_LARGEST = 1 << 30
_FIX = "give an AArch64 ELF or a flat image with the arm64 Image header"


@dataclass(frozen=True, slots=True)
class BootImage:
    """A flat image. `memory_size` is what it needs in RAM from its first byte on, BSS included."""

    data: bytes
    memory_size: int

    @property
    def sha256(self) -> str:
        """Of the bytes that are loaded."""
        return hashlib.sha256(self.data).hexdigest()

    @staticmethod
    def from_file(path: Path) -> "BootImage":
        """Read a flat image or an ELF. UserError for anything else."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot be read: {error.strerror}", where=str(path), fix="check the path"
            ) from None
        return BootImage.from_bytes(data, str(path))

    @staticmethod
    def from_bytes(data: bytes, where: str) -> "BootImage":
        """The same, from bytes; `where` names them in an error."""
        if data[:4] == b"\x7fELF":
            data = _flatten(data, where)
        if len(data) < HEADER_SIZE or data[MAGIC_OFFSET : MAGIC_OFFSET + 4] != MAGIC:
            raise UserError("not a binary that boots at EL2", where=where, fix=_FIX)
        text_offset, image_size = struct.unpack_from("<QQ", data, 8)
        if text_offset:
            raise UserError(
                f"text_offset {text_offset:#x} is not 0", where=where, fix="link it for offset 0"
            )
        return BootImage(data, max(image_size, len(data)))


def _flatten(data: bytes, where: str) -> bytes:
    """The allocated sections of an ELF, as `objcopy -O binary` writes them."""
    from aether_edgecloud.emulator.toolchain.image import flat_image

    try:
        elf = ELFFile(io.BytesIO(data))
        machine = elf["e_machine"]
        span = max((s["p_paddr"] + s["p_memsz"] for s in elf.iter_segments("PT_LOAD")), default=0)
        base = min((s["p_paddr"] for s in elf.iter_segments("PT_LOAD")), default=0)
        if machine != "EM_AARCH64":
            raise UserError(f"an ELF for {machine}, not for AArch64", where=where, fix=_FIX)
        if span - base > _LARGEST:
            raise UserError("its segments spread over more than 1 GiB", where=where, fix=_FIX)
        return flat_image(elf)
    except DAMAGED as error:
        raise UserError(f"broken ELF: {error}", where=where, fix=_FIX) from None
