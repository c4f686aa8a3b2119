# SPDX-License-Identifier: Apache-2.0
"""The files that a run is made of: nothing is to be written over them."""

from pathlib import Path

from aether_edgecloud.emulator.bundle import toml
from aether_edgecloud.emulator.bundle.description import ImageFile


def of_target(text: str | None) -> tuple[Path, ...]:
    """TARGET, if it is a file, and what a description in TOML names. UserError for a description
    that is none."""
    if text is None:
        return ()
    path = Path(text)
    if path.suffix != ".toml" or not path.is_file():
        return (path,)
    found = [path]
    for vm in toml.load(path).vms:
        found += [image.file for image in vm.images if isinstance(image, ImageFile)]
        found += [file for file in (vm.kernel, vm.ramdisk, vm.dtb) if isinstance(file, Path)]
    return tuple(found)
