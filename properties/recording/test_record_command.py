# SPDX-License-Identifier: Apache-2.0
"""`aether run --record` as a process: what it says, what it refuses, what it leaves behind."""

import hashlib
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary, request
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.recording import chunks
from aether_edgecloud.emulator.recording.container import CHUNK_HEADER_SIZE
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.properties.cli.command_line import COMMAND, LIMIT_S, aether

ECHO = "power:read-then-off"


@contextmanager
def opened(path: Path) -> Iterator[Recording]:
    recording = Recording.open(path, any_emulator=True)
    try:
        yield recording
    finally:
        recording.close()


def end_of(recording: Recording) -> str:
    """The state at the end, reached from the first checkpoint."""
    machine = recording.machine()
    machine.restore(recording.checkpoints.load(0))
    machine.run(recording.end)
    found = state_sha256(machine)
    machine.close()
    return found


def test_the_report_says_where_the_recording_is(tmp_path: Path) -> None:
    path = tmp_path / "run.aet"
    plain = aether("run", "hello")
    done = aether("run", "hello", "--record", path)
    assert (done.status, done.out) == (plain.status, plain.out)
    size = f"{path.stat().st_size / (1 << 20):.1f} MiB"
    (line,) = [line for line in done.err.splitlines() if line.startswith("recording")]
    assert line.split(maxsplit=1)[1].startswith(f"{path}: {size}, 2 checkpoints")
    with opened(path) as recording:
        assert recording.identity.target == "hello"
        assert recording.identity.vms == ("hello",)
        assert recording.stop is StopKind.SYSTEM_OFF
        (state,) = [row.split()[-1] for row in done.err.splitlines() if "state sha256" in row]
        assert end_of(recording) == state
        el2 = recording.el2()
        assert el2.elf is not None and el2.elf.startswith(b"\x7fELF")
        assert hashlib.sha256(el2.image).hexdigest() == recording.identity.binary_sha256
        assert "int" in el2.sources["el2/vm.c"]


@pytest.mark.nightly
def test_a_run_gives_one_file_which_is_of_use_without_symbols(tmp_path: Path) -> None:
    """By processes of their own."""
    first, second = tmp_path / "first.aet", tmp_path / "second.aet"
    for path in (first, second):
        aether("run", "hello", "--record", path)
    data = bytearray(first.read_bytes())
    assert second.read_bytes() == data
    look = ("--at", "end", "--show", "regs,disasm")
    whole = aether("replay", first, *look)
    data[data.index(chunks.ELF) + CHUNK_HEADER_SIZE + 99] ^= 1
    second.write_bytes(data)
    damaged = aether("replay", second, *look)
    assert (damaged.status, whole.status) == (0, 0)
    assert "the binary's symbols are damaged, and left out" in damaged.err
    assert whole.out != damaged.out


def test_a_replay_without_symbols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.aet"
    assert main(["run", "hello", "--record", str(path)]) == 0
    data = bytearray(path.read_bytes())
    data[data.index(chunks.ELF) + CHUNK_HEADER_SIZE + 99] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    assert main(["replay", str(path), "--at", "end", "--show", "regs"]) == 0
    assert "the binary's symbols are damaged, and left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--on", "qemu"), "--record: QEMU's runs are not recorded; use --on emulator"),
        (("--mmu", "native"), "--record: only runs with the MMU model are recorded"),
    ],
)
def test_what_cannot_be_recorded(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    path = tmp_path / "run.aet"
    assert words in aether("run", "hello", "--record", path, *options).error_line
    assert not path.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "run.aet"):
        line = aether("run", "hello", "--record", path).error_line
        assert line.startswith(f"aether: {path}: cannot be written")


def test_a_disk_that_is_full() -> None:
    done = aether("run", "hello", "--record", "/dev/full")
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("aether: /dev/full: cannot be written (No space left on device)")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--json", "run.aet"), "--json run.aet: is the file of --record too"),
        (("--json", "link"), "--json link: is the file of --record too"),
        (("--trace", "0:9", "-o", "./run.aet"), "-o run.aet: is the file of --record too"),
    ],
)
def test_one_file_for_two_outputs(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("run.aet")
    done = aether("run", "hello", "--record", "run.aet", *options, folder=tmp_path)
    assert words in done.error_line
    assert not (tmp_path / "run.aet").exists()


def test_outputs_that_are_dropped_may_be_one() -> None:
    assert aether("run", "hello", "--record", "/dev/null", "--json", "/dev/null").status == 0


_VM = """
[[vm]]
name = "mine"
entry = 0x40080000
memory = [{ipa = 0x40000000, size = "2MiB"}]
images = [{file = "image", ipa = 0x40080000}]
"""


@pytest.mark.parametrize("option", ["--record", "--json"])
@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (("vm.toml",), "vm.toml"),
        (("vm.toml",), "image"),
        (("./image",), "image"),
        (("--kernel", "image"), "image"),
        (("hello", "--binary", "image"), "image"),
        (("hello", "--input", "image"), "image"),
    ],
)
def test_an_input_is_not_written_over(
    option: str, arguments: tuple[str, ...], file: str, tmp_path: Path
) -> None:
    (tmp_path / "vm.toml").write_text(_VM)
    (tmp_path / "image").write_bytes(bytes(64))
    before = (tmp_path / file).read_bytes()
    done = aether("run", *arguments, option, file, folder=tmp_path)
    assert f"{option} {file}: is what the run is made of" in done.error_line
    assert (tmp_path / file).read_bytes() == before


@pytest.mark.parametrize("command", ["profile", "inspect", "explore", "noninterference"])
def test_nor_by_another_command(command: str, tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text(_VM)
    (tmp_path / "image").write_bytes(bytes(64))
    more = ("--secret", "mine") if command == "noninterference" else ()
    for file in ("vm.toml", "image"):
        done = aether(command, "vm.toml", *more, "--json", file, folder=tmp_path)
        assert f"--json {file}: is what the run is made of" in done.error_line
    assert (tmp_path / "vm.toml").read_text() == _VM
    assert (tmp_path / "image").read_bytes() == bytes(64)


def test_a_replay_on_a_terminal_without_unicode(tmp_path: Path) -> None:
    path = tmp_path / "run.aet"
    assert aether("run", "hello", "--record", path).status == 0
    done = aether("replay", path, "--show", "all", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.status, done.err) == (0, "")
    assert done.out.isascii()


@pytest.mark.parametrize("link", ["@5", "@", ""])
def test_a_replay_of_no_file(link: str) -> None:
    assert aether("replay", link).error_line.startswith("aether: replay: FILE is missing")


def test_a_boot_that_fails_can_be_looked_at(tmp_path: Path) -> None:
    """The command's words are those of the hypervisor; the recording is whole."""
    path = tmp_path / "run.aet"
    done = aether("run", "hello", "--record", path, "--max-instructions", "500000")
    assert done.status == 1
    with opened(path) as recording:
        assert recording.stop is StopKind.LIMIT
        assert 500_000 <= recording.end < 501_000
        assert not recording.notes


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL],
)
def test_a_run_that_is_ended_by_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "run.aet"
    command = [*COMMAND, "run", "spin", "--record", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            while b"vm spin: start" not in process.stdout.readline():
                pass
            _wait_for(path)
            process.send_signal(number)
            status = process.wait(LIMIT_S)
        finally:
            process.kill()
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    with opened(path) as recording:
        if number is signal.SIGKILL:
            assert recording.stop is None
            assert any("breaks off" in note for note in recording.notes)
            assert recording.end == recording.checkpoints.positions[-1]
        else:
            assert recording.stop is StopKind.BREAK
            assert not recording.notes
            assert b"vm spin: start" in b"".join(chunk.data for chunk in recording.console)
            machine = recording.machine()
            assert machine.run(recording.end).instructions == recording.end
            machine.close()


def _wait_for(path: Path) -> None:
    """Until the file holds a checkpoint."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            Recording.open(path, any_emulator=True).close()
        except UserError:
            continue
        return
    raise AssertionError("no checkpoint was written")


def test_keys_typed_at_a_terminal_come_again(tmp_path: Path) -> None:
    """The position in the run at which each key came depends on the host; it is in the file."""
    path = tmp_path / "typed.aet"
    ours, theirs = pty.openpty()
    command = [*COMMAND, "run", ECHO, "--record", str(path)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as process:
        try:
            seen = b""

            def read_until(words: bytes) -> None:
                nonlocal seen
                while words not in seen:
                    assert select.select([ours], [], [], LIMIT_S)[0], seen
                    seen += os.read(ours, 4096)

            read_until(b"vm power: start")
            for key in b"qw":
                os.write(ours, bytes([key]))
                read_until(f"read {key:#x}".encode())
            os.write(ours, b".")
            assert process.wait(LIMIT_S) == 0
            assert process.stderr is not None
            report = process.stderr.read().decode()
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    (state,) = [row.split()[-1] for row in report.splitlines() if "state sha256" in row]
    with opened(path) as recording:
        assert bytes(byte for _, byte in recording.log.given) == b"qw."
        assert end_of(recording) == state


def test_pieces_of_piped_input(tmp_path: Path) -> None:
    path = tmp_path / "piped.aet"
    done = aether("run", ECHO, "--record", path, stdin=b"xyz.")
    assert done.status == 0, done
    (state,) = [row.split()[-1] for row in done.err.splitlines() if "state sha256" in row]
    with opened(path) as recording:
        assert end_of(recording) == state


def test_a_request_without_a_record_leaves_no_observer() -> None:
    machine = build_machine(request.build_request("hello", binary.load(None)))
    assert machine.console.observer is None
    assert machine.on_device is None
    assert not machine.cpu.state.events
    machine.close()
