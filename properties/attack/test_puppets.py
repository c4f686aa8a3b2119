# SPDX-License-Identifier: Apache-2.0
"""The driver of the attack: what it leaves out for speed changes nothing that a guest can see."""

import pytest

from aether_edgecloud.properties.attack.abi import PAGE, Ffa
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.caller import Pair
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import MEMORY_IPA, Who
from aether_edgecloud.properties.attack.session import Session

A, B, M = (0, 0), (1, 0), (2, 0)
CODE = MEMORY_IPA + 8 * PAGE
RET = (0xD65F_03C0).to_bytes(4, "little")
UNKNOWN = 0  # ESR_ELx.EC of an undefined instruction


@pytest.fixture
def world() -> Session:
    return shared().begin()


def test_the_code_of_a_former_life_is_not_executed(world: Session) -> None:
    """The hypervisor's own code stays translated when a life ends; a guest's does not."""
    pa = world.pa(A[0], CODE)
    assert pa is not None
    world.puppets.write(pa, RET)
    for _ in range(2):
        done = world.puppets.do(Who(*A), Piece.EXECUTE, {1: CODE})
        assert done is not None and done.fault is None
    world.reset(A)
    done = world.puppets.do(Who(*A), Piece.EXECUTE, {1: CODE})
    assert done is not None and done.fault is not None and done.fault.ec == UNKNOWN


def test_who_waits_is_known_to_in_its_slot(world: Session) -> None:
    world.puppets.rest(Who(*A))
    before = world.puppets.machine.time
    assert world.call(A, Ffa.MSG_WAIT) == 0
    assert world.puppets.machine.time - before < world.puppets.slot // 2
    world.puppets.pass_frames(2)
    assert world.call(B, Ffa.VERSION, 0x1_0001) == 0  # a.0 has not gone on meanwhile


@pytest.mark.parametrize("other", [(0, 1), (1, 1), M])
def test_two_that_meet_act_in_turn_without_a_change_of_slot(world: Session, other: Pair) -> None:
    puppets = world.puppets
    puppets.rest(Who(*A), Who(*other))
    before = puppets.machine.time
    for _ in range(5):
        for who in (A, other):
            assert puppets.call(Who(*who), Ffa.VERSION, 0x1_0001) is not None
    assert puppets.machine.time - before < puppets.slot // 2


def test_an_interrupt_that_is_masked_does_not_keep_a_guest_busy(world: Session) -> None:
    """Else a vCPU that rests would execute as much as fits into its slots."""
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == 0
    world.arm(0)
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == 0
    assert world.interrupted(A)
    before = world.puppets.machine.instructions
    world.puppets.pass_frames(2)
    assert world.puppets.machine.instructions - before < world.puppets.slot
    world.take_interrupt(0)
    assert not world.interrupted(A)
