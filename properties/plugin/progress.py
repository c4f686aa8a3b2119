# SPDX-License-Identifier: Apache-2.0
"""Tells `aether verify` how a run goes: one line of JSON for each thing that happens, to the file
descriptor that AETHER_PROGRESS_FD names. Loaded by `-p` only.

collected  tests           how many tests each suite has, {suite: number}; comes once
start      test            a test begins
test       test, outcome, seconds, examples, instructions, image, failure
                           a test has ended; outcome is passed, failed, skipped or xfailed
broken     file, failure   a file cannot be collected
end        status          pytest's exit status
"""

import json
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

VARIABLE = "AETHER_PROGRESS_FD"
_FROM_PROPERTIES = {
    "hypothesis_examples": "examples",
    "aether_instructions": "instructions",
}


def pytest_configure(config: pytest.Config) -> None:
    """Not in the workers of pytest-xdist: what they report comes through the first process."""
    descriptor = os.environ.get(VARIABLE)
    if descriptor is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Teller(int(descriptor)), "aether-teller")


class Teller:
    """The hooks."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._collected = False
        self._open: dict[str, dict[str, Any]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._tell_collected(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._tell_collected(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._tell("broken", file=report.nodeid, failure=report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell("start", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = self._open.setdefault(
            report.nodeid,
            {"outcome": "passed", "seconds": 0.0, "examples": 0, "instructions": 0, "failure": ""},
        )
        entry["seconds"] += report.duration
        if report.failed:
            entry["outcome"] = "failed"
            entry["failure"] += _failure(report)
        elif report.skipped and entry["outcome"] == "passed":
            entry["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name in _FROM_PROPERTIES and isinstance(value, int):
                    entry[_FROM_PROPERTIES[name]] += value
            self._tell("test", test=report.nodeid, **self._open.pop(report.nodeid))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._tell("end", status=int(exitstatus))
        self._file.close()

    def _tell_collected(self, names: Iterable[str]) -> None:
        """Every worker of pytest-xdist collects the same."""
        found = Counter(suite_of(name) for name in names)
        if found and not self._collected:
            self._collected = True
            self._tell("collected", tests=found)

    def _tell(self, event: str, **values: object) -> None:
        try:
            print(json.dumps({"event": event, **values}), file=self._file, flush=True)
        except (OSError, ValueError):
            pytest.exit("nobody listens any more", returncode=pytest.ExitCode.INTERRUPTED)


def suite_of(name: str) -> str:
    """The folder below `properties` that a test is in."""
    parts = name.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else parts[-1]


def _failure(report: pytest.TestReport) -> str:
    """The failure and what the plugin has to say of it."""
    parts = [report.longreprtext]
    for title, text in report.sections:
        if title.startswith(("aether: ", "Hypothesis")):
            parts.append(f"{f' {title} ':-^80}\n{text}")
    return "\n".join(parts) + "\n"
