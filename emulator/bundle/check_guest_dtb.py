# SPDX-License-Identifier: Apache-2.0
"""What a DTB of the user's own has to say for a kernel to get anywhere in the VM."""

from collections.abc import Iterator, Sequence

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Memory
from aether_edgecloud.emulator.bundle.span import Span
from aether_edgecloud.emulator.errors import UserError

_GICS = frozenset(
    (
        b"arm,gic-400",
        b"arm,cortex-a15-gic",
        b"arm,cortex-a9-gic",
        b"arm,cortex-a7-gic",
        b"arm,pl390",
    )
)
_TIMERS = frozenset((b"arm,armv8-timer", b"arm,armv7-timer"))


def check_guest_dtb(
    tree: fdt.Node, memory: Sequence[Memory], devices: Sequence[Device], *, where: str
) -> None:
    """Raises UserError when it has no GIC, no timer, no memory, or others than the VM."""
    nodes = list(_walk(tree, 2, 1))
    gic = next((n for n in nodes if n.compatible & _GICS), None)
    if gic is None:
        raise UserError(
            "has no GIC", where=where, fix='add a node compatible with "arm,gic-400", or say'
            ' dtb = "auto"',
        )  # fmt: skip
    if not any(n.compatible & _TIMERS for n in nodes):
        raise UserError(
            "has no timer", where=where, fix='add a node compatible with "arm,armv8-timer", or say'
            ' dtb = "auto"',
        )  # fmt: skip
    _check_gic(gic, devices, where)
    ranges = [
        Span("memory", start, size)
        for node in nodes
        if node.node.get("device_type") == b"memory\0"
        for start, size in node.reg()
    ]
    if not ranges:
        raise UserError("has no memory", where=where, fix="add a memory node")
    own = [Span("memory", m.ipa, m.size) for m in memory]
    for span in ranges:
        if not any(m.holds(span) for m in own):
            raise UserError(
                f"its {span} is not the VM's ({', '.join(str(m) for m in own)})",
                where=where,
                fix="make them agree",
            )


def _check_gic(gic: "_Node", devices: Sequence[Device], where: str) -> None:
    """The windows are where the VM has them."""
    for device in devices:
        if device.kind is DeviceKind.VGICV2 and device.cpu_interface is not None:
            wanted = [device.ipa, device.cpu_interface.ipa]
            found = [start for start, _ in gic.reg()[:2]]
            if found != wanted:
                raise UserError(
                    f"its GIC is at {_hex(found)}, and the VM's at {_hex(wanted)}",
                    where=where,
                    fix="make them agree",
                )


def _hex(addresses: Sequence[int]) -> str:
    return " and ".join(f"{a:#x}" for a in addresses) or "no address"


class _Node:
    """A node with the cell counts of its parent."""

    __slots__ = ("_address_cells", "_size_cells", "compatible", "node")

    def __init__(self, node: fdt.Node, address_cells: int, size_cells: int) -> None:
        self.node = node
        self.compatible = frozenset((node.get("compatible") or b"").split(b"\0")) - {b""}
        self._address_cells = address_cells
        self._size_cells = size_cells

    def reg(self) -> list[tuple[int, int]]:
        """`reg` as (address, size), without translation by `ranges`."""
        value = self.node.get("reg") or b""
        middle = self._address_cells * 4
        step = middle + self._size_cells * 4
        if step == 0:
            return []
        return [
            (
                int.from_bytes(value[at : at + middle], "big"),
                int.from_bytes(value[at + middle : at + step], "big"),
            )
            for at in range(0, len(value) - step + 1, step)
        ]


def _walk(root: fdt.Node, address_cells: int, size_cells: int) -> Iterator[_Node]:
    """Every node that is enabled, parents first."""
    waiting = [(root, address_cells, size_cells)]
    while waiting:
        node, address, size = waiting.pop()
        if node.get("status") in (b"disabled\0", b"fail\0"):
            continue
        yield _Node(node, address, size)
        address = _cell(node, "#address-cells", 2)
        size = _cell(node, "#size-cells", 1)
        waiting += [(child, address, size) for child in reversed(node.children)]


def _cell(node: fdt.Node, name: str, default: int) -> int:
    value = node.get(name)
    if value is None or len(value) != 4:
        return default
    return min(int.from_bytes(value, "big"), 4)
