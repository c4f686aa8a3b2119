# SPDX-License-Identifier: Apache-2.0
"""What a call may answer, and the judgement of what it did answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from aether_edgecloud.properties.attack.abi import MASK32, MASK64, Code, Ffa, signed
from aether_edgecloud.properties.attack.ownership import State


class Wrong(AssertionError):
    """The hypervisor did what the specification does not allow."""


@dataclass(frozen=True, slots=True)
class Answer:
    """X0 to X7 after a call, and the caller's RX page as it is then."""

    x: tuple[int, ...]
    rx: bytes = b""


Then = Callable[[Answer], State]
"""The state after a call that succeeded with this answer; Wrong if it may not answer that."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`must`: reasons to refuse the call with that code: with one, it has to be refused. `may`:
    codes that are allowed as well. `then`: what success does. `plain`: codes stand in X0."""

    must: Mapping[int, str]
    may: frozenset[int] = frozenset()
    then: Then | None = None
    plain: bool = False
    blocks: bool = False
    """Success is that it does not come back, but waits."""

    def with_may(self, *codes: int) -> "Verdict":
        return Verdict(self.must, self.may | set(codes), self.then, self.plain, self.blocks)


class Reasons:
    """Collects reasons to refuse a call."""

    def __init__(self) -> None:
        self.must: dict[int, str] = {}
        self.may: set[int] = set()

    def add(self, wrong: object, code: int, words: str) -> None:
        if wrong:
            self.must.setdefault(code, words)

    def allow(self, unclear: object, *codes: int) -> None:
        if unclear:
            self.may.update(codes)

    def verdict(self, then: Then | None = None, *, blocks: bool = False) -> Verdict:
        return Verdict(self.must, frozenset(self.may), then, blocks=blocks)


def wrong(words: str, answer: Answer) -> NoReturn:
    registers = " ".join(f"X{n}={value:#x}" for n, value in enumerate(answer.x[:8]))
    raise Wrong(f"{words}: {registers}")


def refusal(answer: Answer, *, plain: bool = False) -> int | None:
    """The code a call was refused with; None if it was not."""
    x = answer.x
    if plain:
        code = signed(x[0])
        return code if code < 0 else None
    if x[0] & MASK32 != Ffa.ERROR:
        return None
    if x[0] != Ffa.ERROR or x[1] or x[2] >> 32 or any(x[3:8]):
        wrong("FFA_ERROR with something in the registers that must be zero", answer)
    return signed(x[2], 32)


def judge(state: State, verdict: Verdict, answer: Answer) -> State:
    """The state after the call; Wrong if it may not answer that."""
    code = refusal(answer, plain=verdict.plain)
    if code is not None:
        if code in verdict.must or code in verdict.may:
            return state
        allowed = sorted({*verdict.must, *verdict.may})
        wrong(f"refused with {code}, and only {allowed} have a reason", answer)
    if verdict.must:
        reasons = "; ".join(f"{words} ({code})" for code, words in verdict.must.items())
        wrong(f"accepted, although {reasons}", answer)
    if verdict.then is None:
        wrong("it came back, although it must wait", answer)
    return verdict.then(answer)


def success(answer: Answer, words: str, *expected: int | None, wide: bool = False) -> None:
    """Checks an FFA_SUCCESS: X1 and up; None is any value, what is missing is 0."""
    function = Ffa.SUCCESS | (0x4000_0000 if wide else 0)
    exact(answer, words, function, *expected)


def exact(answer: Answer, words: str, *expected: int | None) -> None:
    """Checks X0 to X7; None is any value, what is missing is 0."""
    for n in range(8):
        value = expected[n] if n < len(expected) else 0
        if value is not None and answer.x[n] != value & MASK64:
            wrong(f"{words}: X{n} must be {value & MASK64:#x}", answer)


def always(code: Code, words: str) -> Verdict:
    """A call that is always refused."""
    return Verdict({code: words})
