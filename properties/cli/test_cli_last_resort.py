# SPDX-License-Identifier: Apache-2.0
"""What no command foresees is one line too: full disks, closed streams, absurd numbers, paths."""

import os
import subprocess
from pathlib import Path

import pytest

from aether_edgecloud.properties.cli.command_line import COMMAND

VM = """
[[vm]]
name = "mine"
entry = 0x40080000
memory = [{{ipa = {ipa}, size = "{size}"}}]
images = [{{file = "image", ipa = 0x40080000}}]
"""


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a shell line in which `aether` is the command."""
    script = f'aether() {{ {" ".join(COMMAND)} "$@"; }}; {line}'
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("aether: ")
    return line


@pytest.mark.parametrize("command", ["build", "guests", "--help"])
def test_a_full_disk(tmp_path: Path, command: str) -> None:
    assert "No space left" in one_line(shell(f"aether {command} >/dev/full", tmp_path))


def test_more_memory_than_there_is(tmp_path: Path) -> None:
    one_line(shell("ulimit -v 4000000; aether run --ram 128GiB", tmp_path))


def test_a_name_no_system_call_takes(tmp_path: Path) -> None:
    one_line(shell(f"aether run {'a' * 300}", tmp_path))


@pytest.mark.parametrize(
    ("ipa", "size"),
    [
        ("0x40000000", "99999999999999999999GiB"),
        ("0x" + "f" * 5000, "2MiB"),
        ("9" * 5000, "2MiB"),
    ],
)
def test_absurd_numbers(tmp_path: Path, ipa: str, size: str) -> None:
    (tmp_path / "image").write_bytes(bytes(64))
    (tmp_path / "vm.toml").write_text(VM.format(ipa=ipa, size=size))
    line = one_line(shell("aether bundle vm.toml -o out.bundle", tmp_path))
    assert len(line) < 300
    assert not (tmp_path / "out.bundle").exists()


def test_a_bundle_is_not_written_over_what_it_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(64))
    text = VM.format(ipa="0x40000000", size="2MiB")
    (tmp_path / "vm.toml").write_text(text)
    one_line(shell("aether bundle vm.toml -o vm.toml", tmp_path))
    assert (tmp_path / "vm.toml").read_text() == text


def test_closed_streams(tmp_path: Path) -> None:
    """What would be printed is dropped, and does not land in the other stream."""
    closed_out = shell("aether run hello >&- </dev/null", tmp_path)
    assert closed_out.returncode == 0, closed_out
    assert "guest-off" in closed_out.stderr
    closed_err = shell("aether run hello 2>&- </dev/null", tmp_path)
    assert closed_err.returncode == 0, closed_err
    assert closed_err.stdout.splitlines()[-1] == "[aether] end: guest-off"


@pytest.mark.parametrize("command", ["guests", "bundle hello --show", "--help"])
def test_a_reader_that_has_gone(tmp_path: Path, command: str) -> None:
    """What prints by itself and what prints tables: both end quietly, as by SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*COMMAND, *command.split()],
            cwd=tmp_path,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            timeout=120,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
