# SPDX-License-Identifier: Apache-2.0
"""The rules a manifest obeys, checked before a bundle is written and before one is run.

The hypervisor checks the same rules again at boot: it trusts no bundle. Here they are told with the
place in the user's own file.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.bundle.manifest import Manifest, Vm
from aether_edgecloud.emulator.errors import UserError

PAGE = 4096
"""Granule of guest memory and device windows, bytes."""
IPA_LIMIT = 1 << 40
PA_LIMIT = 1 << 48
MAX_VMS = 1
MAX_VCPUS = 1
MAX_MEMORY = 4
MAX_IMAGES = 8
MAX_DEVICES = 4

_BLOCK = 2 << 20
_NAME = re.compile(r"[a-z0-9-]{1,15}")


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes from `start`, named for messages. One address space at a time."""

    what: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """First address behind the span."""
        return self.start + self.size

    def overlaps(self, other: "Span") -> bool:
        """Whether the two share a byte."""
        return self.start < other.end and other.start < self.end

    def holds(self, other: "Span") -> bool:
        """Whether `other` lies wholly inside."""
        return self.start <= other.start and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.what} {self.start:#x}..{self.end - 1:#x}"


@dataclass(frozen=True, slots=True)
class HostLayout:
    """The host's RAM, and what in it is taken already: the hypervisor, the bundle, the board's
    DTB (PAs, bytes)."""

    ram: Span
    taken: tuple[Span, ...]


def check(
    manifest: Manifest,
    blob_sizes: Sequence[int],
    *,
    where: Sequence[str],
    host: HostLayout | None = None,
) -> None:
    """Raises UserError for the first rule the manifest breaks.

    `blob_sizes` are the sizes of the bundle's blobs in bytes; `where` names the place of each VM,
    and the place of the whole for a manifest without one. With `host`, memory pinned to host
    addresses is checked against RAM and what is taken in it too.
    """
    if len(manifest.vms) != 1:
        raise UserError(
            f"{len(manifest.vms)} VMs, and this version runs exactly {MAX_VMS}",
            where=where[0] if where else None,
            fix="describe one VM",
        )
    for vm, place in zip(manifest.vms, where, strict=True):
        _check_vm(vm, blob_sizes, place)
        if host is not None:
            check_host(vm, host, place)


def check_name(name: str, where: str) -> None:
    """Raises UserError unless `name` can name a VM."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a VM", where=where, fix="use 1 to 15 of a-z, 0-9 and '-'"
        )


def _check_vm(vm: Vm, blob_sizes: Sequence[int], where: str) -> None:
    check_name(vm.name, where)
    place = f"{where}: vm {vm.name}"
    if not 1 <= vm.vcpus <= MAX_VCPUS:
        raise UserError(
            f"{vm.vcpus} vCPUs, and this version runs {MAX_VCPUS}", where=place, fix="say vcpus = 1"
        )
    _count(len(vm.memory), 1, MAX_MEMORY, "memory ranges", place)
    _count(len(vm.images), 0, MAX_IMAGES, "images (the DTB is one)", place)
    _count(len(vm.devices), 0, MAX_DEVICES, "devices", place)
    memory = [Span("memory", m.ipa, m.size) for m in vm.memory]
    devices = [Span("device", d.ipa, d.size) for d in vm.devices]
    for span in memory + devices:
        _check_pages(span, IPA_LIMIT, "IPA", place)
    _check_apart(memory + devices, place)
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
    _check_apart(images, place)
    _check_point("entry", vm.entry, 4, memory, place)
    if vm.dtb_address != 0:
        _check_point("DTB address", vm.dtb_address, 8, memory, place)


def _image_words(vm: Vm, index: int) -> str:
    is_dtb = vm.dtb_address != 0 and vm.images[index].load_address == vm.dtb_address
    return "the DTB" if is_dtb else f"image {index}"


def check_host(vm: Vm, host: HostLayout, where: str) -> None:
    """Raises UserError when memory pinned to host addresses is not the VM's to have."""
    place = f"{where}: vm {vm.name}"
    pinned: list[Span] = []
    for memory in vm.memory:
        if memory.host_address is None:
            continue
        span = Span("host memory", memory.host_address, memory.size)
        _check_pages(span, PA_LIMIT, "PA", place)
        if not host.ram.holds(span):
            raise UserError(
                f"{span} is not inside {host.ram}",
                where=place,
                fix="pin it elsewhere, or give the board more with --ram",
            )
        for taken in host.taken:
            if span.overlaps(taken):
                free = _round_up(max(t.end for t in host.taken))
                raise UserError(
                    f"{span} overlaps {taken}",
                    where=place,
                    fix=f"pin it at {free:#x} or above, or leave `host` out",
                )
        pinned.append(span)
    _check_apart(pinned, place)
    wanted = sum(m.size for m in vm.memory)
    if wanted > host.ram.size:
        raise UserError(
            f"{wanted >> 20} MiB of guest memory do not fit into {host.ram.size >> 20} MiB of RAM",
            where=place,
            fix="give the board more with --ram, or the VM less",
        )


def _check_pages(span: Span, limit: int, space: str, place: str) -> None:
    if span.size == 0:
        raise UserError(
            f"{span.what} at {span.start:#x} has no size", where=place, fix="give it a size"
        )
    if span.start % PAGE or span.size % PAGE:
        raise UserError(
            f"{span} is not 4 KiB-aligned", where=place, fix="align address and size to 4 KiB"
        )
    if span.end > limit:
        raise UserError(
            f"{span} lies above the highest {space} {limit - 1:#x}",
            where=place,
            fix="use a lower address",
        )


def _check_apart(spans: Sequence[Span], place: str) -> None:
    ordered = sorted((s for s in spans if s.size), key=lambda s: (s.start, s.end, s.what))
    for low, high in itertools.pairwise(ordered):
        if low.overlaps(high):
            raise UserError(f"{high} overlaps {low}", where=place, fix="move one of them")


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


def _round_up(address: int) -> int:
    """The next 2 MiB boundary, where a pinned range maps with blocks."""
    return -(-address // _BLOCK) * _BLOCK
