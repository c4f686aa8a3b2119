# SPDX-License-Identifier: Apache-2.0
"""Chosen sequences of messages and interrupts, each with all checks of the attack: a vCPU that
waits is told of its interrupt, goes on, and waits again (FFA_INTERRUPT, FFA_RUN)."""

import pytest

from aether_edgecloud.properties.attack import moves
from aether_edgecloud.properties.attack.abi import NOTIFICATION_INTID, Code, Ffa, Vendor
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.campaign import Dice
from aether_edgecloud.properties.attack.ownership import Doing
from aether_edgecloud.properties.attack.session import Session
from aether_edgecloud.properties.attack.verdict import Wrong

A, A1, B, B1, M = (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)
REQUEST = (Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1, 2, 3, 4, 5)
RESPONSE = (Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 5, 4, 3, 2, 1)
RUN = (Ffa.RUN, 2 << 16)
"""Of b.0, or as a.0 waits for it."""


@pytest.fixture
def world() -> Session:
    """b may notify a, by bits 0 to 7."""
    session = shared().begin()
    assert session.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 0xFF, 0) == 0
    return session


def notify(world: Session, bit: int = 0) -> None:
    assert world.call(B1, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1 << bit, 0) == 0


def doing(world: Session, who: tuple[int, int]) -> Doing:
    return world.state.vcpus[who].doing


def told(world: Session) -> None:
    """a.0 has asked b.0, and is told of an interrupt."""
    world.arm(0)
    world.call(B, Ffa.MSG_WAIT)
    world.call(A, *REQUEST)
    assert doing(world, A) is Doing.ASKS
    notify(world)
    assert doing(world, A) is Doing.TOLD and doing(world, B) is Doing.SERVES


def test_one_that_waits_for_a_message_is_told_once(world: Session) -> None:
    world.arm(0)
    world.call(A, Ffa.MSG_WAIT)
    assert doing(world, A) is Doing.WAITS
    notify(world)
    assert doing(world, A) is Doing.RESTS
    world.take_interrupt(0)
    world.call(A, Ffa.MSG_WAIT)
    assert doing(world, A) is Doing.WAITS
    notify(world)  # the bit is still pending: no interrupt
    assert doing(world, A) is Doing.WAITS
    notify(world, 1)
    assert doing(world, A) is Doing.RESTS


def test_who_has_not_enabled_it_is_not_told(world: Session) -> None:
    world.call(A, Ffa.MSG_WAIT)
    notify(world)
    assert doing(world, A) is Doing.WAITS
    world.arm(1)
    world.call(B, Ffa.MSG_WAIT)
    notify(world, 1)
    assert doing(world, A) is doing(world, B) is Doing.WAITS


def test_who_asks_is_told_and_waits_again(world: Session) -> None:
    told(world)
    assert world.call(A, *RUN) == 0  # the interrupt is still there: told again
    assert doing(world, A) is Doing.TOLD
    world.take_interrupt(0)
    assert world.call(A, *RUN) == 0
    assert doing(world, A) is Doing.ASKS
    world.call(B, *RESPONSE)
    assert doing(world, A) is Doing.RESTS


def test_what_comes_while_one_is_told_is_there_at_run(world: Session) -> None:
    told(world)
    world.call(B, *RESPONSE)
    assert doing(world, A) is Doing.TOLD and doing(world, B) is Doing.WAITS
    assert world.call(A, *RUN) == 0
    assert doing(world, A) is Doing.RESTS
    assert world.call(A, *RUN) == Code.DENIED


@pytest.mark.parametrize(
    "call",
    [REQUEST, RESPONSE, (Ffa.MSG_WAIT,), (Ffa.RUN, 2 << 16 | 1), (Ffa.RUN, 2 << 16 | 2)],
)
def test_one_that_is_told_has_one_question_only(world: Session, call: tuple[int, ...]) -> None:
    told(world)
    world.call(B1, Ffa.MSG_WAIT)
    assert world.call(A, *call) in (Code.DENIED, Code.INVALID_PARAMETERS)
    assert doing(world, A) is Doing.TOLD


@pytest.mark.parametrize("end", ["reset", "stop"])
def test_one_that_is_told_hears_of_an_end_at_run(world: Session, end: str) -> None:
    told(world)
    if end == "reset":
        world.reset(B1)
    else:
        assert world.call(M, Vendor.VM_STOP, 2) == 0
    assert doing(world, A) is Doing.TOLD
    assert world.call(A, *RUN) == 0
    assert doing(world, A) is Doing.RESTS


def test_one_that_is_told_can_end(world: Session) -> None:
    told(world)
    world.reset(A1)
    assert world.state.vcpus[B].peer is None
    assert world.call(A, *RUN) == Code.DENIED
    assert not world.state.armed


def test_one_that_is_paused_is_told_when_it_goes_on(world: Session) -> None:
    world.arm(0)
    world.call(A, Ffa.MSG_WAIT)
    assert world.call(M, Vendor.VM_PAUSE, 1) == 0
    notify(world)
    assert doing(world, A) is Doing.WAITS
    assert world.call(M, Vendor.VM_RESUME, 1) == 0
    assert doing(world, A) is Doing.RESTS


def test_one_that_goes_on_although_it_waits_is_seen(world: Session) -> None:
    """The interrupt is enabled behind the specification's back."""
    world.arm(0)
    world.state = world.state.changed(armed=frozenset())
    world.call(A, Ffa.MSG_WAIT)
    with pytest.raises(Wrong, match="although it waits"):
        notify(world)
        world.puppets.pass_frames(1)
        world.call(B1, Ffa.VERSION, 0x1_0001)


def test_an_interrupt_that_must_be_acknowledged(world: Session) -> None:
    world.arm(0)
    notify(world)
    world.state = world.state.with_notes(0, world.state.notes[1])
    with pytest.raises(Wrong, match=f"acknowledges interrupt {NOTIFICATION_INTID}"):
        world.take_interrupt(0)


def test_the_moves_get_there() -> None:
    """By moves alone vCPUs are told, in both of the waits, and wait again."""
    seen: set[object] = set()
    session = shared().begin()
    every = [moves.interrupts] * 3 + [moves.talk] * 2
    dice = Dice(1)
    for _ in range(1000):
        dice.of(every)(session, dice)
        seen |= {v.doing for v in session.state.vcpus.values()}
        seen |= {"kept" for who in session.postponed}
    assert seen >= {Doing.WAITS, Doing.ASKS, Doing.SERVES, Doing.TOLD, "kept"}
