# SPDX-License-Identifier: Apache-2.0
"""The rules one VM obeys, whatever else there is."""

import re
from collections.abc import Sequence

from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Vm
from aether_edgecloud.emulator.bundle.span import IPA_LIMIT, Span, check_apart, check_pages
from aether_edgecloud.emulator.errors import UserError

MAX_VCPUS = 8
MAX_MEMORY = 4
MAX_IMAGES = 8
MAX_DEVICES = 8
MAX_INTERRUPTS = 8
"""Of one device."""
FIRST_SPI = 32
LAST_SPI = 95
HYPERVISOR = "aether"
"""The name on the hypervisor's own console lines."""
GICD_SIZE = 0x1000
GICC_SIZE = 0x2000
FFA_WINDOW = Span("the window for FF-A memory", 0x7000_0000, 0x40_0000)
"""IPAs at which memory of other VMs appears in one that has peers."""

_NAME = re.compile(r"[a-z0-9-]{1,15}")


def check_name(name: str, where: str) -> None:
    """Raises UserError unless `name` can name a VM."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a VM", where=where, fix="use 1 to 15 of a-z, 0-9 and '-'"
        )
    if name == HYPERVISOR:
        raise UserError(
            f"{name!r} cannot name a VM: the hypervisor's console lines have that name",
            where=where,
            fix="use another name",
        )


def check_vm(vm: Vm, blob_sizes: Sequence[int], where: str) -> None:
    """Raises UserError for the first rule it breaks; `where` names its place."""
    check_name(vm.name, where)
    place = f"{where}: vm {vm.name}"
    check_hardware(vm.vcpus, vm.devices, place)
    _count(len(vm.memory), 1, MAX_MEMORY, "memory ranges", place)
    _count(len(vm.images), 0, MAX_IMAGES, "images (kernel, ramdisk and DTB are some)", place)
    memory = [Span("memory", m.ipa, m.size) for m in vm.memory]
    windows = [window for device in vm.devices for window in _windows(device)]
    for span in memory + windows:
        check_pages(span, IPA_LIMIT, "IPA", place)
    check_apart(memory + windows, place)
    if vm.peers is not None:
        _check_ffa_window(memory + windows, place)
    _check_images(vm, blob_sizes, memory, place)
    _check_point("entry", vm.entry, 4, memory, place)
    if vm.dtb_address != 0:
        _check_point("DTB address", vm.dtb_address, 8, memory, place)


def _check_ffa_window(spans: Sequence[Span], place: str) -> None:
    for span in spans:
        if span.overlaps(FFA_WINDOW):
            raise UserError(
                f"{span} overlaps {FFA_WINDOW}, which a VM with peers keeps free",
                where=place,
                fix="move it",
            )


def _windows(device: Device) -> list[Span]:
    found = [Span(_words(device), device.ipa, device.size)]
    if device.cpu_interface is not None:
        found.append(Span("GIC", device.cpu_interface.ipa, device.cpu_interface.size))
    return found


def _words(device: Device) -> str:
    match device.kind:
        case DeviceKind.VPL011:
            return "PL011"
        case DeviceKind.VGICV2:
            return "GIC"
        case DeviceKind.PASSTHROUGH:
            return "device"
        case DeviceKind.TELEMETRY:
            return "telemetry page"


def check_hardware(vcpus: int, devices: Sequence[Device], place: str) -> None:
    """Raises UserError for CPUs and devices that no VM can have, wherever they stand."""
    if not 1 <= vcpus <= MAX_VCPUS:
        raise UserError(
            f"{vcpus} vCPUs, and a VM has 1 to {MAX_VCPUS}", where=place, fix="change their number"
        )
    _count(len(devices), 0, MAX_DEVICES, "devices", place)
    used: set[int] = set()
    for kind in (DeviceKind.VGICV2, DeviceKind.TELEMETRY):
        if sum(d.kind is kind for d in devices) > 1:
            raise UserError(f"two devices {kind.value!r}", where=place, fix="have one of them")
    for device in devices:
        _check_shape(device, place)
        for intid in device.interrupts:
            if not FIRST_SPI <= intid <= LAST_SPI:
                raise UserError(
                    f"interrupt {intid} of the {_words(device)} at {device.ipa:#x} is no SPI of a"
                    " VM",
                    where=place,
                    fix=f"use an interrupt ID from {FIRST_SPI} to {LAST_SPI}",
                )
            if intid in used:
                raise UserError(
                    f"interrupt {intid} has two devices", where=place, fix="change one of them"
                )
            used.add(intid)


def _check_shape(device: Device, place: str) -> None:
    """Whether a device has what its kind has, and nothing else."""
    kind = device.kind
    passed = kind is DeviceKind.PASSTHROUGH
    interrupts = {DeviceKind.VPL011: 1, DeviceKind.PASSTHROUGH: MAX_INTERRUPTS}.get(kind, 0)
    good = (device.host_address is not None) == passed and (
        (device.cpu_interface is not None) == (kind is DeviceKind.VGICV2)
    )
    if device.cpu_interface is not None:
        good = good and (device.size, device.cpu_interface.size) == (GICD_SIZE, GICC_SIZE)
    if not good or (kind is DeviceKind.TELEMETRY and device.size != GICD_SIZE):
        raise UserError(
            f"the {_words(device)} at {device.ipa:#x} is not as one is",
            where=place,
            fix="make the bundle again with `aether bundle`",
        )
    if len(device.interrupts) > interrupts:
        raise UserError(
            f"{len(device.interrupts)} interrupts of the {_words(device)} at {device.ipa:#x},"
            f" which has {interrupts} at most",
            where=place,
            fix="name fewer",
        )


def _check_images(vm: Vm, blob_sizes: Sequence[int], memory: Sequence[Span], place: str) -> None:
    images = [
        Span(_image_words(vm, i), image.load_address, _blob_size(image.blob, blob_sizes, place, i))
        for i, image in enumerate(vm.images)
    ]
    for span in images:
        if not any(m.holds(span) for m in memory):
            ranges = ", ".join(str(m) for m in memory)
            raise UserError(
                f"{span} ({span.size} bytes) does not lie inside the VM's {ranges}",
                where=place,
                fix="give the VM more memory or load the image elsewhere",
            )
    check_apart(images, place)


def _image_words(vm: Vm, index: int) -> str:
    is_dtb = vm.dtb_address != 0 and vm.images[index].load_address == vm.dtb_address
    return "the DTB" if is_dtb else f"image {index}"


def _check_point(
    what: str, address: int, alignment: int, memory: Sequence[Span], place: str
) -> None:
    if address % alignment:
        raise UserError(
            f"{what} {address:#x} is not {alignment}-byte aligned", where=place, fix="align it"
        )
    if not any(m.holds(Span(what, address, alignment)) for m in memory):
        raise UserError(
            f"{what} {address:#x} is not in the VM's memory",
            where=place,
            fix="use an IPA inside a memory range",
        )


def _blob_size(blob: int, blob_sizes: Sequence[int], place: str, image: int) -> int:
    if blob >= len(blob_sizes):
        raise UserError(
            f"image {image} asks for blob {blob}, and there are {len(blob_sizes)}",
            where=place,
            fix="make the bundle again with `aether bundle`",
        )
    if blob_sizes[blob] == 0:
        raise UserError(f"image {image} is empty", where=place, fix="give a file with content")
    return blob_sizes[blob]


def _count(count: int, low: int, high: int, what: str, place: str) -> None:
    if not low <= count <= high:
        raise UserError(
            f"{count} {what}, and a VM has {low} to {high}", where=place, fix="change their number"
        )
