# SPDX-License-Identifier: Apache-2.0
"""A vCPU that waits for a message is told of its interrupts and can wait on: FFA_INTERRUPT, RUN."""

from itertools import pairwise

import pytest

from aether_edgecloud.properties.attack.abi import MASK32, NOTIFICATION_INTID, Code, Ffa
from aether_edgecloud.properties.attack.arena import Arena, shared
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import Result, Who
from aether_edgecloud.properties.attack.session import Session

A, B, B1 = (0, 0), (1, 0), (1, 1)
GICD, GICC = 0x0800_0000, 0x0801_0000
IAR, EOIR = GICC + 0xC, GICC + 0x10
REQUEST = (Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1, 2, 3, 4, 5)


@pytest.fixture
def arena() -> Arena:
    return shared()


@pytest.fixture
def world(arena: Arena) -> Session:
    """a takes interrupts 20; b may notify it."""
    session = arena.begin()
    for address, value in (
        (GICD, 1),
        (GICD + 0x100, 1 << NOTIFICATION_INTID),
        (GICC + 4, 0xFF),
        (GICC, 1),
    ):
        session.poke_device(A, address, value)
    assert session.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == 0
    return session


def notify(world: Session) -> None:
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == 0


def end_interrupt(world: Session) -> None:
    assert world.call(A, Ffa.NOTIFICATION_GET, 1, 2) == 0
    assert world.peek_device(A, IAR) == NOTIFICATION_INTID
    world.poke_device(A, EOIR, NOTIFICATION_INTID)


def interrupted(result: Result | None, who: int) -> None:
    assert result is not None, "it is never told of its interrupt"
    assert result.x[:8] == (Ffa.INTERRUPT, who << 16, 0, 0, 0, 0, 0, 0)


def test_an_interrupt_that_is_there_already(world: Session) -> None:
    notify(world)
    interrupted(world.puppets.call(Who(*A), Ffa.MSG_WAIT), 1)


def test_an_interrupt_that_comes_while_it_waits_for_a_message(world: Session) -> None:
    assert world.puppets.call(Who(*A), Ffa.MSG_WAIT) is None
    notify(world)
    interrupted(world.puppets.waits(Who(*A)), 1)
    end_interrupt(world)
    assert world.puppets.call(Who(*A), Ffa.MSG_WAIT) is None


def test_an_interrupt_that_comes_while_it_waits_for_an_answer(world: Session) -> None:
    world.call(B, Ffa.MSG_WAIT)
    assert world.puppets.call(Who(*A), *REQUEST) is None
    served = world.puppets.waits(Who(*B))
    assert served is not None and served.x[:8] == REQUEST
    puppets = world.puppets
    notified = puppets.call(Who(*B), Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0)
    assert notified is not None and notified.x[0] == Ffa.SUCCESS
    told = puppets.waits(Who(*A))
    interrupted(told, 2)
    assert told is not None
    for wrong in (1 << 16, 2 << 16 | 1, 2 << 16 | 7, 3 << 16, 0, MASK32):
        refused = puppets.call(Who(*A), Ffa.RUN, wrong)
        assert refused is not None and refused.x[0] == Ffa.ERROR, hex(wrong)
    taken = puppets.call(Who(*A), Ffa.NOTIFICATION_GET, 1, 2)
    assert taken is not None and taken.x[4] == 1
    assert world.peek_device(A, IAR) == NOTIFICATION_INTID
    world.poke_device(A, EOIR, NOTIFICATION_INTID)
    assert puppets.call(Who(*A), Ffa.RUN, told.x[1]) is None
    assert puppets.call(Who(*B), Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 7, 8, 9) is None
    answer = puppets.waits(Who(*A))
    assert answer is not None
    assert answer.x[:8] == (Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 7, 8, 9, 0, 0)


def test_an_answer_that_comes_while_it_does_something_else(world: Session) -> None:
    """Between FFA_INTERRUPT and RUN the answer is kept."""
    world.call(B, Ffa.MSG_WAIT)
    assert world.puppets.call(Who(*A), *REQUEST) is None
    puppets = world.puppets
    puppets.call(Who(*B), Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0)
    told = puppets.waits(Who(*A))
    interrupted(told, 2)
    assert told is not None
    assert puppets.call(Who(*B), Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 7) is None
    version = puppets.call(Who(*A), Ffa.VERSION, 0x1_0001)
    assert version is not None and version.x[0] == 0x1_0001
    answer = puppets.call(Who(*A), Ffa.RUN, told.x[1])
    assert answer is not None
    assert answer.x[:8] == (Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 7, 0, 0, 0, 0)


def test_run_without_a_request(world: Session) -> None:
    for target in (0, 1 << 16, 2 << 16, 2 << 16 | 1, 9 << 16):
        result = world.puppets.call(Who(*A), Ffa.RUN, target)
        assert result is not None and result.x[0] == Ffa.ERROR
        code = result.x[2] - (1 << 32)
        assert code in (Code.INVALID_PARAMETERS, Code.DENIED, Code.BUSY)


def test_one_whose_peer_ends_is_told_at_run(world: Session) -> None:
    world.call(B, Ffa.MSG_WAIT)
    assert world.puppets.call(Who(*A), *REQUEST) is None
    puppets = world.puppets
    puppets.call(Who(*B), Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0)
    told = puppets.waits(Who(*A))
    interrupted(told, 2)
    assert told is not None
    assert puppets.call(Who(*B), 0x8400_0008) is None  # SYSTEM_OFF
    puppets.pass_frames(20)
    result = puppets.call(Who(*A), Ffa.RUN, told.x[1])
    assert result is not None and result.x[0] == Ffa.ERROR
    assert result.x[2] - (1 << 32) in (Code.ABORTED, Code.INVALID_PARAMETERS, Code.DENIED)


def test_who_yields_goes_on_in_its_next_slot(world: Session) -> None:
    """At the same moment of each frame: nothing of the slot is left to it."""
    puppets = world.puppets
    times = []
    for _ in range(3):
        assert world.call(A, Ffa.YIELD, 0, 1, 2) == 0
        times.append(puppets.machine.time)
    for before, after in pairwise(times):
        assert abs(after - before - puppets.frame) <= puppets.slot // 10


def test_what_comes_while_it_has_yielded_is_there_afterwards(world: Session) -> None:
    """A notification, in the part of its slot that it gave up: from the other pCPU."""
    assert not world.interrupted(A)
    puppets = world.puppets
    puppets.rest(Who(*A), Who(*B1))
    core = puppets.at_rest()[Who(*A)]
    begun, end = core.time, core.event
    assert end - begun > puppets.slot // 2
    puppets.set_going(Who(*A), Piece.HVC, {0: Ffa.YIELD})
    given = {0: Ffa.NOTIFICATION_SET, 1: 2 << 16 | 1, 3: 1, 25: 1_000}
    sent = puppets.do(Who(*B1), Piece.HVC, given)
    assert sent is not None and sent.x[0] == Ffa.SUCCESS
    assert begun + 3_000 < puppets.machine.time < end, "not in the slot that was given up"
    assert world.interrupted(A)
