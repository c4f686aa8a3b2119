# SPDX-License-Identifier: Apache-2.0
"""The manifest: what the VMs are, as typed values and as the DTB the hypervisor reads.

    / { compatible = "aether,manifest"; aether,version = <3>;
        schedule { frame-us; window-us;
            cpu@N { slots = <vm vcpu us ...>; }; };             (vm 0xffffffff: nobody)
        vm@0 { compatible = "aether,vm"; vm-name; vcpus; entry; dtb-address; restart;
            manual-start (empty), ffa-peers = <vm ...>, ffa-uuid, manages = <vm ...> (optional);
            memory@IPA { reg; host-address (optional); };
            image@N { blob; load-address; };
            device@IPA { compatible; reg; host-address, interrupts (some kinds); }; };
        vm@1 { ... }; };

`encode` and `decode` hold the shape; whether the values make sense together is for `check`.
"""

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from aether_edgecloud.emulator.bundle import fdt, node_values
from aether_edgecloud.emulator.bundle.node_values import FIX, cell, number
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot
from aether_edgecloud.emulator.errors import UserError

VERSION = 3

_ROOT_COMPATIBLE = fdt.text("aether,manifest")
_VM_COMPATIBLE = fdt.text("aether,vm")
_NOBODY = 0xFFFF_FFFF
_VM_PROPERTIES = (
    "compatible", "vm-name", "vcpus", "entry", "dtb-address", "restart",
    "manual-start", "ffa-peers", "ffa-uuid", "manages",
)  # fmt: skip


class DeviceKind(Enum):
    """A device of a VM; the value is its `compatible`."""

    VPL011 = "aether,vpl011"
    VGICV2 = "aether,vgicv2"
    PASSTHROUGH = "aether,passthrough"
    TELEMETRY = "aether,telemetry"


class Restart(Enum):
    """When a VM that ended is started again; the value is that of the property `restart`."""

    NEVER = 0
    CRASH = 1
    ALWAYS = 2


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
class Window:
    """A second range of registers: `size` bytes at IPA `ipa`."""

    ipa: int
    size: int


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its window at IPA `ipa`, `size` bytes, and the interrupt IDs it raises.

    `host_address` is the PA of a device that is passed through, `cpu_interface` the second window
    of an interrupt controller.
    """

    kind: DeviceKind
    ipa: int
    size: int
    interrupts: tuple[int, ...] = ()
    host_address: int | None = None
    cpu_interface: Window | None = None


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM. `entry` is the IPA its vCPU 0 starts at, `dtb_address` the IPA of its DTB, handed
    over in x0; 0 when it has none.

    `peers` and `manages` are VMs by their number in the manifest; with `peers`, even none, the VM
    is an FF-A partition.
    """

    name: str
    vcpus: int
    entry: int
    dtb_address: int
    memory: tuple[Memory, ...]
    images: tuple[Image, ...]
    devices: tuple[Device, ...]
    restart: Restart = Restart.NEVER
    manual_start: bool = False
    peers: tuple[int, ...] | None = None
    uuid: UUID | None = None
    manages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All VMs of a bundle, and who runs when."""

    vms: tuple[Vm, ...]
    schedule: Schedule


def encode(manifest: Manifest) -> bytes:
    """The manifest as a DTB; the same bytes for the same manifest."""
    vms = tuple(_vm_node(index, vm) for index, vm in enumerate(manifest.vms))
    root = fdt.Node(
        "",
        (
            fdt.Property("compatible", _ROOT_COMPATIBLE),
            fdt.Property("aether,version", fdt.cells(VERSION)),
        ),
        (_schedule_node(manifest.schedule), *vms),
    )
    return fdt.write(root)


def _schedule_node(schedule: Schedule) -> fdt.Node:
    cpus: list[fdt.Node] = []
    for cpu in schedule.cpus:
        slots: list[int] = []
        for slot in cpu.slots:
            slots += (_NOBODY if slot.vm is None else slot.vm, slot.vcpu, slot.length_us)
        cpus.append(fdt.Node(f"cpu@{cpu.cpu:x}", (fdt.Property("slots", fdt.cells(*slots)),)))
    return fdt.Node(
        "schedule",
        (
            fdt.Property("frame-us", fdt.cells(schedule.frame_us)),
            fdt.Property("window-us", fdt.cells(schedule.window_us)),
        ),
        tuple(cpus),
    )


def _vm_node(index: int, vm: Vm) -> fdt.Node:
    properties = [
        fdt.Property("compatible", _VM_COMPATIBLE),
        fdt.Property("vm-name", fdt.text(vm.name)),
        fdt.Property("vcpus", fdt.cells(vm.vcpus)),
        fdt.Property("entry", fdt.wide(vm.entry)),
        fdt.Property("dtb-address", fdt.wide(vm.dtb_address)),
        fdt.Property("restart", fdt.cells(vm.restart.value)),
    ]
    if vm.manual_start:
        properties.append(fdt.Property("manual-start", b""))
    if vm.peers is not None:
        properties.append(fdt.Property("ffa-peers", fdt.cells(*vm.peers)))
    if vm.uuid is not None:
        properties.append(fdt.Property("ffa-uuid", vm.uuid.bytes))
    if vm.manages:
        properties.append(fdt.Property("manages", fdt.cells(*vm.manages)))
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
    devices = tuple(_device_node(device) for device in vm.devices)
    return fdt.Node(f"vm@{index:x}", tuple(properties), memory + images + devices)


def _memory_node(memory: Memory) -> fdt.Node:
    properties = [fdt.Property("reg", fdt.wide(memory.ipa, memory.size))]
    if memory.host_address is not None:
        properties.append(fdt.Property("host-address", fdt.wide(memory.host_address)))
    return fdt.Node(f"memory@{memory.ipa:x}", tuple(properties))


def _device_node(device: Device) -> fdt.Node:
    reg = [device.ipa, device.size]
    if device.cpu_interface is not None:
        reg += (device.cpu_interface.ipa, device.cpu_interface.size)
    properties = [
        fdt.Property("compatible", fdt.text(device.kind.value)),
        fdt.Property("reg", fdt.wide(*reg)),
    ]
    if device.host_address is not None:
        properties.append(fdt.Property("host-address", fdt.wide(device.host_address)))
    if device.interrupts:
        properties.append(fdt.Property("interrupts", fdt.cells(*device.interrupts)))
    return fdt.Node(f"device@{device.ipa:x}", tuple(properties))


def decode(data: bytes, *, where: str) -> Manifest:
    """The manifest in a DTB. Raises UserError that names the node and property at fault."""
    place = f"{where}: manifest"
    root = fdt.read(data, where=place)
    node_values.expect(root, "compatible", _ROOT_COMPATIBLE, place)
    version = cell(root, "aether,version", place)
    if version != VERSION:
        raise UserError(f"version {version} is not known, only {VERSION}", where=place, fix=FIX)
    node_values.only(root, ("compatible", "aether,version"), place)
    schedule: Schedule | None = None
    vms: list[Vm] = []
    for node in root.children:
        node_place = f"{place}: /{node.name}"
        if node.name.startswith("vm@"):
            vms.append(_decode_vm(node, node_place))
        elif node.name == "schedule" and schedule is None:
            schedule = _decode_schedule(node, node_place)
        else:
            raise _unknown_node(node_place)
    if schedule is None:
        raise UserError("node 'schedule' is missing", where=place, fix=FIX)
    return Manifest(tuple(vms), schedule)


def _decode_schedule(node: fdt.Node, place: str) -> Schedule:
    node_values.only(node, ("frame-us", "window-us"), place)
    cpus: list[CpuSlots] = []
    for child in node.children:
        child_place = f"{place}/{child.name}"
        node_values.only(child, ("slots",), child_place)
        node_values.leaf(child, child_place)
        slots = node_values.cells(child, "slots", child_place)
        if len(slots) % 3:
            raise UserError("property 'slots' is not triples", where=child_place, fix=FIX)
        cpus.append(
            CpuSlots(
                _unit_address(child, "cpu", child_place),
                tuple(
                    Slot(None if slots[i] == _NOBODY else slots[i], slots[i + 1], slots[i + 2])
                    for i in range(0, len(slots), 3)
                ),
            )
        )
    frame, window = (cell(node, name, place) for name in ("frame-us", "window-us"))
    return Schedule(frame, window, tuple(cpus))


def _unit_address(node: fdt.Node, name: str, place: str) -> int:
    """The N of `name@N`, in hexadecimal as written by `encode`."""
    found, _, address = node.name.partition("@")
    try:
        number = int(address, 16)
    except ValueError:
        number = -1
    if found != name or address != f"{number:x}":
        raise _unknown_node(place)
    return number


def _decode_vm(node: fdt.Node, place: str) -> Vm:
    node_values.expect(node, "compatible", _VM_COMPATIBLE, place)
    node_values.only(node, _VM_PROPERTIES, place)
    memory: list[Memory] = []
    images: list[Image] = []
    devices: list[Device] = []
    for child in node.children:
        child_place = f"{place}/{child.name}"
        match child.name.partition("@")[0]:
            case "memory":
                memory.append(_decode_memory(child, child_place))
            case "image":
                node_values.only(child, ("blob", "load-address"), child_place)
                blob = cell(child, "blob", child_place)
                images.append(Image(blob, number(child, "load-address", child_place)))
            case "device":
                devices.append(_decode_device(child, child_place))
            case _:
                raise _unknown_node(child_place)
        node_values.leaf(child, child_place)
    return Vm(
        node_values.string(node, "vm-name", place),
        cell(node, "vcpus", place),
        number(node, "entry", place),
        number(node, "dtb-address", place),
        tuple(memory),
        tuple(images),
        tuple(devices),
        _decode_restart(node, place),
        _decode_flag(node, "manual-start", place),
        _optional_cells(node, "ffa-peers", place),
        _decode_uuid(node, place),
        _optional_cells(node, "manages", place) or (),
    )


def _decode_flag(node: fdt.Node, name: str, place: str) -> bool:
    if node.get(name):
        raise UserError(f"property {name!r} is not empty", where=place, fix=FIX)
    return node.get(name) is not None


def _optional_cells(node: fdt.Node, name: str, place: str) -> tuple[int, ...] | None:
    return None if node.get(name) is None else node_values.cells(node, name, place)


def _decode_uuid(node: fdt.Node, place: str) -> UUID | None:
    found = node.get("ffa-uuid")
    if found is None:
        return None
    if len(found) != 16:
        raise UserError("property 'ffa-uuid' is not 16 bytes", where=place, fix=FIX)
    return UUID(bytes=found)


def _decode_restart(node: fdt.Node, place: str) -> Restart:
    value = cell(node, "restart", place)
    found = next((r for r in Restart if r.value == value), None)
    if found is None:
        raise UserError(f"no restart policy {value}", where=place, fix=FIX)
    return found


def _decode_memory(node: fdt.Node, place: str) -> Memory:
    node_values.only(node, ("reg", "host-address"), place)
    ((ipa, size),) = node_values.ranges(node, 1, place)
    return Memory(ipa, size, _optional_host_address(node, place))


def _optional_host_address(node: fdt.Node, place: str) -> int | None:
    if node.get("host-address") is None:
        return None
    return number(node, "host-address", place)


def _decode_device(node: fdt.Node, place: str) -> Device:
    node_values.only(node, ("compatible", "reg", "host-address", "interrupts"), place)
    compatible = node_values.string(node, "compatible", place)
    kind = next((k for k in DeviceKind if k.value == compatible), None)
    if kind is None:
        known = ", ".join(k.value for k in DeviceKind)
        raise UserError(f"no device {compatible!r}; known: {known}", where=place, fix=FIX)
    windows = node_values.ranges(node, 2 if kind is DeviceKind.VGICV2 else 1, place)
    interrupts: tuple[int, ...] = ()
    if node.get("interrupts") is not None:
        interrupts = node_values.cells(node, "interrupts", place)
    return Device(
        kind,
        *windows[0],
        interrupts=interrupts,
        host_address=_optional_host_address(node, place),
        cpu_interface=Window(*windows[1]) if len(windows) > 1 else None,
    )


def _unknown_node(place: str) -> UserError:
    return UserError("a node the manifest does not know", where=place, fix=FIX)
