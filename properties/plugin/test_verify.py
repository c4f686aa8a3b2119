# SPDX-License-Identifier: Apache-2.0
"""`aether verify`: over a source tree with small suites of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aether_edgecloud.emulator.cli import app, verify, verify_view
from aether_edgecloud.emulator.cli.verify_run import Verification
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT

HOLDS = """
import pytest
from hypothesis import given, strategies as st

@given(st.integers())
def test_property(n):
    pass

def test_example():
    pass

@pytest.mark.nightly
def test_slow():
    pass
"""
FAILS = """
import pytest
from hypothesis import given, strategies as st

@given(n=st.integers())
def test_small(n):
    assert n < 70000

@pytest.mark.xfail
def test_known():
    assert False

@pytest.mark.skip
def test_elsewhere():
    pass
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with the suites `alpha` and `beta`, and nothing of this run's own settings."""
    root = tmp_path / "tree"
    for name, text in (("alpha", HOLDS), ("beta", FAILS), ("docs", HOLDS)):
        (root / "properties" / name).mkdir(parents=True)
        (root / "properties" / name / f"test_{name}.py").write_text(text, encoding="utf-8")
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\nxfail_strict = true\n")
    monkeypatch.setattr(verify, "SOURCE_ROOT", root)
    for name in ("AETHER_PROFILE", "AETHER_REQUIRE_ALL", "CI", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    return root


def run(*arguments: str) -> int:
    return app.main(["verify", *arguments])


def suites(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {suite["name"]: suite for suite in report["suites"]}


def test_it_tells_what_holds_and_what_does_not(
    tree: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    assert run("alpha", "beta", "--json", str(file)) == 1
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    # As it goes, for a log.
    assert "FAILED properties/beta/test_beta.py::test_small" in lines
    assert any(line.startswith("alpha: 2 tests, ") for line in lines)
    assert any(line.startswith("beta: 3 tests, 1 failed, ") for line in lines)
    # The failure, and how to have it again.
    assert "n = 70000 (0x11170)" in lines
    assert any(
        line.startswith("pytest properties/beta/test_beta.py::test_small --aether-profile=pr")
        for line in lines
    )
    # The table.
    assert any(line.startswith("alpha 2 100 ") for line in lines)
    assert any(line.startswith("all 5 ") for line in lines)
    assert lines[-1] == "profile pr: 1 failed"
    report = json.loads(file.read_text(encoding="utf-8"))
    assert (report["format"], report["version"]) == ("aether-verify-report", 1)
    assert (report["profile"], report["end"]) == ("pr", "fails")
    alpha, beta = suites(report)["alpha"], suites(report)["beta"]
    counts = ("tests", "passed", "failed", "skipped", "xfailed")
    assert [alpha[name] for name in counts] == [2, 2, 0, 0, 0]
    assert [beta[name] for name in counts] == [3, 0, 1, 1, 1]
    assert alpha["examples"] == 100 and alpha["failures"] == []
    (failure,) = beta["failures"]
    assert failure["test"] == "properties/beta/test_beta.py::test_small"
    assert "aether: to repeat it" in failure["text"]


def test_all_that_holds_is_status_0(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-k", "example or known or slow", "--json", "-", "--profile", "nightly") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["profile"], report["end"]) == ("nightly", "holds")
    assert [suite["name"] for suite in report["suites"]] == ["alpha", "beta", "docs"]
    # One of them is for this profile alone.
    assert [suite["tests"] for suite in report["suites"]] == [2, 1, 2]
    assert captured.err.splitlines()[-1] == "profile nightly: everything holds"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("gamma",), "no suite 'gamma'; there are: alpha, beta, docs"),
        (("-k", "nothing_like_that"), "-k: no test matches; *"),
        (("-k", "a and"), "Wrong expression passed to '-k'*"),
        (("--profile", "hourly"), "verify: *'hourly' is not one of 'pr', 'nightly'*"),
        (("--jobs", "0"), "verify: *"),
        (("--jobs", "100000000"), "verify: *100000000*1<=x<=64*"),
        (("--json", "/dev/null/report.json"), "/dev/null/report.json: cannot be written (Not a *"),
        (("--json", "missing/report.json"), "missing/report.json: cannot be written *"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    tree: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], line: str
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out.strip() == ""
    (told,) = captured.err.strip().splitlines()
    pytest.LineMatcher([told]).fnmatch_lines([f"aether: {line}"])


def test_a_file_that_cannot_be_read_is_a_failure(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "properties/beta/test_broken.py").write_text("import nothing_like_that\n")
    assert run("beta", "--json=-") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["end"] == "fails"
    (failure,) = report["suites"][0]["failures"]
    assert failure["test"] == "properties/beta/test_broken.py"
    assert "nothing_like_that" in failure["text"]


def test_a_run_that_breaks_off_is_told(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "properties/alpha/test_alpha.py"
    path.write_text("import os\ndef test_gone():\n    os._exit(7)\ndef test_never(): pass\n")
    assert run("alpha") == 1
    assert "the run broke off: pytest ended with status 7" in capsys.readouterr().out


def test_without_suites_or_a_source_tree(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "pyproject.toml").unlink()
    assert verify.choose(tree, ()) == (("alpha", "beta"), ("docs",))
    assert run("docs") == 2
    assert "suite 'docs' needs a source tree; clone the repository" in capsys.readouterr().err
    monkeypatch.chdir(tree.parent)
    assert run("-k", "example") == 0
    assert "left out, since they need a source tree: docs" in capsys.readouterr().out
    assert verify.choose(tree / "properties" / "alpha" / ".." / "..", ("alpha",))[0] == ("alpha",)
    monkeypatch.setattr(verify, "SOURCE_ROOT", tree / "properties")
    assert run() == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "there are no property suites; run it in a source tree" in told


def shown(width: int) -> list[str]:
    """The live view of a run, in a terminal of so many columns."""
    names = ("random_guests", "system")
    run = Verification("nightly", names)
    run.take({"event": "collected", "tests": {"random_guests": 1000, "system": 50}})
    for number in range(600):
        test = f"properties/random_guests/test_x.py::test_{number}"
        counts = {"seconds": 4.2, "examples": 1000, "instructions": 7_654_321, "failure": ""}
        run.take({"event": "test", "test": test, "outcome": "passed", **counts})
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(verify_view.progress(run, console))
    return [line.rstrip() for line in captured.get().splitlines()]


@pytest.mark.parametrize(
    ("width", "has_bar", "missing"),
    [
        (120, True, ()),
        (84, True, ()),
        (79, False, ()),
        (70, False, ("skipped",)),
        (60, False, ("skipped", "examples")),
        (45, False, ("skipped", "examples", "instructions")),
    ],
)
def test_in_a_narrow_terminal_the_bar_gives_way_first(
    width: int, has_bar: bool, missing: tuple[str, ...]
) -> None:
    head, row, *rest = shown(width)
    text = "\n".join((head, row, *rest))
    assert max(map(len, (head, row, *rest))) <= width
    assert "…" not in text
    assert ("━" in text) == has_bar
    columns = ["suite", "tests", "examples", "instructions", "failed", "skipped", "time"]
    assert head.split() == [name for name in columns if name not in missing]
    assert row.startswith("random_guests  600/1,000  ")
    assert "  2520.0 s" in row
    assert ("4,592,592,600" in row) == ("instructions" not in missing)


WAITS = """
import os, pathlib, time

def test_first():
    pass

def test_waits():
    pathlib.Path("waits").write_text(str(os.getpid()))
    time.sleep(600)
"""
CALL = """
import sys
from pathlib import Path
from aether_edgecloud.emulator.cli import app, verify
verify.SOURCE_ROOT = Path(sys.argv[1])
sys.exit(app.main(["verify", "alpha", "--json", "report.json"]))
"""


def test_ctrl_c_ends_it_clean(tree: Path, tmp_path: Path) -> None:
    """What was found is told, and no process stays."""
    (tree / "properties/alpha/test_alpha.py").write_text(WAITS)
    process = subprocess.Popen(
        [sys.executable, "-c", CALL, str(tree)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    sign = tree / "waits"
    while not (sign.exists() and sign.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "aether: interrupted"
    assert "Traceback" not in out
    assert "profile pr: interrupted: the rest was not run" in out
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["end"] == "interrupted"
    assert suites(report)["alpha"]["passed"] == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(sign.read_text()), 0)


@pytest.mark.nightly
def test_jobs_and_the_suites_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"arch", "stage2", "plugin"} <= set(verify.choose(SOURCE_ROOT, ())[0])
    assert run("arch", "stage2", "-k", "fields or geometry", "--jobs=2", "--json=-") == 0
    report = json.loads(capsys.readouterr().out)
    assert all(suite["passed"] == suite["tests"] > 10 for suite in report["suites"])
