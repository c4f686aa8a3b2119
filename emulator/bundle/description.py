# SPDX-License-Identifier: Apache-2.0
"""VMs and their schedule as a person describes them, before anything is chosen or read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from uuid import UUID

from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory, Restart
from aether_edgecloud.emulator.bundle.schedule import FRAME_US, WINDOW_US

ConfigValue = int | str


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
class Content:
    """Bytes in place of a file; `name` is for people."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Passthrough:
    """A device of the board given to a VM: `size` bytes of registers at PA `host`, seen at IPA
    `ipa`, which is the same when None, and its interrupt IDs.

    `compatible` is what the guest's DTB calls it, under the node name `name`.
    """

    host: int
    size: int
    ipa: int | None = None
    interrupts: tuple[int, ...] = ()
    name: str = "device"
    compatible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VmDescription:
    """A VM as a person describes it. None stands for: choose for me.

    `entry` is then the kernel's, else the IPA of the first image; `dtb_ipa` the first place where
    the DTB fits; `cpus` puts the n-th vCPU on CPU n; `devices` are a PL011, and a GIC with a
    kernel. `kernel` is an arm64 Image; `ramdisk` goes with it. `hidden_memory` is memory a
    generated DTB keeps quiet about: U-Boot reads its environment from a flash device that a VM
    does not have. `peers` and `manages` are VMs by name; with `peers`, even none, the VM is an FF-A
    partition, which `uuid` identifies. `where` names the place of the description for messages,
    `where_keys` those of its keys, as far as they are known.
    """

    name: str
    memory: tuple[Memory, ...]
    images: tuple[ImageFile | ImageBytes, ...] = ()
    hidden_memory: tuple[Memory, ...] = ()
    vcpus: int = 1
    entry: int | None = None
    devices: tuple[DeviceKind | Passthrough, ...] | None = None
    dtb: DtbChoice | Path = DtbChoice.AUTO
    dtb_ipa: int | None = None
    bootargs: str | None = None
    config: tuple[tuple[str, ConfigValue], ...] = ()
    where: str = "description"
    where_keys: Mapping[str, str] = field(default_factory=dict, compare=False)
    cpus: tuple[int, ...] | None = None
    kernel: Path | Content | None = None
    ramdisk: Path | Content | None = None
    restart: Restart = Restart.NEVER
    peers: tuple[str, ...] | None = None
    uuid: UUID | None = None
    manages: tuple[str, ...] = ()
    manual_start: bool = False

    def place_of(self, key: str) -> str:
        """Where a key stands, else the VM."""
        return self.where_keys.get(key, self.where)


@dataclass(frozen=True, slots=True)
class SlotDescription:
    """A slot for a VM by name; None is nobody. `vcpu` None is the one that is at home there."""

    vm: str | None
    vcpu: int | None
    length_us: int
    where: str = "schedule"


@dataclass(frozen=True, slots=True)
class ScheduleDescription:
    """The frame, and the slots of CPU 0, 1, ...; `cpus` None shares each CPU equally."""

    frame_us: int = FRAME_US
    window_us: int = WINDOW_US
    cpus: tuple[tuple[SlotDescription, ...], ...] | None = None
    where: str = "schedule"


@dataclass(frozen=True, slots=True)
class Description:
    """What a bundle is made of."""

    vms: tuple[VmDescription, ...]
    schedule: ScheduleDescription = ScheduleDescription()
