# SPDX-License-Identifier: Apache-2.0
"""Telemetry of a machine: the hypervisor's page by its address, the VMs' pages from there."""

from collections.abc import Callable
from dataclasses import dataclass

from aether_edgecloud.emulator.telemetry import layout
from aether_edgecloud.emulator.telemetry.layout import HypervisorPage, VmPage

ReadMemory = Callable[[int, int], bytes]
"""(PA, size) to bytes; fewer where there is no RAM."""


@dataclass(frozen=True, slots=True)
class RawPages:
    """The pages as they are in memory."""

    hypervisor: bytes
    vms: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Telemetry:
    """All counters of a run at one moment."""

    hypervisor: HypervisorPage
    vms: tuple[VmPage, ...]


def read_pages(read: ReadMemory, address: int) -> RawPages | None:
    """The pages, the hypervisor's being at PA `address`; None before it has laid them out."""
    page = read(address, layout.PAGE_SIZE)
    found = layout.parse_hypervisor(page)
    if found is None:
        return None
    return RawPages(page, tuple(read(pa, layout.PAGE_SIZE) for pa in found.vm_pages))


def parse(pages: RawPages) -> Telemetry | None:
    """What the pages say; None when they are none."""
    hypervisor = layout.parse_hypervisor(pages.hypervisor)
    if hypervisor is None:
        return None
    vms = tuple(vm for page in pages.vms if (vm := layout.parse_vm(page)) is not None)
    return Telemetry(hypervisor, vms)
