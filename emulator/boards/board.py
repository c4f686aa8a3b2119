# SPDX-License-Identifier: Apache-2.0
"""A board as data: memory map, devices, clocks, and where its firmware puts what it loads."""

from dataclasses import dataclass
from enum import Enum, auto

from aether_edgecloud.emulator.boards.spin_table import SpinTable
from aether_edgecloud.emulator.errors import UserError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

_PAGE = 4 * KIB


class DeviceKind(Enum):
    """What stands at a window of device registers."""

    GICV2_DISTRIBUTOR = auto()
    GICV2_CPU_INTERFACE = auto()
    GICV2_HYPERVISOR_INTERFACE = auto()
    GICV2_VIRTUAL_CPU_INTERFACE = auto()
    PL011 = auto()
    PL031 = auto()


class Trigger(Enum):
    """How an interrupt is signalled; the values are those of a GIC node's interrupt flags."""

    EDGE_RISING = 1
    LEVEL_HIGH = 4


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A GIC interrupt ID: 16 to 31 for a PPI, from 32 for an SPI."""

    intid: int
    trigger: Trigger = Trigger.LEVEL_HIGH


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A window of device registers at PA `base`, `size` bytes, and the interrupts it drives."""

    kind: DeviceKind
    base: int
    size: int
    interrupts: tuple[Interrupt, ...] = ()


@dataclass(frozen=True, slots=True)
class TimerInterrupts:
    """The interrupt IDs (PPIs) of the generic timer's four outputs."""

    secure_physical: int
    physical: int
    virtual: int
    hypervisor: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where firmware leaves what it loads: ranges of PA. `initrd` is None without one."""

    image: range
    initrd: range | None
    dtb: range


@dataclass(frozen=True, slots=True)
class Board:
    """One board. Addresses are PA; sizes in bytes.

    Time: the system counter is the count of retired instructions divided by
    `instructions_per_tick`; software is told that it runs at `counter_hz`.
    """

    name: str
    cpu: str
    """The CPU's name in lower case, e.g. `cortex-a72`; in the DTB `arm,<cpu>`."""
    cpus: int
    ram_base: int
    ram_size: int
    counter_hz: int
    instructions_per_tick: int
    devices: tuple[DeviceNode, ...]
    timer: TimerInterrupts
    spis: int
    uart_clock_hz: int
    image_offset: int
    """Where the boot image goes, from the start of RAM."""
    dtb_space: int
    """The most the DTB may take."""
    clock_start: int = 0
    """What the real time clock shows at first, in seconds since 1970: the same for every run."""
    spin_table: SpinTable | None = None
    """Where all CPUs but the first wait; None: they are off until PSCI switches them on."""

    @property
    def ram(self) -> range:
        """RAM, as a range of PA."""
        return range(self.ram_base, self.ram_base + self.ram_size)

    def device(self, kind: DeviceKind) -> DeviceNode:
        """The first device of a kind; KeyError if there is none."""
        for node in self.devices:
            if node.kind is kind:
                return node
        raise KeyError(kind)

    def all(self, kind: DeviceKind) -> tuple[DeviceNode, ...]:
        """The devices of a kind."""
        return tuple(node for node in self.devices if node.kind is kind)

    def place(
        self, image_size: int, initrd_size: int = 0, dtb_size: int | None = None
    ) -> Placement:
        """Where QEMU's loader would put image, initrd and DTB, in this order and apart.

        `image_size` is what the image needs in memory, BSS included. The initrd starts half-way
        into RAM, at most 128 MiB in, or behind a larger image; the DTB at the next 2 MiB boundary.
        `dtb_size` is `dtb_space` if not given. UserError if they do not fit into RAM.
        """
        image_start = self.ram_base + self.image_offset
        image = range(image_start, image_start + image_size)
        middle = self.ram_base + min(self.ram_size // 2, 128 * MIB)
        start = _align_up(max(middle, image.stop), _PAGE)
        initrd = range(start, start + initrd_size)
        dtb_start = _align_up(initrd.stop, 2 * MIB)
        dtb = range(dtb_start, dtb_start + (self.dtb_space if dtb_size is None else dtb_size))
        if dtb.stop > self.ram.stop:
            raise UserError(
                f"the image ({image_size} bytes) and the initrd ({initrd_size} bytes) do not fit "
                f"into {self.ram_size // MIB} MiB of RAM",
                where=f"board {self.name}",
                fix="give the board more RAM",
            )
        return Placement(image, initrd if initrd_size else None, dtb)


def _align_up(value: int, alignment: int) -> int:
    return (value + alignment - 1) // alignment * alignment
