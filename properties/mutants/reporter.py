# SPDX-License-Identifier: Apache-2.0
"""pytest plugin of the runs that judge a mutant: what failed, why, after how many examples.

One JSON line for each test that begins, and for each that ends, in the file that
AETHER_MUTANT_REPORT names. When a test has failed in an assertion whose text matches
AETHER_MUTANT_EXPECT, no further test is run. Hypothesis does not shrink here, and keeps no
examples: the real code's database has nothing to do with a mutant.

AETHER_MUTANT_LIMITS names a JSON file: for each test the processor time, in seconds, after which it
is ended with SIGPROF, and the process with it. Unlike a limit on time it does not depend on what
else this machine does; and it ends a loop in C, which Python cannot.
"""

import json
import os
import re
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

REPORT = "AETHER_MUTANT_REPORT"
EXPECT = "AETHER_MUTANT_EXPECT"
LIMITS = "AETHER_MUTANT_LIMITS"
TEXT_LIMIT = 4000

_examples: dict[str, int] = {}
_limits: dict[str, float] = {}
_began: dict[str, float] = {}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """After the suite has chosen its profile."""
    settings.register_profile(
        "mutants",
        settings.default,
        phases=(Phase.explicit, Phase.generate),
        report_multiple_bugs=False,
        derandomize=True,
        database=None,
        print_blob=False,
        deadline=None,
    )
    settings.load_profile("mutants")
    if LIMITS in os.environ:
        _limits.update(json.loads(Path(os.environ[LIMITS]).read_text(encoding="utf-8")))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def pytest_runtest_logstart(nodeid: str) -> None:
    _write({"nodeid": nodeid, "when": "start", "outcome": "started", "seconds": 0.0})
    _began[nodeid] = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, _limits.get(nodeid, 0))


def pytest_runtest_logfinish() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)


def _count(statistics: dict[str, Any]) -> int:
    """Examples up to the first that failed."""
    cases = statistics.get("generate-phase", {}).get("test-cases", [])
    for number, case in enumerate(cases, 1):
        if case["status"] == "interesting":
            return number
    return len(cases)


@contextmanager
def _counting(nodeid: str) -> Iterator[None]:
    from hypothesis.statistics import collector as untyped

    collector: Any = untyped

    def note(statistics: dict[str, Any]) -> None:
        _examples[nodeid] = _examples.get(nodeid, 0) + _count(statistics)

    with collector.with_value(note):
        yield


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Inside Hypothesis's own wrapper, so that its statistics come here."""
    with _counting(item.nodeid):
        return (yield)


def is_assertion(error: BaseException) -> bool:
    """A property has said no; anything else is the harness's own trouble."""
    return isinstance(error, AssertionError | pytest.fail.Exception)


def _rule(error: BaseException) -> str:
    rule = getattr(error, "rule", None)
    return rule.name if isinstance(rule, Enum) else ""


def failure_text(error: BaseException) -> str:
    """What `expect` is matched with: the exception and its message, not the test's source."""
    return f"{type(error).__name__}: {error}"[:TEXT_LIMIT]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or not report.passed:
        entry: dict[str, object] = {
            "nodeid": item.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "seconds": call.duration,
            "examples": _examples.get(item.nodeid, 0),
            # What ITIMER_PROF measures too.
            "processor": time.process_time() - _began[item.nodeid],
        }
        if call.excinfo is not None and report.failed:
            error = call.excinfo.value
            entry["assertion"] = report.when == "call" and is_assertion(error)
            entry["text"] = failure_text(error)
            entry["rule"] = _rule(error)
            expect = os.environ.get(EXPECT)
            if entry["assertion"] and expect is not None and re.search(expect, str(entry["text"])):
                item.session.shouldstop = "the mutant is killed"
        _write(entry)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write({"nodeid": report.nodeid, "when": "collect", "outcome": "failed",
                "seconds": 0.0, "examples": 0, "assertion": False, "rule": "",
                "text": report.longreprtext[-TEXT_LIMIT:]})  # fmt: skip


def _write(entry: dict[str, object]) -> None:
    with Path(os.environ[REPORT]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
