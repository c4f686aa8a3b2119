# SPDX-License-Identifier: Apache-2.0
"""From the report of a test run to a verdict. Pure: no process, no file, no clock."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.properties.mutants import sanitizer
from aether_edgecloud.properties.mutants.mutant import Mutant, Result, Verdict

DETAIL_LIMIT = 300
RECORDER = "stage2/recorder: an operation does not end"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test of one run, as the reporter tells it."""

    nodeid: str
    when: str
    """start, collect, setup, call or teardown"""
    outcome: str
    seconds: float
    """By the clock, of this phase."""
    examples: int = 0
    assertion: bool = False
    text: str = ""
    rule: str = ""
    processor: float = 0.0
    """Seconds of processor time since the test began, its setup included."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of pytest."""

    outcomes: tuple[Outcome, ...]
    exit_status: int | None
    """None: it was ended because it took too long."""
    output: str = ""

    @property
    def unfinished(self) -> str:
        """The test that ran when the process ended."""
        last = self.outcomes[-1] if self.outcomes else None
        return last.nodeid if last is not None and last.when == "start" else ""


def judge(mutant: Mutant, run: Run, seconds: float) -> Result:
    """Killed only by an assertion of a property, or by UBSan's report on the hypervisor's code, and
    for the reason expected."""
    failures = [outcome for outcome in run.outcomes if outcome.outcome == "failed"]
    failures += _undefined(run)
    assertions = [failure for failure in failures if failure.assertion]
    for failure in assertions:
        if mutant.expect is None or re.search(mutant.expect, failure.text):
            return _result(mutant, Verdict.KILLED, seconds, failure)
    if assertions:
        return _result(mutant, Verdict.WRONG_REASON, seconds, assertions[0])
    if failures:
        return _result(mutant, Verdict.BROKEN, seconds, failures[0])
    if run.exit_status is None:
        return Result(mutant, Verdict.BROKEN, seconds, detail="takes far longer than the real code")
    if run.exit_status == -signal.SIGPROF or (
        run.exit_status == -signal.SIGABRT and RECORDER in run.output
    ):
        detail = "uses far more of the processor than the real code"
        return Result(mutant, Verdict.ENDLESS, seconds, test=run.unfinished, detail=detail)
    if run.exit_status != 0:
        last = run.output.strip().splitlines()[-1:] or [""]
        detail = f"pytest ended with {run.exit_status}: {last[0]}"
        return Result(mutant, Verdict.BROKEN, seconds, detail=_shorten(detail))
    ran = [outcome for outcome in run.outcomes if outcome.outcome == "passed"]
    if not ran:
        return Result(mutant, Verdict.BROKEN, seconds, detail="all of its tests are skipped here")
    return Result(mutant, Verdict.SURVIVED, seconds, detail=f"{len(ran)} tests passed")


def _undefined(run: Run) -> list[Outcome]:
    """What UBSan has ended the run with."""
    report = sanitizer.report(run.output) if run.exit_status == -signal.SIGABRT else None
    if report is None:
        return []
    return [Outcome(run.unfinished, "call", "failed", 0.0, assertion=True, text=report)]


def _result(mutant: Mutant, verdict: Verdict, seconds: float, failure: Outcome) -> Result:
    return Result(
        mutant,
        verdict,
        seconds,
        test=failure.nodeid,
        rule=failure.rule,
        examples=failure.examples,
        detail=_shorten(failure.text),
    )


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= DETAIL_LIMIT else line[: DETAIL_LIMIT - 3] + "..."


def failing(run: Run) -> dict[str, str]:
    """Of a run of the real code: what fails, and how."""
    return {o.nodeid: _shorten(o.text) for o in run.outcomes if o.outcome == "failed"}


def selected(outcomes: Sequence[Outcome], selectors: Sequence[str]) -> tuple[Outcome, ...]:
    """The tests that selectors name: a folder, a file, or what is in it."""
    return tuple(
        outcome
        for outcome in outcomes
        if any(
            outcome.nodeid == selector
            or outcome.nodeid.startswith((f"{selector}/", f"{selector}::", f"{selector}["))
            for selector in selectors
        )
    )
