# SPDX-License-Identifier: Apache-2.0
"""Three partitions, all peers of each other: what two of them have between them is not the third's.
And two that are not peers of each other, but of one and the same."""

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
from aether_edgecloud.properties.attack.arena import Arena
from aether_edgecloud.properties.attack.caller import Pair
from aether_edgecloud.properties.attack.session import Session
from aether_edgecloud.properties.attack.world import Place, Slot, World

A, B, C = (0, 0), (1, 0), (2, 0)
FIRST = 0x4000_8000
SLOTS = ((Slot("a", 0), Slot("b", 0), Slot("c", 0)),)


def world_of(a: tuple[str, ...], b: tuple[str, ...], c: tuple[str, ...]) -> World:
    places = (
        Place("a", (0,), 48, peers=a),
        Place("b", (0,), 48, peers=b),
        Place("c", (0,), 48, peers=c),
    )
    return World(places, SLOTS)


ALL_PEERS = world_of(("b", "c"), ("a", "c"), ("a", "b"))
CHAIN = world_of(("b",), ("a", "c"), ("b",))


@pytest.fixture(scope="module", params=[ALL_PEERS, CHAIN], ids=["all-peers", "chain"])
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    found = Arena(request.param)
    yield found
    found.close()


@pytest.fixture
def world(arena: Arena) -> Session:
    session = arena.begin()
    for who in (A, B, C):
        assert session.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    return session


def offer(world: Session, who: Pair, function: Ffa, receiver: int) -> int:
    """The code of an offer of one page."""
    access = 0 if function is Ffa.MEM_DONATE else READ_WRITE
    ranges = (Range(FIRST, 1),)
    data = Transaction(who[0] + 1, receiver, ranges, permissions=access).packed()
    return world.call(who, function, len(data), len(data), tx=data)


def retrieve(world: Session, who: Pair, sender: int, receiver: int, handle: int) -> int:
    data = Transaction(sender, receiver, handle=handle).packed()
    return world.call(who, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data)


@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
def test_a_transaction_is_its_receivers_alone(world: Session, function: Ffa) -> None:
    """The third knows the handle, and says that it is meant, or that it is the receiver."""
    assert offer(world, A, function, 2) == 0
    (handle,) = world.state.shares
    for receiver in (2, 3):
        assert retrieve(world, C, 1, receiver, handle) == Code.INVALID_PARAMETERS
        assert retrieve(world, C, 2, receiver, handle) == Code.INVALID_PARAMETERS
    assert world.call(C, Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32, 0) < 0
    assert retrieve(world, B, 1, 2, handle) == 0
    for who in (A, B, C):
        world.sweep(who, 0x7000_0000 >> 12, 64, write=True)
    assert world.call(C, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, 3)) < 0


@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
def test_offers_are_for_peers(world: Session, function: Ffa) -> None:
    """The specification knows who is a peer of whom."""
    offer(world, A, function, 3)
    offer(world, C, function, 1)
    for who in (A, C):
        world.sweep(who, FIRST >> 12, 1, write=True)


def test_messages_and_notifications_are_for_peers(world: Session) -> None:
    for who, other in ((A, 3), (C, 1)):
        own = who[0] + 1
        world.call(who, Ffa.DIRECT_REQ, own << 16 | other, 0, 1, 2, 3, 4, 5)
        world.call(who, Ffa.NOTIFICATION_BIND, other << 16 | own, 0, 1, 0)
        world.call(who, Ffa.NOTIFICATION_SET, own << 16 | other, 0, 1, 0)


def test_the_end_of_the_third_changes_nothing_between_the_two(world: Session) -> None:
    assert offer(world, A, Ffa.MEM_SHARE, 2) == 0
    (handle,) = world.state.shares
    assert retrieve(world, B, 1, 2, handle) == 0
    world.reset(C)
    for who in (A, B):
        world.sweep(who, 0x7000_0000 >> 12, 64, write=True)
        world.sweep(who, FIRST >> 12, 1, write=True)


@pytest.mark.parametrize("length", [4097, 4104, 6000, 8191, 8192, 1 << 16, (1 << 32) - 1])
def test_a_descriptor_is_no_longer_than_a_buffer(world: Session, length: int) -> None:
    """What is behind TX is somebody else's; what is behind EL2's copy of it is EL2's."""
    data = Transaction(1, 2, (Range(FIRST, 1),), permissions=READ_WRITE).packed()
    assert world.call(A, Ffa.MEM_SHARE, length, length, tx=data) == Code.INVALID_PARAMETERS
    assert offer(world, A, Ffa.MEM_SHARE, 2) == 0


def test_ranges_end_where_the_descriptor_ends(world: Session) -> None:
    """Two ranges are said, one is there; the other is only what the call before had left."""
    ranges = (Range(FIRST, 1), Range(FIRST + 0x2000, 1))
    data = Transaction(1, 2, ranges, permissions=READ_WRITE).packed()
    wrong = Transaction(1, 2, ranges, permissions=READ_WRITE, flags=1).packed()
    assert world.call(A, Ffa.MEM_SHARE, len(wrong), len(wrong), tx=wrong) < 0
    short = len(data) - 16
    assert world.call(A, Ffa.MEM_SHARE, short, short, tx=data) == Code.INVALID_PARAMETERS


def test_notifications_add_up(world: Session) -> None:
    """Those that were set before are not lost when another is set."""
    assert world.call(B, Ffa.NOTIFICATION_BIND, 1 << 16 | 2, 0, 3, 1) == 0
    for low, high in ((1, 0), (2, 0), (0, 1)):
        assert world.call(A, Ffa.NOTIFICATION_SET, 1 << 16 | 2, 0, low, high) == 0
    assert world.call(B, Ffa.NOTIFICATION_GET, 2, 2) == 0
