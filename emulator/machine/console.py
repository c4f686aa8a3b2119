# SPDX-License-Identifier: Apache-2.0
"""Between a UART model and the outside: output collected, input handed over when it is asked for.

When input reaches the UART is a function of what the guest does, never of the host's time. Empty
polls are the guest's reads of the UART's flag and data registers, in a row, that found no input;
a byte received or sent begins the row anew. A guest that merely looks whether it may send never
gets to POLLS_BEFORE_INPUT. One that does is given one byte: were it more, it would show how the
host cut a pipe into pieces.

Input that is at its end has ended for the guest too when a row is long: POLLS_BEFORE_END, or, for a
program that looks by the clock and sleeps in between, TICKS_BEFORE_END (and POLLS_BEFORE_INPUT). A
row counts only while the machine does little else: INSTRUCTIONS_PER_POLL, all CPUs together, for
each poll. One that computes in silence is not taken for one that waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from aether_edgecloud.emulator.devices.pl011 import Pl011

POLLS_BEFORE_INPUT = 16
POLLS_BEFORE_END = 10_000
SECONDS_BEFORE_END = 30
INSTRUCTIONS_PER_POLL = 50_000


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

    def pace(self, seconds: float) -> None:
        """All CPUs wait, the guest looks for input now and then, and there was none. A source that
        stands for a user may wait for that long or until there is a byte, so that the host can rest
        meanwhile. What the run computes does not depend on it."""


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

    def pace(self, seconds: float) -> None:
        """There is nobody to wait for."""


@dataclass(slots=True)
class InputLog:
    """What came of each question to a source of input, numbered from 1 on in the order of the run.

    `given` are the bytes, each with the number of its question; all others up to `asked` gave none.
    From question `ended_at` on the source was at its end.
    """

    given: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0
    ended_at: int | None = None


class RecordedInput:
    """The input of a run that is known, question by question. Nothing comes after it."""

    def __init__(self, log: InputLog) -> None:
        self.log = log

    @property
    def exhausted(self) -> bool:
        """What came later is not known."""
        return False

    def take_byte(self) -> int | None:
        """There is none."""
        return None

    def wait(self) -> None:
        """There is nothing to wait for."""

    def pace(self, seconds: float) -> None:
        """There is nobody to wait for."""


@dataclass(frozen=True, slots=True)
class ConsoleState:
    """What a `Console` was. The first three are an `InputLog` up to then."""

    given: tuple[tuple[int, int], ...]
    asked: int
    ended_at: int | None
    row_start: tuple[int, int]
    empty_polls: int
    input_ended: bool
    output: bytes


class _Replay:
    """A source that can be set back: what it has answered once it answers again."""

    def __init__(self, source: InputSource) -> None:
        self._source = source
        self.log = source.log if isinstance(source, RecordedInput) else InputLog()
        self._asked = 0
        self._next = 0  # of what was given

    def ask(self) -> tuple[bool, int | None]:
        """Whether it is at its end, and else the next byte if there is one."""
        log, number = self.log, self._asked + 1
        if number > log.asked:
            self._ask_source(number)
        self._asked = number
        if log.ended_at is not None and number >= log.ended_at:
            return True, None
        if self._next < len(log.given) and log.given[self._next][0] == number:
            self._next += 1
            return False, log.given[self._next - 1][1]
        return False, None

    def _ask_source(self, number: int) -> None:
        log = self.log
        is_ended = self._source.exhausted
        byte = None if is_ended else self._source.take_byte()
        if is_ended and log.ended_at is None:
            log.ended_at = number
        if byte is not None:
            log.given.append((number, byte))
        log.asked = number

    def wait(self) -> None:
        """Before a question: wait for a byte."""
        if self._asked == self.log.asked:
            self._source.wait()

    def pace(self, seconds: float) -> None:
        """As a source does, unless all this has been before."""
        if self._asked == self.log.asked and not self._source.exhausted:
            self._source.pace(seconds)

    def save(self) -> tuple[tuple[tuple[int, int], ...], int, int | None]:
        """The log up to now."""
        ended_at = self.log.ended_at
        is_over = ended_at is not None and ended_at <= self._asked
        return tuple(self.log.given[: self._next]), self._asked, ended_at if is_over else None

    def go_to(self, given: tuple[tuple[int, int], ...], asked: int, ended_at: int | None) -> None:
        """Has answered as a saved log says, and no more. A source that has not got so far gets
        there."""
        log = self.log
        while len(log.given) < len(given) and not self._source.exhausted:
            byte = self._source.take_byte()
            if byte is None:
                break
            log.given.append((given[len(log.given)][0], byte))
        if tuple(log.given[: len(given)]) != given:
            raise ValueError("the machine has other console input than the one of the snapshot")
        if asked > log.asked:
            log.asked, log.ended_at = asked, ended_at
        self._next, self._asked = len(given), asked


class ConsoleObserver(Protocol):
    """Is told of what passes."""

    def sent(self, data: bytes) -> None:
        """The guest has sent this."""

    def received(self, byte: int) -> None:
        """This has reached the UART."""


class Console:
    """The console UART's other end. `output` is all that was sent since reset."""

    def __init__(self, uart: Pl011, source: InputSource, counter_hz: int) -> None:
        self._uart = uart
        self._source = _Replay(source)
        self._counter_hz = counter_hz
        self._row_start = (0, 0)
        self.empty_polls = 0
        self.input_ended = False
        """The input is at its end, and the guest has asked for more long enough."""
        self.output = bytearray()
        self.on_output: Callable[[bytes], None] | None = None
        self.observer: ConsoleObserver | None = None

    @property
    def log(self) -> InputLog:
        """What came of each question for input, also of those ahead of the machine that was set
        back. It grows."""
        return self._source.log

    def poll(self, counter: int, instructions: int) -> None:
        """The guest looks for input, and the UART holds none: count it, maybe feed a byte.

        `counter` is that of the CPU that looks, `instructions` those that all CPUs have retired.
        """
        if not self._uart.wants_input:
            return
        if not self.empty_polls:
            self._row_start = (counter, instructions)
        self.empty_polls += 1
        if self.empty_polls < POLLS_BEFORE_INPUT:
            return
        is_ended = self._feed()[0]
        if is_ended and self._is_long(counter):
            self._judge_row(instructions)

    def wait(self) -> bool:
        """All CPUs wait: wait for a byte too. False if none will come."""
        self._source.wait()
        return self._feed()[1] is not None

    def rest(self, ticks: int) -> None:
        """All CPUs wait for that long."""
        if self.empty_polls >= POLLS_BEFORE_INPUT:
            self._source.pace(ticks / self._counter_hz)

    def collect(self) -> None:
        """Take over what the UART has sent."""
        data = self._uart.take_output()
        if data:
            self.empty_polls = 0
            self.output += data
            if self.observer is not None:
                self.observer.sent(data)
            if self.on_output is not None:
                self.on_output(data)

    def save(self) -> ConsoleState:
        """The state."""
        return ConsoleState(
            *self._source.save(),
            self._row_start,
            self.empty_polls,
            self.input_ended,
            bytes(self.output),
        )

    def restore(self, state: ConsoleState) -> None:
        """Become what was saved. Who was told of output is not told that it is gone."""
        self._source.go_to(state.given, state.asked, state.ended_at)
        self._row_start = state.row_start
        self.empty_polls = state.empty_polls
        self.input_ended = state.input_ended
        self.output[:] = state.output

    def _is_long(self, counter: int) -> bool:
        ticks = counter - self._row_start[0]
        return (
            self.empty_polls >= POLLS_BEFORE_END or ticks >= SECONDS_BEFORE_END * self._counter_hz
        )

    def _judge_row(self, instructions: int) -> None:
        spent = instructions - self._row_start[1]
        if spent <= self.empty_polls * INSTRUCTIONS_PER_POLL:
            self.input_ended = True
        else:
            self.empty_polls = 0

    def _feed(self) -> tuple[bool, int | None]:
        """What the source says; a byte goes to the UART."""
        is_ended, byte = self._source.ask()
        if byte is not None:
            self._uart.feed(bytes([byte]))
            self.empty_polls = 0
            if self.observer is not None:
                self.observer.received(byte)
        return is_ended, byte
