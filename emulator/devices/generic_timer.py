# SPDX-License-Identifier: Apache-2.0
"""The generic timer of one CPU as seen from EL2 and below (Arm ARM, "The Generic Timer").

The model keeps no time: each call is given the system counter. It is a count of ticks that only
grows; the architectural 64-bit counter is its low 64 bits. Traps and enables in CNTHCTL_EL2 and
CNTKCTL_EL1 belong to the CPU, which checks them before it comes here; event streams too.
CNTPS (EL3) and CNTHV (FEAT_VHE) are not there: Cortex-A72 gives EL2 neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from aether_edgecloud.emulator.devices.device import State, saved_int, saved_part

_WRAP = 1 << 64
_MASK = _WRAP - 1

CTL_ENABLE = 1 << 0
CTL_IMASK = 1 << 1
CTL_ISTATUS = 1 << 2

PPI_HYPERVISOR = 26
PPI_VIRTUAL = 27
PPI_PHYSICAL = 30
"""Interrupt IDs (Server Base System Architecture); as PPI numbers 10, 11 and 14."""


class TimerRegister(StrEnum):
    """The System registers kept here, by their architectural names."""

    CNTFRQ_EL0 = "CNTFRQ_EL0"
    CNTPCT_EL0 = "CNTPCT_EL0"
    CNTVCT_EL0 = "CNTVCT_EL0"
    CNTVOFF_EL2 = "CNTVOFF_EL2"
    CNTP_CTL_EL0 = "CNTP_CTL_EL0"
    CNTP_CVAL_EL0 = "CNTP_CVAL_EL0"
    CNTP_TVAL_EL0 = "CNTP_TVAL_EL0"
    CNTV_CTL_EL0 = "CNTV_CTL_EL0"
    CNTV_CVAL_EL0 = "CNTV_CVAL_EL0"
    CNTV_TVAL_EL0 = "CNTV_TVAL_EL0"
    CNTHP_CTL_EL2 = "CNTHP_CTL_EL2"
    CNTHP_CVAL_EL2 = "CNTHP_CVAL_EL2"
    CNTHP_TVAL_EL2 = "CNTHP_TVAL_EL2"


class _Field(Enum):
    """What a register of a timer shows of it."""

    CTL = auto()
    CVAL = auto()
    TVAL = auto()


_CTL, _CVAL = _Field.CTL, _Field.CVAL

READ_ONLY = frozenset(
    {TimerRegister.CNTFRQ_EL0, TimerRegister.CNTPCT_EL0, TimerRegister.CNTVCT_EL0}
)
"""Writes are UNDEFINED at EL2 and below: CNTFRQ_EL0 may be written only at EL3."""


class TimerLevels(NamedTuple):
    """The timers' interrupt outputs, True when asserted."""

    physical: bool
    virtual: bool
    hypervisor: bool

    def by_intid(self) -> tuple[tuple[int, bool], ...]:
        """Interrupt ID and level of each."""
        return (
            (PPI_HYPERVISOR, self.hypervisor),
            (PPI_VIRTUAL, self.virtual),
            (PPI_PHYSICAL, self.physical),
        )


@dataclass(slots=True)
class _Timer:
    """One timer, against `now`: the 64-bit count it compares with, its offset applied."""

    control: int = 0
    """ENABLE and IMASK; ISTATUS is derived."""
    compare: int = 0

    @property
    def setting(self) -> int | None:
        """What the output depends on, time apart; None: it is off."""
        is_on = self.control & (CTL_ENABLE | CTL_IMASK) == CTL_ENABLE
        return self.compare if is_on else None

    def condition_met(self, now: int) -> bool:
        """The TimerConditionMet of the Arm ARM: unsigned now >= CompareValue."""
        return bool(self.control & CTL_ENABLE) and now >= self.compare

    def level(self, now: int) -> bool:
        """The interrupt output."""
        return self.control & (CTL_ENABLE | CTL_IMASK) == CTL_ENABLE and now >= self.compare

    def ticks_to_change(self, now: int) -> int | None:
        """Ticks, at least 1, until the output changes if nobody writes; None if it never does."""
        if self.control & (CTL_ENABLE | CTL_IMASK) != CTL_ENABLE or self.compare == 0:
            return None
        # Past the compare value, only the wrap of the count takes the condition away.
        return self.compare - now if now < self.compare else _WRAP - now

    def read_control(self, now: int) -> int:
        """CTL. ISTATUS is UNKNOWN while disabled: here 0."""
        return self.control | (CTL_ISTATUS if self.condition_met(now) else 0)

    def read_value(self, now: int) -> int:
        """TVAL: the low 32 bits of CompareValue - count, also while disabled (UNKNOWN there)."""
        return (self.compare - now) & 0xFFFF_FFFF

    def write_value(self, value: int, now: int) -> None:
        """TVAL: CompareValue = count + SignExtend(value[31:0]), to 64 bits."""
        signed = (value & 0x7FFF_FFFF) - (value & 0x8000_0000)
        self.compare = (now + signed) & _MASK

    def save(self) -> State:
        return {"control": self.control, "compare": self.compare}

    def restore(self, state: Mapping[str, object]) -> None:
        self.control = saved_int(state, "control")
        self.compare = saved_int(state, "compare")


class GenericTimer:
    """CNTP, CNTV with CNTVOFF, and CNTHP of one CPU. `frequency` is in Hz.

    `generation` changes with everything that can change an output, time apart.
    """

    def __init__(self, frequency: int) -> None:
        self.frequency = frequency
        self.generation = 0
        self.virtual_offset = 0
        self._physical = _Timer()
        self._virtual = _Timer()
        self._hypervisor = _Timer()
        # Of each register of a timer: the timer, and the field.
        self._fields = {
            TimerRegister(f"{prefix}_{kind.name}_{suffix}"): (timer, kind)
            for prefix, suffix, timer in (
                ("CNTP", "EL0", self._physical),
                ("CNTV", "EL0", self._virtual),
                ("CNTHP", "EL2", self._hypervisor),
            )
            for kind in _Field
        }

    def read(self, register: TimerRegister, counter: int) -> int:
        """A register's 64-bit value when the system counter is `counter`."""
        field = self._fields.get(register)
        if field is None:
            return self._read_counter(register, counter)
        timer, kind = field
        now = self._now(timer, counter)
        if kind is _CTL:
            return timer.read_control(now)
        return timer.compare if kind is _CVAL else timer.read_value(now)

    def _read_counter(self, register: TimerRegister, counter: int) -> int:
        match register:
            case TimerRegister.CNTPCT_EL0:
                return counter & _MASK
            case TimerRegister.CNTVCT_EL0:
                return (counter - self.virtual_offset) & _MASK
            case TimerRegister.CNTVOFF_EL2:
                return self.virtual_offset
        return self.frequency

    def write(self, register: TimerRegister, value: int, counter: int) -> None:
        """Write a register when the system counter is `counter`.

        ValueError for one in `READ_ONLY`, which the CPU makes UNDEFINED.
        """
        if register in READ_ONLY:
            raise ValueError(f"{register} cannot be written at EL2 or below")
        if register is TimerRegister.CNTVOFF_EL2:
            self.generation += self.virtual_offset != value & _MASK
            self.virtual_offset = value & _MASK
            return
        timer, kind = self._fields[register]
        before = timer.setting
        if kind is _CTL:
            timer.control = value & (CTL_ENABLE | CTL_IMASK)
        elif kind is _CVAL:
            timer.compare = value & _MASK
        else:
            timer.write_value(value, self._now(timer, counter))
        self.generation += timer.setting != before

    def levels(self, counter: int) -> TimerLevels:
        """The interrupt outputs at `counter`."""
        now = counter & _MASK
        return TimerLevels(
            self._physical.level(now),
            self._virtual.level((now - self.virtual_offset) & _MASK),
            self._hypervisor.level(now),
        )

    def next_event(self, counter: int) -> int | None:
        """The least count after `counter` at which an output differs from now, if any.

        It may lie past 2**64, where the architectural counter has wrapped.
        """
        now = counter & _MASK
        soonest = None
        for timer in (self._physical, self._virtual, self._hypervisor):
            if timer.control & (CTL_ENABLE | CTL_IMASK) != CTL_ENABLE:
                continue
            own = now if timer is not self._virtual else (now - self.virtual_offset) & _MASK
            wait = timer.ticks_to_change(own)
            if wait is not None and (soonest is None or wait < soonest):
                soonest = wait
        return None if soonest is None else counter + soonest

    def _now(self, timer: _Timer, counter: int) -> int:
        """The count that a timer compares with."""
        return (counter - self.virtual_offset if timer is self._virtual else counter) & _MASK

    def save(self) -> State:
        """The whole state."""
        return {
            "virtual_offset": self.virtual_offset,
            "physical": self._physical.save(),
            "virtual": self._virtual.save(),
            "hypervisor": self._hypervisor.save(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self.generation += 1
        self.virtual_offset = saved_int(state, "virtual_offset")
        self._physical.restore(saved_part(state, "physical"))
        self._virtual.restore(saved_part(state, "virtual"))
        self._hypervisor.restore(saved_part(state, "hypervisor"))
