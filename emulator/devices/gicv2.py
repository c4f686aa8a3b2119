# SPDX-License-Identifier: Apache-2.0
"""A GICv2: one distributor and a CPU interface per CPU (IHI 0048B)."""

from collections.abc import Mapping

from aether_edgecloud.emulator.devices.device import State, saved_part, saved_parts
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import CpuInterface, Signals
from aether_edgecloud.emulator.devices.gicv2_distributor import Distributor, PendingInterrupt
from aether_edgecloud.emulator.devices.gicv2_variant import QEMU_VIRT, GicVariant


class DistributorWindow:
    """The distributor as one CPU accesses it: a `Device`, and that CPU's `InterruptSource`."""

    def __init__(self, distributor: Distributor, cpu: int) -> None:
        self._distributor = distributor
        self._cpu = cpu

    def read(self, offset: int, size: int) -> int:
        """A register, banked for this CPU."""
        return self._distributor.read(offset, size, self._cpu)

    def write(self, offset: int, size: int, value: int) -> None:
        """A register, banked for this CPU."""
        self._distributor.write(offset, size, value, self._cpu)

    def save(self) -> State:
        """The state of the whole distributor."""
        return self._distributor.save()

    def restore(self, state: Mapping[str, object]) -> None:
        """Restores the whole distributor."""
        self._distributor.restore(state)

    def highest_pending(self) -> PendingInterrupt | None:
        """The interrupt forwarded to this CPU."""
        return self._distributor.highest_pending(self._cpu)

    def acknowledge(self, interrupt: PendingInterrupt) -> None:
        """This CPU takes it."""
        self._distributor.acknowledge(interrupt, self._cpu)

    def deactivate(self, intid: int) -> None:
        """This CPU has done with it."""
        self._distributor.deactivate(intid, self._cpu)

    def group_of(self, intid: int) -> int:
        """The group this CPU sees it in."""
        return self._distributor.group_of(intid, self._cpu)


class Gicv2:
    """The whole controller. Interrupt IDs: SGI 0-15, PPI 16-31 (both per CPU), SPI from 32."""

    def __init__(self, num_spis: int, num_cpus: int = 1, variant: GicVariant = QEMU_VIRT) -> None:
        self.num_cpus = num_cpus
        self._distributor = Distributor(num_spis, num_cpus, variant)
        self._windows = tuple(DistributorWindow(self._distributor, c) for c in range(num_cpus))
        self._interfaces = tuple(CpuInterface(window, variant) for window in self._windows)

    @property
    def distributor(self) -> DistributorWindow:
        """GICD as CPU 0 accesses it."""
        return self._windows[0]

    def distributor_of(self, cpu: int) -> DistributorWindow:
        """GICD as `cpu` accesses it: the same distributor, with its banked registers."""
        return self._windows[cpu]

    def cpu_interface(self, cpu: int = 0) -> CpuInterface:
        """GICC of `cpu`."""
        return self._interfaces[cpu]

    def set_level(self, intid: int, level: bool, cpu: int = 0) -> None:
        """Drive the input of an SPI, or of a PPI of `cpu`; ValueError for any other ID."""
        self._distributor.set_level(intid, level, cpu)

    def signals(self, cpu: int = 0) -> Signals:
        """Both interrupt requests to `cpu`."""
        return self._interfaces[cpu].signals

    def irq(self, cpu: int = 0) -> bool:
        """The IRQ input of `cpu`."""
        return self.signals(cpu).irq

    def fiq(self, cpu: int = 0) -> bool:
        """The FIQ input of `cpu`."""
        return self.signals(cpu).fiq

    def save(self) -> State:
        """The whole state."""
        return {
            "distributor": self._distributor.save(),
            "cpu_interfaces": [interface.save() for interface in self._interfaces],
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self._distributor.restore(saved_part(state, "distributor"))
        parts = saved_parts(state, "cpu_interfaces")
        for interface, part in zip(self._interfaces, parts, strict=True):
            interface.restore(part)
