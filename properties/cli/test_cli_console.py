# SPDX-License-Identifier: Apache-2.0
"""The host's side of the console, and what is read off it."""

import io
import os
import pty
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.cli.console import ConsoleIO, EscapeKeys
from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol
from aether_edgecloud.emulator.report.run_report import End

KEYS = st.lists(st.sampled_from([b"a", b"x", b"\x01", b"\r", b"\x03"]), max_size=12).map(b"".join)


def expected_keys(typed: bytes) -> tuple[bytes, bool]:
    """The escape rules, one key at a time."""
    sent, position = b"", 0
    while position < len(typed):
        key = typed[position : position + 1]
        if key != b"\x01":
            sent += key
            position += 1
            continue
        follower = typed[position + 1 : position + 2]
        if follower == b"x":
            return sent, True
        if follower == b"\x01":
            sent += b"\x01"
        position += 2
    return sent, False


@given(KEYS, st.data())
def test_escape_keys_whatever_the_pieces(typed: bytes, data: st.DataObject) -> None:
    keys = EscapeKeys()
    sent = b""
    position = 0
    while position < len(typed):
        size = data.draw(st.integers(1, 4))
        sent += keys.filter(typed[position : position + size])
        position += size
    assert (sent, keys.leave) == expected_keys(typed)


def pipe(content: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


@given(st.binary(max_size=40))
def test_piped_bytes_arrive_one_by_one_and_unchanged(content: bytes) -> None:
    reader = pipe(content)
    try:
        with ConsoleIO(reader, io.BytesIO()) as console:
            taken = bytearray()
            while (byte := console.take_byte()) is not None:
                taken.append(byte)
            assert bytes(taken) == content, "Ctrl-A in a pipe is a byte like any other"
            assert console.exhausted
            assert console.take_byte() is None
            assert not console.left
    finally:
        os.close(reader)


def test_no_input_at_all() -> None:
    console = ConsoleIO(None, io.BytesIO())
    assert console.exhausted
    assert console.take_byte() is None
    console.wait()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(our end, the program's end) of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_terminal_is_raw_inside_and_as_before_outside(terminal: tuple[int, int]) -> None:
    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    with pytest.raises(KeyboardInterrupt), ConsoleIO(theirs, io.BytesIO()):
        inside = termios.tcgetattr(theirs)
        assert not inside[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        assert inside[1] == before[1], "output stays cooked"
        raise KeyboardInterrupt
    assert termios.tcgetattr(theirs) == before


def test_typing_is_not_waited_for(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with ConsoleIO(theirs, io.BytesIO()) as console:
        assert console.interactive
        assert console.take_byte() is None
        assert not console.exhausted
        os.write(ours, b"k\x03\x01\x01")
        console.wait()
        taken = []
        while (byte := console.take_byte()) is not None:
            taken.append(byte)
        assert taken == [ord("k"), 3, 1], "Ctrl-C is the guest's"


def test_leaving(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with ConsoleIO(theirs, io.BytesIO()) as console:
        assert not console.poll_keys()
        os.write(ours, b"\x01xmore")
        console.wait()
        assert console.left
        assert console.exhausted
        assert console.poll_keys()


# What the hypervisor says.

START = b"[aether] Aether EdgeCloud EL2 0.1.0\r\n[aether] vm hello: start\r\n"
LINES = [
    START,
    b"guest talk\r\n",
    b"[aether] vm hello: crash: data abort\r\n",
    b"[aether] boot: bundle: cut short; make it again\r\n",
    b"[aether] end: guest-off\r\n",
    b"[aether] end: guest-crash\r\n",
    b"[aether] end: nonsense\r\n",
    b" [aether] end: panic\r\n",
    b"half a line",
]


@given(st.lists(st.sampled_from(LINES), max_size=8).map(b"".join), st.data())
def test_pieces_do_not_matter(console: bytes, data: st.DataObject) -> None:
    whole, pieces = ConsoleProtocol(), ConsoleProtocol()
    whole.feed(console)
    position = 0
    while position < len(console):
        size = data.draw(st.integers(1, 20))
        pieces.feed(console[position : position + size])
        position += size
    for name in ("started", "end", "boot_error", "crash", "bytes", "sha256"):
        assert getattr(whole, name) == getattr(pieces, name)


def said(console: bytes) -> ConsoleProtocol:
    protocol = ConsoleProtocol()
    protocol.feed(console)
    return protocol


def test_the_last_end_line_counts() -> None:
    forged = said(START + b"[aether] end: guest-off\r\n[aether] end: guest-crash\r\n")
    assert forged.end is End.GUEST_CRASH


def test_a_guest_cannot_fail_the_boot() -> None:
    assert said(START + b"[aether] boot: x: y; z\r\n").boot_error is None
    assert said(b"[aether] boot: x: y; z\r\n").boot_error == "x: y; z"


def test_words_inside_a_line_are_the_guests() -> None:
    assert said(START + b"now [aether] end: panic\r\n").end is None


def test_a_line_without_end_takes_no_memory() -> None:
    protocol = ConsoleProtocol()
    for _ in range(100):
        protocol.feed(b"x" * 100_000)
    assert protocol.bytes == 10_000_000
    assert len(protocol._line) <= 4096


def test_a_crash_is_kept() -> None:
    assert said(START + LINES[2]).crash == "vm hello: data abort"


@pytest.mark.parametrize("end", list(End))
def test_every_end_has_a_status_and_words(end: End) -> None:
    assert end.exit_status in (0, 1, 2)
    assert end.words
