# SPDX-License-Identifier: Apache-2.0
"""The files of a fetched guest under plain names, to be named on a command line."""

from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue, initramfs, store


def copy(name: str, folder: Path) -> tuple[Path, ...]:
    """Writes the files of the guest `name` into `folder`, which is made if need be, and gives
    their paths. UserError for a guest that has none, or was not fetched, and for a folder that
    cannot be written."""
    guest = catalogue.packaged(name)
    contents = tuple(_contents(guest.name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        fix = "name a folder that you may write"
        raise UserError(f"cannot be made ({e.strerror})", where=str(folder), fix=fix) from None
    for file, data in contents:
        atomic_file.write(folder / file, data)
    return tuple(folder / file for file, _ in contents)


def _contents(name: str) -> Iterator[tuple[str, bytes]]:
    files = store.files(name)
    match name:
        case catalogue.LINUX.name:
            kernel, busybox = files
            yield "Image", kernel.read_bytes()
            yield "initramfs.cpio", initramfs.build(busybox.read_bytes())
        case catalogue.XEN.name:
            image, symbols = files
            yield "xen", image.read_bytes()
            yield "xen-syms", symbols.read_bytes()
        case _:
            yield files[0].name, files[0].read_bytes()
