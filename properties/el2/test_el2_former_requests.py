# SPDX-License-Identifier: Apache-2.0
"""The answer to a request of a life that has ended is no answer to the next life's request, at
whatever moment of that it comes."""

from collections.abc import Iterator

import pytest

from aether_edgecloud.properties.attack.abi import Ffa
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import Place, Puppets, Slot, Who, World

SYSTEM_RESET = 0x8400_0009
A, A1, B = Who(0), Who(0, 1), Who(1)
WORLD = World(
    (Place("a", (0, 0), 16, peers=("b",)), Place("b", (1,), 16, peers=("a",))),
    ((Slot("a", 0), Slot("a", 1)), (Slot("b", 0, 2),)),
    unit_us=300,
)
REQUEST, RESPONSE = (Ffa.DIRECT_REQ, 1 << 16 | 2), (Ffa.DIRECT_RESP, 2 << 16 | 1)
FAR, NEAR = 2_000, 30
"""Turns of the puppet's delay, three instructions each: one call is over before the other begins;
and what matters in both is within them."""


@pytest.fixture
def puppets() -> Iterator[Puppets]:
    """A vCPU of a has asked, b has the request, and a has been loaded anew."""
    found = Puppets(WORLD, monitored=False)
    assert found.call(B, Ffa.MSG_WAIT) is None
    assert found.call(A, *REQUEST, 0, 1) is None
    asked = found.waits(B)
    assert asked is not None and asked.x[:4] == (*REQUEST, 0, 1)
    found.set_going(A1, Piece.HVC, {0: SYSTEM_RESET})
    found.rest(A)
    yield found
    found.close()


def asks_before_the_answer(puppets: Puppets, delay: int, quantum: int) -> bool:
    """a asks while b answers the former life, one of them so many turns later. a is told BUSY; or
    it asks b, which waits already."""
    call = dict(enumerate((*REQUEST, 0, 2))) | {25: max(delay, 0)}
    answer = dict(enumerate((*RESPONSE, 0, 0xBAD))) | {25: max(-delay, 0)}
    found = puppets.race({A: (Piece.HVC, call), B: (Piece.HVC, answer)}, quantum)
    if A in found:
        assert found[A].x[0] == Ffa.ERROR, "an answer to another request"
        assert B not in found
        return True
    assert B in found and found[B].x[:4] == (*REQUEST, 0, 2)
    return False


@pytest.mark.parametrize("quantum", [1, 3])
def test_an_answer_to_a_former_life_is_not_taken_for_one(puppets: Puppets, quantum: int) -> None:
    """Every moment around the one from which on b has answered first."""
    snapshot = puppets.snapshot()
    before, after = -FAR, FAR
    assert asks_before_the_answer(puppets, before, quantum)
    while after - before > 1:
        middle = (before + after) // 2
        puppets.restore(snapshot)
        if asks_before_the_answer(puppets, middle, quantum):
            before = middle
        else:
            after = middle
    assert after < FAR
    for delay in range(after - NEAR, after + NEAR):
        puppets.restore(snapshot)
        asks_before_the_answer(puppets, delay, quantum)
