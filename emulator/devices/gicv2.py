# SPDX-License-Identifier: Apache-2.0
"""A GICv2 with virtualisation: one distributor, and per CPU an interface, a virtual one and the
hypervisor's registers of it (IHI 0048B)."""

from collections.abc import Mapping

from aether_edgecloud.emulator.devices.device import State, saved_part, saved_parts
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import (
    NO_SIGNAL,
    CpuInterface,
    Signals,
)
from aether_edgecloud.emulator.devices.gicv2_distributor import Distributor
from aether_edgecloud.emulator.devices.gicv2_hypervisor import HypervisorInterface
from aether_edgecloud.emulator.devices.gicv2_variant import QEMU_VIRT, GicVariant
from aether_edgecloud.emulator.devices.gicv2_virtual import VirtualCpuInterface


class DistributorWindow:
    """The distributor as one CPU accesses it: a `Device`."""

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


class Gicv2:
    """The whole controller. Interrupt IDs: SGI 0-15, PPI 16-31 (both per CPU), SPI from 32."""

    def __init__(self, num_spis: int, num_cpus: int = 1, variant: GicVariant = QEMU_VIRT) -> None:
        cpus = range(num_cpus)
        self.num_cpus = num_cpus
        self._distributor = Distributor(num_spis, num_cpus, variant)
        self._windows = tuple(DistributorWindow(self._distributor, cpu) for cpu in cpus)
        self._interfaces = tuple(CpuInterface(self._distributor, cpu, variant) for cpu in cpus)
        self._virtual = tuple(VirtualCpuInterface(self._distributor, cpu, variant) for cpu in cpus)
        self._hypervisor = tuple(HypervisorInterface(virtual) for virtual in self._virtual)
        # What the inputs of each CPU see that is not stale by the distributor's account.
        self._signals = [NO_SIGNAL] * num_cpus
        self._virtual_signals = [NO_SIGNAL] * num_cpus

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

    def virtual_cpu_interface(self, cpu: int = 0) -> VirtualCpuInterface:
        """GICV of `cpu`."""
        return self._virtual[cpu]

    def hypervisor_interface(self, cpu: int = 0) -> HypervisorInterface:
        """GICH of `cpu`."""
        return self._hypervisor[cpu]

    def set_level(self, intid: int, level: bool, cpu: int = 0) -> None:
        """Drive the input of an SPI, or of a PPI of `cpu`; ValueError for any other ID."""
        self._distributor.set_level(intid, level, cpu)

    def first_target(self, intid: int) -> int:
        """The lowest CPU that an SPI goes to; 0 if it goes to none."""
        return self._distributor.first_target(intid)

    @property
    def stale(self) -> int:
        """A bit for each CPU whose inputs may have changed since they were last asked for.

        A write by one CPU can interrupt another; these are the CPUs to look at again, at both
        `signals` and `virtual_signals` (or the four inputs by name).
        """
        return self._distributor.stale | self._distributor.stale_virtual

    def signals(self, cpu: int = 0) -> Signals:
        """Both interrupt requests to `cpu`."""
        distributor = self._distributor
        if distributor.stale >> cpu & 1:
            distributor.stale &= ~(1 << cpu)
            self._signals[cpu] = self._interfaces[cpu].signals
        return self._signals[cpu]

    def virtual_signals(self, cpu: int = 0) -> Signals:
        """Both virtual interrupt requests to `cpu`."""
        distributor = self._distributor
        if distributor.stale_virtual >> cpu & 1:
            distributor.stale_virtual &= ~(1 << cpu)
            self._virtual_signals[cpu] = self._virtual[cpu].signals
        return self._virtual_signals[cpu]

    def irq(self, cpu: int = 0) -> bool:
        """The IRQ input of `cpu`."""
        return self.signals(cpu).irq

    def fiq(self, cpu: int = 0) -> bool:
        """The FIQ input of `cpu`."""
        return self.signals(cpu).fiq

    def virq(self, cpu: int = 0) -> bool:
        """The virtual IRQ input of `cpu`."""
        return self.virtual_signals(cpu).irq

    def vfiq(self, cpu: int = 0) -> bool:
        """The virtual FIQ input of `cpu`."""
        return self.virtual_signals(cpu).fiq

    def maintenance(self, cpu: int = 0) -> bool:
        """The output that asks the hypervisor of `cpu` for attention: to be wired to a PPI."""
        return self._virtual[cpu].maintenance

    def save(self) -> State:
        """The whole state."""
        return {
            "distributor": self._distributor.save(),
            "cpu_interfaces": [interface.save() for interface in self._interfaces],
            "virtual": [interface.save() for interface in self._virtual],
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self._distributor.restore(saved_part(state, "distributor"))
        parts = saved_parts(state, "cpu_interfaces")
        for interface, part in zip(self._interfaces, parts, strict=True):
            interface.restore(part)
        for virtual, part in zip(self._virtual, saved_parts(state, "virtual"), strict=True):
            virtual.restore(part)
