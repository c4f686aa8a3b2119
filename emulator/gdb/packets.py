# SPDX-License-Identifier: Apache-2.0
"""Framing of gdb's remote serial protocol: bytes to events, replies to bytes.

Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol", section "Overview".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

MAX_PACKET = 0x4000
"""The longest packet taken, in bytes between `$` and `#`; told to gdb as PacketSize."""

ACK, NACK, INTERRUPT = 0x2B, 0x2D, 0x03
_START, _END, _ESCAPE, _RUN = 0x24, 0x23, 0x7D, 0x2A
_ESCAPE_XOR = 0x20
_SPECIAL = re.compile(rb"[$#}*]")

_RUN_BIAS = 29
# A run of n more is sent as the character n + 29: printable, and none with a meaning of its own.
_RUNS = re.compile(rb"(.)\1{3,%d}" % (126 - _RUN_BIAS), re.DOTALL)
_NO_RUN_LENGTH = frozenset(c - _RUN_BIAS for c in (_START, _END, ACK, NACK))


class Signal(Enum):
    """What arrives outside packets, and packets that cannot be used."""

    ACK = auto()
    NACK = auto()
    INTERRUPT = auto()  # Ctrl-C
    DAMAGED = auto()  # the checksum does not fit
    TOO_LONG = auto()


@dataclass(frozen=True, slots=True)
class Packet:
    """What stood between `$` and `#`, escapes undone."""

    payload: bytes


Event = Packet | Signal


class _State(Enum):
    OUTSIDE = auto()
    BODY = auto()
    CHECKSUM_HIGH = auto()
    CHECKSUM_LOW = auto()


class Decoder:
    """Takes the bytes of a connection as they come. Any bytes are fine: what is no packet is
    skipped."""

    def __init__(self, limit: int = MAX_PACKET) -> None:
        self._limit = limit
        self._state = _State.OUTSIDE
        self._body = bytearray()
        self._length = 0
        self._sum = 0
        self._digits = bytearray()

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes, in order."""
        for byte in data:
            event = self._take(byte)
            if event is not None:
                yield event

    def _take(self, byte: int) -> Event | None:
        match self._state:
            case _State.OUTSIDE:
                return self._outside(byte)
            case _State.BODY:
                if byte == _START:  # the packet before was cut off
                    self._begin()
                elif byte == _END:
                    self._state = _State.CHECKSUM_HIGH
                else:
                    self._sum += byte
                    self._length += 1
                    if self._length <= self._limit:
                        self._body.append(byte)
            case _State.CHECKSUM_HIGH:
                self._digits[:] = (byte,)
                self._state = _State.CHECKSUM_LOW
            case _State.CHECKSUM_LOW:
                self._digits.append(byte)
                self._state = _State.OUTSIDE
                return self._finish()
        return None

    def _outside(self, byte: int) -> Event | None:
        if byte == _START:
            self._begin()
        return {ACK: Signal.ACK, NACK: Signal.NACK, INTERRUPT: Signal.INTERRUPT}.get(byte)

    def _begin(self) -> None:
        self._state = _State.BODY
        self._body.clear()
        self._length = self._sum = 0

    def _finish(self) -> Event:
        if parse_hex(bytes(self._digits)) != self._sum & 0xFF:
            return Signal.DAMAGED
        if self._length > self._limit:
            return Signal.TOO_LONG
        return Packet(unescape(bytes(self._body)))


def frame(payload: bytes) -> bytes:
    """A reply as it is sent: escaped, runs shortened, with its checksum."""
    body = shorten_runs(escape(payload))
    return b"$%b#%02x" % (body, sum(body) & 0xFF)


def escape(payload: bytes) -> bytes:
    """Any bytes as characters that have no meaning of their own."""
    return _SPECIAL.sub(lambda found: bytes((_ESCAPE, found[0][0] ^ _ESCAPE_XOR)), payload)


def unescape(body: bytes) -> bytes:
    """The opposite. An escape character at the very end stands for nothing."""
    if _ESCAPE not in body:
        return body
    result = bytearray()
    escaped = False
    for byte in body:
        if not escaped and byte == _ESCAPE:
            escaped = True
            continue
        result.append(byte ^ _ESCAPE_XOR if escaped else byte)
        escaped = False
    return bytes(result)


def shorten_runs(body: bytes) -> bytes:
    """Run-length encoding of escaped text."""
    return _RUNS.sub(lambda found: _run(found[0][0], len(found[0])), body)


def _run(byte: int, length: int) -> bytes:
    """`length` times a byte, at most once more than the longest run says."""
    more = length - 1
    while more in _NO_RUN_LENGTH:
        more -= 1
    rest = length - 1 - more
    return bytes((byte, _RUN, more + _RUN_BIAS)) + bytes((byte,)) * rest


def expand_runs(body: bytes) -> bytes:
    """The opposite, as a client needs it. ValueError for what is no such encoding."""
    result = bytearray()
    at = 0
    while at < len(body):
        if body[at] == _RUN:
            if not result or at + 1 >= len(body) or not _RUN_BIAS < body[at + 1] <= 126:
                raise ValueError("a run of nothing")
            result += bytes((result[-1],)) * (body[at + 1] - _RUN_BIAS)
            at += 1
        else:
            result.append(body[at])
        at += 1
    return bytes(result)


def parse_hex(digits: bytes) -> int | None:
    """A number of hexadecimal digits only; None for anything else."""
    if not digits or any(digit not in b"0123456789abcdefABCDEF" for digit in digits):
        return None
    return int(digits, 16)
