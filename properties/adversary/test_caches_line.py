# SPDX-License-Identifier: Apache-2.0
"""One line of the cache model against all that hardware may do: it never shows what none of that
can show.

The reference is a set of states, each what memory holds and what the cache has of it. Hardware may
at any time write a dirty line back, drop a clean one, and read one in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.adversary.cache_lines import LINES, Flags, Lines
from aether_edgecloud.emulator.adversary.choices import Choices

LINE = 5


@dataclass(frozen=True, slots=True)
class Hardware:
    """What memory holds; what the cache has, if anything; whether that is dirty."""

    memory: int
    cached: int | None = None
    dirty: bool = False

    def by_itself(self) -> Iterator["Hardware"]:
        if self.cached is None:
            yield Hardware(self.memory, self.memory)
        elif self.dirty:
            yield Hardware(self.cached, self.cached)
        else:
            yield Hardware(self.memory)


def _closure(states: set[Hardware]) -> set[Hardware]:
    found, new = set(states), set(states)
    while new:
        new = {after for state in new for after in state.by_itself()} - found
        found |= new
    return found


class Driven:
    """A line of the model and all states that hardware may be in. The model is used as the
    adversary uses it: by one type of access at a time."""

    def __init__(self, lines: type[Lines], seed: int, rate: int) -> None:
        cached, memory, agreed = (np.zeros((LINES, 8), np.uint64) for _ in range(3))
        self.lines = lines(cached, memory, agreed)
        self.choices = Choices(seed, rate)
        self.through_cache = True
        self.states = _closure({Hardware(0)})

    def do(self, step: str, value: int) -> None:
        """One of STEPS. AssertionError if the model shows what no hardware shows."""
        getattr(self, step)(value)

    def _access(self, through_cache: bool) -> None:
        if through_cache != self.through_cache:
            self.lines.let_go(self.choices)
        self.through_cache = through_cache

    def store(self, value: int) -> None:
        self._access(True)
        self.lines.cached[LINE] = value
        self.lines.stored |= 1 << LINE
        self.states = _closure({Hardware(s.memory, value, True) for s in self.states})

    def store_past(self, value: int) -> None:
        self._access(False)
        self.lines.memory[LINE] = value
        self.states = _closure({Hardware(value, s.cached, s.dirty) for s in self.states})

    def load(self, _: int) -> None:
        self._access(True)
        seen = int(self.lines.cached[LINE, 0])
        self.states = {s for s in self.states if s.cached == seen}
        assert self.states

    def load_past(self, _: int) -> None:
        self._access(False)
        seen = int(self.lines.memory[LINE, 0])
        self.states = {s for s in self.states if s.memory == seen}
        assert self.states

    def invalidate(self, value: int) -> None:
        clean = value > 0
        self.lines.maintain(LINE, clean=clean, invalidate=True, choices=self.choices)
        after = set()
        for s in self.states:
            value = s.cached if clean and s.dirty and s.cached is not None else s.memory
            after.add(Hardware(value))
        self.states = _closure(after)

    def clean(self, value: int) -> None:
        if value:
            self.lines.maintain_all(clean=True, invalidate=False, choices=self.choices)
        else:
            self.lines.maintain(LINE, clean=True, invalidate=False, choices=self.choices)
        written = (
            Hardware(s.cached, s.cached) if s.dirty and s.cached is not None else s
            for s in self.states
        )
        self.states = _closure(set(written))

    def turn(self, _: int) -> None:
        if not self.through_cache:
            self.lines.overwrite(self.choices)


STEPS = ("store", "store_past", "load", "load_past", "invalidate", "clean", "turn")


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2)), max_size=24),
    seed=st.integers(0, 1000),
    rate=st.sampled_from([0, 128, 256]),
)
def test_only_what_hardware_may_show(steps: list[tuple[str, int]], seed: int, rate: int) -> None:
    driven = Driven(Lines, seed, rate)
    for step, value in steps:
        driven.do(step, value)


class _ForgetsCleaning(Lines):
    """As if DC CVAC did nothing."""

    def maintain(self, line: int, **how: object) -> None:
        del line, how


class _ForgetsStores(Lines):
    """Takes a line for clean that was stored to with the value it had."""

    def dirty(self) -> Flags:
        differ: Flags = (self.cached != self.agreed).any(axis=1)
        return differ


CLEANED = (("store", 1), ("clean", 0), ("load_past", 0))
SILENT = (("store_past", 1), ("load", 0), ("store", 0), ("clean", 0), ("load_past", 0))


@pytest.mark.parametrize(
    ("wrong", "steps"), [(_ForgetsCleaning, CLEANED), (_ForgetsStores, SILENT)]
)
def test_the_reference_finds_what_no_hardware_does(
    wrong: type[Lines], steps: tuple[tuple[str, int], ...]
) -> None:
    def run(lines: type[Lines]) -> None:
        driven = Driven(lines, seed=0, rate=256)
        for step, value in steps:
            driven.do(step, value)

    run(Lines)
    with pytest.raises(AssertionError):
        run(wrong)
