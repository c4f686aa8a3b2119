# SPDX-License-Identifier: Apache-2.0
"""`aether check`: what it prints and writes, its exit status, and binaries that come to no end."""

import json
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.check.rules import RULES
from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.properties.check import programs as c
from aether_edgecloud.properties.machine.bare import NO_MEMORY, assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

OFF = "movz x0, #0x8400, lsl #16\nmovk x0, #8\nsmc #0\nb ."


def stage2(body: str) -> str:
    """A hypervisor that makes its own tables: stage 2 with one block for the guest, which switches
    the machine off."""
    leaf = p.GUEST | p.BLOCK_LEAF
    make = p.write(p.entry(p.ROOT, 1), p.L2 | p.TABLE) + p.write(p.entry(p.L2, 4), leaf)
    make += p.write(p.entry(p.L2, 5), p.DATA | p.BLOCK_LEAF)
    words = p.assemble_at_guest()
    for at in range(0, len(words), 8):
        make += p.write(p.GUEST + at, int.from_bytes(words[at : at + 8].ljust(8, b"\0"), "little"))
    return c.setup(start=f"{make}{p.DSB_ISH}{p.STAGE2_ON}") + body + c.OFF + "\nvectors: b .\n"


def balanced(text: str) -> str:
    return text.replace("\nvectors: b .", "\nb .\n.balign 2048\nvectors:\n" + "b .\n" * 8)


RIGHT = balanced(stage2(""))
BROKEN = balanced(stage2(p.write(p.entry(p.L2, 5), 0)))
"""It forgets the TLBI."""


@pytest.fixture
def binary(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        file = tmp_path / "el2.bin"
        file.write_bytes(assemble(text))
        return str(file)

    return write


def test_nothing_found(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", binary(RIGHT), "--ignore", "writable-tables"]) == 0
    out = capsys.readouterr().out
    assert "the run switched the machine off" in out and out.endswith("nothing found\n")


def test_an_error_found(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", binary(BROKEN)]) == 1
    out = capsys.readouterr().out
    assert "1. not-flushed: EL2 was left while TLBs may hold a translation" in out
    assert "it was block 0x42000000 RW X Normal WB ISH" in out
    assert "VMID 1, entry at PA 0x41001028, level 2, IPA 0x40a00000" in out
    assert out.endswith("1 error, 1 note\n")


def test_rules_that_are_not_wanted(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", binary(BROKEN), "--ignore", "not-flushed,writable-tables"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main(["check", binary(BROKEN), "--rules", "frozen,writable-code"]) == 0
    assert "nothing found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rules", "no-such"], "--rules: no rule 'no-such'; see `aether check --list-rules`"),
        (["--rules", "frozen", "--ignore", "frozen"], "--ignore: no rule is left to check"),
        (["--json", "-", "--sarif", "-"], "--sarif -: is the place of --json too"),
        (["--markdown"], "--markdown: is for --list-rules"),
        (["--json", "/no/such/folder/x"], "cannot be written"),
        (["--symbols", "/no/such/file"], "/no/such/file: cannot be read"),
        (["--bundle", "hello", "--append", "x"], "--append: does not go with --bundle"),
    ],
)
def test_mistakes(
    binary: Any, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", binary(RIGHT), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_no_binary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "BINARY is missing" in capsys.readouterr().err


def test_no_aarch64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elf = bytearray(Path(toolchain.artefact("el2").elf or "").read_bytes())
    elf[0x12:0x14] = (62).to_bytes(2, "little")  # EM_X86_64
    file = tmp_path / "x86"
    file.write_bytes(elf)
    assert main(["check", str(file)]) == 2
    assert "AArch64" in capsys.readouterr().err


def test_symbols_from_a_list(
    binary: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "System.map"
    names.write_text("0000000000000000 T _start\n0000000000000100 t unmap\n")
    assert main(["check", binary(BROKEN), "--symbols", str(names)]) == 1
    assert "unmap+0x" in capsys.readouterr().out
    names.write_text("what is this\n")
    assert main(["check", binary(BROKEN), "--symbols", str(names)]) == 2
    assert "System.map:1: is no list of symbols" in capsys.readouterr().err


def test_json(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", binary(BROKEN), "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["version"]) == ("aether-check-report", 1)
    assert (report["end"], report["exit_status"], report["vcpus"]) == ("off", 1, 1)
    assert report["rules"] == sorted(RULES) and report["el2_faults"] == []
    first = report["findings"][0]
    assert (first["rule"], first["severity"], first["confidence"]) == (
        "not-flushed", "error", "likely",
    )  # fmt: skip
    assert (first["vmid"], first["level"], first["ia"]) == (1, 2, "0x40a00000")
    assert first["old"] == hex(p.DATA | p.BLOCK_LEAF) and first["new"] is None
    assert set(first) == {
        "rule", "severity", "confidence", "reference", "count", "position", "cpu", "instruction",
        "pc", "symbol", "source", "words", "vmid", "entry_pa", "level", "ia", "old", "new", "value",
    }  # fmt: skip


def test_difference_finds_the_same(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rules = []
    for stores in ("exact", "difference"):
        assert main(["check", binary(BROKEN), "--json", "-", "--stores", stores]) == 1
        report = json.loads(capsys.readouterr().out)
        assert report["stores"] == stores
        rules.append([(f["rule"], f["entry_pa"], f["old"]) for f in report["findings"]])
    assert rules[0] == rules[1]


def test_sarif(binary: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the SARIF 2.1.0 schema asks for, as far as it is used."""
    names = tmp_path / "System.map"
    names.write_text("0 T _start\n100 t unmap\n")
    file = tmp_path / "out.sarif"
    arguments = ["check", binary(BROKEN), "--symbols", str(names), "--sarif", str(file)]
    assert main(arguments) == 1
    log = json.loads(file.read_text())
    assert log["version"] == "2.1.0" and log["$schema"].startswith("https://")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] and [rule["id"] for rule in driver["rules"]] == list(RULES)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"] and rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note", "none")
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is True and invocation["exitCode"] == 1
    assert run["results"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == RULES[result["ruleId"]].severity.value
        assert result["message"]["text"] and result["occurrenceCount"] >= 1
        assert 0.0 <= result["rank"] <= 100.0
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] and place["address"]["absoluteAddress"] > 0
    first = run["results"][0]["locations"][0]
    assert first["logicalLocations"] == [{"name": "unmap", "kind": "function"}]
    assert "/" in run["artifacts"][0]["location"]["uri"]
    assert len(run["artifacts"][0]["hashes"]["sha-256"]) == 64


def test_a_finding_can_be_replayed(
    binary: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.aet"
    assert main(["check", binary(BROKEN), "--record", str(file), "--json", "-"]) == 1
    first = json.loads(capsys.readouterr().out)["findings"][0]
    replay = Replay.open(file)
    replay.visit(Moment(first["position"]), None)
    assert hex(replay.machine.cpu.pc) == first["pc"]
    assert replay.machine.memory.read64(int(first["entry_pa"], 16)) == int(first["old"], 16)
    replay.close()
    assert main(["replay", str(file), "--at", str(first["position"]), "--show", "disasm"]) == 0
    assert "str" in capsys.readouterr().out


ENDS = {
    "no translation": (OFF, "no-translation", ""),
    "no guest": (
        f"{p.write(p.entry(p.EL2_ROOT, 1), 0x4000_0000 | p.EXECUTABLE)}{p.DSB_ISH}"
        f"{p.EL2_MMU_ON}{OFF}",
        "no-guest",
        "",
    ),
    "a loop": ("b .", "loop", ""),
    "a loop that waits": ("again: wfe\nb again", "loop", ""),
    "a deadlock": ("again: wfi\nb again", "deadlock", ""),
    "no vectors": ("brk #7", "lockup", "BRK"),
    "GICv3": (
        "mrs x0, s3_4_c12_c9_5",
        "lockup",
        "`mrs x0, icc_sre_el2`: system register S3_4_C12_C9_5 is not on this CPU at EL2",
    ),
    "a register without a name": (
        "msr s3_4_c15_c7_7, x0",
        "lockup",
        "`msr s3_4_c15_c7_7, x0`: system register S3_4_C15_C7_7 is not on this CPU at EL2",
    ),
    "no device": (
        f"{constant('x1', NO_MEMORY)}\nldr w0, [x1]",
        "lockup",
        f"read of PA {NO_MEMORY:#x}, where the board has neither RAM nor a device",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_comes_to_no_end(binary: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, end, trouble = ENDS[name]
    arguments = ["check", binary(text), "--max-instructions", "60000000"]
    assert main([*arguments, "--json", "-"]) == 3
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert (report["end"], report["exit_status"]) == (end, 3)
    assert "not checked to its end" in told.err
    if trouble:
        assert report["el2_faults"][0]["first"].startswith(trouble)
        assert trouble in told.err
        assert "; PC 0x4008" in report["el2_faults"][0]["first"]
    else:
        assert report["el2_faults"] == []


def test_a_limit(binary: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One that goes on for ever has been checked up to there."""
    arguments = ["check", "--bundle", "spin", "--max-instructions", "1200000"]
    assert main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["end"] == "limit"


@pytest.mark.parametrize("name", ["hello", "stage1", "fault-loop"])
def test_our_own_is_clean(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--bundle", name, "--max-instructions", "2000000", "--json", "-"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert [f["rule"] for f in report["findings"]] == ["writable-tables"]
    assert report["findings"][0]["source"].startswith("el2/vectors.S:")


def test_the_rules_in_the_document() -> None:
    """The table in docs/check-your-own.md is what --list-rules --markdown prints."""
    document = toolchain.SOURCE_ROOT / "docs/check-your-own.md"
    text = document.read_text()
    for rule in RULES.values():
        level, sure = rule.severity.value, rule.confidence.value
        row = f"| `{rule.id}` | {level} | {sure} | {rule.words}. {rule.help} | {rule.reference} |"
        assert row in text


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--list-rules"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(RULES)
