# SPDX-License-Identifier: Apache-2.0
"""The EL2 binary of a run: the hypervisor's own, or one the user names."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.target import read_file
from aether_edgecloud.emulator.machine.image import BootImage

_FLAGS = slice(0x18, 0x20)
_BIG_ENDIAN = 1


@dataclass(frozen=True, slots=True)
class El2Binary:
    """A flat image with an arm64 Image header; `elf` has its symbols, where there is one."""

    name: str
    image: BootImage
    elf: Path | None
    own: bool = False
    """It is this project's hypervisor, not one the user named."""


def load(path: Path | None) -> El2Binary:
    """The binary in `path`, flat or ELF; without a path the hypervisor, built when needed.

    Raises UserError for what is no AArch64 image to be entered at EL2.
    """
    if path is None:
        artefact = toolchain.artefact("el2")
        return El2Binary("el2", BootImage.from_file(artefact.flat), artefact.elf, own=True)
    data = read_file(path)
    image = BootImage.from_bytes(data, str(path))
    if int.from_bytes(image.data[_FLAGS], "little") & _BIG_ENDIAN:
        raise UserError(
            "a big-endian image", where=str(path), fix="build it for little-endian AArch64"
        )
    return El2Binary(str(path), image, None if image.data == data else path)
