# SPDX-License-Identifier: Apache-2.0
"""Between a UART model and the outside: output collected, input handed over when it is asked for.

When input reaches the UART is a function of what the guest does, never of the host's time. Empty
polls are the guest's reads of the UART's flag and data registers, in a row, that found no input;
a byte received or sent begins the row anew. A guest that merely looks whether it may send never
gets to POLLS_BEFORE_INPUT. One that does is given one byte: were it more, it would show how the
host cut a pipe into pieces.
"""

from collections.abc import Callable
from typing import Protocol

from aether_edgecloud.emulator.devices.pl011 import Pl011

POLLS_BEFORE_INPUT = 16
POLLS_BEFORE_END = 10_000


class InputSource(Protocol):
    """Where console input comes from."""

    @property
    def exhausted(self) -> bool:
        """No byte will ever come again."""

    def take_byte(self) -> int | None:
        """The next byte. None: there is none just now, or none any more. A source that stands for
        piped input waits for its writer instead of saying that there is none just now.
        """

    def wait(self) -> None:
        """Wait until there is a byte, or there will be none any more."""


class Bytes:
    """Input known beforehand; none at all by default."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data
        self._next = 0

    @property
    def exhausted(self) -> bool:
        """Whether all has been taken."""
        return self._next == len(self._data)

    def take_byte(self) -> int | None:
        """The next byte, None after the last."""
        if self.exhausted:
            return None
        self._next += 1
        return self._data[self._next - 1]

    def wait(self) -> None:
        """There is nothing to wait for."""


class Console:
    """The console UART's other end. `output` is all that was sent since reset."""

    def __init__(self, uart: Pl011, source: InputSource) -> None:
        self._uart = uart
        self._source = source
        self.empty_polls = 0
        self.output = bytearray()
        self.on_output: Callable[[bytes], None] | None = None

    def poll(self) -> None:
        """The guest looks for input, and the UART holds none: count it, maybe feed a byte."""
        if not self._uart.wants_input:
            return
        self.empty_polls += 1
        if self.empty_polls >= POLLS_BEFORE_INPUT and not self._source.exhausted:
            self._feed()

    def wait(self) -> bool:
        """All CPUs wait: wait for a byte too. False if none will come."""
        self._source.wait()
        return not self._source.exhausted and self._feed()

    def collect(self) -> None:
        """Take over what the UART has sent."""
        data = self._uart.take_output()
        if data:
            self.empty_polls = 0
            self.output += data
            if self.on_output is not None:
                self.on_output(data)

    @property
    def input_ended(self) -> bool:
        """The input is at its end, and the guest has asked for more long enough."""
        return self.empty_polls >= POLLS_BEFORE_END and self._source.exhausted

    def _feed(self) -> bool:
        byte = self._source.take_byte()
        if byte is None:
            return False
        self._uart.feed(bytes([byte]))
        self.empty_polls = 0
        return True
