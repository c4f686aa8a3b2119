# SPDX-License-Identifier: Apache-2.0
"""GICv2 virtual interface control registers (IHI 0048B, "GIC virtual interface control registers").

The hypervisor's side of a `VirtualCpuInterface`, for the CPU that accesses it. All registers are
words; any other access is RAZ/WI.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State
from aether_edgecloud.emulator.devices.gicv2_virtual import (
    HCR_WRITABLE,
    LIST_REGISTERS,
    VirtualCpuInterface,
)

_PRIORITY_BITS = 5
_PREEMPTION_BITS = 5


class Gich(IntEnum):
    """Offsets of the virtual interface control registers; of arrays, the first."""

    HCR = 0x000
    VTR = 0x004
    VMCR = 0x008
    MISR = 0x010
    EISR0 = 0x020
    EISR1 = 0x024
    ELRSR0 = 0x030
    ELRSR1 = 0x034
    APR = 0x0F0
    LR = 0x100


_LR = int(Gich.LR)
_LR_END = _LR + 4 * LIST_REGISTERS

VTR = (_PRIORITY_BITS - 1) << 29 | (_PREEMPTION_BITS - 1) << 26 | (LIST_REGISTERS - 1)


class HypervisorInterface:
    """One CPU's GICH; a `Device`."""

    def __init__(self, virtual: VirtualCpuInterface) -> None:
        self._virtual = virtual
        self._readers: dict[int, Callable[[], int]] = {
            Gich.HCR: lambda: virtual.hcr,
            Gich.VTR: lambda: VTR,
            Gich.VMCR: self._read_vmcr,
            Gich.MISR: lambda: virtual.misr,
            Gich.EISR0: lambda: virtual.ended,
            Gich.ELRSR0: lambda: virtual.empty,
            Gich.APR: lambda: virtual.active_priorities,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            Gich.HCR: self._write_hcr,
            Gich.VMCR: self._write_vmcr,
            Gich.APR: virtual.write_active_priorities,
        }

    def read(self, offset: int, size: int) -> int:
        """A register; reading changes nothing."""
        if size != 4:
            return 0
        if _LR <= offset < _LR_END:
            return 0 if offset % 4 else self._virtual.list_register((offset - _LR) >> 2)
        reader = self._readers.get(offset)
        return 0 if reader is None else reader()

    def write(self, offset: int, size: int, value: int) -> None:
        """A register."""
        if size != 4:
            return
        if _LR <= offset < _LR_END:
            if offset % 4 == 0:
                self._virtual.write_list_register((offset - _LR) >> 2, value)
            return
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
            self._virtual.changed()

    def _write_hcr(self, value: int) -> None:
        self._virtual.hcr = value & HCR_WRITABLE

    def _read_vmcr(self) -> int:
        """VMPriMask [31:27], VMBP [23:21], VMABP [20:18], and GICV_CTLR [9:0]."""
        virtual = self._virtual
        return virtual.pmr << 24 | virtual.bpr << 21 | virtual.abpr << 18 | virtual.ctlr

    def _write_vmcr(self, value: int) -> None:
        virtual = self._virtual
        virtual.write_mask(value >> 24)
        virtual.write_binary_point(value >> 21)
        virtual.write_aliased_binary_point(value >> 18)
        virtual.write_control(value)

    def save(self) -> State:
        """The state of the interface behind."""
        return self._virtual.save()

    def restore(self, state: Mapping[str, object]) -> None:
        """Restores the interface behind."""
        self._virtual.restore(state)
