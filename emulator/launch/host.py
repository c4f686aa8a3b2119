# SPDX-License-Identifier: Apache-2.0
"""The board a bundle is to run on: as large as the bundle needs it, unless the user says."""

from dataclasses import dataclass

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.boards.board import Board, DeviceKind
from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.bundle.check import HostLayout
from aether_edgecloud.emulator.bundle.manifest import Manifest
from aether_edgecloud.emulator.bundle.span import Span

_USUAL_RAM = 256 << 20
_STEP = 128 << 20
_MOST = 32 << 30
"""Memory pinned beyond this is a mistake rather than a wish for such a board."""
_BEFORE_BUNDLE = 128 << 20
"""Firmware puts the bundle no further into RAM than this, behind the hypervisor."""
_OWN = 16 << 20
"""Tables, stacks, alignment."""

_KEPT = {
    DeviceKind.GICV2_DISTRIBUTOR: "the interrupt controller",
    DeviceKind.GICV2_CPU_INTERFACE: "the interrupt controller",
    DeviceKind.GICV2_HYPERVISOR_INTERFACE: "the interrupt controller",
    DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE: "the interrupt controller",
    DeviceKind.PL011: "the console",
}
"""Devices that no VM can have."""


@dataclass(frozen=True, slots=True)
class BoardChoice:
    """What the user says of the board; None: as the bundle needs it. `ram` as a person wrote it."""

    name: str = "virt"
    ram: str | None = None
    cpus: int | None = None


AS_NEEDED = BoardChoice()


def board(choice: BoardChoice, manifest: Manifest, bundle_size: int) -> Board:
    """The board to run a bundle on. Raises UserError for one that does not exist."""
    ram_size = (
        _ram_for(choice.name, manifest, bundle_size)
        if choice.ram is None
        else size.parse(choice.ram, where="--ram")
    )
    cpus = manifest.schedule.cpu_count if choice.cpus is None else choice.cpus
    return sized_board(choice.name, ram_size, cpus)


def sized_board(name: str, ram_size: int, cpus: int = 1) -> Board:
    """The board `name` with `ram_size` bytes. Raises UserError for either."""
    return boards.by_name(name, ram_size=ram_size, cpus=cpus)


def _ram_for(name: str, manifest: Manifest, bundle_size: int) -> int:
    """RAM in which all guest memory fits behind the bundle, pinned memory too; never less than
    the usual."""
    ranges = [memory for vm in manifest.vms for memory in vm.memory]
    needed = _BEFORE_BUNDLE + bundle_size + _OWN + sum(memory.size for memory in ranges)
    base = boards.by_name(name).ram_base
    for memory in ranges:
        end = 0 if memory.host_address is None else memory.host_address + memory.size - base
        if end <= _MOST:
            needed = max(needed, end)
    return max(_USUAL_RAM, -(-needed // _STEP) * _STEP)


def layout(board: Board, binary_memory: int, bundle_size: int) -> HostLayout:
    """What RAM holds when the hypervisor is entered. UserError when it does not all fit.

    Sizes in bytes; `binary_memory` is the image with its BSS.
    """
    place = board.place(binary_memory, bundle_size)
    taken = [_span("the hypervisor's memory", place.image), _span("the board's DTB", place.dtb)]
    if place.initrd is not None:
        taken.append(_span("the bundle", place.initrd))
    kept = tuple(Span(_KEPT[d.kind], d.base, d.size) for d in board.devices if d.kind in _KEPT)
    return HostLayout(_span("RAM", board.ram), tuple(taken), board.cpus, kept)


def _span(what: str, addresses: range) -> Span:
    return Span(what, addresses.start, len(addresses))
