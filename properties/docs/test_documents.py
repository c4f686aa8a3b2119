# SPDX-License-Identifier: Apache-2.0
"""The documents say what is: commands run and show what they show, links lead somewhere, the
picture is that of a run, and what is listed is all there is."""

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aether_edgecloud.emulator.bundle import toml, toml_vm
from aether_edgecloud.emulator.cli import app
from aether_edgecloud.emulator.guests import initramfs
from aether_edgecloud.emulator.report import json_report
from aether_edgecloud.emulator.report.run_report import End, RunReport
from aether_edgecloud.properties.docs.documents import (
    DOCUMENTS,
    ROOT,
    Step,
    anchors,
    blocks,
    code_words,
    files,
    first_missing,
    links,
    session,
)
from aether_edgecloud.properties.plugin import examples, options, properties

LIMIT_S = 240
FOLDERS = ("el2", "emulator", "guest_stubs", "properties", "stage2", "docs")
_PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*")
_ROW = re.compile(r"^\| (.+?) \| (.+?) \|", re.MULTILINE)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `aether` and `python` are those under test."""
    programs = tmp_path_factory.mktemp("programs")
    python = shlex.quote(sys.executable)
    commands = {"python": python, "aether": f"{python} -m aether_edgecloud.emulator.cli"}
    for name, command in commands.items():
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "80"}


def _sessions() -> Iterator[object]:
    """Document and need: what needs nothing more runs apart from what needs QEMU or a guest. Linux
    takes so long that it is left to the nightly profile."""
    for path in DOCUMENTS:
        steps = session(path.read_text(encoding="utf-8"))
        for need in sorted({_need(step) for step in steps}):
            marks = [pytest.mark.nightly] if "linux" in need else []
            yield pytest.param(str(path.relative_to(ROOT)), need, marks=marks)


def _need(step: Step) -> str:
    needs = [
        name
        for name, sign in (
            ("u_boot", "u-boot"),
            ("linux", "run linux"),
            ("qemu", "qemu"),
            ("gdb", "gdb-multiarch"),
        )
        if sign in step.command
    ]
    return "+".join(needs) or "nothing"


@pytest.mark.parametrize(("name", "need"), list(_sessions()))
def test_commands_show_what_is_shown(
    name: str, need: str, shell: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for fixture in need.split("+"):
        if fixture != "nothing":
            request.getfixturevalue(fixture)
    document = read(name)
    for file, text in files(document).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    for step in session(document):
        if _need(step) != need:
            continue
        done = subprocess.run(
            ["sh", "-c", step.command],
            cwd=tmp_path,
            env=shell,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
            check=False,
        )
        output = done.stdout.decode().replace("\r\n", "\n")
        assert done.returncode == 0, f"{step.command}\n{output}"
        missing = first_missing(step.shown, output.splitlines())
        assert missing is None, f"{step.command}\nno line {missing!r} where it should be:\n{output}"


def test_something_is_run() -> None:
    assert len(session(read("docs/getting-started.md"))) > 10


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_bugs_that_are_named_are_there(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trying them takes too long: they are listed."""
    for block in blocks(path.read_text(encoding="utf-8")):
        for line in block.text.splitlines():
            if found := re.fullmatch(r"(?:\.venv/bin/)?aether mutants\b([^#]*)(?:#.*)?", line):
                assert app.main(["mutants", *found[1].split(), "--list"]) == 0, (
                    f"{line}\n{capsys.readouterr().err}"
                )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_are_imported_are_there(path: Path) -> None:
    """In code that is shown and not run, too."""
    document = path.read_text(encoding="utf-8")
    for module, names in re.findall(r"\bfrom (aether_edgecloud[\w.]*) import ([\w, ]+)", document):
        for name in names.split(","):
            found = importlib.import_module(module)
            if not hasattr(found, name.strip()):
                importlib.import_module(f"{module}.{name.strip()}")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    document = path.read_text(encoding="utf-8")
    for target in links(document):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_paths_named_are_there(path: Path) -> None:
    for word in code_words(path.read_text(encoding="utf-8")):
        if _PATH.fullmatch(word):
            assert (ROOT / word).exists(), word


def test_every_document_is_reached_from_the_readme() -> None:
    targets = {target.partition("#")[0] for target in links(read("README.md"))}
    assert {str(path.relative_to(ROOT)) for path in DOCUMENTS[1:]} <= targets


def test_the_picture_shows_a_run_of_today() -> None:
    # The picture is that of the binary that is shipped, which zig builds.
    environment = {k: v for k, v in os.environ.items() if k != "CROSS_COMPILE"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/pictures.py"), "--check"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_lists_every_command() -> None:
    listed = re.findall(r"^\| `aether (\w+)", read("README.md"), re.MULTILINE)
    assert listed == app.app.list_commands(app.app.make_context("aether", []))


def _column(document: str, heading: str) -> set[str]:
    """The words in backquotes in the first column of the tables below a heading."""
    part = document.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return {word for row in _ROW.findall(part) for word in re.findall(r"`([^`]+)`", row[0])}


def test_every_key_of_the_report_is_explained() -> None:
    report = RunReport("", "", "", 0, "", "", End.GUEST_OFF, 0, "", 0.0)
    keys = set(re.findall(rb'^  "(\w+)":', json_report.render(report), re.MULTILINE))
    listed = _column(read("docs/getting-started.md"), "The report as JSON")
    assert {key.decode() for key in keys} == listed


def test_every_key_of_a_vm_is_explained() -> None:
    part = read("docs/manifest.md").partition("\n## A VM\n")[2].partition("\n### ")[0]
    rows = {word for row in _ROW.findall(part) for word in re.findall(r"`([^`]+)`", row[0])}
    assert rows == set(toml_vm.KEYS)
    assert _column(read("docs/manifest.md"), "The schedule") == set(toml.SCHEDULE_KEYS)


def test_every_option_and_fixture_of_the_plugin_is_explained() -> None:
    listed = _column(read("docs/first-property.md"), "Which machine")
    known = {word for option in options.OPTIONS for word in (option.flag, option.ini)}
    assert listed == known | {"aether_boot", "aether_machine", "aether_monitor"}


def test_every_property_of_a_junit_report_is_explained() -> None:
    known = {properties.IMAGE, properties.ELF, properties.SEED, properties.INSTRUCTIONS}
    known |= {examples.EXAMPLES, examples.SEED}
    assert _column(read("docs/first-property.md"), "The JUnit report") == known


def test_every_word_of_the_initramfs_is_explained() -> None:
    listed = _column(read("docs/manifest.md"), "The guest `linux`")
    ends = {word.partition("=")[2] for word in listed if word.startswith("aether.then=")}
    assert ends == set(initramfs.THEN)


def test_every_end_has_its_exit_status() -> None:
    part = read("docs/getting-started.md").partition("\n## Exit status\n")[2].partition("\n## ")[0]
    stated = {
        word: int(status)
        for status, words in _ROW.findall(part)
        if status.isdecimal()
        for word in re.findall(r"`([a-z-]+)`", words)
    }
    assert stated == {end.value: end.exit_status for end in End}


def test_the_readers_of_documents() -> None:
    assert first_missing(("a", "c"), ["a", "c", "d"]) is None
    assert first_missing(("a", "c"), ["a", "b", "c"]) == "c"
    assert first_missing(("a", "...", "c"), ["a", "b", "c"]) is None
    assert first_missing(("...", "x: ... [y]"), ["a", "x: 12 [y]"]) is None
    assert first_missing(("...", "x: ... [y]"), ["x: 12 y"]) == "x: ... [y]"
    assert anchors("# A b-C, d\n```\n# no\n```\n") == {"a-b-c-d"}
    assert links("[a](b) `[c](d)` ![e](f)") == ["b", "f"]
