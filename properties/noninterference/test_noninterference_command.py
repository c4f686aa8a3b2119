# SPDX-License-Identifier: Apache-2.0
"""`aether noninterference`: what it says, in words and as JSON, and what it refuses."""

import json
from pathlib import Path

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.replay.replay import Replay

from . import patches

TOML = """
[schedule]
frame = "1ms"
cpus = [[{ vm = "keeper", length = "400us" }, { vm = "observer", length = "400us" }]]

[[vm]]
name = "keeper"
guest = "keeper:registers"
restart = "always"

[[vm]]
name = "observer"
guest = "observer"
vcpus = 1
"""
PEERS = TOML.replace('restart = "always"', 'restart = "always"\npeers = ["observer"]').replace(
    "vcpus = 1", 'vcpus = 1\npeers = ["keeper"]'
)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    file = tmp_path / "two.toml"
    file.write_text(TOML, encoding="utf-8")
    return file


def test_a_hypervisor_that_tells_nothing(target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["noninterference", str(target), "--secret", "keeper", "--for", "40ms"]
    assert main([*arguments, "--seeds", "2", "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["holds"] and facts["time_compared"] and len(facts["pairs"]) == 2
    (vm,) = facts["pairs"][0]["vms"]
    assert (vm["name"], vm["vmid"], vm["verdict"]) == ("observer", 2, "equal")
    assert vm["crossings"] > 50 and vm["memory_looks"] and len(vm["digest"]) == 32
    assert vm["digest"] == facts["pairs"][1]["vms"][0]["digest"]
    assert facts["pairs"][0]["secret"]["shows"]


def test_a_hypervisor_that_leaks_is_recorded(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_bytes(patches.without_write("TPIDR_EL1", "el1_load").data)
    files = [str(tmp_path / "a.aet"), str(tmp_path / "b.aet")]
    arguments = [
        *("noninterference", str(target), "--secret", "keeper", "--for", "40ms"),
        *("--binary", str(bad), "--record", *files, "--json", str(tmp_path / "out.json")),
    ]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "different" in shown and "TPIDR_EL1" in shown
    facts = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    found = facts["pairs"][0]["difference"]
    assert facts["recordings"] == files and not facts["holds"]
    assert [value["name"] for value in found["values"]] == ["TPIDR_EL1"]
    for name, file in zip("ab", files, strict=True):
        assert f"aether replay {file} --at mark:difference" in shown
        replay = Replay.open(Path(file))
        assert replay.moment("mark:difference").position == found[name]["position"]
        replay.close()


@pytest.mark.nightly
def test_a_secret_in_an_object_of_the_guest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stub `intruder` does what a word in its image says."""
    target = tmp_path / "two.toml"
    target.write_text(TOML.replace("keeper:registers", "intruder"), encoding="utf-8")
    elf = toolchain.artefact("stub:intruder").elf
    arguments = [
        *("noninterference", str(target), "--secret", "keeper", "--for", "60ms"),
        *("--kind", "memory", "--range", f"{elf}:stub_parameter", "--json", "-"),
    ]
    assert main(arguments) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pairs"][0]["secret"] == {"vm": "keeper", "planted": 8, "shows": True}


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        (TOML, ["--secret", "nobody"], "--secret: no VM 'nobody'; there are: keeper, observer"),
        (TOML, ["--secret", "keeper", "--compare", "keeper"], "is the VM with the secret"),
        (TOML, ["--secret", "keeper", "--for", "soon"], "--for: 'soon' is not a time"),
        (TOML, ["--secret", "keeper", "--range", "here"], "--range: 'here' is no range"),
        (TOML, ["--secret", "keeper", "--range", "0xzz:4KiB"], "'0xzz' is no address"),
        (TOML, ["--secret", "keeper", "--range", "none.elf:x"], "none.elf cannot be read"),
        (TOML, ["--secret", "keeper", "--range", "0x10000:4KiB", "--for", "40ms"],
         "--range: there is no memory of that VM to hold a secret"),
        (TOML, ["--secret", "keeper", "--mmu", "native", "--record", "a", "b"],
         "--record: only runs with the MMU model are recorded"),
        (TOML, ["--secret", "keeper", "--record", "a", "a"], "is the file of --record too"),
        (PEERS, ["--secret", "keeper"],
         "every other VM may learn of it, as the manifest says: keeper is an FF-A peer of"),
    ],
)  # fmt: skip
def test_what_is_refused(
    text: str,
    arguments: list[str],
    words: str,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["noninterference", str(target), *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert words in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["two.toml"]


def test_one_vm_has_nobody_to_hide_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["noninterference", "hello", "--secret", "hello"]) == 2
    assert "has no other VM" in capsys.readouterr().err


def test_its_report_never_replaces_what_it_compares(target: Path) -> None:
    assert main(["noninterference", str(target), "--secret", "keeper", "--json", str(target)]) == 2
    assert target.read_text(encoding="utf-8") == TOML
