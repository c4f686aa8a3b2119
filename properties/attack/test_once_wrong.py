# SPDX-License-Identifier: Apache-2.0
"""Where the attack's specification was wrong, and the hypervisor was not: found by longer runs."""

import pytest

from aether_edgecloud.properties.attack.abi import (
    PAGE,
    READ_WRITE,
    Code,
    Ffa,
    Range,
    Transaction,
    Vendor,
)
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.ownership import Doing
from aether_edgecloud.properties.attack.puppets import MEMORY_IPA
from aether_edgecloud.properties.attack.session import Session

A, A1, B, M = (0, 0), (0, 1), (1, 0), (2, 0)
FIRST = MEMORY_IPA + 8 * PAGE
TAG, PERMISSIONS = 16, 48
"""Offsets in a descriptor."""


@pytest.fixture
def world() -> Session:
    return shared().begin()


def test_who_serves_and_asks_serves_again(world: Session) -> None:
    """Over the answer it was forgotten that a request was still to be answered."""
    world.call(B, Ffa.MSG_WAIT)
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1, 2, 3, 4, 5)
    world.call(A1, Ffa.MSG_WAIT)
    world.call(B, Ffa.DIRECT_REQ, 2 << 16 | 1, 0, 7)
    assert world.state.vcpus[B].doing is Doing.ASKS
    assert world.state.vcpus[A1].doing is Doing.SERVES
    world.call(A1, Ffa.DIRECT_RESP, 1 << 16 | 2, 0, 8)
    assert world.state.vcpus[B].doing is Doing.SERVES
    assert world.call(B, Ffa.MSG_WAIT) == Code.DENIED
    world.call(B, Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 5)
    assert world.state.vcpus[A].doing is Doing.RESTS


@pytest.mark.parametrize("state", ["down", "ready"])
def test_what_is_bound_to_one_without_a_life_outlasts_its_destruction(
    world: Session, state: str
) -> None:
    assert world.call(M, Vendor.VM_STOP, 2) == 0
    if state == "ready":
        assert world.call(M, Vendor.VM_CREATE, 2) == 0
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == 0
    assert world.call(M, Vendor.VM_DESTROY, 2) == 0
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == Code.DENIED
    assert world.call(M, Vendor.VM_CREATE, 2) == 0
    assert world.call(M, Vendor.VM_START, 2) == 0
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == 0


@pytest.mark.parametrize("offset, second", [(TAG, 0x1234), (PERMISSIONS, 2 | 1 << 16)])
def test_an_offer_is_not_kept_of_which_nobody_knows_what_was_read(
    world: Session, offset: int, second: int
) -> None:
    """The tag, or the access offered, changes while it is read; the answer says nothing of it."""
    for who in (A, B):
        assert world.call(who, Ffa.RXTX_MAP, MEMORY_IPA + 2 * PAGE, MEMORY_IPA + 3 * PAGE, 1) == 0
    data = Transaction(1, 2, (Range(FIRST, 1),), permissions=READ_WRITE, tag=5).packed()
    second |= int.from_bytes(data[offset : offset + 8], "little") & ~((1 << 32) - 1)
    world.flip(A, A1, (Ffa.MEM_LEND, len(data), len(data)), data, offset, second, 10, 1)
    assert not world.state.shares
    assert world.call(A, Ffa.MEM_LEND, len(data), len(data), tx=data) == 0
    (handle,) = world.state.shares
    data = Transaction(1, 2, handle=handle, tag=5, permissions=READ_WRITE).packed()
    assert world.call(B, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data) == 0
