# SPDX-License-Identifier: Apache-2.0
"""A run of the property suites: pytest in a process of its own, which tells what happens through a
pipe (`properties/plugin/progress.py`)."""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any

from aether_edgecloud.emulator.errors import UserError

# By name: what is run does not get imported by what runs it.
_PLUGIN = "aether_edgecloud.properties.plugin"
_TELLER = f"{_PLUGIN}.progress"
_VARIABLE = "AETHER_PROGRESS_FD"
_LOOK_S = 0.2
_GRACE_S = 10.0
"""Seconds that pytest gets to end by itself once it has been interrupted."""
_NO_TESTS = 5
_USAGE = 4


class End(Enum):
    """How a verification came to its end."""

    HOLDS = "holds"
    FAILS = "fails"
    INTERRUPTED = "interrupted"
    BROKEN = "broken"
    """pytest itself came to an unexpected end."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, or a file that could not be read, with all that was told of it."""

    test: str
    text: str


@dataclass(slots=True)
class Suite:
    """A suite so far. Seconds are those of its tests, one after another."""

    name: str
    tests: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    xfailed: int = 0
    examples: int = 0
    instructions: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Tests that have ended."""
        return self.passed + self.failed + self.skipped + self.xfailed


class Verification:
    """All suites so far."""

    def __init__(self, profile: str, names: Sequence[str]) -> None:
        self.profile = profile
        self.suites = {name: Suite(name) for name in names}
        self.running: list[str] = []
        """The tests that run."""
        self.began = False
        """The tests are known."""
        self.end = End.INTERRUPTED
        self.detail = ""
        self._started = time.monotonic()

    @property
    def holds(self) -> bool:
        """Everything has run, and nothing has failed."""
        return self.end is End.HOLDS

    @property
    def wall_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._started

    @property
    def failures(self) -> list[Failure]:
        """Of all suites."""
        return [failure for suite in self.suites.values() for failure in suite.failures]

    def take(self, event: dict[str, Any]) -> str | None:
        """Takes in what pytest tells. A line for who cannot watch, when a suite has ended."""
        match event["event"]:
            case "collected":
                self.began = True
                for name, number in event["tests"].items():
                    self._suite(name).tests = number
            case "start":
                self.running.append(event["test"])
            case "test":
                return self._test(event)
            case "broken":
                suite = self._suite(_suite_of(event["file"]))
                suite.failures.append(Failure(event["file"], event["failure"]))
        return None

    def finish(self, status: int, said: str) -> None:
        """pytest has ended. UserError where it says that it was asked for what cannot be."""
        self.running.clear()
        if status == _USAGE and not any(suite.done for suite in self.suites.values()):
            self.began = False
            raise UserError(_usage(said), fix="see `aether verify --help`")
        if status == _NO_TESTS:
            self.began = False
            raise UserError("no test matches", where="-k", fix="see `pytest --help` for -k")
        if status == 0:
            self.end = End.HOLDS
        elif self.failures:
            self.end = End.FAILS
        else:
            self.end = End.BROKEN
            last = said.strip().rpartition("\n")[2]
            known = 0 <= status <= _NO_TESTS and last
            self.detail = last if known else f"pytest ended with status {status}"
            self.began = True

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "format": "aether-verify-report",
            "version": 1,
            "profile": self.profile,
            "end": self.end.value,
            "detail": self.detail,
            "suites": [
                {
                    "name": suite.name,
                    "tests": suite.tests,
                    "passed": suite.passed,
                    "failed": suite.failed,
                    "skipped": suite.skipped,
                    "xfailed": suite.xfailed,
                    "examples": suite.examples,
                    "instructions": suite.instructions,
                    "seconds": round(suite.seconds, 3),
                    "failures": [{"test": f.test, "text": f.text} for f in suite.failures],
                }
                for suite in self.suites.values()
            ],
            "wall_s": round(self.wall_s, 3),
        }

    def _test(self, event: dict[str, Any]) -> str | None:
        name = event["test"]
        if name in self.running:
            self.running.remove(name)
        suite = self._suite(_suite_of(name))
        setattr(suite, event["outcome"], getattr(suite, event["outcome"]) + 1)
        suite.examples += event["examples"]
        suite.instructions += event["instructions"]
        suite.seconds += event["seconds"]
        if event["outcome"] == "failed":
            suite.failures.append(Failure(name, event["failure"]))
            return f"FAILED {name}"
        if suite.done != suite.tests:
            return None
        failed = f", {suite.failed} failed" if suite.failed else ""
        return f"{suite.name}: {suite.tests} tests{failed}, {suite.seconds:.1f} s"

    def _suite(self, name: str) -> Suite:
        return self.suites.setdefault(name, Suite(name))


def watch(
    run: Verification, arguments: Sequence[str], *, folder: Path | None = None
) -> Iterator[str]:
    """Runs pytest with these arguments and lets `run` know. Gives lines for who reads a log.

    Whatever ends it, an interrupt too, no process stays behind.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        reader, writer = os.pipe()
        try:
            process = _start(arguments, folder, writer, said)
        finally:
            os.close(writer)
        try:
            with os.fdopen(reader, "rb", buffering=0) as pipe:
                yield from _listen(run, pipe)
            status = process.wait()
        finally:
            _end(process)
        said.seek(0)
        run.finish(status, said.read())


def _start(
    arguments: Sequence[str], folder: Path | None, writer: int, said: IO[str]
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pytest", "-p", _TELLER, "-p", "no:cacheprovider"]
    if not _is_installed():
        command += ["-p", _PLUGIN]
    return subprocess.Popen(
        [*command, "--tb=short", *arguments],
        cwd=folder,
        env=os.environ | {_VARIABLE: str(writer)},
        pass_fds=(writer,),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        # A session of its own: Ctrl-C comes to us alone, and we end all of it.
        start_new_session=True,
    )


def _is_installed() -> bool:
    """Whether pytest finds the plugin by itself."""
    import importlib.metadata

    points = importlib.metadata.entry_points(group="pytest11")
    return any(point.value == _PLUGIN for point in points)


def _listen(run: Verification, pipe: IO[bytes]) -> Iterator[str]:
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(_LOOK_S):
                continue
            data = pipe.read(1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                told = run.take(json.loads(line))
                if told is not None:
                    yield told


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Asks a process that still runs to end, then makes it, with all that it started."""
    if process.poll() is not None:
        return
    for number, seconds in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except ProcessLookupError:
            process.wait()
        except subprocess.TimeoutExpired:
            continue
        return


def _usage(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")]
    last = said.strip().rpartition("\n")[2]
    return errors[0].removeprefix("ERROR: ") if errors else last or "pytest refuses to run"


def _suite_of(test: str) -> str:
    parts = test.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else parts[-1]
