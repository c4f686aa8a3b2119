# SPDX-License-Identifier: Apache-2.0
"""A user's mistakes: each is one line on stderr, exit status 2, and nothing written."""

import struct
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.build import ImageBytes, VmDescription, build
from aether_edgecloud.emulator.bundle.manifest import Memory
from aether_edgecloud.emulator.cli import main
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary

from .command_line import COMMAND, aether
from .fake_programs import install

MIB = 1 << 20
CODE = b"\x00\x00\x00\x14" * 4


@pytest.fixture(autouse=True)
def no_guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AETHER_GUESTS", str(tmp_path / "guests"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line of a mistake; checks that there is one and no file appeared or changed."""
    before = files()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aether: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert files() == before
    return err


def files() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu"], "no command 'rnu'; did you mean `aether run`?"),
        (["frobnicate"], "no command 'frobnicate'; commands: run, build"),
        (["--verbose"], "no option --verbose"),
        (["run", "--onn", "qemu"], "run: no option --onn; did you mean --on?"),
        (["run", "--frobnicate"], "run: no option --frobnicate; see `aether run --help`"),
        (["run", "--on", "board"], "run: "),
        (["run", "--mmu", "fast"], "run: "),
        (["run", "hello", "extra"], "run: "),
        (["run", "--ram"], "run: "),
        (["run", "--ram", "lots"], "--ram: 'lots' is not a size"),
        (["run", "--ram", "1MiB"], "1048576 bytes of RAM"),
        (["run", "--ram", "17MB"], "'17MB' is not a size"),
        (["run", "--board", "toaster"], "no board 'toaster'"),
        (["run", "--max-instructions", "0"], "--max-instructions"),
        (["run", "--max-instructions", "many"], "--max-instructions"),
        (["run", "--icount"], "--icount: in the emulator time always follows instructions"),
        (["run", "--on", "qemu", "--max-instructions", "5"], "QEMU counts none"),
        (["run", "--on", "qemu", "--mmu", "model"], "QEMU has its own MMU"),
        (["run", "helo"], "no guest is called 'helo'; did you mean 'hello'?"),
        (["run", "--input", "none.txt"], "none.txt: cannot be read"),
        (["run", "--input", "."], "cannot be read"),
        (["run", "u-boot"], "guest 'u-boot' is not here yet; get it with `aether guests fetch"),
        (["run", "crash:none"], "stub 'crash' has no case 'none'; its cases: "),
        (["run", "hello:any"], "stub 'hello' has no case 'any'; it has none"),
        (["run", "hello=5"], "counts nothing"),
        (["run", "none.toml"], "none.toml: cannot be read"),
        (["run", "none.bundle"], "none.bundle: cannot be read"),
        (["run", "no/such/file"], "no/such/file: cannot be read"),
        (["run", "--binary", "none.bin"], "none.bin: cannot be read"),
        (["run", "--cpus", "0"], "--cpus"),
        (["run", "--cpus", "9"], "9 vCPUs"),
        (["run", "--cpus", "many"], "--cpus"),
        (["run", "--memory", "lots"], "--memory: 'lots' is not a size"),
        (["run", "--memory", "5MB"], "--memory: '5MB' is not a size"),
        (["run", "--memory", "1KiB"], "memory at 0x40000000 of 1 KiB is not 4 KiB-aligned"),
        (["run", "--memory", "1"], "memory at 0x40000000 of 1 B is not 4 KiB-aligned"),
        (["run", "--memory", "4EiB"], "--memory: '4EiB' is too large"),
        (["run", "--memory", "900GiB"], "bytes of RAM; use a multiple of 2 MiB"),
        (["run", "--memory", "1GiB", "--ram", "1GiB"], "do not fit into 1024 MiB of RAM"),
        (["run", "--board-cpus", "9"], "9 CPUs; use 1 to 8"),
        (["run", "bench-irq", "--board-cpus", "1"], "CPU"),
        (["run", "--quantum", "0"], "--quantum"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--on", "qemu", "--quantum", "5"], "--quantum: QEMU has its own order of the"),
        (["run", "--on", "qemu", "--seed", "5"], "--seed: QEMU has its own order of the CPUs"),
        (["run", "--shell"], "--shell: is for the guest linux; use `aether run linux --shell`"),
        (["run", "hello", "--append", "quiet"], "--append: 'hello' is no kernel that takes it"),
        (["run", "hello", "--ramdisk", "x"], "--ramdisk: 'hello' is no kernel that takes it"),
        (["run", "hello", "--dtb", "none.dtb"], "none.dtb cannot be read"),
        (["run", "--kernel", "none"], "none cannot be read"),
        (["run", "u-boot", "--kernel", "none"], "--kernel: takes the place of 'u-boot'"),
        (["run", "linux"], "guest 'linux' is not here yet; get it with `aether guests fetch"),
        (["run", "x.toml", "--cpus", "2"], "--cpus: is for a guest by name; describe it in"),
        (["run", "x.bundle", "--shell"], "--shell: is for a guest by name"),
        (["run", "--json", "."], ".: cannot be written (it is a directory)"),
        (["run", "--json", "no/such/file"], "no/such/file: cannot be written (there is no such"),
        (["run", "--json", "/dev/null/file"], "cannot be written (Not a directory)"),
        (["inspect", "--json", "no/such/file"], "cannot be written (there is no such folder)"),
        (["inspect", "--cpu", "1"], "--cpu: there is no CPU 1; use 0 to 0"),
        (["bench", "nothing"], "no benchmark 'nothing'; there are: exits"),
        (["bench", "stub", "--json", "no/such/file"], "cannot be written (there is no such"),
        (["top", "1"], "top: no run of yours has process ID 1"),
        (["bundle", "hello"], "bundle: say what to do with it"),
        (["bundle", "hello", "--show", "-o", "x"], "bundle: say what to do with it"),
        (["bundle"], "TARGET is missing"),
        (["bundle", "hello", "-o", "no/such/folder/x"], "cannot be written"),
        (["bundle", "hello", "-o", "."], "cannot be written"),
        (["guests", "fetch"], "NAME is missing"),
        (["guests", "fetch", "u-bot"], "no guest is called 'u-bot'; did you mean 'u-boot'?"),
        (["guests", "fetch", "hello"], "'hello' is embedded and needs no fetching"),
        (["guests", "remove"], "guests: "),
        (["build", "el3"], "'el3'"),
        (["inspect", "--register", "HCR_EL9"], "no system register 'HCR_EL9'"),
        (["inspect", "--at", "-1"], "--at"),
    ],
)
def test_a_mistake_on_the_command_line(
    capsys: pytest.CaptureFixture[str], arguments: Sequence[str], words: str
) -> None:
    assert words in told(capsys, *arguments)


def test_no_line_break_gets_into_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "run", "a\nb\x1b[31m")
    told(capsys, "run", "--board", "a\nb")
    told(capsys, "a\nb")
    told(capsys, "run", "--a\nb")


@given(st.text(max_size=30), st.text(max_size=30) | st.none(), st.text(max_size=30) | st.none())
def test_a_user_error_is_one_line(what: str, where: str | None, fix: str | None) -> None:
    line = str(UserError(what, where=where, fix=fix))
    assert len(line.splitlines()) <= 1
    assert line.isprintable()


def description(memory: Memory, image_size: int = 16) -> bytes:
    image = ImageBytes("code", CODE + bytes(image_size - 16), memory.ipa)
    return build((VmDescription("vm", (memory,), (image,)),), where="x")


TOML = """\
[[vm]]
name = "vm"
memory = [{ ipa = 0x40000000, size = "2MiB"%s }]
images = [{ file = "code", ipa = 0x40000000 }]
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOML.replace('"2MiB"', '"4KiB"') % "", "does not lie inside the VM's memory"),
        (TOML % ", host = 0x40200000", "overlaps the hypervisor's memory"),
        (TOML % ", host = 0x48000000", "overlaps the bundle"),
        (TOML % ", host = 0xf000000000", "is not inside RAM"),
        (TOML.replace('"vm"', '"VM"') % "", "'VM' cannot name a VM"),
        (TOML % "" + "vcpus = 9\n", "9 vCPUs"),
        (TOML % "" + "devices = [3]\n", "no device 3"),
        (TOML % "" + "[[vm]]\n", "bad.toml:5: key 'name' is missing"),
        (TOML % "" + "cpuz = 1\n", "bad.toml:5: unknown key 'cpuz'; did you mean 'cpus'?"),
        (TOML % "" + TOML % "", "bad.toml:5: a VM is called 'vm' already (bad.toml:1)"),
        ("[[vm", "bad.toml:1"),
    ],
)
@pytest.mark.parametrize("command", [["run"], ["bundle", "-o", "out.bundle"], ["inspect"]])
def test_a_bad_description(
    capsys: pytest.CaptureFixture[str], command: list[str], text: str, words: str
) -> None:
    Path("code").write_bytes(CODE + bytes(8192))
    Path("bad.toml").write_text(text)
    assert words in told(capsys, command[0], "bad.toml", *command[1:])


def test_more_guest_memory_than_the_board_has(capsys: pytest.CaptureFixture[str]) -> None:
    Path("code").write_bytes(CODE)
    Path("bad.toml").write_text(TOML.replace("2MiB", "512MiB") % "")
    line = told(capsys, "run", "bad.toml", "--ram", "256MiB")
    assert "512 MiB of guest memory do not fit into 256 MiB" in line
    assert main(["bundle", "bad.toml", "-o", "out.bundle"]) == 0, "the board may have more"


def test_a_description_that_fails_leaves_the_old_bundle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("out.bundle").write_bytes(b"as it was")
    Path("bad.toml").write_text(TOML % "")
    assert "code cannot be read" in told(capsys, "bundle", "bad.toml", "-o", "out.bundle")
    assert Path("out.bundle").read_bytes() == b"as it was"


def test_a_truncated_or_corrupt_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    good = description(Memory(0x4000_0000, 2 * MIB))
    for command in (["run"], ["run", "--on", "qemu"], ["bundle", "--show"]):
        for length in (0, 5, 63, 64, 200, len(good) - 1):
            Path("x.bundle").write_bytes(good[:length])
            assert told(capsys, command[0], "x.bundle", *command[1:]).startswith("aether: x.bundle")
        for position in (0, 9, 20, 100, 300, len(good) - 1):
            Path("x.bundle").write_bytes(
                good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :]
            )
            assert told(capsys, command[0], "x.bundle", *command[1:]).startswith("aether: x.bundle")


def test_a_bundle_over_the_hypervisor(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.bundle").write_bytes(description(Memory(0x4000_0000, 2 * MIB, 0x4020_0000)))
    assert "overlaps the hypervisor's memory" in told(capsys, "run", "x.bundle")


def test_a_file_that_is_neither(capsys: pytest.CaptureFixture[str]) -> None:
    Path("readme").write_text("hello")
    assert "neither TOML nor a bundle" in told(capsys, "run", "./readme")


def elf_header(machine: int, elf_class: int = 2) -> bytes:
    ident = b"\x7fELF" + bytes([elf_class, 1, 1]) + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\n",
        bytes(64),
        bytes(4096),
        b"\x7fELF",
        elf_header(62),
        elf_header(183),
        elf_header(40, elf_class=1),
        b"\x7fELF" + b"\xff" * 200,
        struct.pack("<8sQQQ24s4s4s", b"", 0x80000, 4096, 0, b"", b"ARM\x64", b""),
        struct.pack("<8sQQQ24s4s4s", b"", 0, 4096, 1, b"", b"ARM\x64", b""),
    ],
)
def test_a_binary_that_is_not_for_el2(capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    Path("x.bin").write_bytes(data)
    for machine in ("emulator", "qemu"):
        line = told(capsys, "run", "--on", machine, "--binary", "x.bin")
        assert line.startswith("aether: x.bin: ")
        assert ";" in line, "says what to do"


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_as_a_binary(data: bytes, after_elf_header: bool) -> None:
    path = Path("any.bin")
    path.write_bytes((elf_header(183)[:52] if after_elf_header else b"") + data)
    try:
        binary.load(path)
    except UserError as error:
        assert str(error).startswith("any.bin: ")


@cache
def hypervisor_elf() -> bytes:
    elf = binary.load(None).elf
    assert elf is not None
    return elf.read_bytes()


@given(st.data())
def test_a_damaged_elf_of_the_hypervisor(data: st.DataObject) -> None:
    changed = bytearray(hypervisor_elf())
    headers = st.integers(0, 400) | st.integers(len(changed) - 2000, len(changed) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(headers)] = data.draw(st.integers(0, 255))
    path = Path("any.elf")
    path.write_bytes(changed[: data.draw(st.integers(0, len(changed)))])
    try:
        binary.load(path)
    except UserError as error:
        assert str(error).startswith("any.elf: ")


def test_a_kernel_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    for data in (b"", b"#!/bin/sh\n" * 20, b"MZ" + bytes(200), b"\x1f\x8b" + bytes(200)):
        Path("kernel").write_bytes(data)
        line = told(capsys, "run", "--kernel", "kernel")
        assert line.startswith("aether: "), line
        assert ";" in line, "says what to do"


def test_a_place_that_may_not_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    assert "r.json: cannot be written (it may not be)" in told(capsys, "run", "--json", "r.json")


def test_qemu_that_cannot_be_started(tmp_path: Path) -> None:
    broken = install(tmp_path / "bin", {"qemu-system-aarch64": ""})
    (tmp_path / "bin/qemu-system-aarch64").write_bytes(b"\x7fELF of another machine")
    line = aether("run", "--on", "qemu", environment=broken).error_line
    assert "qemu-system-aarch64: cannot be started (Exec format error); install" in line


def test_qemu_is_missing(tmp_path: Path) -> None:
    nothing = install(tmp_path / "bin", {}, alone=True)
    line = aether("run", "--on", "qemu", "--json", "r.json", environment=nothing).error_line
    assert "qemu-system-aarch64 is not here; install it" in line
    assert not Path("r.json").exists()


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb"])
def test_apt_is_missing(tmp_path: Path, missing: str) -> None:
    others = {name: "" for name in ("apt-get", "dpkg-deb") if name != missing}
    nothing = install(tmp_path / "bin", others, alone=True)
    line = aether("guests", "fetch", "u-boot", environment=nothing).error_line
    assert f"{missing} is not here" in line
    assert not (tmp_path / "guests").exists()


def test_help_and_version() -> None:
    plain = aether()
    assert plain.status == 0
    assert b"run" in plain.out
    assert aether("--help").out == plain.out
    assert aether("--version").out.startswith(b"aether")


@pytest.mark.parametrize("command", ["run", "build", "guests", "bundle", "inspect", "top", "bench"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: aether {command}" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error() -> None:
    process = subprocess.Popen(
        [*COMMAND, "guests"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.wait()
