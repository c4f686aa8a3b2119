# SPDX-License-Identifier: Apache-2.0
"""`aether run` and `aether inspect` as processes: streams, exit status, signals, terminals."""

import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aether_edgecloud.emulator.bundle.build import ImageBytes, VmDescription, build
from aether_edgecloud.emulator.bundle.manifest import Memory
from aether_edgecloud.guest_stubs import catalogue as stubs

from .command_line import COMMAND, LIMIT_S, aether
from .fake_programs import install

ECHO = "power:read-then-off"
ECHO_STARTED = b"[aether] vm power: start\r\n"


def echo(key: int) -> bytes:
    """What the stub says of a key."""
    return f"read {key:#x}".encode()


def report_of(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found


def test_the_default_is_hello(tmp_path: Path) -> None:
    done = aether("run", "--json", tmp_path / "r.json")
    assert done.status == 0, done
    assert done.out.startswith(b"[aether] Aether EdgeCloud EL2 ")
    assert done.out.endswith(b"[aether] end: guest-off\r\n")
    report = report_of(tmp_path / "r.json")
    assert report["end"] == "guest-off"
    assert report["console_sha256"] == hashlib.sha256(done.out).hexdigest()
    assert report["console_bytes"] == len(done.out)
    assert f"binary sha256  {report['binary_sha256']}" in done.err


def test_json_on_stdout_leaves_it_to_the_json(tmp_path: Path) -> None:
    done = aether("run", "hello", "--json", "-")
    assert done.status == 0, done
    assert json.loads(done.out)["target"] == "hello"
    assert "[aether] end: guest-off" in done.err


def test_a_bundle_file_runs_as_its_guest_does(tmp_path: Path) -> None:
    made = aether("bundle", "hello", "-o", tmp_path / "hello.bundle")
    assert made.status == 0, made
    for target in ("hello", tmp_path / "hello.bundle"):
        aether("run", target, "--json", tmp_path / f"{Path(target).suffix}.json")
    one, other = report_of(tmp_path / ".json"), report_of(tmp_path / ".bundle.json")
    assert {k for k in one if one[k] != other[k]} <= {"target", "wall_s"}


def test_a_binary_the_user_names(tmp_path: Path) -> None:
    built = json.loads(aether("build", "--json", "-").out)[0]
    for form in ("flat", "elf"):
        done = aether("run", "--binary", built[form], "--json", tmp_path / "r.json")
        assert done.status == 0, done
        assert report_of(tmp_path / "r.json")["binary_sha256"] == built["sha256"]


def test_a_limit_of_instructions(tmp_path: Path) -> None:
    done = aether("run", "spin", "--max-instructions", "3000000", "--json", tmp_path / "r.json")
    assert done.status == 1, done
    report = report_of(tmp_path / "r.json")
    assert report["end"] == "limit-reached"
    instructions = report["instructions"]
    assert isinstance(instructions, dict)
    assert 3_000_000 <= instructions["total"] < 3_010_000


def test_a_crash_of_the_guest(tmp_path: Path) -> None:
    done = aether("run", "crash:ldp", "--json", tmp_path / "r.json")
    assert done.status == 1, done
    report = report_of(tmp_path / "r.json")
    assert report["end"] == "guest-crash"
    assert "syndrome" in str(report["detail"])


def test_a_boot_error_is_passed_on(tmp_path: Path) -> None:
    """Memory the rules allow and RAM has, but nowhere in one piece."""
    vm = VmDescription(
        "big", (Memory(0x4000_0000, 200 << 20),), (ImageBytes("code", b"1234", 0x4000_0000),)
    )
    (tmp_path / "big.bundle").write_bytes(build((vm,), where="x"))
    board = ("--ram", "256MiB")
    done = aether("run", tmp_path / "big.bundle", *board, "--json", tmp_path / "r.json")
    assert done.status == 2, done
    (line,) = done.err.splitlines()
    boot = next(x for x in done.out.decode().splitlines() if x.startswith("[aether] boot: "))
    assert line == f"aether: {boot.removeprefix('[aether] boot: ')}"
    assert not (tmp_path / "r.json").exists()


# Input.


def test_piped_input_is_echoed_and_ends_the_guest(tmp_path: Path) -> None:
    done = aether("run", ECHO, stdin=b"hello.")
    assert done.status == 0, done
    assert [line for line in done.out.split(b"\r\n") if b" read 0x" in line] == [
        b"power: " + echo(key) for key in b"hello."
    ]
    (tmp_path / "keys").write_bytes(b"hello.")
    assert aether("run", ECHO, "--input", tmp_path / "keys").out == done.out


def test_input_that_ends_first() -> None:
    done = aether("run", ECHO, "--json", "-", stdin=b"he")
    assert done.status == 0, done
    assert json.loads(done.out)["end"] == "input-ended"


class Running:
    """The command with its streams open, its output read as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], output: int) -> None:
        self.process = process
        self.seen = b""
        self._output = output

    def read_until(self, words: bytes) -> None:
        """Reads until `words` were seen; fails when the output ends or nothing comes for long."""
        while words not in self.seen:
            assert select.select([self._output], [], [], LIMIT_S)[0], self.seen
            data = os.read(self._output, 4096)
            assert data, self.seen
            self.seen += data

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(LIMIT_S)


@contextmanager
def running(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=os.environ | (environment or {}),
    )
    with process:
        assert process.stdout is not None
        try:
            yield Running(process, process.stdout.fileno())
        finally:
            process.kill()


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
def test_a_conversation_over_pipes(machine: str, request: pytest.FixtureRequest) -> None:
    """Each key is sent only after the guest showed the one before: nobody waits for the other."""
    if machine == "qemu":
        request.getfixturevalue("qemu")
    with running("run", ECHO, "--on", machine) as run:
        assert run.process.stdin is not None
        run.read_until(ECHO_STARTED)
        for key in b"abc":
            run.process.stdin.write(bytes([key]))
            run.read_until(echo(key))
        run.process.stdin.write(b".")
        run.read_until(b"[aether] end: guest-off\r\n")
        assert run.wait() == 0


def test_how_input_is_cut_does_not_show_in_the_run(tmp_path: Path) -> None:
    aether("run", ECHO, "--json", tmp_path / "whole.json", stdin=b"abc.")
    with running("run", ECHO, "--json", str(tmp_path / "pieces.json")) as run:
        assert run.process.stdin is not None
        run.read_until(ECHO_STARTED)
        for key in b"abc.":
            run.process.stdin.write(bytes([key]))
        assert run.wait() == 0
    whole, pieces = report_of(tmp_path / "whole.json"), report_of(tmp_path / "pieces.json")
    assert {k for k in whole if whole[k] != pieces[k]} <= {"wall_s"}


# Signals and terminals.


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
def test_ctrl_c(machine: str, request: pytest.FixtureRequest) -> None:
    if machine == "qemu":
        request.getfixturevalue("qemu")
    with running("run", "spin", "--on", machine) as run:
        run.read_until(b"vm spin: start\r\n")
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130
        assert run.process.stderr is not None
        assert run.process.stderr.read().decode().strip() == "aether: interrupted"


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
def test_a_reader_that_goes_away(machine: str, request: pytest.FixtureRequest) -> None:
    if machine == "qemu":
        request.getfixturevalue("qemu")
    with running("run", "hello", "--on", machine) as run:
        assert run.process.stdout is not None
        run.process.stdout.close()
        assert run.wait() == 141
        assert run.process.stderr is not None
        assert run.process.stderr.read() == b""


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
@pytest.mark.parametrize("how", ["keys", "signal"])
def test_a_terminal(machine: str, how: str, request: pytest.FixtureRequest) -> None:
    """Keys reach the guest unseen by the host; afterwards the terminal is as it was."""
    if machine == "qemu":
        request.getfixturevalue("qemu")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [*COMMAND, "run", ECHO, "--on", machine]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
    with process:
        try:
            run = Running(process, ours)
            run.read_until(b"vm power: start")  # behind a coloured prefix
            os.write(ours, b"q")
            run.read_until(echo(ord("q")))
            if how == "keys":
                os.write(ours, b"\x01x")
                assert run.wait() == 0
                assert process.stderr is not None
                assert b" stopped " in process.stderr.read()
            else:
                process.send_signal(signal.SIGTERM)
                assert run.wait() == 128 + signal.SIGTERM
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)


# Several VMs.

PAIR = "".join(f"[[vm]]\nname = '{name}'\nguest = '{ECHO}'\n\n" for name in ("one", "two"))


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
def test_a_terminal_for_each_vm(
    machine: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What is typed at a VM's terminal goes to that VM, and what it says comes out there."""
    if machine == "qemu":
        request.getfixturevalue("qemu")
    file, logs = tmp_path / "pair.toml", tmp_path / "logs"
    file.write_text(PAIR)
    command = ["run", str(file), "--on", machine, "--pty", "--console-dir", str(logs)]
    with running(*command) as run:
        assert run.process.stdin is not None
        assert run.process.stderr is not None
        run.process.stdin.close()
        told = [run.process.stderr.readline().decode().strip() for _ in range(2)]
        assert [line.rpartition(": ")[0] for line in told] == ["console of one", "console of two"]
        ends = [os.open(line.rpartition(": ")[2], os.O_RDWR | os.O_NOCTTY) for line in told]
        for end, keys in zip(reversed(ends), (b"b", b"a"), strict=True):
            said = b""
            while b"reading" not in said:
                said += os.read(end, 1000)
            os.write(end, keys)
            while echo(keys[0]) not in said:
                said += os.read(end, 1000)
        for end in ends:
            os.write(end, b".")
        assert run.wait() == 0
        for end in ends:
            os.close(end)
    for name, key in (("one", b"a"), ("two", b"b")):
        lines = (logs / f"{name}.log").read_bytes().split(b"\r\n")
        assert b"power: " + echo(key[0]) in lines
        assert not any(line.startswith(b"[") for line in lines)
    assert b"end: guest-off\r\n" in (logs / "aether.log").read_bytes()


def test_keys_for_each_vm_on_one_line(tmp_path: Path) -> None:
    file, report = tmp_path / "pair.toml", tmp_path / "r.json"
    file.write_text(PAIR)
    done = aether("run", file, "--json", report, stdin=b"a\x142b.\x141.")
    assert done.status == 0, done
    for name, keys in (("one", b"a."), ("two", b"b.")):
        for key in keys:
            assert f"[{name}] power: ".encode() + echo(key) in done.out
    assert b"[two] power: " + echo(ord("a")) not in done.out
    found = report_of(report)
    vms, cpus = found["vms"], found["instructions"]
    assert isinstance(vms, list)
    assert [(vm["name"], vm["state"], vm["crashes"]) for vm in vms] == [
        ("one", "down", 0), ("two", "down", 0),
    ]  # fmt: skip
    assert all(vm["telemetry"]["exits"]["data-abort-mmio-uart"] for vm in vms)
    assert isinstance(cpus, dict)
    assert cpus["by_cpu"][0]["total"] == cpus["total"]


def test_several_cpus_are_reported(tmp_path: Path) -> None:
    for number in (1, 2):
        done = aether("run", "bench-irq:sgi=50", "--json", tmp_path / f"{number}.json")
        assert done.status == 0, done
    one, other = report_of(tmp_path / "1.json"), report_of(tmp_path / "2.json")
    assert {k for k in one if one[k] != other[k]} <= {"wall_s"}, "two runs are one"
    assert one["cpus"] == 2
    instructions = one["instructions"]
    assert isinstance(instructions, dict)
    assert all(cpu["el1"] for cpu in instructions["by_cpu"])
    shown = aether("inspect", "bench-irq:sgi=50", "--cpu", "1", "--json", "-")
    state = json.loads(shown.out)
    assert (state["cpu"], state["cpus"]) == (1, 2)
    assert state["instructions"] == instructions["by_cpu"][1]["total"]
    assert state["registers"]["HCR_EL2"]["fields"]["VM"] == "0x1"


# QEMU's part, played.

PLAYER = """
import os, select, sys
from pathlib import Path
Path(os.environ["FAKE_PID"]).write_text(str(os.getpid()))
say = lambda text: os.write(1, text.encode())
if os.environ.get("FAKE_FAIL"):
    sys.exit("qemu-system-aarch64: no can do\\nmore words")
for _ in range(300):
    say("[aether] booting, and not yet to be fed\\r\\n")
early = select.select([0], [], [], 0)[0]
say("[aether] vm x: start\\r\\n")
if os.environ.get("FAKE_HANG"):
    while True:
        select.select([], [], [], 3600)
say(os.read(0, 100).decode() + ("fed too early" if early else "") + "\\r\\n")
if not os.environ.get("FAKE_SILENT"):
    say("[aether] end: guest-off\\r\\n")
"""


@pytest.fixture
def player(tmp_path: Path) -> dict[str, str]:
    found = install(tmp_path / "bin", {"qemu-system-aarch64": PLAYER})
    return found | {"FAKE_PID": str(tmp_path / "pid")}


def test_input_waits_for_the_guest(player: dict[str, str]) -> None:
    done = aether("run", "--on", "qemu", stdin=b"typed before", environment=player)
    assert done.status == 0, done
    assert b"typed before\r\n" in done.out
    assert b"too early" not in done.out


def test_a_machine_that_just_goes_off(player: dict[str, str], tmp_path: Path) -> None:
    done = aether(
        "run", "--on", "qemu", "--json", tmp_path / "r.json", stdin=b"x",
        environment=player | {"FAKE_SILENT": "1"},
    )  # fmt: skip
    assert done.status == 1, done
    report = report_of(tmp_path / "r.json")
    assert report["end"] == "power-off"
    for unknown in ("instructions", "exits", "walks", "state_sha256", "mmu", "first_entry"):
        assert report[unknown] is None


def test_qemu_that_refuses(player: dict[str, str]) -> None:
    line = aether("run", "--on", "qemu", environment=player | {"FAKE_FAIL": "1"}).error_line
    assert "QEMU failed (qemu-system-aarch64: no can do)" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_qemu_is_left(player: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    environment = player | {"FAKE_HANG": "1", "TMPDIR": str(tmp_path)}
    with running("run", "--on", "qemu", environment=environment) as run:
        run.read_until(b"vm x: start\r\n")
        handle = os.pidfd_open(int((tmp_path / "pid").read_text()))
        try:
            run.process.send_signal(number)
            run.wait()
            assert select.select([handle], [], [], LIMIT_S)[0], "QEMU outlived its user"
        finally:
            os.close(handle)
    if number is not signal.SIGKILL:
        assert not list(tmp_path.glob("aether-qemu-*")), "temporary files are gone"


# The same on both machines.


def test_both_machines_say_the_same(qemu: Path, tmp_path: Path) -> None:
    found = {}
    for machine in ("emulator", "qemu"):
        done = aether("run", "hello", "--on", machine, "--json", tmp_path / "r.json")
        assert done.status == 0, done
        report = report_of(tmp_path / "r.json")
        found[machine] = (done.out, report["binary_sha256"], report["bundle_sha256"])
    assert found["emulator"] == found["qemu"]


@pytest.mark.parametrize("machine", ["emulator", "qemu"])
def test_u_boot_takes_commands(u_boot: Path, machine: str, request: pytest.FixtureRequest) -> None:
    if machine == "qemu":
        request.getfixturevalue("qemu")
    typed = b"version\nprintenv bootdelay\nbdinfo\npoweroff\n"
    done = aether("run", "u-boot", "--on", machine, stdin=typed)
    assert done.status == 0, done
    for words in (
        b"=> version\r\n",
        b"U-Boot 20",
        b"bootdelay=",
        b"-> size     = 0x0000000004000000",
        b"devicetree  = board",
        b"=> poweroff\r\npoweroff ...",
        b"[aether] end: guest-off\r\n",
    ):
        assert words in done.out, words


# Inspect and build.


def test_inspect_shows_registers_and_maps() -> None:
    shown = aether("inspect", "hello")
    assert shown.status == 0, shown
    text = shown.out.decode()
    for words in ("after ", "HCR_EL2", "VM (stage 2 on)", "stage 2 of the VM", "EL2's own map"):
        assert words in text, words
    hello = stubs.find("hello")
    end = hello.memory_base + hello.memory_size - 1
    assert f"{hello.memory_base:#x}-{end:#x}" in text, "the guest's memory"
    assert "r-x" in text
    assert "0x9000000-0x9000fff" in text, "the UART, in EL2's map"


def test_inspect_at_the_first_instruction() -> None:
    shown = aether("inspect", "hello", "--at", "0", "--register", "hcr_el2")
    assert shown.status == 0, shown
    text = shown.out.decode()
    assert "after 0 instructions at EL2" in text
    assert "stage 2 is off (HCR_EL2.VM is 0)" in text
    assert "EL2's MMU is off (SCTLR_EL2.M is 0)" in text
    assert "TGE=0x0" in text, "a register asked for is shown with every field"


def test_build_tells_what_came_out(tmp_path: Path) -> None:
    shown = aether("build")
    assert shown.status == 0, shown
    (facts,) = json.loads(aether("build", "--json", "-").out)
    assert facts["sha256"] in shown.out.decode()
    assert hashlib.sha256(Path(facts["flat"]).read_bytes()).hexdigest() == facts["sha256"]
    for key in ("text", "data", "bss", "lines_of_code"):
        assert isinstance(facts[key], int), key
