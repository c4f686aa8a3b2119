# SPDX-License-Identifier: Apache-2.0
"""Tries mutants: the real code first, then each mutant, in copies of the sources.

A test that uses several times the processor time that it does with the real code, which does not
depend on what else runs here, does not end. A run that is far longer, by the clock, says nothing.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.mutants import judge, reporter
from aether_edgecloud.properties.mutants.judge import Outcome, Run
from aether_edgecloud.properties.mutants.mutant import Mutant, Result, Verdict
from aether_edgecloud.properties.mutants.tree import PACKAGE, NotCompiled, Tree
from aether_edgecloud.stage2.host import ENV_REPORT

TEST_TIMES_LONGER = 4
TEST_SECONDS_MORE = 20.0
RUN_TIMES_LONGER = 12
RUN_SECONDS_MORE = 120.0
REAL_LIMIT_S = 1800.0

_USAGE_ERROR = 4
_NO_TESTS = 5


@dataclass(frozen=True, slots=True)
class Real:
    """The real code, on all tests that the mutants name."""

    outcomes: tuple[Outcome, ...]
    products: dict[bool, tuple[str, ...]]
    """By whether the file changed is in stage2/."""
    sha256: str
    seconds: float

    def seconds_for(self, mutant: Mutant) -> float:
        return sum(o.seconds for o in judge.selected(self.outcomes, mutant.tests))

    def limits(self) -> dict[str, float]:
        """Processor time for each test."""
        spent: dict[str, float] = {}
        for outcome in self.outcomes:
            spent[outcome.nodeid] = max(spent.get(outcome.nodeid, 0.0), outcome.processor)
        return {test: TEST_TIMES_LONGER * s + TEST_SECONDS_MORE for test, s in spent.items()}

    def fault_with(self, mutant: Mutant) -> str | None:
        """Why nothing can be learnt from the mutant's tests; None: nothing is wrong."""
        chosen = judge.selected(self.outcomes, mutant.tests)
        for outcome in chosen:
            if outcome.outcome == "failed":
                return f"the real code fails {outcome.nodeid}: {outcome.text[:200]}"
        if not any(outcome.outcome == "passed" for outcome in chosen):
            return "no test that it names runs here"
        return None


class Bench:
    """As many copies of the sources as there are jobs."""

    def __init__(self, folder: Path, jobs: int, root: Path = toolchain.SOURCE_ROOT) -> None:
        first = Tree(folder / "0", root)
        # Copies of the copy: all the same, whatever happens to the sources meanwhile.
        self.trees = [first, *(Tree(folder / str(i), first.root) for i in range(1, jobs))]

    def real(self, mutants: Sequence[Mutant]) -> Real:
        """Run the real code. UserError: it does not build here, or a selector names nothing."""
        tree = self.trees[0]
        started = time.monotonic()
        try:
            products = {
                stage2: tree.products("stage2/" if stage2 else "el2/") for stage2 in (False, True)
            }
        except NotCompiled as error:
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from None
            raise UserError(
                f"the real code does not build: {error}", fix="see `aether build`"
            ) from None
        tried = [mutant for mutant in mutants if not mutant.accepted]
        selectors = tuple(dict.fromkeys(s for mutant in tried for s in mutant.tests))
        if not selectors:
            return Real((), products, products[False][0], time.monotonic() - started)
        # Built as for the mutants: what the limits are from is what they are for.
        reporting = any(mutant.expect is None for mutant in tried)
        run = pytest(tree, selectors, None, REAL_LIMIT_S, reporting=reporting)
        if run.exit_status in (_USAGE_ERROR, _NO_TESTS):
            words = [line for line in run.output.splitlines() if line.startswith("ERROR")]
            raise UserError(
                words[0] if words else "the catalogue names tests that are not there",
                fix="correct the catalogue of seeded bugs",
            )
        if run.exit_status is None or not run.outcomes:
            raise UserError("the tests of the real code do not come to an end", fix="run pytest")
        seconds = time.monotonic() - started
        return Real(run.outcomes, products, products[False][0], seconds)

    def try_all(
        self, mutants: Sequence[Mutant], real: Real, began: Callable[[Mutant], None]
    ) -> Iterator[Result]:
        """Results as they come. `began` is called from the thread of a job."""
        free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in self.trees:
            free.put(tree)

        def work(mutant: Mutant) -> Result:
            tree = free.get()
            try:
                began(mutant)
                return try_one(tree, mutant, real)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(len(self.trees)) as pool:
            jobs = [pool.submit(work, mutant) for mutant in mutants]
            try:
                for job in as_completed(jobs):
                    yield job.result()
            finally:
                for job in jobs:
                    job.cancel()


@contextmanager
def bench(jobs: int, root: Path = toolchain.SOURCE_ROOT) -> Iterator[Bench]:
    """A bench in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="aether-mutants-"))
    try:
        yield Bench(folder, jobs, root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def try_one(tree: Tree, mutant: Mutant, real: Real) -> Result:
    """Change, build, compare, test, and put back."""
    started = time.monotonic()

    def result(verdict: Verdict, detail: str) -> Result:
        return Result(mutant, verdict, time.monotonic() - started, detail=detail)

    if mutant.accepted:
        return result(Verdict.ACCEPTED, mutant.accepted)
    fault = real.fault_with(mutant)
    if fault is not None:
        return result(Verdict.BROKEN, fault)
    with tree.changed(mutant.edit):
        try:
            products = tree.products(mutant.edit.file)
        except NotCompiled as error:
            return result(Verdict.NOT_COMPILED, f"does not compile: {error}")
        if products == real.products[mutant.edit.file.startswith("stage2/")]:
            return result(Verdict.EQUIVALENT, "what is built from it is the same, byte for byte")
        limit = RUN_TIMES_LONGER * real.seconds_for(mutant) + RUN_SECONDS_MORE
        run = pytest(
            tree, mutant.tests, mutant.expect or "", limit, real.limits(),
            reporting=mutant.expect is None,
        )  # fmt: skip
    return judge.judge(mutant, run, time.monotonic() - started)


def pytest(
    tree: Tree,
    selectors: Sequence[str],
    expect: str | None,
    limit: float,
    test_limits: Mapping[str, float] | None = None,
    *,
    reporting: bool = False,
) -> Run:
    """The tests of the copy, as they are for everybody. An assertion whose text matches `expect`
    ends the run; `limit` is in seconds, `test_limits` in seconds of processor time. `reporting`:
    UBSan says what it has found in the library, and not only ends the process."""
    report = tree.folder / "report.jsonl"
    report.unlink(missing_ok=True)
    environment = {**tree.environment, reporter.REPORT: str(report)}
    environment.pop(reporter.EXPECT, None)
    environment.pop(reporter.LIMITS, None)
    environment.pop(ENV_REPORT, None)
    if test_limits is not None:
        limits = tree.folder / "limits.json"
        limits.write_text(json.dumps(test_limits), encoding="utf-8")
        environment[reporter.LIMITS] = str(limits)
    environment.pop("PYTEST_ADDOPTS", None)
    # Only what belongs to the copy: the installed plugin is that of other sources.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ["_hypothesis_pytestplugin", reporter.__name__]
    if (tree.root / "properties" / "plugin").is_dir():
        plugins.insert(1, f"{PACKAGE}.properties.plugin")
    if expect is not None:
        environment[reporter.EXPECT] = expect
    if reporting:
        environment[ENV_REPORT] = "1"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"),
        # What a sanitizer writes is not to be lost with the process.
        "--capture=sys",
        *(option for name in plugins for option in ("-p", name)),
        *("--aether-profile=pr", *selectors),
    ]
    output, status = _run(command, tree.root, environment, limit)
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    return Run(tuple(Outcome(**json.loads(line)) for line in lines), status, output)


def _run(
    command: list[str], folder: Path, environment: dict[str, str], limit: float
) -> tuple[str, int | None]:
    """Output and exit status; None when it took longer than `limit` seconds and was ended."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return output, None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return output, process.returncode
