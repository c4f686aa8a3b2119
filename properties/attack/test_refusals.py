# SPDX-License-Identifier: Apache-2.0
"""Calls with one thing wrong, on the real binary: each must be refused for a reason that the
specification has, and leave tables and frames as they are; the good call beside it must work."""

from typing import Any

import pytest

from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    MASK32,
    READ_ONLY,
    READ_WRITE,
    WINDOW_IPA,
    Code,
    Ffa,
    Range,
    Transaction,
    relinquish,
)
from aether_edgecloud.properties.attack.arena import Arena, shared
from aether_edgecloud.properties.attack.session import Session

A, B, M = (0, 0), (1, 0), (2, 0)
OFFER = Transaction(1, 2, (Range(0x4000_8000, 2), Range(0x4000_C000, 1)), permissions=READ_WRITE)
TX, RX = 0x4000_2000, 0x4000_3000

WRONG_ANYWHERE: list[dict[str, Any]] = [
    {"sender": 2},
    {"sender": 0},
    {"attributes": 1},
    {"attributes": 0xFFFF},
    {"flags": 2},
    {"flags": 1 << 31},
    {"handle": 1 << 63},
    {"handle": 1},
    {"endpoint_size": 0},
    {"endpoint_size": 24},
    {"endpoint_count": 0},
    {"endpoint_count": 2},
    {"endpoint_count": MASK32},
    {"endpoint_offset": 0},
    {"endpoint_offset": 32},
    {"endpoint_offset": 49},
    {"endpoint_offset": 56},
    {"endpoint_offset": 4096},
    {"endpoint_offset": MASK32 - 15},
    {"reserved": b"\1" + bytes(11)},
    {"reserved": bytes(11) + b"\1"},
    {"endpoint_flags": 1},
    {"endpoint_reserved": 1 << 63},
    {"receiver": 0},
    {"receiver": 1},
    {"receiver": 3},
    {"receiver": 9},
    {"receiver": 0x102},
    {"permissions": 3},
    {"permissions": 0x12},
    {"permissions": READ_WRITE | 3 << 2},
]
WRONG_OFFERS: list[dict[str, Any]] = [
    *WRONG_ANYWHERE,
    {"permissions": 0},
    {"permissions": READ_WRITE | 1 << 2},
    {"permissions": READ_WRITE | 2 << 2},
    {"composite_offset": 4096},
    {"composite_offset": MASK32 - 15},
    {"composite_reserved": 1},
    {"total": 2},
    {"total": 4},
    {"total": MASK32},
    {"count": 0},
    {"count": 3},
    {"count": 1 << 28},
    {"count": MASK32},
    {"ranges": (Range(0x4000_8000, 0),)},
    {"ranges": (Range(0x4000_8001, 1),)},
    {"ranges": (Range(0x4000_8800, 1),)},
    {"ranges": (Range(0x4000_8000, 1, 1),)},
    {"ranges": (Range(0x4000_8000, 2), Range(0x4000_9000, 1))},
    {"ranges": (Range(0x4000_8000, 1), Range(0x4000_8000, 1))},
    {"ranges": (Range(0x4000_8000, 33),)},
    {"ranges": (Range(0x4000_8000, MASK32),)},
    {"ranges": (Range(0x4000_8000, MASK32), Range(0x4010_0000, 2))},
    {"ranges": (Range(0x4002_F000, 2),)},
    {"ranges": (Range(0x4002_F000, 1), Range(0x4003_0000, 1))},
    {"ranges": (Range((1 << 64) - 4096, 1),)},
    {"ranges": (Range((1 << 64) - 4096, 2),)},
    {"ranges": (Range(1 << 40, 1),)},
    {"ranges": (Range(0, 1),)},
    {"ranges": (Range(0x0800_0000, 1),)},
    {"ranges": (Range(0x0801_0000, 1),)},
    {"ranges": (Range(0x0900_0000, 1),)},
    {"ranges": (Range(0x4280_8000, 1),)},
    {"ranges": (Range(0x4020_0000, 1),)},
    {"ranges": (Range(WINDOW_IPA, 1),)},
    {"ranges": (Range(TX, 1),)},
    {"ranges": (Range(RX, 1),)},
]
WRONG_RETRIEVALS: list[dict[str, Any]] = [
    *WRONG_ANYWHERE,
    {"sender": 1, "receiver": 1},
    {"tag": 7},
    {"flags": 2 << 3},
    {"flags": 3 << 3},
    {"flags": 1},
    {"composite_offset": 80},
]


@pytest.fixture
def arena() -> Arena:
    return shared()


@pytest.fixture
def world(arena: Arena) -> Session:
    session = arena.begin()
    for who in (A, B):
        assert session.call(who, Ffa.RXTX_MAP, TX, RX, 1) == 0
    return session


def send(world: Session, t: Transaction, function: int = Ffa.MEM_SHARE) -> int:
    data = t.packed()
    return world.call(A, function, len(data), len(data), tx=data)


def offered(world: Session, t: Transaction = OFFER, function: int = Ffa.MEM_SHARE) -> int:
    assert send(world, t, function) == 0
    return max(world.state.shares)


def retrieve(world: Session, t: Transaction) -> int:
    data = t.packed()
    return world.call(B, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data)


@pytest.mark.parametrize("changes", WRONG_OFFERS, ids=str)
def test_an_offer(world: Session, changes: dict[str, Any]) -> None:
    assert send(world, OFFER.but(**changes)) < 0
    assert send(world, OFFER) == 0


@pytest.mark.parametrize("permissions", [READ_ONLY, READ_WRITE, 1 << 2, 2 << 2])
def test_a_donation_says_nothing_of_access(world: Session, permissions: int) -> None:
    good = OFFER.but(permissions=0)
    assert send(world, good.but(permissions=permissions), Ffa.MEM_DONATE) < 0
    assert send(world, good.but(attributes=0x2F), Ffa.MEM_DONATE) < 0
    assert send(world, good, Ffa.MEM_DONATE | FAST_64) == 0


def test_a_loan_to_one_says_nothing_of_attributes(world: Session) -> None:
    """The borrower says what it would like (Hafnium and Linux read the standard alike)."""
    assert send(world, OFFER.but(attributes=0x2F), Ffa.MEM_LEND) == Code.INVALID_PARAMETERS
    assert send(world, OFFER, Ffa.MEM_LEND) == 0


@pytest.mark.parametrize("attributes", [0, 0x2F])
def test_a_share_may_say_what_its_memory_is(world: Session, attributes: int) -> None:
    assert send(world, OFFER.but(attributes=attributes)) == 0


def test_a_share_is_not_zeroed(world: Session) -> None:
    assert send(world, OFFER.but(flags=1)) == Code.INVALID_PARAMETERS
    assert send(world, OFFER.but(flags=1), Ffa.MEM_LEND) == 0


@pytest.mark.parametrize("changes", WRONG_RETRIEVALS, ids=str)
def test_a_retrieval(world: Session, changes: dict[str, Any]) -> None:
    good = Transaction(1, 2, handle=offered(world), permissions=READ_WRITE)
    assert retrieve(world, good.but(**changes)) < 0
    assert retrieve(world, good) == 0
    assert world.call(B, Ffa.RX_RELEASE) == 0
    assert retrieve(world, good) == Code.DENIED


def test_a_full_buffer_is_not_filled(world: Session) -> None:
    first, second = offered(world), offered(world, OFFER.but(ranges=(Range(0x4001_0000, 1),)))
    assert retrieve(world, Transaction(1, 2, handle=first)) == 0
    assert retrieve(world, Transaction(1, 2, handle=second)) == Code.BUSY
    assert world.call(B, Ffa.PARTITION_INFO_GET) == Code.BUSY
    assert world.call(B, Ffa.RX_RELEASE) == 0
    assert world.call(B, Ffa.RX_RELEASE) == Code.DENIED
    assert retrieve(world, Transaction(1, 2, handle=second)) == 0


@pytest.mark.parametrize("bit", [0, 2, 3, 8, 9, 15, 16, 17, 40, 47, 48, 62, 63])
def test_a_handle_one_bit_away(world: Session, bit: int) -> None:
    handle = offered(world)
    other = handle ^ 1 << bit
    assert retrieve(world, Transaction(1, 2, handle=other)) == Code.INVALID_PARAMETERS
    assert retrieve(world, Transaction(1, 2, handle=handle)) == 0
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(other, 0, 1, 2)) < 0
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, 2)) == 0
    assert world.call(A, Ffa.MEM_RECLAIM, other & MASK32, other >> 32) < 0
    assert world.call(A, Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32) == 0


@pytest.mark.parametrize(
    ("flags", "count", "who"),
    [(2, 1, 2), (1 << 31, 1, 2), (0, 0, 2), (0, 2, 2), (0, MASK32, 2), (0, 1, 1), (0, 1, 0)],
)
def test_giving_back(world: Session, flags: int, count: int, who: int) -> None:
    handle = offered(world)
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, 2)) == Code.DENIED
    assert retrieve(world, Transaction(1, 2, handle=handle)) == 0
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(handle, flags, count, who)) < 0
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 1, 1, 2)) < 0
    assert world.call(A, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, 1)) < 0
    assert world.call(B, Ffa.MEM_RELINQUISH, tx=relinquish(handle, 0, 1, 2)) == 0


def test_reclaiming(world: Session) -> None:
    handle = offered(world)
    low, high = handle & MASK32, handle >> 32
    assert world.call(B, Ffa.MEM_RECLAIM, low, high) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.MEM_RECLAIM, low, high, 2) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.MEM_RECLAIM, high, low) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.MEM_RECLAIM, low, high) == 0


@pytest.mark.parametrize("length", [0, 1, 47, 48, 49, 63, 64, 79, 80, 95, 4097, MASK32])
def test_lengths(world: Session, length: int) -> None:
    data = OFFER.packed()
    assert world.call(A, Ffa.MEM_SHARE, length, length, tx=data) < 0
    assert world.call(A, Ffa.MEM_SHARE, len(data), length, tx=data) < 0
    assert world.call(A, Ffa.MEM_SHARE, length, len(data), tx=data) < 0
    assert world.call(A, Ffa.MEM_SHARE, len(data), len(data), 1, tx=data) < 0
    assert world.call(A, Ffa.MEM_SHARE, len(data), len(data), 0, 1, tx=data) < 0
    assert world.call(A, Ffa.MEM_SHARE, len(data), len(data), tx=data) == 0


@pytest.mark.parametrize(
    ("tx", "rx", "pages"),
    [
        (0x4000_4000, 0x4000_4000, 1),
        (0x4000_4008, 0x4000_5000, 1),
        (0x4000_4000, 0x4000_5800, 1),
        (0x4000_4000, 0x4000_5000, 0),
        (0x4000_4000, 0x4000_5000, 2),
        (0x4000_4000, 0x4000_5000, MASK32),
        (0x4003_0000, 0x4000_5000, 1),
        (0x4000_4000, 0x4003_0000, 1),
        (0x4000_4000, WINDOW_IPA, 1),
        (0x0900_0000, 0x4000_5000, 1),
        (0x4000_4000, 0x0801_0000, 1),
        (0x4020_0000, 0x4000_5000, 1),
        ((1 << 64) - 4096, 0x4000_5000, 1),
        (0x4000_4000, 1 << 40, 1),
        (0, 0, 1),
    ],
)
def test_a_mailbox(world: Session, tx: int, rx: int, pages: int) -> None:
    assert world.call(A, Ffa.RXTX_MAP, 0x4000_4000, 0x4000_5000, 1) == Code.DENIED
    assert world.call(A, Ffa.RXTX_UNMAP, 2 << 16) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.RXTX_UNMAP, 1 << 16) == 0
    assert world.call(A, Ffa.RXTX_UNMAP) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.RXTX_MAP | FAST_64, tx, rx, pages) < 0
    assert world.call(A, Ffa.RXTX_MAP | FAST_64, 0x4000_4000, 0x4000_5000, 1) == 0


def test_borrowed_memory_is_neither_a_mailbox_nor_offered_on(world: Session) -> None:
    handle = offered(world)
    assert retrieve(world, Transaction(1, 2, handle=handle)) == 0
    assert world.call(B, Ffa.RX_RELEASE) == 0
    assert world.call(B, Ffa.RXTX_UNMAP) == 0
    assert world.call(B, Ffa.RXTX_MAP, WINDOW_IPA, 0x4000_5000, 1) < 0
    assert world.call(B, Ffa.RXTX_MAP, 0x4000_4000, 0x4000_5000, 1) == 0
    data = Transaction(2, 1, (Range(WINDOW_IPA, 1),), permissions=READ_WRITE).packed()
    assert world.call(B, Ffa.MEM_SHARE, len(data), len(data), tx=data) == Code.DENIED


def test_without_a_mailbox(world: Session) -> None:
    assert world.call(A, Ffa.RXTX_UNMAP) == 0
    for function in (Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_RETRIEVE_REQ, Ffa.MEM_RELINQUISH):
        assert world.call(A, function, 96, 96) < 0
    assert world.call(A, Ffa.RX_RELEASE) < 0


@pytest.mark.parametrize(
    "parties", [0, 2 << 16 | 1, 1 << 16 | 1, 1 << 16 | 3, 1 << 16, 0xFFFF_FFFF]
)
def test_messages_between_the_wrong_parties(world: Session, parties: int) -> None:
    world.call(B, Ffa.MSG_WAIT)
    assert world.call(A, Ffa.DIRECT_REQ, parties, 0, 1) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.DIRECT_RESP, parties, 0, 1) < 0
    assert world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 1, 1) < 0
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1)
    assert world.call(B, Ffa.DIRECT_RESP, 2 << 16 | 3, 0, 1) == Code.INVALID_PARAMETERS
    world.call(B, Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 1)


def test_nobody_waits(world: Session) -> None:
    assert world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1) == Code.BUSY


@pytest.mark.parametrize("function", [Ffa.NOTIFICATION_BIND, Ffa.NOTIFICATION_UNBIND])
def test_notifications_of_others(world: Session, function: Ffa) -> None:
    assert world.call(A, function, 2 << 16 | 2, 0, 1, 0) == Code.INVALID_PARAMETERS
    assert world.call(A, function, 1 << 16 | 1, 0, 1, 0) == Code.INVALID_PARAMETERS
    assert world.call(A, function, 3 << 16 | 1, 0, 1, 0) == Code.INVALID_PARAMETERS
    assert world.call(A, function, 2 << 16 | 1, 1, 1, 0) < 0
    assert world.call(A, function, 2 << 16 | 1, 2, 1, 0) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.NOTIFICATION_SET, 1 << 16 | 2, 0, 1, 0) == Code.DENIED
    assert world.call(A, Ffa.NOTIFICATION_GET, 2, 2) == Code.INVALID_PARAMETERS
    assert world.call(A, Ffa.NOTIFICATION_GET, 2 << 16 | 1, 2) == Code.INVALID_PARAMETERS


@pytest.mark.parametrize("function", range(0x8400_0060, 0x8400_00F0))
def test_numbers_that_are_not_there(arena: Arena, function: int) -> None:
    world = arena.begin()
    known = {int(f) for f in KNOWN}
    if function not in known:
        assert world.call(A, function) == Code.NOT_SUPPORTED
    if function not in WIDE:
        assert world.call(A, function | FAST_64) == Code.NOT_SUPPORTED
    assert world.call(A, Ffa.FEATURES, function) in (0, Code.NOT_SUPPORTED)
    assert world.call(M, function) == -1


KNOWN = (
    *(Ffa.VERSION, Ffa.FEATURES, Ffa.ID_GET, Ffa.PARTITION_INFO_GET, Ffa.RXTX_MAP, Ffa.RXTX_UNMAP),
    *(Ffa.RX_RELEASE, Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE, Ffa.MEM_RETRIEVE_REQ),
    *(Ffa.MEM_RELINQUISH, Ffa.MEM_RECLAIM, Ffa.MSG_WAIT, Ffa.RUN, Ffa.DIRECT_REQ, Ffa.DIRECT_RESP),
    *(Ffa.NOTIFICATION_BIND, Ffa.NOTIFICATION_UNBIND, Ffa.NOTIFICATION_SET, Ffa.NOTIFICATION_GET),
    *(Ffa.NOTIFICATION_INFO_GET, Ffa.YIELD),
)
WIDE = (
    *(Ffa.RXTX_MAP, Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE, Ffa.MEM_RETRIEVE_REQ),
    *(Ffa.DIRECT_REQ, Ffa.DIRECT_RESP, Ffa.NOTIFICATION_INFO_GET),
)
