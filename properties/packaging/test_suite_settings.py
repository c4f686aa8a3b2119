# SPDX-License-Identifier: Apache-2.0
"""The suite's own switches: profiles, nightly tests, and that nothing may be skipped.

The first two are the plugin's, and a suite that does not ask for them has neither.
"""

import os
import re
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


# A property and a state machine that tell the first large number they were given.
FAILS_AT_A_NUMBER = """
from hypothesis import Phase, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

told = set()

def tell(who, number):
    if number > 1 << 40 and who not in told:
        told.add(who)
        print(f"first: {who} {number}")
    assert number < 1 << 60

@settings(database=None, phases=[Phase.generate])
@given(number=st.integers(0, 1 << 64))
def test_numbers(number):
    tell("numbers", number)

class Numbers(RuleBasedStateMachine):
    @rule(number=st.integers(0, 1 << 64))
    def give(self, number):
        tell("rules", number)

Numbers.TestCase.settings = settings(database=None, phases=[Phase.generate])
TestNumbers = Numbers.TestCase
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the suite's conftest, its profile, and two tests."""
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers\naether_profile = pr\n"
    )
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


def test_the_option_goes_before_the_environment_and_that_before_the_file(suite: Path) -> None:
    (suite / "pytest.ini").write_text("[pytest]\naether_profile = nightly\n")
    assert "2 passed" in run(suite).stdout
    assert "1 passed, 1 deselected" in run(suite, AETHER_PROFILE="pr").stdout
    assert "2 passed" in run(suite, "--aether-profile=nightly", AETHER_PROFILE="pr").stdout


def test_a_profile_asked_of_hypothesis_itself_is_the_one(suite: Path) -> None:
    done = run(suite, "--hypothesis-profile=default")
    assert "profile: examples=100 derandomize=False" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout


def test_who_asks_for_no_profile_has_none(suite: Path) -> None:
    (suite / "pytest.ini").write_text("[pytest]\n")
    done = run(suite)
    assert "profile: examples=100 derandomize=False deadline=0:00:00.200000" in done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(
    ("profile", "environment", "where"),
    [("pr", {"AETHER_PROFILE": "hourly"}, "AETHER_PROFILE"), ("hourly", {}, "pytest.ini")],
)
def test_an_unknown_profile_is_told(
    suite: Path, profile: str, environment: dict[str, str], where: str
) -> None:
    (suite / "pytest.ini").write_text(f"[pytest]\naether_profile = {profile}\n")
    done = run(suite, **environment)
    assert done.returncode == 4
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"ERROR: {where}")
    assert line.endswith("unknown profile 'hourly'; choose pr or nightly")


def test_a_nightly_run_tells_the_seed_it_can_be_had_again_by(suite: Path) -> None:
    (suite / "test_seed.py").write_text(FAILS_AT_A_NUMBER, encoding="utf-8")
    failed = run(suite, "--aether-profile=nightly", "test_seed.py")
    seeds = set(re.findall(r"--hypothesis-seed=(\d+)", failed.stdout))
    assert len(seeds) == 1, failed.stdout
    again = run(suite, "--aether-profile=nightly", f"--hypothesis-seed={seeds.pop()}")
    tried = re.findall(r"first: (\w+ \d+)", failed.stdout)
    assert len(tried) == 2
    assert tried == re.findall(r"first: (\w+ \d+)", again.stdout)


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
