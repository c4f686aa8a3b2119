# SPDX-License-Identifier: Apache-2.0
"""Moves chosen by a seed, as fast as they go: the attack without Hypothesis, for its speed and for
long runs. `python -m aether_edgecloud.properties.attack.campaign SEED SECONDS` tells the rates: of
calls alone, and of everything, ends and beginnings of lives and races too, which take slots."""

import random
import sys
import time
from collections.abc import Sequence
from typing import TypeVar

from aether_edgecloud.properties.attack import moves
from aether_edgecloud.properties.attack.arena import Arena
from aether_edgecloud.properties.attack.session import Session

T = TypeVar("T")


class Dice:
    """Choices by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def of(self, choices: Sequence[T]) -> T:
        return self._random.choice(choices)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def once_in(self, n: int) -> bool:
        return self._random.randrange(n) == 0


CALLS = ((moves.memory, 12), (moves.notify, 3), (moves.discover, 2))
"""Calls that come back in the caller's own slot."""


def run(arena: Arena, seed: int, steps: int, mix: moves.Mix = moves.MOVES) -> Session:
    """One session of so many moves; a failure is told with its steps."""
    dice = Dice(seed)
    every = [move for move, weight in mix for _ in range(weight)]
    session = arena.begin()
    try:
        for _ in range(steps):
            dice.of(every)(session, dice)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {session.explain(error)}") from error
    return session


def rate(arena: Arena, seed: int, seconds: float, mix: moves.Mix) -> tuple[int, float]:
    """How many calls were checked, and how many that is in an hour of this CPU."""
    calls, began = 0, time.process_time()
    while time.process_time() < began + seconds:
        calls += run(arena, seed, 100, mix).calls
        seed += 1
    return calls, calls / (time.process_time() - began) * 3600


def main() -> None:
    seed, seconds = int(sys.argv[1]), float(sys.argv[2])
    for monitored in (False, True):
        arena = Arena(monitored=monitored)
        for name, mix in (("calls", CALLS), ("everything", moves.MOVES)):
            calls, an_hour = rate(arena, seed, seconds / 4, mix)
            watched = "with" if monitored else "without"
            print(f"{name}, {watched} the monitor: {calls} checked, {an_hour:,.0f} an hour")
        arena.close()


if __name__ == "__main__":
    main()
