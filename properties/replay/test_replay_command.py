# SPDX-License-Identifier: Apache-2.0
"""`aether replay` without a terminal: what it prints, as text and as JSON, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.properties.replay.runs import HELLO, SMP, recording


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The recording of `hello`."""
    return recording(HELLO, tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    """What is printed."""
    assert main(["replay", *map(str, arguments)]) == status
    return capsys.readouterr().out


def test_text_of_all_views(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, f"{file}@mark:guest vm0", "--show", "all,memory:pa:0x40200000+16")
    for words in (
        "position ", "registers", "HCR_EL2", "-> 0x", "stage 1", "stage 2", "vm0", "backtrace",
        "stack", "memory pa:0x40200000", "console", "events",
    ):  # fmt: skip
        assert words in text


def test_json_of_all_views(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, file, "--at", "50%", "--show", "all,memory:pa:0x40200000+16", "--json")
    values = json.loads(text)
    assert values["format"] == "aether-replay"
    assert values["position"] == round(values["end"] / 2)
    assert values["registers"]["PC"]["value"] == values["pc"]
    assert [i["va"] for i in values["code"] if i["current"]] == [values["pc"]]
    assert len(values["memory"][0]["data"]) == 16
    assert {"stage1", "stage2", "backtrace", "stack", "console", "events"} <= values.keys()
    assert json.loads(run(capsys, file, "--json"))["position"] == 0


def test_searches(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, file, "--find", "exec:console_write", "--json"))
    assert found["symbol"] == "console_write"
    place = found["hits"][0]["position"]
    text = run(capsys, file, "--at", "end", "--find", "exec:console_write", "--back", "--all")
    lines = text.splitlines()
    assert lines[0].startswith(f"{file}@{place} ")
    link = lines[-1].split()[0]
    assert "console_write" in run(capsys, link, "--show", "disasm")
    written = run(capsys, link, "--find", "write:frame_banks+8", "--back", "--json")
    assert json.loads(written)["hits"]
    assert "not found" in run(capsys, file, "--find", "exec:0xdead0000", status=1)


def test_the_same_run_twice(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    other = recording(HELLO, tmp_path / "other")
    assert "the same" in run(capsys, file, "--diff", other)
    values = json.loads(run(capsys, file, "--diff", other, "--json"))
    assert values["difference"] is None


@pytest.mark.nightly
def test_where_runs_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two that differ in how the CPUs take turns part where the second CPU first runs otherwise."""
    one = recording(SMP, tmp_path)
    (tmp_path / "other").mkdir()
    two = recording(replace(SMP, quantum=70), tmp_path / "other")
    values = json.loads(run(capsys, one, "--diff", two, "--json", status=1))
    parted = values["difference"]["position"]
    assert parted > 0
    assert values["difference"]["registers"]
    for cpu in (0, 1):
        arguments = ("--show", "regs", "--cpu", cpu, "--json")
        before = [json.loads(run(capsys, f"{f}@{parted - 1}", *arguments)) for f in (one, two)]
        values = [{name: r["value"] for name, r in one["registers"].items()} for one in before]
        assert values[0] == values[1]
    assert "the runs part" in run(capsys, one, "--diff", two, status=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--at", "999999999", "--json"], "past the end"),
        (["--at", "1e9", "--json"], "no place"),
        (["--show", "regs,maps"], "cannot be shown"),
        (["--show", "memory"], "cannot be shown"),
        (["--show", "memory:el3:0"], "address space"),
        (["--show", "memory:nothing"], "no symbol"),
        (["--find", "jump:0"], "cannot be sought"),
        (["--find", "exec:nothing"], "no symbol"),
        (["--find", "event:nothing"], "no kind"),
        (["--find", "exec:nothing.c:7"], "no code"),
        (["--find", "write:0x1000"], "not in RAM"),
        (["--find", "write:guest:0xffff000000000000"], "not mapped"),
        (["--back", "--json"], "is for --find"),
        (["--cpu", "7", "--json"], "no CPU 7"),
        (["--cpu", "7", "--find", "exec:console_write"], "no CPU 7"),
        (["--show", "regs,memory:0x40200000+0"], "cannot be shown"),
        (["--show", "regs,memory:nothing"], "no symbol"),
        (["--show", "memory:console_write+0xffffffffffffffff+16"], "past the last address"),
        (["--show", "memory:0xfffffffffffffff8+9"], "past the last address"),
        (["--at", "9" * 5000, "--json"], "no place"),
        (["--at", "event:" + "9" * 5000, "--json"], "no place"),
        (["--at", "-5", "--json"], "told from a cursor"),
        (["--at", "+5", "--json"], "told from a cursor"),
        (["--find", "exec:main.c:\u00b2"], "no line"),
        (["--find", "exec:a.c:" + "9" * 5000], "no line"),
        (["--find", "over", "--all"], "not for over and out"),
        (["--find", "over:3"], "cannot be sought"),
        (["--find", "out:"], "cannot be sought"),
        (["--find", "write:vms+0"], "vms+0+8 is 8 bytes"),
        (["--find", "write:0x40200000+0"], "0 bytes cannot be watched"),
        (["--find", "table:0x40200001"], "no entry of a table"),
        (["--find", "event:device"], "device-write, console"),
        (["--find", "out", "--all"], "not for over and out"),
        (["--diff", "other.aet", "--find", "over"], "whole runs"),
        (["--diff", "other.aet", "--show", "regs"], "whole runs"),
        (["--diff", "other.aet", "--cpu", "0"], "whole runs"),
        (["--diff", "other.aet", "--at", "5"], "whole runs"),
        ([], "no terminal"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(file), *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert error.startswith("aether: ")
    assert words in error


def test_a_position_given_twice_and_a_file_that_is_none(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", f"{file}@5", "--at", "6", "--json"]) == 2
    assert "twice" in capsys.readouterr().err
    for name, content in (("none.aet", None), ("empty.aet", b""), ("foreign.aet", b"x" * 5000)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert main(["replay", str(tmp_path / name), "--json"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
