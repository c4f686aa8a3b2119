# SPDX-License-Identifier: Apache-2.0
"""The suite's own switches: profiles, nightly tests, and that nothing may be skipped."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"

SUITE = """
import pytest
from hypothesis import settings

def test_profile():
    s = settings()
    print(f"profile: examples={s.max_examples} derandomize={s.derandomize} deadline={s.deadline}")

@pytest.mark.nightly
def test_slow():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the suite's conftest and two tests."""
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    nightly: slow\n")
    (tmp_path / "test_some.py").write_text(SUITE, encoding="utf-8")
    return tmp_path


def run(suite: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest there, in an environment without this run's own switches."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AETHER_")}
    clean.pop("CI", None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *arguments],
        cwd=suite,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_pr_is_the_profile_unless_told_otherwise(suite: Path, environment: dict[str, str]) -> None:
    done = run(suite, **environment)
    assert "profile: examples=100 derandomize=True deadline=None" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--aether-profile=nightly",), {}), ((), {"AETHER_PROFILE": "nightly", "CI": "true"})],
)
def test_nightly_looks_further_and_runs_more(
    suite: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = run(suite, *arguments, **environment)
    assert "profile: examples=1000 derandomize=False deadline=None" in done.stdout
    assert "2 passed" in done.stdout


def test_nightly_tests_can_be_asked_for_alone(suite: Path) -> None:
    assert "1 passed, 1 deselected" in run(suite, "-m", "nightly").stdout


def test_an_unknown_profile_is_told(suite: Path) -> None:
    done = run(suite, AETHER_PROFILE="hourly")
    assert done.returncode == 4
    assert "unknown profile 'hourly'; choose pr or nightly" in done.stderr


SKIPS = {
    "inside": "def test_one():\n    pytest.skip('no tool')\n",
    "marked": "@pytest.mark.skip(reason='no tool')\ndef test_one():\n    pass\n",
    "module": "pytest.skip('no tool', allow_module_level=True)\n",
    "fixture": "@pytest.fixture\ndef f():\n    pytest.skip('no tool')\n"
    "def test_one(f):\n    pass\n",
    "expected": "@pytest.mark.xfail\ndef test_one():\n    assert False\n",
}


def test_a_skip_is_a_failure_where_nothing_may_be_skipped(suite: Path) -> None:
    for name, code in SKIPS.items():
        (suite / f"test_{name}.py").write_text("import pytest\n" + code, encoding="utf-8")
    usual = run(suite)
    assert usual.returncode == 0
    assert "1 passed, 4 skipped, 1 deselected, 1 xfailed" in usual.stdout
    strict = run(suite, "--continue-on-collection-errors", AETHER_REQUIRE_ALL="1")
    assert strict.returncode == 1
    assert strict.stdout.count("skipped, although AETHER_REQUIRE_ALL is set: ") >= 4
    assert "1 passed, 1 deselected, 1 xfailed" in strict.stdout
    for name in ("inside", "marked", "module", "fixture"):
        assert f"test_{name}.py" in strict.stdout
