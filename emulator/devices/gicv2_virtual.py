# SPDX-License-Identifier: Apache-2.0
"""GICv2 virtual CPU interface (IHI 0048B, "The virtual CPU interface"), as GIC-400 has it.

Its interrupts are those in the list registers, which a hypervisor fills through
`HypervisorInterface`. Four list registers; priorities of 5 bits, all of which can preempt.

All registers are words; any other access is RAZ/WI. Where IHI 0048B says UNPREDICTABLE or nothing:
of equal priorities the lowest list register wins; a list register with a special interrupt ID
(1020 and up) is never taken; of several with one ID the lowest counts; GICV_DIR without EOImode is
ignored; an end of interrupt works while GICH_HCR.En is 0; a hardware interrupt that is active and
pending stays pending when it ends, and one whose PhysicalID is an SGI's deactivates nothing.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State, saved_int, saved_ints
from aether_edgecloud.emulator.devices.gicv2_cpu_interface import (
    CTLR_ACK_CTL,
    CTLR_CBPR,
    CTLR_ENABLE_GRP0,
    CTLR_ENABLE_GRP1,
    CTLR_EOI_MODE,
    CTLR_FIQ_EN,
    FIQ,
    GROUP1_PENDING,
    IDLE_PRIORITY,
    IRQ,
    NO_SIGNAL,
    SPURIOUS,
    Signals,
)
from aether_edgecloud.emulator.devices.gicv2_distributor import SGIS, Distributor
from aether_edgecloud.emulator.devices.gicv2_variant import GicVariant

LIST_REGISTERS = 4
MIN_BINARY_POINT = 2
"""The least GICV_BPR; the least GICV_ABPR is one more."""
_LEVEL_SHIFT = MIN_BINARY_POINT + 1
_CONTROL = (
    CTLR_ENABLE_GRP0 | CTLR_ENABLE_GRP1 | CTLR_ACK_CTL | CTLR_FIQ_EN | CTLR_CBPR | CTLR_EOI_MODE
)
_PRIORITY_MASK = 0xF8
_FIRST_SPECIAL_ID = 1020

LR_HW = 1 << 31
LR_GRP1 = 1 << 30
LR_ACTIVE = 1 << 29
LR_PENDING = 1 << 28
LR_STATE = LR_ACTIVE | LR_PENDING
LR_EOI = 1 << 19
"""Of a software interrupt: its end asks for maintenance."""
_LR_RESERVED = 0x7 << 20


HCR_EN = 1 << 0
HCR_UIE = 1 << 1
HCR_LRENPIE = 1 << 2
HCR_NPIE = 1 << 3
HCR_VGRP0EIE = 1 << 4
HCR_VGRP0DIE = 1 << 5
HCR_VGRP1EIE = 1 << 6
HCR_VGRP1DIE = 1 << 7
HCR_EOI_COUNT_ONE = 1 << 27
HCR_WRITABLE = 0xF800_00FF
_HCR_EOI_COUNT = 0x1F << 27
_HCR_SOURCES = 0xFE

MISR_EOI = 1 << 0
MISR_U = 1 << 1
MISR_LRENP = 1 << 2
MISR_NP = 1 << 3
MISR_VGRP0E = 1 << 4
MISR_VGRP0D = 1 << 5
MISR_VGRP1E = 1 << 6
MISR_VGRP1D = 1 << 7


class Gicv(IntEnum):
    """Offsets of the virtual CPU interface's registers."""

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
    APR0 = 0x00D0
    IIDR = 0x00FC
    DIR = 0x1000


class VirtualCpuInterface:
    """One CPU's virtual interface, as its virtual machine accesses it: a `Device`.

    `active_priorities` is GICH_APR: bit n is set while an interrupt of group priority 8n is
    active; its lowest set bit is the running priority.
    """

    def __init__(self, distributor: Distributor, cpu: int, variant: GicVariant) -> None:
        self._distributor = distributor
        self._cpu = cpu
        self._bit = 1 << cpu
        self._iidr = variant.cpu_interface_iidr
        self.hcr = 0
        self.ctlr = 0
        self.pmr = 0
        self.bpr = MIN_BINARY_POINT
        self.abpr = MIN_BINARY_POINT + 1
        self.active_priorities = 0
        self._list = [0] * LIST_REGISTERS
        # Of _list, a bit for each register: pending and not active; in no state but inactive;
        # a software interrupt that has ended and asked to be told.
        self._pending = 0
        self._valid = 0
        self._ended = 0
        self._maintenance = False
        # What _signalled() answers, if it has been asked since the last change.
        self._asserted: int | None = None
        self._asserted_known = False
        self._readers: dict[int, Callable[[], int]] = {
            Gicv.CTLR: lambda: self.ctlr,
            Gicv.PMR: lambda: self.pmr,
            Gicv.BPR: lambda: self.bpr,
            Gicv.ABPR: lambda: self.abpr,
            Gicv.IAR: lambda: self._acknowledge(aliased=False),
            Gicv.AIAR: lambda: self._acknowledge(aliased=True),
            Gicv.RPR: lambda: self.running_priority,
            Gicv.HPPIR: lambda: self._visible(self._best(), aliased=False),
            Gicv.AHPPIR: lambda: self._visible(self._best(), aliased=True),
            Gicv.APR0: lambda: self.active_priorities,
            Gicv.IIDR: lambda: self._iidr,
        }
        self._writers: dict[int, Callable[[int], None]] = {
            Gicv.CTLR: self.write_control,
            Gicv.PMR: self.write_mask,
            Gicv.BPR: self.write_binary_point,
            Gicv.ABPR: self.write_aliased_binary_point,
            Gicv.EOIR: lambda value: self._end(value, aliased=False),
            Gicv.AEOIR: lambda value: self._end(value, aliased=True),
            Gicv.APR0: self.write_active_priorities,
            Gicv.DIR: self._deactivate,
        }

    # List registers.

    def list_register(self, index: int) -> int:
        """GICH_LRn."""
        return self._list[index]

    def write_list_register(self, index: int, value: int) -> None:
        """GICH_LRn, from the hypervisor."""
        self._set(index, value & 0xFFFF_FFFF & ~_LR_RESERVED)
        self.changed()

    def _set(self, index: int, value: int) -> None:
        self._list[index] = value
        bit = 1 << index
        state = value & LR_STATE
        if state:
            self._valid |= bit
            self._ended &= ~bit
            self._pending = self._pending | bit if state == LR_PENDING else self._pending & ~bit
        else:
            self._valid &= ~bit
            self._pending &= ~bit
            asks = value & (LR_HW | LR_EOI) == LR_EOI
            self._ended = self._ended | bit if asks else self._ended & ~bit

    @property
    def ended(self) -> int:
        """GICH_EISR0: registers whose interrupt has ended and asked for maintenance."""
        return self._ended

    @property
    def empty(self) -> int:
        """GICH_ELRSR0: registers that can be used without losing anything."""
        return ~(self._valid | self._ended) & (1 << LIST_REGISTERS) - 1

    def _find_active(self, intid: int) -> int | None:
        for index, value in enumerate(self._list):
            if value & LR_ACTIVE and value & 0x3FF == intid:
                return index
        return None

    # Priorities.

    @property
    def running_priority(self) -> int:
        """The group priority of the most urgent active interrupt; 0xFF when idle."""
        active = self.active_priorities
        if not active:
            return IDLE_PRIORITY
        return ((active & -active).bit_length() - 1) << _LEVEL_SHIFT

    def _group_priority(self, value: int) -> int:
        """Of a list register: bits [7:n+1] by GICV_BPR = n, [7:n] by GICV_ABPR = n."""
        priority = value >> 20 & _PRIORITY_MASK
        if not value & LR_GRP1 or self.ctlr & CTLR_CBPR:
            return priority & 0xFE << self.bpr
        return priority & 0xFF << self.abpr

    def _best(self) -> int | None:
        """The list register of the highest pending priority, while the interface is on."""
        pending = self._pending
        if not pending or not self.hcr & HCR_EN:
            return None
        best = None
        best_priority = 0x100
        for index in range(LIST_REGISTERS):
            if pending >> index & 1:
                value = self._list[index]
                priority = value >> 20 & _PRIORITY_MASK
                if priority < best_priority and value & 0x3FF < _FIRST_SPECIAL_ID:
                    best, best_priority = index, priority
        return best

    def _signalled(self) -> int | None:
        """The list register asserted to the CPU: its group enabled, its priority sufficient."""
        if not self._asserted_known:
            self._asserted = self._find_signalled()
            self._asserted_known = True
        return self._asserted

    def _find_signalled(self) -> int | None:
        index = self._best()
        if index is None:
            return None
        value = self._list[index]
        enable = CTLR_ENABLE_GRP1 if value & LR_GRP1 else CTLR_ENABLE_GRP0
        if not self.ctlr & enable or value >> 20 & _PRIORITY_MASK >= self.pmr:
            return None
        if self.active_priorities and self._group_priority(value) >= self.running_priority:
            return None
        return index

    @property
    def signals(self) -> Signals:
        """What the CPU's virtual interrupt inputs see now."""
        if not self._pending:
            return NO_SIGNAL
        index = self._signalled()
        if index is None:
            return NO_SIGNAL
        group0 = not self._list[index] & LR_GRP1
        return FIQ if group0 and self.ctlr & CTLR_FIQ_EN else IRQ

    # Maintenance.

    @property
    def misr(self) -> int:
        """GICH_MISR: the causes of a maintenance interrupt that are there."""
        causes = MISR_EOI if self._ended else 0
        hcr = self.hcr
        if hcr & HCR_UIE and not self._valid & (self._valid - 1):
            causes |= MISR_U
        if hcr & HCR_LRENPIE and hcr & _HCR_EOI_COUNT:
            causes |= MISR_LRENP
        if hcr & HCR_NPIE and not self._pending:
            causes |= MISR_NP
        if hcr & (HCR_VGRP0EIE | HCR_VGRP0DIE | HCR_VGRP1EIE | HCR_VGRP1DIE):
            on, off = (HCR_VGRP0EIE, HCR_VGRP0DIE)
            causes |= hcr & (on if self.ctlr & CTLR_ENABLE_GRP0 else off)
            on, off = (HCR_VGRP1EIE, HCR_VGRP1DIE)
            causes |= hcr & (on if self.ctlr & CTLR_ENABLE_GRP1 else off)
        return causes

    @property
    def maintenance(self) -> bool:
        """The maintenance interrupt's output."""
        return self._maintenance

    def changed(self) -> None:
        """Something was written: what the interface puts out may be different."""
        self._distributor.stale_virtual |= self._bit
        self._asserted_known = False
        hcr = self.hcr
        self._maintenance = bool(
            hcr & HCR_EN and (self._ended or (hcr & _HCR_SOURCES and self.misr))
        )

    # Acknowledge and end.

    def _visible(self, index: int | None, *, aliased: bool) -> int:
        """The value of an acknowledge or HPPIR register: CPUID [12:10], interrupt ID [9:0]."""
        if index is None:
            return SPURIOUS
        value = self._list[index]
        if value & LR_GRP1:
            if not aliased and not self.ctlr & CTLR_ACK_CTL:
                return GROUP1_PENDING
        elif aliased:
            return SPURIOUS
        # CPUID is that of an SGI a virtual machine has sent itself.
        return value & (0x1FFF if value & 0x3FF < SGIS and not value & LR_HW else 0x3FF)

    def _acknowledge(self, *, aliased: bool) -> int:
        index = self._signalled()
        answer = self._visible(index, aliased=aliased)
        if index is not None and answer not in (SPURIOUS, GROUP1_PENDING):
            value = self._list[index]
            self.active_priorities |= 1 << (self._group_priority(value) >> _LEVEL_SHIFT)
            self._set(index, value ^ LR_STATE)  # pending becomes active
            self.changed()
        return answer

    def _end(self, value: int, *, aliased: bool) -> None:
        intid = value & 0x3FF
        if intid >= _FIRST_SPECIAL_ID:
            return
        index = self._find_active(intid)
        if aliased and index is not None and not self._list[index] & LR_GRP1:
            return
        dropped = self.active_priorities != 0
        self.active_priorities &= self.active_priorities - 1 if dropped else 0
        if self.ctlr & CTLR_EOI_MODE:
            return
        if index is not None:
            self._make_inactive(index)
        elif dropped:
            self._count_end()

    def _deactivate(self, value: int) -> None:
        intid = value & 0x3FF
        if not self.ctlr & CTLR_EOI_MODE or intid >= _FIRST_SPECIAL_ID:
            return
        index = self._find_active(intid)
        if index is None:
            self._count_end()
        else:
            self._make_inactive(index)

    def _make_inactive(self, index: int) -> None:
        value = self._list[index]
        self._set(index, value & ~LR_ACTIVE)
        if value & LR_HW:
            physical = value >> 10 & 0x3FF
            if physical >= SGIS:
                self._distributor.deactivate(physical, self._cpu)

    def _count_end(self) -> None:
        """An interrupt ended that no list register holds: GICH_HCR.EOICount, modulo 32."""
        self.hcr = (self.hcr + HCR_EOI_COUNT_ONE) & 0xFFFF_FFFF

    # Registers.

    def read(self, offset: int, size: int) -> int:
        """A register; GICV_IAR and GICV_AIAR acknowledge."""
        reader = self._readers.get(offset)
        return 0 if reader is None or size != 4 else reader()

    def write(self, offset: int, size: int, value: int) -> None:
        """A register; GICV_EOIR and GICV_AEOIR end an interrupt, GICV_DIR deactivates it."""
        writer = self._writers.get(offset)
        if writer is not None and size == 4:
            writer(value)
            self.changed()

    def write_control(self, value: int) -> None:
        """GICV_CTLR, also in GICH_VMCR."""
        self.ctlr = value & _CONTROL

    def write_mask(self, value: int) -> None:
        """GICV_PMR, also in GICH_VMCR."""
        self.pmr = value & _PRIORITY_MASK

    def write_binary_point(self, value: int) -> None:
        """GICV_BPR, also in GICH_VMCR."""
        self.bpr = max(value & 7, MIN_BINARY_POINT)

    def write_aliased_binary_point(self, value: int) -> None:
        """GICV_ABPR, also in GICH_VMCR."""
        self.abpr = max(value & 7, MIN_BINARY_POINT + 1)

    def write_active_priorities(self, value: int) -> None:
        """GICV_APR0, and GICH_APR."""
        self.active_priorities = value & 0xFFFF_FFFF

    # State.

    def save(self) -> State:
        """The whole state, the hypervisor's registers included."""
        return {
            "hcr": self.hcr,
            "ctlr": self.ctlr,
            "pmr": self.pmr,
            "bpr": self.bpr,
            "abpr": self.abpr,
            "active_priorities": self.active_priorities,
            "list": list(self._list),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self.hcr = saved_int(state, "hcr")
        self.ctlr = saved_int(state, "ctlr")
        self.pmr = saved_int(state, "pmr")
        self.bpr = saved_int(state, "bpr")
        self.abpr = saved_int(state, "abpr")
        self.active_priorities = saved_int(state, "active_priorities")
        for index, value in enumerate(saved_ints(state, "list")):
            self._set(index, value)
        self.changed()
