# SPDX-License-Identifier: Apache-2.0
"""The host's side of the console, and what is read off it."""

import io
import os
import pty
import re
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.console import ConsoleIO, ConsoleOptions
from aether_edgecloud.emulator.host_console.keys import EscapeKeys, VmKeys
from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol
from aether_edgecloud.emulator.report.run_report import End

KEYS = st.lists(st.sampled_from([b"a", b"x", b"\x01", b"\r", b"\x03"]), max_size=12).map(b"".join)

KEYS_OF_VMS = st.lists(
    st.sampled_from([b"a", b"\x14", b"1", b"2", b"3", b"4", b"\r"]), max_size=6
).map(b"".join)


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


# Several VMs.


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 3]), KEYS_OF_VMS), max_size=12))
def test_each_vm_gets_its_keys(typed: list[tuple[int, bytes]]) -> None:
    """Source 0 is the user, who switches with Ctrl-T himself; 1 to 3 are the VMs' terminals."""
    keys = VmKeys(3)
    line = b""
    wanted: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
    users, escaped = 1, False
    for source, data in typed:
        if source:
            line += keys.to_vm(source, data)
            wanted[source] += data
            continue
        line += keys.typed(data)
        for byte in data:
            if escaped:
                escaped = False
                if chr(byte) in "123":
                    users = byte - ord("0")
                elif byte == 0x14:
                    wanted[users] += b"\x14"
            elif byte == 0x14:
                escaped = True
            else:
                wanted[users] += bytes([byte])
    assert hypervisor_takes(line, 3) == wanted


def hypervisor_takes(line: bytes, vms: int) -> dict[int, bytes]:
    """What EL2 does with its input, as its console is specified."""
    got = {number: b"" for number in range(1, vms + 1)}
    attached, escaped = 1, False
    for byte in line:
        if byte == 0x14 and not escaped:
            escaped = True
        elif escaped and byte != 0x14:
            escaped = False
            attached = byte - ord("0") if 1 <= byte - ord("0") <= vms else attached
        else:
            escaped = False
            got[attached] += bytes([byte])
    return got


@given(st.binary(max_size=20))
def test_one_vm_gets_every_key(data: bytes) -> None:
    keys = VmKeys(1)
    assert keys.typed(data) + keys.to_vm(1, data) == data * 2


def test_files_of_vms(tmp_path: Path) -> None:
    options = ConsoleOptions(("a", "b"), folder=tmp_path / "new" / "logs")
    screen = io.BytesIO()
    with ConsoleIO(None, screen, options) as console:
        console.write(b"[aether] up\r\n[a] one\r\n[b] tw\r\n[a] more\r\n[b+] o\r\n")
    assert screen.getvalue().startswith(b"[aether] up\r\n[a] one"), "the screen is as it was"
    found = {path.name: path.read_bytes() for path in (tmp_path / "new/logs").iterdir()}
    assert found == {
        "aether.log": b"up\r\n",
        "a.log": b"one\r\nmore\r\n",
        "b.log": b"two\r\n",
    }


def test_a_file_of_one_vm_alone(tmp_path: Path) -> None:
    with ConsoleIO(None, io.BytesIO(), ConsoleOptions(("a",), folder=tmp_path)) as console:
        console.write(b"[aether] vm a: start\r\n\r\nhello [a] \r\n")
        assert (tmp_path / "a.log").read_bytes() == b"\r\nhello [a] \r\n", "nothing is held back"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--console-dir"):
        ConsoleIO(None, io.BytesIO(), ConsoleOptions(("a",), folder=tmp_path / "file"))


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_terminals_of_vms(names: tuple[str, ...]) -> None:
    options = ConsoleOptions(names, terminals=True)
    with ConsoleIO(None, io.BytesIO(), options) as console:
        paths = console.terminal_paths
        assert tuple(paths) == names
        ends = {name: os.open(path, os.O_RDWR | os.O_NOCTTY) for name, path in paths.items()}
        try:
            for name in names:
                prefix = b"" if len(names) == 1 else f"[{name}] ".encode()
                console.write(prefix + b"login of " + name.encode() + b": ")
                assert os.read(ends[name], 100) == b"login of " + name.encode() + b": "
                assert console.take_byte() is None, "what a VM writes is not echoed"
                if len(names) > 1:
                    console.write(b"\r\n")
            assert not console.exhausted
            os.write(ends[names[-1]], b"k\x14")
            console.wait()
            taken = bytearray()
            while (byte := console.take_byte()) is not None:
                taken.append(byte)
            assert bytes(taken) == (b"k\x14" if len(names) == 1 else b"\x142k\x14\x14")
        finally:
            for end in ends.values():
                os.close(end)
    for path in paths.values():
        with pytest.raises(OSError):
            os.close(os.open(path, os.O_RDWR | os.O_NOCTTY))


def test_a_terminal_nobody_reads_takes_no_memory_and_no_time() -> None:
    with ConsoleIO(None, io.BytesIO(), ConsoleOptions(("a",), terminals=True)) as console:
        for _ in range(300):
            console.write(b"x" * 10_000)
        assert console._terminals is not None
        assert len(console._terminals._backlogs["a"]) <= 1 << 16


@given(st.data())
def test_input_waits_for_words(data: st.DataObject) -> None:
    said = b"booting # not yet\r\n/ # "
    reader = pipe(b"ls\n")
    try:
        console = ConsoleIO(reader, io.BytesIO(), ConsoleOptions(input_after=b"/ # "))
        position = 0
        while position < len(said):
            assert console.take_byte() is None
            assert not console.exhausted
            assert console.sources == ()
            size = data.draw(st.integers(1, 9))
            console.write(said[position : position + size])
            position += size
        assert console.take_byte() == ord("l")
    finally:
        os.close(reader)


def test_colours_are_for_terminals(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    with os.fdopen(os.dup(theirs), "wb", buffering=0) as screen:
        with ConsoleIO(None, screen, ConsoleOptions(("a", "b"))) as console:
            console.write(b"[a] one\r\n[b] two\r\n")
        shown = os.read(ours, 1000)
        assert (
            re.sub(rb"\x1b\[\d*m", b"", shown).replace(b"\r\r", b"\r") == b"[a] one\r\n[b] two\r\n"
        )
        colors = re.findall(rb"\x1b\[(\d+)m\[", shown)
        assert len(set(colors)) == 2, "each VM has its own"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NO_COLOR", "1")
            with ConsoleIO(None, screen, ConsoleOptions(("a", "b"))) as console:
                console.write(b"[a] plain\r\n")
        assert b"\x1b" not in os.read(ours, 1000)


def test_lines_of_the_hypervisor_among_those_of_vms() -> None:
    protocol = ConsoleProtocol(("a", "b"))
    protocol.feed(b"[aether] vm a: start\r\n")
    assert protocol.started, "input may wait for it"
    protocol.feed(b"[aether] vm b: start\r\n[a] [aether] end: panic\r\n[aether] vm b: cra\r\n")
    protocol.feed(b"[a] x\r\n[aether+] sh: data abort; restarts\r\n[aether]   pc 0x1\r\n")
    assert protocol.vms["b"].running
    protocol.feed(b"[aether] vm a: reset\r\n[aether] vm a: off; restarts\r\n[aether] vm a: off\r\n")
    protocol.feed(b"[aether] end: guest-off\r\n")
    protocol.finish()
    assert protocol.end is End.GUEST_OFF
    story = protocol.vms["b"]
    assert (story.crashes, story.restarts, story.running) == (1, 1, False)
    story = protocol.vms["a"]
    assert (story.crashes, story.restarts, story.running) == (0, 2, False)
    assert protocol.crash == "vm b: data abort"
