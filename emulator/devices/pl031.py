# SPDX-License-Identifier: Apache-2.0
"""PL031 real time clock (Arm DDI 0224), a count of seconds with one alarm.

The model keeps no time: each access is given the system counter, and `advance` tells it that the
counter has moved on. The clock runs from the start, as after firmware that has enabled it: RTCCR
reads 1, and nothing stops it. As QEMU does it, a write that makes RTCDR and RTCMR equal raises the
interrupt at once. All registers are words; any other access is RAZ/WI.
"""

from collections.abc import Mapping
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State, saved_int

_SECONDS = 1 << 32
_WORD = _SECONDS - 1


class Rtc(IntEnum):
    """Register offsets."""

    DR = 0x000
    MR = 0x004
    LR = 0x008
    CR = 0x00C
    IMSC = 0x010
    RIS = 0x014
    MIS = 0x018
    ICR = 0x01C
    PERIPH_ID0 = 0xFE0
    PCELL_ID3 = 0xFFC


_IDS = (0x31, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1)
"""RTCPeriphID0-3 (part 0x031, designer 0x41, revision 1) and RTCPCellID0-3."""


class Pl031:
    """One clock. `frequency` is the system counter's, in Hz; RTCDR is `start` at counter 0."""

    def __init__(self, frequency: int, start: int = 0) -> None:
        self._frequency = frequency
        self._offset = start  # RTCDR is the whole seconds of the counter plus this
        self._match = 0
        self._load = 0
        self._mask = 0
        self._raw = 0
        self._due = self._next_match(0)

    def advance(self, counter: int) -> None:
        """The system counter has reached `counter`."""
        if counter >= self._due:
            self._raw = 1
            self._due = self._next_match(counter)

    @property
    def interrupt(self) -> bool:
        """RTCINTR."""
        return bool(self._raw & self._mask)

    @property
    def next_event(self) -> int | None:
        """The count at which the interrupt will be asserted, if it will be."""
        return self._due if self._mask and not self._raw else None

    def _seconds(self, counter: int) -> int:
        return (self._offset + counter // self._frequency) & _WORD

    def _next_match(self, counter: int) -> int:
        """The least count after `counter` at which RTCDR becomes equal to RTCMR."""
        wait = (self._match - self._seconds(counter) - 1) % _SECONDS + 1
        return (counter // self._frequency + wait) * self._frequency

    def _compare(self, counter: int) -> None:
        """RTCDR or RTCMR has been written."""
        if self._seconds(counter) == self._match:
            self._raw = 1
        self._due = self._next_match(counter)

    def read(self, offset: int, size: int, counter: int) -> int:
        """A register, when the system counter is `counter`."""
        if size != 4 or offset % 4:
            return 0
        self.advance(counter)
        if Rtc.PERIPH_ID0 <= offset <= Rtc.PCELL_ID3:
            return _IDS[(offset - Rtc.PERIPH_ID0) // 4]
        match offset:
            case Rtc.DR:
                return self._seconds(counter)
            case Rtc.MR:
                return self._match
            case Rtc.LR:
                return self._load
            case Rtc.CR:
                return 1
            case Rtc.IMSC:
                return self._mask
            case Rtc.RIS:
                return self._raw
            case Rtc.MIS:
                return self._raw & self._mask
        return 0

    def write(self, offset: int, size: int, value: int, counter: int) -> None:
        """A register, when the system counter is `counter`."""
        if size != 4:
            return
        self.advance(counter)
        value &= _WORD
        match offset:
            case Rtc.MR:
                self._match = value
                self._compare(counter)
            case Rtc.LR:
                self._load = value
                self._offset = (value - counter // self._frequency) & _WORD
                self._compare(counter)
            case Rtc.IMSC:
                self._mask = value & 1
            case Rtc.ICR:
                self._raw &= ~value

    def save(self) -> State:
        """The whole state."""
        return {
            "offset": self._offset,
            "match": self._match,
            "load": self._load,
            "mask": self._mask,
            "raw": self._raw,
            "due": self._due,
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self._offset = saved_int(state, "offset")
        self._match = saved_int(state, "match")
        self._load = saved_int(state, "load")
        self._mask = saved_int(state, "mask")
        self._raw = saved_int(state, "raw")
        self._due = saved_int(state, "due")
