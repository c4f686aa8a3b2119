# SPDX-License-Identifier: Apache-2.0
"""Calls about memory and the length of slots: 80 us, and 23 us for each page. One that fits into
none of the caller's slots is refused; one that fits into some is carried out in one of those."""

from collections.abc import Iterator

import pytest

from aether_edgecloud.emulator.bundle.schedule import FFA_SLOT_US
from aether_edgecloud.properties.attack.abi import (
    MASK32,
    READ_WRITE,
    Code,
    Ffa,
    Range,
    Transaction,
    relinquish,
    signed,
)
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import Place, Puppets, Slot, Who, World

UNIT_US, WINDOW_US, ENTRY_US, CALL_US, PAGE_US = 250, 64, 10, 80, 23
FIRST, TX = 0x4000_8000, 2
WORLD = World(  # the longest slot of a vCPU is its only one, its last or its first
    (Place("a", (0, 1), 48, peers=("b",)), Place("b", (0, 1), 48, peers=("a",))),
    (
        (Slot("a", 0), Slot("b", 0, 2), Slot("b", 0)),
        (Slot("a", 1), Slot("b", 1), Slot("a", 1, 2)),
    ),
    UNIT_US,
)
SHORTEST = World(
    WORLD.places,
    tuple((Slot("a", n), Slot("b", n)) for n in range(2)),
    WINDOW_US + FFA_SLOT_US,
)
A, A1, B, B1 = Who(0), Who(0, 1), Who(1), Who(1, 1)
LONGEST = {A: 1, A1: 2, B: 2, B1: 1}
"""Slot of each vCPU, in units."""


def most(who: Who) -> int:
    """Pages of a call that just fits."""
    return (LONGEST[who] * UNIT_US - WINDOW_US - ENTRY_US - CALL_US) // PAGE_US


@pytest.fixture(scope="module")
def booted() -> Iterator[Puppets]:
    puppets = Puppets(WORLD)
    for vm in (A, B):
        assert code(puppets, vm, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    yield puppets
    puppets.close()


@pytest.fixture
def puppets(booted: Puppets) -> Iterator[Puppets]:
    snapshot = booted.snapshot()
    yield booted
    assert booted.late() == 0
    booted.restore(snapshot)


def code(puppets: Puppets, who: Who, function: int, *x: int, tx: bytes = b"") -> int:
    """0, or why it was refused; it comes back within a frame."""
    if tx:
        puppets.write(puppets.own_pages(who.vm)[TX], tx)
        x = x or (len(tx), len(tx))
    result = puppets.call(who, function, *x)
    assert result is not None, "it never comes back"
    return signed(result.x[2], 32) if result.x[0] == Ffa.ERROR else 0


def offer(puppets: Puppets, who: Who, pages: int, function: int = Ffa.MEM_LEND) -> int:
    ranges = (Range(FIRST, pages),)
    access = 0 if function is Ffa.MEM_DONATE else READ_WRITE
    data = Transaction(who.vm + 1, 2 - who.vm, ranges, permissions=access).packed()
    return code(puppets, who, function, tx=data)


def handle(vm: int) -> int:
    """Of a VM's first transaction."""
    return 1 << 63 | 1 << 16 | (vm + 1) << 8


def take(puppets: Puppets, who: Who) -> int:
    """By `who` of what the other VM has offered."""
    data = Transaction(2 - who.vm, who.vm + 1, handle=handle(1 - who.vm)).packed()
    return code(puppets, who, Ffa.MEM_RETRIEVE_REQ, tx=data)


def give_back(puppets: Puppets, who: Who) -> int:
    data = relinquish(handle(1 - who.vm), 0, 1, who.vm + 1)
    return code(puppets, who, Ffa.MEM_RELINQUISH, 0, tx=data)


def reclaim(puppets: Puppets, who: Who) -> int:
    return code(puppets, who, Ffa.MEM_RECLAIM, handle(who.vm) & MASK32, handle(who.vm) >> 32)


def test_the_longest_slots_of_this_world() -> None:
    assert {who: most(who) for who in LONGEST} == {A: 4, A1: 15, B: 15, B1: 4}


@pytest.mark.parametrize("who", [A, A1, B, B1])
@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_DONATE])
def test_pages_that_fit_and_one_more(puppets: Puppets, who: Who, function: Ffa) -> None:
    assert offer(puppets, who, most(who) + 1, function) == Code.NO_MEMORY
    assert offer(puppets, who, 32, function) == Code.NO_MEMORY
    assert offer(puppets, who, most(who), function) == 0


def test_who_can_retrieve_can_relinquish(puppets: Puppets) -> None:
    """Here b.1 can neither."""
    assert offer(puppets, A1, most(B1) + 1) == 0
    assert take(puppets, B1) == Code.NO_MEMORY
    assert take(puppets, B) == 0
    assert give_back(puppets, B1) == Code.NO_MEMORY
    assert give_back(puppets, B) == 0
    assert reclaim(puppets, A) == Code.NO_MEMORY
    assert reclaim(puppets, A1) == 0


def test_who_just_can(puppets: Puppets) -> None:
    assert offer(puppets, A, most(A)) == 0
    assert take(puppets, B1) == 0
    assert give_back(puppets, B1) == 0
    assert reclaim(puppets, A) == 0


@pytest.mark.parametrize("delay", range(0, 12_000, 3_000))
def test_wherever_in_the_slot_it_begins(puppets: Puppets, delay: int) -> None:
    """It is carried out in the next one, if not in this one."""
    ranges = (Range(FIRST, most(A)),)
    data = Transaction(1, 2, ranges, permissions=READ_WRITE).packed()
    puppets.write(puppets.own_pages(0)[TX], data)
    x = {0: Ffa.MEM_LEND, 1: len(data), 2: len(data), 25: delay // 3}
    result = puppets.do(A, Piece.HVC, x)
    assert result is not None and result.x[0] == Ffa.SUCCESS


@pytest.fixture(scope="module")
def shortest() -> Iterator[Puppets]:
    puppets = Puppets(SHORTEST)
    for vm in (A, B):
        assert code(puppets, vm, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    yield puppets
    puppets.close()


@pytest.mark.parametrize("delay", [0, 4_800, 6_000, 7_200])
def test_the_shortest_slots_there_are_have_room_for_a_page(shortest: Puppets, delay: int) -> None:
    """Zeroed with each call that can, and wherever in the slot it begins: it is begun anew once at
    most, since it fits behind the entry to the guest."""
    snapshot = shortest.snapshot()
    lent = Transaction(1, 2, (Range(FIRST, 1),), permissions=READ_WRITE, flags=1).packed()
    shared = Transaction(1, 2, (Range(FIRST, 1),), permissions=READ_WRITE).packed()
    taken = Transaction(1, 2, handle=handle(0), flags=1).packed()
    reclaimed = (handle(0) & MASK32, handle(0) >> 32, 1)
    for who, function, x, tx in (
        (A, Ffa.MEM_LEND, (len(lent), len(lent)), lent),
        (B1, Ffa.MEM_RETRIEVE_REQ, (len(taken), len(taken)), taken),
        (B1, Ffa.MEM_RELINQUISH, (), relinquish(handle(0), 1, 1, 2)),
        (A, Ffa.MEM_RECLAIM, reclaimed, b""),
        (A1, Ffa.MEM_SHARE, (len(shared), len(shared)), shared),
    ):
        if tx:
            shortest.write(shortest.own_pages(who.vm)[TX], tx)
        given = {**dict(enumerate((int(function), *x))), 25: delay // 3}
        result = shortest.do(who, Piece.HVC, given) or shortest.waits(who)
        assert result is not None, f"{function.name} is begun again for ever"
        assert result.x[0] in (Ffa.SUCCESS, Ffa.MEM_RETRIEVE_RESP), function.name
    assert shortest.late() == 0
    shortest.restore(snapshot)
