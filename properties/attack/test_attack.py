# SPDX-License-Identifier: Apache-2.0
"""Hypothesis attacks the real binary: two partitions, peers of each other with two vCPUs each, and
a manager do what they like, and after every step the machine must be in the state that the
specification allows (`rules`, `oracle`). A failure is told as the calls that led to it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from aether_edgecloud.properties.attack import moves
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.calls import Pick
from aether_edgecloud.properties.attack.session import Session

T = TypeVar("T")
IS_NIGHTLY = settings().max_examples > 100
EXAMPLES = settings().max_examples if IS_NIGHTLY else 40
STEPS = 100 if IS_NIGHTLY else 40


class Drawn:
    """Choices by Hypothesis; it shrinks towards the first."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def of(self, choices: Sequence[T]) -> T:
        return choices[self.number(0, len(choices) - 1)]

    def number(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def once_in(self, n: int) -> bool:
        return self.number(0, n - 1) == n - 1


class Attack(RuleBasedStateMachine):
    """A rule for each kind of move."""

    def __init__(self) -> None:
        super().__init__()
        self.session: Session = shared().begin()

    def _move(self, move: Callable[[Session, Pick], None], data: st.DataObject) -> None:
        try:
            move(self.session, Drawn(data))
        except AssertionError as error:
            raise AssertionError(self.session.explain(error)) from None

    @rule(data=st.data())
    def shares_memory(self, data: Any) -> None:
        self._move(moves.memory, data)

    @rule(data=st.data())
    def gives_and_takes_memory(self, data: Any) -> None:
        self._move(moves.memory, data)

    @rule(data=st.data())
    def sends_messages(self, data: Any) -> None:
        self._move(moves.talk, data)

    @rule(data=st.data())
    def notifies(self, data: Any) -> None:
        self._move(moves.notify, data)

    @rule(data=st.data())
    def takes_interrupts(self, data: Any) -> None:
        self._move(moves.interrupts, data)

    @rule(data=st.data())
    def looks_around(self, data: Any) -> None:
        self._move(moves.discover, data)

    @rule(data=st.data())
    def touches_memory(self, data: Any) -> None:
        self._move(moves.touch, data)

    @rule(data=st.data())
    def ends_or_switches_vcpus(self, data: Any) -> None:
        self._move(moves.live, data)

    @rule(data=st.data())
    def manages(self, data: Any) -> None:
        self._move(moves.manage, data)

    @rule(data=st.data())
    def recovers(self, data: Any) -> None:
        self._move(moves.recover, data)

    @rule(data=st.data())
    def races(self, data: Any) -> None:
        self._move(moves.race, data)

    @rule(data=st.data())
    def changes_tx_meanwhile(self, data: Any) -> None:
        self._move(moves.flip, data)


Attack.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    suppress_health_check=list(HealthCheck),
)
TestAttack = Attack.TestCase
