# SPDX-License-Identifier: Apache-2.0
"""Debian's unmodified Xen 4.17 with a Linux dom0 of one initramfs, said as one says it to QEMU.
docs/check-your-own.md and docs/foreign-images.md say the same on the command line."""

from pathlib import Path

from aether_edgecloud.emulator.guests import catalogue, copies
from aether_edgecloud.emulator.launch.foreign import Module, ModuleKind, QemuStyle

MEMORY = 1 << 30
"""The board's RAM in bytes."""
LINKED = 0x20_0000
"""The VA of Xen's first byte, once its MMU is on."""
_APPEND = "dom0_mem=128M console=dtuart"
_BOOTARGS = "console=hvc0"
_KERNEL, _RAMDISK = 0x4900_0000, 0x4C00_0000


def style(folder: Path, *, cpus: int = 1) -> QemuStyle:
    """Its files are written to `folder`. UserError if Xen or Linux has not been fetched."""
    xen, symbols = copies.copy(catalogue.XEN.name, folder)
    kernel, ramdisk = copies.copy(catalogue.LINUX.name, folder)
    modules = (
        Module(_KERNEL, kernel, ModuleKind.KERNEL, _BOOTARGS),
        Module(_RAMDISK, ramdisk, ModuleKind.RAMDISK),
    )
    return QemuStyle(xen, _APPEND, modules=modules, memory=MEMORY, cpus=cpus, symbols=symbols)
