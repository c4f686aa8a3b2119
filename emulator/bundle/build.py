# SPDX-License-Identifier: Apache-2.0
"""A bundle from the description of VMs and the files it names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict
from uuid import UUID

from aether_edgecloud.emulator.bundle import (
    check,
    check_vm,
    devices,
    fdt,
    format,
    guest_dtb,
    kernel,
    manifest,
    slots,
)
from aether_edgecloud.emulator.bundle.check_guest_dtb import check_guest_dtb
from aether_edgecloud.emulator.bundle.description import (
    Content,
    Description,
    DtbChoice,
    ImageBytes,
    ImageFile,
    Passthrough,
    ScheduleDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Image, Memory, Vm
from aether_edgecloud.emulator.bundle.span import PAGE, Span
from aether_edgecloud.emulator.errors import UserError

__all__ = [
    "Content",
    "Description",
    "DtbChoice",
    "ImageBytes",
    "ImageFile",
    "VmDescription",
    "build",
    "open_bundle",
]

KERNEL_MEMORY = Memory(0x4000_0000, 128 << 20)
"""The memory of a VM with a kernel that wants none in particular."""
KERNEL_BOOTARGS = "console=ttyAMA0 panic=-1"
"""Before the bootargs of a VM with a kernel: its console, and a reset when it panics."""

_DTB_STEP = 0x20_0000
_ELF_MAGIC = b"\x7fELF"
_DTB_MAGIC = bytes.fromhex("d00dfeed")


def build(description: Description | Sequence[VmDescription], *, where: str) -> bytes:
    """The bytes of a bundle, the same for the same descriptions and files.

    Raises UserError for files that cannot be read and for everything `check` refuses.
    """
    if not isinstance(description, Description):
        description = Description(tuple(description), ScheduleDescription(where=where))
    vms = description.vms
    blobs = _Blobs()
    described: list[Vm] = []
    for vm in vms:
        check_vm.check_name(vm.name, vm.where)
        described.append(replace(_resolve(vm, blobs), **_rights(vm, vms)))
    contents = manifest.Manifest(tuple(described), slots.resolve(description.schedule, vms))
    check.check(
        contents,
        [len(b.data) for b in blobs.found],
        where=[vm.where for vm in vms] or [where],
        where_keys=[vm.where_keys for vm in vms],
        where_schedule=description.schedule.where,
    )
    if not blobs.found:
        raise UserError("no VM has an image", where=where, fix="give an `images` entry")
    if len(blobs.found) > format.MAX_BLOBS:
        raise UserError(
            f"{len(blobs.found)} different images, and a bundle holds {format.MAX_BLOBS}",
            where=where,
            fix="use fewer",
        )
    return format.pack(format.Bundle(manifest.encode(contents), tuple(blobs.found)))


def open_bundle(
    data: bytes, *, where: str, host: check.HostLayout | None = None
) -> tuple[manifest.Manifest, format.Bundle]:
    """Reads a bundle and checks all of it. Raises UserError."""
    bundle = format.unpack(data, where=where)
    contents = manifest.decode(bundle.manifest, where=where)
    places = [where] * max(1, len(contents.vms))
    check.check(contents, [len(b.data) for b in bundle.blobs], where=places, host=host)
    return contents, bundle


@dataclass(slots=True)
class _Blobs:
    """The blobs so far; the same bytes are there once, whoever brings them."""

    found: list[format.Blob] = field(default_factory=list)

    def add(self, name: str, data: bytes) -> int:
        """The number of the blob with these bytes."""
        for index, blob in enumerate(self.found):
            if blob.data == data:
                return index
        name = re.sub(r"[^A-Za-z0-9._-]", "_", name)[: format.MAX_BLOB_NAME] or "image"
        self.found.append(format.Blob(name, data))
        return len(self.found) - 1


def _resolve(vm: VmDescription, blobs: _Blobs) -> Vm:
    """The VM with every choice made; its files are added to `blobs`."""
    place = f"{vm.where}: vm {vm.name}"
    kinds = vm.devices if vm.devices is not None else _default_devices(vm)
    placed = devices.place(kinds)
    check_vm.check_hardware(vm.vcpus, placed, place)
    passthrough = [k for k in kinds if isinstance(k, Passthrough)]
    images = [Image(blobs.add(*_content(image, vm.where)), image.ipa) for image in vm.images]
    if vm.kernel is not None:
        return _with_kernel(vm, placed, passthrough, images, blobs, place)
    if vm.ramdisk is not None:
        raise UserError("a ramdisk without a kernel", where=place, fix="say kernel = ...")
    entry = vm.entry if vm.entry is not None else (images[0].load_address if images else 0)
    dtb_address = 0
    if vm.dtb is not DtbChoice.NONE:
        if isinstance(vm.dtb, Path):
            dtb = _own_dtb(vm.dtb, vm.where)
        else:
            dtb = guest_dtb.build(
                vm.memory,
                placed,
                vcpus=vm.vcpus,
                bootargs=vm.bootargs,
                config=vm.config,
                passthrough=passthrough,
            )
        dtb_address = vm.dtb_ipa if vm.dtb_ipa is not None else _free_ipa(vm, images, blobs, dtb)
        images.append(Image(blobs.add(f"{vm.name[:11]}.dtb", dtb), dtb_address))
    return _vm(vm, entry, dtb_address, images, placed)


class _Rights(TypedDict):
    manual_start: bool
    peers: tuple[int, ...] | None
    uuid: UUID | None
    manages: tuple[int, ...]


def _rights(vm: VmDescription, vms: Sequence[VmDescription]) -> _Rights:
    """What it may do with other VMs, these by number."""
    return _Rights(
        manual_start=vm.manual_start,
        peers=None if vm.peers is None else _numbers(vm.peers, "peers", vm, vms),
        uuid=vm.uuid,
        manages=_numbers(vm.manages, "manages", vm, vms),
    )


def _numbers(
    names: Sequence[str], key: str, vm: VmDescription, vms: Sequence[VmDescription]
) -> tuple[int, ...]:
    known = [other.name for other in vms]
    for name in names:
        if name not in known:
            raise UserError(
                f"{key} has {name!r}, and no VM is called so",
                where=f"{vm.place_of(key)}: vm {vm.name}",
                fix="name a VM of this description",
            )
    return tuple(known.index(name) for name in names)


def _vm(
    vm: VmDescription, entry: int, dtb: int, images: Sequence[Image], placed: tuple[Device, ...]
) -> Vm:
    memory = vm.memory + vm.hidden_memory
    return Vm(vm.name, vm.vcpus, entry, dtb, memory, tuple(images), placed, vm.restart)


def _default_devices(vm: VmDescription) -> tuple[DeviceKind, ...]:
    if vm.kernel is None:
        return (DeviceKind.VPL011,)
    return (DeviceKind.VGICV2, DeviceKind.VPL011)


def _with_kernel(
    vm: VmDescription,
    placed: tuple[Device, ...],
    passthrough: Sequence[Passthrough],
    images: list[Image],
    blobs: _Blobs,
    place: str,
) -> Vm:
    """The VM with its kernel, the DTB that tells the kernel where all is, and the ramdisk."""
    assert vm.kernel is not None
    if vm.dtb is DtbChoice.NONE:
        raise UserError("a kernel needs a DTB", where=place, fix='say dtb = "auto"')
    if not any(d.kind is DeviceKind.VGICV2 for d in placed):
        raise UserError("a kernel needs a GIC", where=place, fix='add "gic" to its devices')
    if not vm.memory:
        raise UserError("0 memory ranges, and a kernel needs one", where=place, fix="give one")
    name, data = _content(vm.kernel, vm.where)
    ramdisk = None if vm.ramdisk is None else _content(vm.ramdisk, vm.where)

    def dtb(ramdisk_at: range | None) -> bytes:
        return _kernel_dtb(vm, placed, passthrough, ramdisk_at)

    # The addresses have a fixed size: the DTB is as long with any of them.
    found = kernel.place(
        data,
        vm.memory[0],
        dtb_size=len(dtb(None if ramdisk is None else range(0))),
        dtb_ipa=vm.dtb_ipa,
        ramdisk_size=None if ramdisk is None else len(ramdisk[1]),
        where_kernel=str(vm.kernel) if isinstance(vm.kernel, Path) else place,
        where=place,
    )
    for image in images:
        span = Span("image", image.load_address, len(blobs.found[image.blob].data))
        if span.overlaps(found.kernel):
            raise UserError(f"{span} overlaps {found.kernel}", where=place, fix="move it")
    images.insert(0, Image(blobs.add(name, data), found.kernel.start))
    at = None
    if ramdisk is not None and found.ramdisk is not None:
        at = range(found.ramdisk.start, found.ramdisk.end)
        images.append(Image(blobs.add(*ramdisk), at.start))
    images.append(Image(blobs.add(f"{vm.name[:11]}.dtb", dtb(at)), found.dtb.start))
    entry = found.kernel.start if vm.entry is None else vm.entry
    return _vm(vm, entry, found.dtb.start, images, placed)


def _kernel_dtb(
    vm: VmDescription,
    placed: tuple[Device, ...],
    passthrough: Sequence[Passthrough],
    ramdisk: range | None,
) -> bytes:
    if isinstance(vm.dtb, Path):
        data = _own_dtb(vm.dtb, vm.where)
        tree = fdt.read(data, where=str(vm.dtb))
        check_guest_dtb(tree, vm.memory, placed, where=str(vm.dtb))
        chosen = guest_dtb.chosen_properties(vm.bootargs, ramdisk)
        return data if not chosen else fdt.write(fdt.with_properties(tree, "chosen", chosen))
    own = f" {vm.bootargs}" if vm.bootargs else ""
    return guest_dtb.build(
        vm.memory,
        placed,
        vcpus=vm.vcpus,
        bootargs=KERNEL_BOOTARGS + own,
        ramdisk=ramdisk,
        config=vm.config,
        passthrough=passthrough,
    )


def _content(source: ImageFile | ImageBytes | Content | Path, where: str) -> tuple[str, bytes]:
    """The name and the bytes of what is to be copied."""
    if isinstance(source, ImageBytes | Content):
        return source.name, source.data
    file = source.file if isinstance(source, ImageFile) else source
    data = _read(file, where)
    if data.startswith(_ELF_MAGIC):
        raise UserError(
            "is an ELF file, and images are copied as they are",
            where=str(file),
            fix="make it flat with `objcopy -O binary`",
        )
    return file.name, data


def _own_dtb(file: Path, where: str) -> bytes:
    data = _read(file, where)
    if not data.startswith(_DTB_MAGIC):
        raise UserError(
            "is not a DTB", where=str(file), fix='compile it with dtc, or say dtb = "auto"'
        )
    fdt.read(data, where=str(file))  # sound, or refused
    return data


def _free_ipa(vm: VmDescription, images: Sequence[Image], blobs: _Blobs, dtb: bytes) -> int:
    """Where the DTB fits into the first memory range without touching an image: at its base, else
    the first 2 MiB boundary, else the first page. The base when there is no such place."""
    if not vm.memory:
        return 0
    memory = Span("memory", vm.memory[0].ipa, vm.memory[0].size)
    taken = [Span("image", i.load_address, len(blobs.found[i.blob].data)) for i in images]
    for step in (_DTB_STEP, PAGE):
        found = Span("DTB", memory.start, len(dtb))
        while memory.holds(found):
            hit = next((t for t in taken if t.overlaps(found)), None)
            if hit is None:
                return found.start
            found = Span("DTB", -(-hit.end // step) * step, len(dtb))
    return memory.start


def _read(file: Path, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as e:
        raise UserError(
            f"{file} cannot be read ({e.strerror})", where=where, fix="name a file that exists"
        ) from None
