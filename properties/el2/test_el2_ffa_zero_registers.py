# SPDX-License-Identifier: Apache-2.0
"""Registers that must be zero (DEN0077A, the tables of each call): a call that is good but for one
of them is refused and changes nothing, and without it succeeds."""

from collections.abc import Iterator

import pytest

from aether_edgecloud.properties.attack.abi import (
    MASK32,
    READ_WRITE,
    Code,
    Ffa,
    Range,
    Transaction,
    relinquish,
)
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.puppets import PAGE, Puppets, Who

A, B = Who(0), Who(1)
TX, RX, OFFERED = 2, 3, 8
IPA = 0x4000_0000


@pytest.fixture
def puppets() -> Iterator[Puppets]:
    arena = shared()
    yield arena.begin().puppets
    arena.begin()


def call(puppets: Puppets, who: Who, x: tuple[int, ...], tx: bytes) -> tuple[int, ...]:
    if tx:
        puppets.write(puppets.own_pages(who.vm)[TX], tx)
    result = puppets.call(who, *x)
    assert result is not None
    return result.x


def good(puppets: Puppets, who: Who, *x: int, zero_from: int, tx: bytes = b"") -> tuple[int, ...]:
    """What it answers; first with each of X`zero_from` to X7 not zero."""
    for register in range(zero_from, 8):
        arguments = [*x, *[0] * (8 - len(x))]
        arguments[register] = 1
        answer = call(puppets, who, tuple(arguments), tx)
        assert (answer[0], answer[2]) == (Ffa.ERROR, Code.INVALID_PARAMETERS & MASK32), register
    answer = call(puppets, who, x, tx)
    assert answer[0] != Ffa.ERROR
    return answer


@pytest.mark.parametrize("offer", [Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
def test_memory(puppets: Puppets, offer: Ffa) -> None:
    for who in (A, B):
        good(puppets, who, Ffa.RXTX_MAP, IPA + TX * PAGE, IPA + RX * PAGE, 1, zero_from=4)
    access = 0 if offer is Ffa.MEM_DONATE else READ_WRITE
    data = Transaction(1, 2, (Range(IPA + OFFERED * PAGE, 1),), permissions=access).packed()
    answer = good(puppets, A, offer, len(data), len(data), zero_from=3, tx=data)
    handle = answer[2] | answer[3] << 32
    wish = Transaction(1, 2, handle=handle).packed()
    retrieve = (Ffa.MEM_RETRIEVE_REQ, len(wish), len(wish))
    good(puppets, B, *retrieve, zero_from=3, tx=wish)
    good(puppets, B, Ffa.RX_RELEASE, zero_from=1)
    if offer is not Ffa.MEM_DONATE:
        good(puppets, B, Ffa.MEM_RELINQUISH, zero_from=1, tx=relinquish(handle, 0, 1, 2))
        good(puppets, A, Ffa.MEM_RECLAIM, answer[2], answer[3], 0, zero_from=4)
    good(puppets, B, Ffa.RXTX_UNMAP, zero_from=2)


def test_notifications(puppets: Puppets) -> None:
    """a takes from b. The flags of X3 of BIND, X2 of SET and GET are others' tests'."""
    both, bits = 2 << 16 | 1, (1 << 5, 0)
    good(puppets, A, Ffa.NOTIFICATION_BIND, both, 0, *bits, zero_from=5)
    good(puppets, B, Ffa.NOTIFICATION_SET, both, 0, *bits, zero_from=5)
    answer = good(puppets, A, Ffa.NOTIFICATION_GET, 1, 2, zero_from=3)
    assert answer[4] == 1 << 5
    good(puppets, A, Ffa.NOTIFICATION_UNBIND, both, 0, *bits, zero_from=5)
