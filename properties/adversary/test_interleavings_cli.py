# SPDX-License-Identifier: Apache-2.0
"""`aether explore`: what it tells, and that the schedule it names runs again."""

import json
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.properties.adversary.test_interleavings import (
    COUNTER,
    LOCK,
    PLAIN_ADD,
    at_once,
    lock,
    unlock,
)
from aether_edgecloud.properties.machine import smp

CHECKED = f"""
    ldr x1, [x20, #{COUNTER}]
    cmp x1, #2
    b.eq all_well
wrong:
    wfi
    b wrong
all_well: nop
"""
TARGET = ("hello", "--cpus", "2", "--from", "10")


def program(folder: Path, first: str, second: str) -> Path:
    """Two CPUs do something; it hangs unless the counter is 2 then."""
    begin, other = at_once(first, second)
    made = smp.machine(begin + CHECKED, other, 2)
    file = folder / "program.bin"
    data = bytearray(made.image.data)
    data[48:60] = bytes(8) + b"ARM\x64"  # where the arm64 Image header has it
    file.write_bytes(data)
    made.close()
    return file


@pytest.fixture
def racy(tmp_path: Path) -> str:
    return str(program(tmp_path, PLAIN_ADD, PLAIN_ADD))


def test_a_failure_is_told_and_runs_again(
    racy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["explore", *TARGET, "--binary", racy, "--schedules", "200", "--json", "-"]) == 1
    told = json.loads(capsys.readouterr().out)
    (failure,) = told["failures"]
    assert "every CPU waits" in failure["what"]
    assert told["schedules"] <= 200 and told["distinct"] > 1

    again = ["--only", failure["interleaving"]]
    assert main(["explore", *TARGET[:3], "--binary", racy, *again]) == 1
    said = capsys.readouterr().out
    assert "every CPU waits" in said and failure["interleaving"] in said

    recording = tmp_path / "run.aet"
    run = ["run", *TARGET[:3], "--binary", racy, "--interleaving", failure["interleaving"]]
    assert main([*run, "--record", str(recording)]) == 1
    assert "every CPU waits" in capsys.readouterr().err
    search = ["--find", f"write:pa:{smp.SHARED + COUNTER:#x}", "--all"]
    assert main(["replay", f"{recording}@0", *search]) == 0
    stores = capsys.readouterr().out.splitlines()
    assert ["stores 0x1 at" in line for line in stores] == [True, True]
    assert "CPU 0" in "".join(stores) and "CPU 1" in "".join(stores)

    assert main(["run", *TARGET[:3], "--binary", racy]) == 0


def test_none_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safe = program(
        tmp_path,
        lock(LOCK, "one") + PLAIN_ADD + unlock(LOCK),
        lock(LOCK, "two") + PLAIN_ADD + unlock(LOCK),
    )
    options = ["--binary", str(safe), "--method", "bounded", "--depth", "1"]
    assert main(["explore", *TARGET, *options]) == 0
    said = capsys.readouterr().out
    assert "which are all" in said and "none fails" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hello"], "only one CPU runs guests"),
        (["hello", "--cpus", "2", "--max-instructions", "10000"], "give --max-instructions more"),
        (["hello", "--cpus", "2", "--from", "900000000"], "has ended before instruction"),
        (["hello", "--only", "pct:speed=1"], "is no part of a schedule"),
        (["nobody"], "nobody"),
    ],
)
def test_mistakes(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", *arguments]) == 2
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1
