# SPDX-License-Identifier: Apache-2.0
"""Chosen sequences in which something happens to a mailbox at the same time as a call that uses
it: where TX and RX are, what is in them, and a descriptor that gives away the puppet itself."""

import struct

import pytest

from aether_edgecloud.properties.attack import message_rules, moves
from aether_edgecloud.properties.attack.abi import (
    MASK32,
    MOST_PAGES,
    PAGE,
    READ_WRITE,
    Code,
    Ffa,
    Life,
    Range,
    Transaction,
    Vendor,
)
from aether_edgecloud.properties.attack.arena import shared
from aether_edgecloud.properties.attack.caller import torn
from aether_edgecloud.properties.attack.calls import gives_kept
from aether_edgecloud.properties.attack.campaign import Dice
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import MEMORY_IPA, Who
from aether_edgecloud.properties.attack.session import Session

A, A1, B, M = (0, 0), (0, 1), (1, 0), (2, 0)
TX, RX, FIRST = MEMORY_IPA + 2 * PAGE, MEMORY_IPA + 3 * PAGE, MEMORY_IPA + 8 * PAGE
ADDRESS = 80
"""Offset of the first range's address in a descriptor."""
MAP = (Ffa.RXTX_MAP, TX, RX, 1)


@pytest.fixture
def world() -> Session:
    return shared().begin()


def write_tx(world: Session, data: bytes) -> None:
    """To the page that becomes a's TX."""
    pa = world.pa(A[0], TX)
    assert pa is not None
    world.puppets.write(pa, data)


DELAYS = [0, 100, 200, 300, 600]


@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_DONATE])
@pytest.mark.parametrize("quantum", [1, 1000])
def test_tx_may_be_mapped_just_before_it_is_read(
    world: Session, function: Ffa, quantum: int
) -> None:
    """a.1 maps TX and RX while a.0 sends: one order explains both, and the later a.0 is the more
    often its descriptor is read."""
    access = 0 if function is Ffa.MEM_DONATE else READ_WRITE
    data = Transaction(1, 2, (Range(FIRST, 1),), permissions=access).packed()
    sent = []
    for delay in DELAYS:
        session = shared().begin()
        write_tx(session, data)
        session.race({A1: MAP, A: (function, len(data), len(data))}, quantum, 0, delay)
        assert session.state.boxes[0] is not None
        sent.append(len(session.state.shares) == 1)
    assert sent == sorted(sent) and sent[-1]


def test_rx_may_be_mapped_just_before_it_is_written(world: Session) -> None:
    """The same with what a.0 retrieves."""
    assert world.call(B, *MAP) == 0
    data = Transaction(2, 1, (Range(FIRST, 1),), permissions=READ_WRITE).packed()
    assert world.call(B, Ffa.MEM_LEND, len(data), len(data), tx=data) == 0
    (handle,) = world.state.shares
    data = Transaction(2, 1, handle=handle).packed()
    write_tx(world, data)
    world.race({A1: MAP, A: (Ffa.MEM_RETRIEVE_REQ, len(data), len(data))}, 1000, 0, DELAYS[-1])
    assert world.state.shares[handle].loan is not None


def test_rx_may_be_released_by_msg_wait_while_it_is_filled() -> None:
    """a.1 waits, without the lock under which EL2 fills RX for a.0: what a.0 gets is whole, and if
    RX is a's afterwards is as one order says. The later a.1, the more often it is not."""
    order = []
    for delay in range(0, 300, 20):
        session = shared().begin()
        puppets, a0 = session.puppets, Who(*A)
        assert session.call(A, *MAP) == 0
        rx = session.pa(A[0], RX)
        assert rx is not None
        wait: dict[int, int] = {0: Ffa.MSG_WAIT, 25: delay}
        ask: dict[int, int] = {0: Ffa.PARTITION_INFO_GET}
        acts = {Who(*A1): (Piece.HVC, wait), a0: (Piece.HVC, ask)}
        done = puppets.race(acts, 1).get(a0)
        assert done is not None and done.x[0] == Ffa.SUCCESS
        size = done.x[2] * done.x[3]
        found = puppets.read(rx, size)
        again = puppets.call(a0, Ffa.PARTITION_INFO_GET)
        assert again is not None
        full = again.x[0] == Ffa.ERROR
        assert again.x[2] == (Code.BUSY & MASK32 if full else done.x[2])
        for number in (Ffa.RX_RELEASE, Ffa.PARTITION_INFO_GET):
            last = puppets.call(a0, number)
            assert last is not None and last.x[0] == Ffa.SUCCESS
        assert puppets.read(rx, size) == found
        order.append(not full)
    assert order == sorted(order) and order[-1] and not order[0]


@pytest.mark.parametrize("kept", [MEMORY_IPA, MEMORY_IPA + PAGE])
def test_a_torn_word_can_be_an_address_that_nobody_wrote(world: Session, kept: int) -> None:
    """The puppet's own pages, of an address 64 KiB above that changes to 0."""
    data = Transaction(1, 2, (Range(kept + 16 * PAGE, 1),)).packed()
    contents = torn(data, ADDRESS, 0)
    assert Transaction(1, 2, (Range(kept, 1),)).packed() in contents
    assert not gives_kept(world, A[0], data)
    assert any(gives_kept(world, A[0], content) for content in contents)


def test_no_move_lets_a_torn_word_give_away_the_puppet(
    world: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.call(A, *MAP) == 0
    flips: list[tuple[bytes, int, int]] = []
    monkeypatch.setattr(
        world,
        "flip",
        lambda who, other, x, tx, offset, second, *_: flips.append((tx, offset, second)),
    )
    for seed in range(1000):
        moves.flip(world, Dice(seed))
    assert len(flips) > 500
    for tx, offset, second in flips:
        for content in torn(tx, offset, second):
            for at in range(0, len(content) - 15, 8):
                address, pages = struct.unpack_from("<QI", content, at)
                is_kept = MEMORY_IPA <= address < MEMORY_IPA + 2 * PAGE
                assert not (is_kept and 0 < pages <= MOST_PAGES)


@pytest.mark.parametrize("vm", [0, 1])
def test_a_vm_that_gives_its_code_away_ends_and_nobody_else(world: Session, vm: int) -> None:
    """What it executes next is not there, nor is its vector: it crashes, and what it has given
    comes home. a restarts, b does not."""
    who = (vm, 0)
    assert world.call(who, *MAP) == 0
    data = Transaction(vm + 1, 2 - vm, (Range(MEMORY_IPA, 1),)).packed()
    world.put_tx(vm, data)
    late = world.puppets.late()
    before = world.state
    world.puppets.set_going(Who(*who), Piece.HVC, {0: Ffa.MEM_DONATE, 1: len(data), 2: len(data)})
    world.puppets.pass_frames(6)
    assert b"its exception vector is not in its memory" in world.puppets.machine.console.output
    ended = message_rules.reset if before.configs[vm].restarts_crash else message_rules.ended
    world.state = ended(before, vm)
    world.oracle.check(world.state)
    if vm == 0:
        world.puppets.rest(Who(*who))
    for other in ((1 - vm, 0), (1 - vm, 1)):
        assert world.call(other, Ffa.VERSION, 0x1_0001) == 0
    for number in (0, 1):
        info = world.puppets.call(Who(*M), Vendor.VM_INFO, number + 1)
        assert info is not None
        assert info.x[:2] == (0, Life.DOWN if number == vm == 1 else Life.RUNNING)
    assert world.puppets.late() == late
