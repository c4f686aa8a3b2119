# SPDX-License-Identifier: Apache-2.0
"""Modules as QEMU's device `guest-loader` takes them: a file at an address, and a node of /chosen
that tells the hypervisor of it (QEMU, docs/system/guest-loader.rst; Xen, misc/arm/device-tree)."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.errors import UserError

OPTION = "--guest-loader"
_FIX = "write addr=ADDR,kernel=FILE,bootargs=TEXT or addr=ADDR,initrd=FILE; ,, is a comma"
_DEVICE = "guest-loader"


class ModuleKind(Enum):
    """What a module is to the hypervisor; the values are QEMU's names of it."""

    KERNEL = "kernel"
    RAMDISK = "initrd"


@dataclass(frozen=True, slots=True)
class Module:
    """A file that is loaded as it is at the PA `address`; `bootargs` are for a kernel."""

    address: int
    file: Path
    kind: ModuleKind
    bootargs: str | None = None


def parse(text: str) -> Module:
    """A module from what stands behind `-device guest-loader,`. UserError for anything else."""
    values: dict[str, str] = {}
    for item in _items(text):
        key, equals, value = item.partition("=")
        if not equals and not values and key == _DEVICE:
            continue
        if not equals or key not in ("addr", "kernel", "initrd", "bootargs"):
            raise _malformed(f"{item!r} is not known")
        if key in values:
            raise _malformed(f"{key} is given twice")
        values[key] = value
    if "addr" not in values:
        raise _malformed("there is no addr")
    kinds = [kind for kind in ModuleKind if kind.value in values]
    if not kinds:
        raise _malformed("there is no kernel and no initrd")
    if len(kinds) > 1:
        raise _malformed("kernel and initrd exclude each other")
    kind = kinds[0]
    if not values[kind.value]:
        raise _malformed(f"{kind.value} names no file")
    bootargs = values.get("bootargs")
    if bootargs is not None and kind is not ModuleKind.KERNEL:
        raise _malformed("bootargs are for a kernel")
    return Module(_address(values["addr"]), Path(values[kind.value]), kind, bootargs)


def _items(text: str) -> list[str]:
    """Split at commas; two of them are one that stays."""
    return [item.replace("\0", ",") for item in text.replace(",,", "\0").split(",")]


def _address(text: str) -> int:
    try:
        return size.parse(text, where=OPTION)
    except UserError:
        raise _malformed(f"{text!r} is no address") from None


def _malformed(what: str) -> UserError:
    return UserError(what, where=OPTION, fix=_FIX)
