# SPDX-License-Identifier: Apache-2.0
"""GICv2 CPU interface (IHI 0048B, "CPU interface register descriptions").

There are no Security Extensions: GICC_CTLR holds both group enables, AckCtl, FIQEn, CBPR and
EOImode (bit 9). Interrupt bypass is not modelled. All registers are words; any other access is
RAZ/WI. What IHI 0048B calls UNPREDICTABLE on an end of interrupt is done as QEMU does it: the
priority drops if any is active, an ID that is not active stays so, the CPUID field of an SGI is not
checked, and GICC_DIR without EOImode is ignored.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State, saved_int, saved_ints
from aether_edgecloud.emulator.devices.gicv2_distributor import Distributor, PendingInterrupt
from aether_edgecloud.emulator.devices.gicv2_variant import GicVariant

SPURIOUS = 1023
"""Interrupt ID: nothing to acknowledge."""
GROUP1_PENDING = 1022
"""Interrupt ID: a Group 1 interrupt waits, but this register acknowledges Group 0 only."""
IDLE_PRIORITY = 0xFF


class Gicc(IntEnum):
    """Offsets of the CPU interface's registers; of arrays, the first."""

    CTLR = 0x0000
    PMR = 0x0004
    BPR = 0x0008
    IAR = 0x000C
    EOIR = 0x0010
    RPR = 0x0014
    HPPIR = 0x0018
    ABPR = 0x001C
    AIAR = 0x0020
    AEOIR = 0x0024
    AHPPIR = 0x0028
    APR = 0x00D0
    NSAPR = 0x00E0
    IIDR = 0x00FC
    DIR = 0x1000


_APR, _NSAPR = int(Gicc.APR), int(Gicc.NSAPR)

CTLR_ENABLE_GRP0 = 1 << 0
CTLR_ENABLE_GRP1 = 1 << 1
CTLR_ACK_CTL = 1 << 2
CTLR_FIQ_EN = 1 << 3
CTLR_CBPR = 1 << 4
CTLR_EOI_MODE = 1 << 9


@dataclass(frozen=True, slots=True)
class Signals:
    """The interrupt requests of a CPU interface to its CPU; at most one is asserted."""

    irq: bool
    fiq: bool


NO_SIGNAL = Signals(irq=False, fiq=False)
IRQ = Signals(irq=True, fiq=False)
FIQ = Signals(irq=False, fiq=True)


class CpuInterface:
    """One CPU's interface; a `Device`.

    `_active[group]` has a bit for every group priority at which an interrupt of that group is
    active: bit n stands for priority n << (min_binary_point + 1). They are GICC_APRn (Group 0)
    and GICC_NSAPRn (Group 1), whose lowest set bit is the running priority.
    """

    def __init__(self, distributor: Distributor, cpu: int, variant: GicVariant) -> None:
        self._distributor = distributor
        self._cpu = cpu
        self._variant = variant
        self._level_shift = variant.min_binary_point + 1
        self.ctlr = 0
        self.pmr = 0
        self.bpr = variant.min_binary_point
        self.abpr = variant.min_binary_point + 1
        self._active = [0, 0]
        self._readers: dict[int, Callable[[], int]] = {
            Gicc.CTLR: lambda: self.ctlr,
            Gicc.PMR: lambda: self.pmr,
            Gicc.BPR: lambda: self.bpr,
            Gicc.ABPR: lambda: self.abpr,
            Gicc.IAR: lambda: self._acknowledge(aliased=False),
            Gicc.AIAR: lambda: self._acknowledge(aliased=True),
            Gicc.RPR: lambda: self.running_priority,
            Gicc.HPPIR: lambda: self._visible(self._forwarded(), aliased=False),
            Gicc.AHPPIR: lambda: self._visible(self._forwarded(), aliased=True),
            Gicc.IIDR: lambda: self._variant.cpu_interface_iidr,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            Gicc.CTLR: self._write_control,
            Gicc.PMR: self._write_mask,
            Gicc.BPR: self._write_binary_point,
            Gicc.ABPR: self._write_aliased_binary_point,
            Gicc.EOIR: lambda value: self._end(value, aliased=False),
            Gicc.AEOIR: lambda value: self._end(value, aliased=True),
            Gicc.DIR: self._deactivate,
        }

    def _forwarded(self) -> PendingInterrupt | None:
        return self._distributor.highest_pending(self._cpu)

    # Priorities.

    @property
    def running_priority(self) -> int:
        """The group priority of the most urgent active interrupt; 0xFF when idle."""
        active = self._active[0] | self._active[1]
        return _lowest_bit(active) << self._level_shift if active else IDLE_PRIORITY

    def _group_priority(self, interrupt: PendingInterrupt) -> int:
        """Its group priority field: bits [7:n+1] by GICC_BPR = n, [7:n] by GICC_ABPR = n."""
        if interrupt.group == 0 or self.ctlr & CTLR_CBPR:
            return interrupt.priority & (0xFE << self.bpr)
        return interrupt.priority & (0xFF << self.abpr)

    def _group_enabled(self, group: int) -> bool:
        return bool(self.ctlr & (CTLR_ENABLE_GRP1 if group else CTLR_ENABLE_GRP0))

    def _signalled(self) -> PendingInterrupt | None:
        """The interrupt asserted to the CPU: its group enabled, its priority sufficient."""
        interrupt = self._forwarded()
        if interrupt is None or not self._group_enabled(interrupt.group):
            return None
        if interrupt.priority >= self.pmr:
            return None
        idle = not (self._active[0] | self._active[1])
        if not idle and self._group_priority(interrupt) >= self.running_priority:
            return None
        return interrupt

    @property
    def signals(self) -> Signals:
        """What the CPU's interrupt inputs see now."""
        interrupt = self._signalled()
        if interrupt is None:
            return NO_SIGNAL
        return FIQ if interrupt.group == 0 and self.ctlr & CTLR_FIQ_EN else IRQ

    # Acknowledge and end.

    def _visible(self, interrupt: PendingInterrupt | None, *, aliased: bool) -> int:
        """The value of an acknowledge or HPPIR register: CPUID [12:10], interrupt ID [9:0].

        The plain registers give Group 1 interrupts only with AckCtl, the aliased ones never give
        Group 0.
        """
        if interrupt is None:
            return SPURIOUS
        if aliased and interrupt.group == 0:
            return SPURIOUS
        if not aliased and interrupt.group == 1 and not self.ctlr & CTLR_ACK_CTL:
            return GROUP1_PENDING
        return interrupt.source_cpu << 10 | interrupt.intid

    def _acknowledge(self, *, aliased: bool) -> int:
        interrupt = self._signalled()
        value = self._visible(interrupt, aliased=aliased)
        if interrupt is not None and value not in (SPURIOUS, GROUP1_PENDING):
            level = self._group_priority(interrupt) >> self._level_shift
            self._active[interrupt.group] |= 1 << level
            self._distributor.acknowledge(interrupt, self._cpu)
        return value

    def _end(self, value: int, *, aliased: bool) -> None:
        intid = value & 0x3FF
        if intid >= 1020:
            return
        group = self._distributor.group_of(intid, self._cpu)
        if aliased and group == 0:
            return
        self._active[group] &= self._active[group] - 1 if self._active[group] else 0
        if not self.ctlr & CTLR_EOI_MODE:
            self._distributor.deactivate(intid, self._cpu)

    def _deactivate(self, value: int) -> None:
        if self.ctlr & CTLR_EOI_MODE and value & 0x3FF < 1020:
            self._distributor.deactivate(value & 0x3FF, self._cpu)

    # Registers.

    def read(self, offset: int, size: int) -> int:
        """A register; GICC_IAR and GICC_AIAR acknowledge."""
        if size != 4:
            return 0
        reader = self._readers.get(offset)
        if reader is not None:
            return reader()
        if _APR <= offset < _APR + 32 and offset % 4 == 0:
            group, shift = self._active_word(offset)
            return self._active[group] >> shift & 0xFFFF_FFFF
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """A register; GICC_EOIR and GICC_AEOIR end an interrupt, GICC_DIR deactivates it."""
        if size != 4:
            return
        writer = self._writers.get(offset)
        if writer is not None:
            writer(value)
        elif _APR <= offset < _APR + 32 and offset % 4 == 0:
            group, shift = self._active_word(offset)
            levels = (1 << (0x100 >> self._level_shift)) - 1
            whole = 0xFFFF_FFFF << shift
            bits = (value & 0xFFFF_FFFF) << shift
            self._active[group] = (self._active[group] & ~whole | bits) & levels
        self._distributor.stale |= 1 << self._cpu

    def _write_control(self, value: int) -> None:
        self.ctlr = value & self._variant.cpu_interface_control

    def _write_mask(self, value: int) -> None:
        self.pmr = value & self._variant.priority_mask

    def _write_binary_point(self, value: int) -> None:
        self.bpr = max(value & 7, self._variant.min_binary_point)

    def _write_aliased_binary_point(self, value: int) -> None:
        self.abpr = max(value & 7, self._variant.min_binary_point + 1)

    @staticmethod
    def _active_word(offset: int) -> tuple[int, int]:
        """Group and first bit that a word of GICC_APRn or GICC_NSAPRn stands for."""
        group = 0 if offset < _NSAPR else 1
        return group, (offset % 16) * 8

    # State.

    def save(self) -> State:
        """The whole state, without the distributor's."""
        return {
            "ctlr": self.ctlr,
            "pmr": self.pmr,
            "bpr": self.bpr,
            "abpr": self.abpr,
            "active": list(self._active),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self.ctlr = saved_int(state, "ctlr")
        self.pmr = saved_int(state, "pmr")
        self.bpr = saved_int(state, "bpr")
        self.abpr = saved_int(state, "abpr")
        self._active = saved_ints(state, "active")
        self._distributor.stale |= 1 << self._cpu


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
