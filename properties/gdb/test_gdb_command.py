# SPDX-License-Identifier: Apache-2.0
"""`aether gdb` as a process: mistakes are one line each, and a recording is debugged as its run."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.gdb import opening
from aether_edgecloud.emulator.gdb.session import Session
from aether_edgecloud.properties.cli.command_line import COMMAND, LIMIT_S, aether
from aether_edgecloud.properties.gdb.client import ask
from aether_edgecloud.properties.gdb.remote import Remote


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `hello`."""
    file = tmp_path_factory.mktemp("gdb") / "hello.aet"
    assert aether("run", "hello", "--record", file).status == 0
    return file


def test_mistakes(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nameless = tmp_path / "recording"
    nameless.write_bytes(recording.read_bytes())
    text = tmp_path / "text.aet"
    text.write_text("no recording")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, words in (
            (("hello", "--port", str(port)), f"127.0.0.1:{port} cannot be listened on"),
            (("hello", "--port", "70000"), "is not in the range"),
            (("hello", "--at", "soon"), "'soon' is no place in a run"),
            (("hello", "--at", "40%"), "40% of a run whose end is not known yet"),
            (("hello", "--at", "event:3"), "there is no event 3; there are none"),
            (("hello", "--at", "-5"), "told from a cursor"),
            (("hello", "--stdio", "--port", "1234"), "--port: is not for --stdio"),
            (("hello", "--any-emulator"), "--any-emulator: is for recordings"),
            ((f"{recording}@1", "--at", "2"), "--at: the position is given twice"),
            ((f"{recording}@event:x",), "no place in a run"),
            ((str(nameless), "--seed", "1"), "--seed: the recording says what runs"),
            (("@5",), "gdb: FILE is missing"),
            ((str(text),), "not a recording"),
            ((str(tmp_path / "none.aet"),), "cannot be read"),
            (("nobody",), "'nobody'"),
            ((str(text), "--seed", "1"), "--seed: the recording says what runs"),
        ):
            assert main(["gdb", *arguments]) == 2
            out, errors = capsys.readouterr()
            (line,) = errors.splitlines()
            assert (out, line[:8]) == ("", "aether: ")
            assert words in line


def test_a_recording_is_debugged_as_its_run(recording: Path) -> None:
    """From a file, to its end and back to a breakpoint; with its binary, wherever that is now."""
    target = opening.recorded(recording)
    elf = target.exec_file()
    assert elf is not None
    assert elf.data.startswith(b"\x7fELF")
    session = Session(target)
    address = target.replay.symbols.address_of("trap_hvc")
    assert address is not None
    assert b"replaylog:end" in ask(session, b"vCont;c")[-1]
    assert ask(session, b"Z1,%x,4" % address) == [b"OK"]
    (stop,) = ask(session, b"bc")
    assert b"20:" + address.to_bytes(8, "little").hex().encode() in stop
    (answer,) = ask(session, b"qXfer:exec-file:read::0,100")
    assert answer == b"l" + elf.name.encode()
    target.replay.close()


def test_a_server_until_it_is_interrupted(recording: Path) -> None:
    """A gdb that sends nonsense and goes away does not end it, nor show a traceback."""
    server = subprocess.Popen(
        [*COMMAND, "gdb", f"{recording}@40%", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert server.stderr is not None
        line = server.stderr.readline()
        port = int(line.rpartition(":")[2].strip().strip("'"))
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(b"\xff" * 5000 + b"$" + b"x" * 100_000 + b"$vCont;c#a8")
        remote = Remote.wait_for(port)
        assert remote.ask(b"qC") == b"QC1"
        assert remote.ask(b"vCont;s:1").startswith(b"T05")
        remote.close()
        server.send_signal(signal.SIGINT)
        out, errors = server.communicate(timeout=LIMIT_S)
    finally:
        server.kill()
        server.wait()
    assert (server.returncode, out, errors.strip()) == (130, "", "aether: interrupted")
