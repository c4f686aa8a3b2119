# SPDX-License-Identifier: Apache-2.0
"""One changed source file, and what is known of it before and after it has been tried."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes [start, end) of `file`, a path below the source root, become `text`."""

    file: str
    start: int
    end: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug to be tried."""

    id: str
    title: str
    edit: Edit
    tests: tuple[str, ...]
    """pytest selectors, in order: the one most likely to notice first."""
    expect: str | None = None
    """Regular expression on the text of the failure: the right reason. None: any assertion."""
    recreates: tuple[int, ...] = ()
    """Numbers of known bugs of this kind of software (docs/seeded-bugs.md)."""
    accepted: str = ""
    """Why no property can notice it (accepted.toml); it is not tried."""


class Verdict(Enum):
    KILLED = "killed"
    SURVIVED = "survived"
    WRONG_REASON = "killed for the wrong reason"
    BROKEN = "broken"
    """Nothing was learnt: no build, a crash of the harness, a time limit, no test."""
    EQUIVALENT = "equivalent"
    """The products are the same bytes."""
    NOT_COMPILED = "not compiled"
    ENDLESS = "endless"
    """A test has used far more of the processor than it does with the real code."""
    ACCEPTED = "accepted"
    """Not tried: known to be one that no property can notice."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    verdict: Verdict
    seconds: float
    """From the first byte changed to the verdict."""
    test: str = ""
    rule: str = ""
    """Of a violation of a numbered rule: which."""
    examples: int = 0
    """Hypothesis examples of that test, up to the one that failed; 0: it has none."""
    detail: str = ""
