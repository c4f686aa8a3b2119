# SPDX-License-Identifier: Apache-2.0
"""The manifest: what the VMs are, as typed values and as the DTB the hypervisor reads.

    / { compatible = "aether,manifest"; aether,version = <1>;
        vm@0 { compatible = "aether,vm"; vm-name; vcpus; entry; dtb-address;
            memory@IPA { reg; host-address (optional); };
            image@N { blob; load-address; };
            device@IPA { compatible = "aether,vpl011"; reg; }; }; };

`encode` and `decode` hold the shape; whether the values make sense together is for `check`.
"""

from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.errors import UserError

VERSION = 1

_ROOT_COMPATIBLE = fdt.text("aether,manifest")
_VM_COMPATIBLE = fdt.text("aether,vm")
_FIX = "make the bundle again with `aether bundle`"


class DeviceKind(Enum):
    """A device the hypervisor emulates for a VM; the value is its `compatible`."""

    VPL011 = "aether,vpl011"


@dataclass(frozen=True, slots=True)
class Memory:
    """Guest memory: `size` bytes at IPA `ipa`. `host_address` pins it to a PA; None leaves the
    choice to the hypervisor."""

    ipa: int
    size: int
    host_address: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """Blob number `blob`, copied to IPA `load_address` before the VM starts."""

    blob: int
    load_address: int


@dataclass(frozen=True, slots=True)
class Device:
    """An emulated device with its window at IPA `ipa`, `size` bytes."""

    kind: DeviceKind
    ipa: int
    size: int


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM. `entry` is the IPA its vCPU starts at, `dtb_address` the IPA of its DTB, handed
    over in x0; 0 when it has none."""

    name: str
    vcpus: int
    entry: int
    dtb_address: int
    memory: tuple[Memory, ...]
    images: tuple[Image, ...]
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All VMs of a bundle."""

    vms: tuple[Vm, ...]


def encode(manifest: Manifest) -> bytes:
    """The manifest as a DTB; the same bytes for the same manifest."""
    vms = tuple(_vm_node(index, vm) for index, vm in enumerate(manifest.vms))
    root = fdt.Node(
        "",
        (
            fdt.Property("compatible", _ROOT_COMPATIBLE),
            fdt.Property("aether,version", fdt.cells(VERSION)),
        ),
        vms,
    )
    return fdt.write(root)


def _vm_node(index: int, vm: Vm) -> fdt.Node:
    properties = (
        fdt.Property("compatible", _VM_COMPATIBLE),
        fdt.Property("vm-name", fdt.text(vm.name)),
        fdt.Property("vcpus", fdt.cells(vm.vcpus)),
        fdt.Property("entry", fdt.wide(vm.entry)),
        fdt.Property("dtb-address", fdt.wide(vm.dtb_address)),
    )
    memory = tuple(_memory_node(m) for m in vm.memory)
    images = tuple(
        fdt.Node(
            f"image@{i:x}",
            (
                fdt.Property("blob", fdt.cells(image.blob)),
                fdt.Property("load-address", fdt.wide(image.load_address)),
            ),
        )
        for i, image in enumerate(vm.images)
    )
    devices = tuple(
        fdt.Node(
            f"device@{device.ipa:x}",
            (
                fdt.Property("compatible", fdt.text(device.kind.value)),
                fdt.Property("reg", fdt.wide(device.ipa, device.size)),
            ),
        )
        for device in vm.devices
    )
    return fdt.Node(f"vm@{index:x}", properties, memory + images + devices)


def _memory_node(memory: Memory) -> fdt.Node:
    properties = [fdt.Property("reg", fdt.wide(memory.ipa, memory.size))]
    if memory.host_address is not None:
        properties.append(fdt.Property("host-address", fdt.wide(memory.host_address)))
    return fdt.Node(f"memory@{memory.ipa:x}", tuple(properties))


def decode(data: bytes, *, where: str) -> Manifest:
    """The manifest in a DTB. Raises UserError that names the node and property at fault."""
    place = f"{where}: manifest"
    root = fdt.read(data, where=place)
    _expect(root, "compatible", _ROOT_COMPATIBLE, place)
    version = _cell(root, "aether,version", place)
    if version != VERSION:
        raise UserError(f"version {version} is not known, only {VERSION}", where=place, fix=_FIX)
    _only(root, ("compatible", "aether,version"), place)
    return Manifest(tuple(_decode_vm(node, f"{place}: /{node.name}") for node in root.children))


def _decode_vm(node: fdt.Node, place: str) -> Vm:
    if not node.name.startswith("vm@"):
        raise UserError("a node the manifest does not know", where=place, fix=_FIX)
    _expect(node, "compatible", _VM_COMPATIBLE, place)
    _only(node, ("compatible", "vm-name", "vcpus", "entry", "dtb-address"), place)
    memory: list[Memory] = []
    images: list[Image] = []
    devices: list[Device] = []
    for child in node.children:
        child_place = f"{place}/{child.name}"
        match child.name.partition("@")[0]:
            case "memory":
                memory.append(_decode_memory(child, child_place))
            case "image":
                _only(child, ("blob", "load-address"), child_place)
                blob = _cell(child, "blob", child_place)
                images.append(Image(blob, _number(child, "load-address", child_place)))
            case "device":
                devices.append(_decode_device(child, child_place))
            case _:
                raise UserError("a node the manifest does not know", where=child_place, fix=_FIX)
        if child.children:
            raise UserError("has subnodes", where=child_place, fix=_FIX)
    return Vm(
        _string(node, "vm-name", place),
        _cell(node, "vcpus", place),
        _number(node, "entry", place),
        _number(node, "dtb-address", place),
        tuple(memory),
        tuple(images),
        tuple(devices),
    )


def _decode_memory(node: fdt.Node, place: str) -> Memory:
    _only(node, ("reg", "host-address"), place)
    ipa, size = _range(node, place)
    host = None
    if node.get("host-address") is not None:
        host = _number(node, "host-address", place)
    return Memory(ipa, size, host)


def _decode_device(node: fdt.Node, place: str) -> Device:
    _only(node, ("compatible", "reg"), place)
    compatible = _string(node, "compatible", place)
    kind = next((k for k in DeviceKind if k.value == compatible), None)
    if kind is None:
        known = ", ".join(k.value for k in DeviceKind)
        raise UserError(f"no device {compatible!r}; known: {known}", where=place, fix=_FIX)
    return Device(kind, *_range(node, place))


def _value(node: fdt.Node, name: str, place: str) -> bytes:
    value = node.get(name)
    if value is None:
        raise UserError(f"property {name!r} is missing", where=place, fix=_FIX)
    return value


def _expect(node: fdt.Node, name: str, value: bytes, place: str) -> None:
    if _value(node, name, place) != value:
        expected = value.rstrip(b"\0").decode()
        raise UserError(f"property {name!r} is not {expected!r}", where=place, fix=_FIX)


def _cell(node: fdt.Node, name: str, place: str) -> int:
    value = _value(node, name, place)
    if len(value) != 4:
        raise UserError(f"property {name!r} is not one cell", where=place, fix=_FIX)
    return int.from_bytes(value, "big")


def _number(node: fdt.Node, name: str, place: str) -> int:
    value = _value(node, name, place)
    if len(value) != 8:
        raise UserError(f"property {name!r} is not two cells", where=place, fix=_FIX)
    return int.from_bytes(value, "big")


def _range(node: fdt.Node, place: str) -> tuple[int, int]:
    """`reg` as one (address, size)."""
    value = _value(node, "reg", place)
    if len(value) != 16:
        raise UserError("property 'reg' is not four cells", where=place, fix=_FIX)
    return int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big")


def _string(node: fdt.Node, name: str, place: str) -> str:
    value = _value(node, name, place)
    if len(value) < 2 or value.find(b"\0") != len(value) - 1 or not value[:-1].isascii():
        raise UserError(f"property {name!r} is not one ASCII string", where=place, fix=_FIX)
    return value[:-1].decode("ascii")


def _only(node: fdt.Node, known: tuple[str, ...], place: str) -> None:
    """Refuses a property that a newer format may have brought, rather than ignoring a wish."""
    for item in node.properties:
        if item.name not in known:
            raise UserError(f"property {item.name!r} is not known", where=place, fix=_FIX)
