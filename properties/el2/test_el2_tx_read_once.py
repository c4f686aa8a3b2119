# SPDX-License-Identifier: Apache-2.0
"""A descriptor that another vCPU of the VM changes while a call reads it counts as one content:
every word of it, for each call that reads TX."""

from collections.abc import Sequence

import pytest

from aether_edgecloud.properties.attack.abi import (
    READ_WRITE,
    Ffa,
    Range,
    Transaction,
    relinquish,
)
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.session import Session

A, A1, B = (0, 0), (0, 1), (1, 0)
FIRST = 0x4000_8000
SENDS = (Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE)
CHANGES = (1, 1 << 12, 1 << 16, 1 << 32, 1 << 63)
"""Of each word. In some both contents are good: another page, a tag, read-only or not."""


def word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 8].ljust(8, b"\0"), "little")


def ready() -> Session:
    """Both have mailboxes, and b has lent a three pages, each by itself."""
    world = shared().begin()
    for who in (A, B):
        assert world.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    return world


def lend(world: Session, count: int) -> list[int]:
    """Handles of pages that b has lent to a."""
    for n in range(count):
        data = Transaction(2, 1, (Range(FIRST + n * 0x2000, 1),), permissions=READ_WRITE).packed()
        assert world.call(B, Ffa.MEM_LEND, len(data), len(data), tx=data) == 0
    return sorted(world.state.shares)


def retrieval(handle: int) -> bytes:
    return Transaction(2, 1, handle=handle).packed()


def flip(
    world: Session, function: Ffa, data: bytes, offset: int, second: int, x: Sequence[int]
) -> None:
    world.flip(A, A1, (function, *x), data, offset, second, 1, offset)


@pytest.mark.parametrize("function", SENDS)
@pytest.mark.parametrize("offset", range(0, 96, 8))
def test_an_offer(function: Ffa, offset: int) -> None:
    access = 0 if function is Ffa.MEM_DONATE else READ_WRITE
    data = Transaction(1, 2, (Range(FIRST, 1),), permissions=access).packed()
    for change in CHANGES:
        second = word(data, offset) ^ change
        flip(ready(), function, data, offset, second, (len(data), len(data)))


@pytest.mark.parametrize("offset", range(0, 64, 8))
def test_a_retrieval(offset: int) -> None:
    world = ready()
    first, other = lend(world, 2)
    data = retrieval(first)
    for change in (*CHANGES, first ^ other) if offset == 8 else CHANGES:
        world = ready()
        assert lend(world, 2) == [first, other]
        second = word(data, offset) ^ change
        flip(world, Ffa.MEM_RETRIEVE_REQ, data, offset, second, (len(data), len(data)))


@pytest.mark.parametrize("offset", [0, 8, 16])
def test_a_return(offset: int) -> None:
    for change in (*CHANGES, None):
        world = ready()
        first, other = lend(world, 2)
        for handle in (first, other):
            data = retrieval(handle)
            assert world.call(A, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data) == 0
            assert world.call(A, Ffa.RX_RELEASE) == 0
        data = relinquish(first, 0, 1, 1)
        second = word(data, offset) ^ (first ^ other if change is None else change)
        flip(world, Ffa.MEM_RELINQUISH, data, offset, second, ())
