# SPDX-License-Identifier: Apache-2.0
"""A bundle from the description of VMs and the files it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.bundle import check, fdt, format, guest_dtb, manifest
from aether_edgecloud.emulator.bundle.guest_dtb import ConfigValue
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.errors import UserError

UART_IPA = 0x0900_0000
UART_SIZE = 0x1000

_DTB_STEP = 0x20_0000
_ELF_MAGIC = b"\x7fELF"
_DTB_MAGIC = bytes.fromhex("d00dfeed")


class DtbChoice(Enum):
    """Where a VM's DTB comes from, when not from a file."""

    AUTO = "auto"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file to be copied to IPA `ipa`."""

    file: Path
    ipa: int


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Bytes to be copied to IPA `ipa`; `name` is for people."""

    name: str
    data: bytes
    ipa: int


@dataclass(frozen=True, slots=True)
class VmDescription:
    """A VM as a person describes it. None stands for: choose for me.

    `entry` is then the IPA of the first image, `dtb_ipa` the first place where the DTB fits.
    `hidden_memory` is memory a generated DTB keeps quiet about: U-Boot reads its environment from
    a flash device that a VM does not have. `where` names the place of the description for messages.
    """

    name: str
    memory: tuple[Memory, ...]
    images: tuple[ImageFile | ImageBytes, ...]
    hidden_memory: tuple[Memory, ...] = ()
    vcpus: int = 1
    entry: int | None = None
    devices: tuple[DeviceKind, ...] = (DeviceKind.VPL011,)
    dtb: DtbChoice | Path = DtbChoice.AUTO
    dtb_ipa: int | None = None
    bootargs: str | None = None
    config: tuple[tuple[str, ConfigValue], ...] = ()
    where: str = "description"


def build(vms: Sequence[VmDescription], *, where: str) -> bytes:
    """The bytes of a bundle, the same for the same descriptions and files.

    Raises UserError for files that cannot be read and for everything `check` refuses.
    """
    blobs: list[format.Blob] = []
    described: list[Vm] = []
    for vm in vms:
        check.check_name(vm.name, vm.where)
        described.append(_resolve(vm, blobs))
    contents = manifest.Manifest(tuple(described))
    places = [vm.where for vm in vms] or [where]
    check.check(contents, [len(b.data) for b in blobs], where=places)
    if not blobs:
        raise UserError("no VM has an image", where=where, fix="give an `images` entry")
    return format.pack(format.Bundle(manifest.encode(contents), tuple(blobs)))


def open_bundle(
    data: bytes, *, where: str, host: check.HostLayout | None = None
) -> tuple[manifest.Manifest, format.Bundle]:
    """Reads a bundle and checks all of it. Raises UserError."""
    bundle = format.unpack(data, where=where)
    contents = manifest.decode(bundle.manifest, where=where)
    places = [where] * max(1, len(contents.vms))
    check.check(contents, [len(b.data) for b in bundle.blobs], where=places, host=host)
    return contents, bundle


def _resolve(vm: VmDescription, blobs: list[format.Blob]) -> Vm:
    """The VM with every choice made; its files are added to `blobs`."""
    images: list[Image] = []
    for image in vm.images:
        images.append(Image(len(blobs), image.ipa))
        blobs.append(_blob(image, vm.where))
    devices = tuple(_place_device(kind, index) for index, kind in enumerate(vm.devices))
    entry = vm.entry if vm.entry is not None else (images[0].load_address if images else 0)
    dtb = _dtb(vm, devices)
    dtb_address = 0
    if dtb is not None:
        dtb_address = vm.dtb_ipa if vm.dtb_ipa is not None else _free_ipa(vm, images, blobs, dtb)
        images.append(Image(len(blobs), dtb_address))
        blobs.append(format.Blob(_blob_name(f"{vm.name[:11]}.dtb"), dtb))
    return Vm(
        vm.name, vm.vcpus, entry, dtb_address, vm.memory + vm.hidden_memory, tuple(images), devices
    )


def _blob(image: ImageFile | ImageBytes, where: str) -> format.Blob:
    if isinstance(image, ImageBytes):
        return format.Blob(_blob_name(image.name), image.data)
    data = _read(image.file, where)
    if data.startswith(_ELF_MAGIC):
        raise UserError(
            "is an ELF file, and images are copied as they are",
            where=str(image.file),
            fix="make it flat with `objcopy -O binary`",
        )
    return format.Blob(_blob_name(image.file.name), data)


def _place_device(kind: DeviceKind, index: int) -> Device:
    """The window of the `index`-th device; windows lie one after another."""
    return Device(kind, UART_IPA + index * UART_SIZE, UART_SIZE)


def _dtb(vm: VmDescription, devices: tuple[Device, ...]) -> bytes | None:
    if vm.dtb is DtbChoice.NONE:
        return None
    if isinstance(vm.dtb, Path):
        data = _read(vm.dtb, vm.where)
        if not data.startswith(_DTB_MAGIC):
            raise UserError(
                "is not a DTB", where=str(vm.dtb), fix='compile it with dtc, or say dtb = "auto"'
            )
        fdt.read(data, where=str(vm.dtb))  # sound, or refused
        return data
    return guest_dtb.build(vm.memory, devices, bootargs=vm.bootargs, config=vm.config)


def _free_ipa(
    vm: VmDescription, images: Sequence[Image], blobs: Sequence[format.Blob], dtb: bytes
) -> int:
    """Where the DTB fits into the first memory range without touching an image: at its base, else
    the first 2 MiB boundary, else the first page. The base when there is no such place."""
    if not vm.memory:
        return 0
    memory = check.Span("memory", vm.memory[0].ipa, vm.memory[0].size)
    taken = [check.Span("image", i.load_address, len(blobs[i.blob].data)) for i in images]
    for step in (_DTB_STEP, check.PAGE):
        found = check.Span("DTB", memory.start, len(dtb))
        while memory.holds(found):
            hit = next((t for t in taken if t.overlaps(found)), None)
            if hit is None:
                return found.start
            found = check.Span("DTB", -(-hit.end // step) * step, len(dtb))
    return memory.start


def _read(file: Path, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as e:
        raise UserError(
            f"{file} cannot be read ({e.strerror})", where=where, fix="name a file that exists"
        ) from None


def _blob_name(file_name: str) -> str:
    """A name for people: the file's, without what the format cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", file_name)[: format.MAX_BLOB_NAME] or "image"
