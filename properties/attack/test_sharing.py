# SPDX-License-Identifier: Apache-2.0
"""Chosen sequences of calls on the real binary, each with all checks of the attack: the shortest
ways to what must hold, and to what was wrong once."""

import pytest

from aether_edgecloud.properties.attack.abi import (
    MASK32,
    MOST_SHARES,
    NOTIFICATION_INTID,
    READ_ONLY,
    READ_WRITE,
    WINDOW_IPA,
    Code,
    Ffa,
    FrameState,
    Life,
    Range,
    Transaction,
    Vendor,
    VendorCode,
    relinquish,
)
from aether_edgecloud.properties.attack.arena import Arena, shared
from aether_edgecloud.properties.attack.caller import Pair
from aether_edgecloud.properties.attack.ownership import WINDOW
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.session import Session
from aether_edgecloud.properties.attack.verdict import Wrong

A, A1, B, B1, M = (0, 0), (0, 1), (1, 0), (1, 1), (2, 0)
FIRST = 0x4000_8000
EXECUTABLE = 2 << 2
ZERO = 1


@pytest.fixture
def arena() -> Arena:
    return shared()


@pytest.fixture
def world(arena: Arena) -> Session:
    """Both partitions have mailboxes."""
    session = arena.begin()
    for who in (A, B):
        assert session.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1) == 0
    return session


def offer(
    world: Session,
    who: Pair,
    function: Ffa,
    *ranges: tuple[int, int],
    access: int = READ_WRITE,
    flags: int = 0,
) -> int:
    """Offers (IPA, pages) to the other partition; the handle."""
    permissions = 0 if function is Ffa.MEM_DONATE else access
    data = Transaction(
        who[0] + 1,
        2 - who[0],
        tuple(Range(*r) for r in ranges),
        permissions=permissions,
        flags=flags,
    ).packed()
    before = set(world.state.shares)
    assert world.call(who, function, len(data), len(data), tx=data) == 0
    (handle,) = set(world.state.shares) - before
    return handle


def take(world: Session, who: Pair, handle: int, *, access: int = 0, flags: int = 0) -> int:
    """Retrieves, and releases RX; the code."""
    data = Transaction(
        2 - who[0], who[0] + 1, handle=handle, permissions=access, flags=flags
    ).packed()
    code = world.call(who, Ffa.MEM_RETRIEVE_REQ, len(data), len(data), tx=data)
    if code == 0:
        assert world.call(who, Ffa.RX_RELEASE) == 0
    return code


def give_back(world: Session, who: Pair, handle: int, flags: int = 0) -> int:
    return world.call(who, Ffa.MEM_RELINQUISH, tx=relinquish(handle, flags, 1, who[0] + 1))


def reclaim(world: Session, who: Pair, handle: int, flags: int = 0) -> int:
    return world.call(who, Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32, flags)


def sweep(world: Session) -> None:
    """All partitions try their memory and their windows."""
    for who in (A, B):
        for page in (world.state.configs[who[0]].base, WINDOW.start):
            for write in (False, True):
                world.sweep(who, page, 64, write=write)


@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
def test_a_page_there_and_back(world: Session, function: Ffa) -> None:
    world.scribble(0, FIRST >> 12, 1)
    handle = offer(world, A, function, (FIRST, 2), (FIRST + 0x4000, 1))
    sweep(world)
    assert take(world, B, handle) == 0
    sweep(world)
    world.access(B, Piece.STORE, WINDOW_IPA)
    if function is Ffa.MEM_SHARE:
        world.access(A, Piece.LOAD, FIRST)
    if function is Ffa.MEM_DONATE:
        assert give_back(world, B, handle) == Code.INVALID_PARAMETERS
        assert reclaim(world, A, handle) == Code.INVALID_PARAMETERS
        return
    assert reclaim(world, A, handle) == Code.DENIED
    assert give_back(world, B, handle) == 0
    sweep(world)
    assert take(world, B, handle) == 0
    assert give_back(world, B, handle) == 0
    assert reclaim(world, A, handle) == 0
    sweep(world)
    assert reclaim(world, A, handle) == Code.INVALID_PARAMETERS
    assert take(world, B, handle) == Code.INVALID_PARAMETERS


def test_read_only_is_not_written(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_SHARE, (FIRST, 1), access=READ_ONLY)
    assert take(world, B, handle, access=READ_WRITE) == Code.DENIED
    assert take(world, B, handle) == 0
    world.access(B, Piece.LOAD, WINDOW_IPA)
    world.access(B, Piece.STORE, WINDOW_IPA)
    world.access(B, Piece.EXECUTE, WINDOW_IPA)
    assert give_back(world, B, handle, ZERO) == Code.INVALID_PARAMETERS


def test_less_than_granted_can_be_asked_for(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_LEND, (FIRST, 1))
    assert take(world, B, handle, access=READ_ONLY) == 0
    world.access(B, Piece.STORE, WINDOW_IPA)


@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_LEND, Ffa.MEM_DONATE])
def test_execution_of_lent_and_donated_memory_only(world: Session, function: Ffa) -> None:
    handle = offer(world, A, function, (FIRST, 1))
    code = take(world, B, handle, access=EXECUTABLE)
    assert code == (Code.DENIED if function is Ffa.MEM_SHARE else 0)
    if code == 0:
        world.access(B, Piece.EXECUTE, WINDOW_IPA)
    else:
        assert take(world, B, handle) == 0
        world.access(B, Piece.EXECUTE, WINDOW_IPA)


@pytest.mark.parametrize("function", [Ffa.MEM_LEND, Ffa.MEM_DONATE])
@pytest.mark.parametrize("by_sender", [True, False])
def test_zeroed_before_the_receiver_has_it(world: Session, function: Ffa, by_sender: bool) -> None:
    world.scribble(0, FIRST >> 12, 1)
    handle = offer(world, A, function, (FIRST, 1), flags=ZERO if by_sender else 0)
    assert take(world, B, handle, flags=0 if by_sender else ZERO) == 0
    world.access(B, Piece.LOAD, WINDOW_IPA)


def test_zeroed_when_given_back_and_when_reclaimed(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_LEND, (FIRST, 1))
    assert take(world, B, handle) == 0
    world.scribble(1, WINDOW.start, 2)
    assert give_back(world, B, handle, ZERO) == 0
    assert reclaim(world, A, handle) == 0
    world.access(A, Piece.LOAD, FIRST)
    world.scribble(0, FIRST >> 12, 3)
    handle = offer(world, A, Ffa.MEM_LEND, (FIRST, 1))
    assert reclaim(world, A, handle, ZERO) == 0
    world.access(A, Piece.LOAD, FIRST)


def test_a_donated_page_goes_home_scrubbed(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    assert take(world, B, handle) == 0
    world.scribble(1, WINDOW.start, 4)
    world.scribble(1, WINDOW.start + 1, 5)
    world.reset(B)
    sweep(world)
    assert world.state.frames[world.state.configs[0].frames[8]].owner == 0
    world.reset(A)
    sweep(world)


def test_a_donated_page_stays_when_its_giver_ends(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    assert take(world, B, handle) == 0
    world.scribble(1, WINDOW.start, 4)
    world.reset(A)
    world.access(B, Piece.LOAD, WINDOW_IPA)
    sweep(world)


def test_a_donated_page_is_lent_on_and_comes_back(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 3))
    assert take(world, B, handle) == 0
    assert world.call(A, Ffa.RXTX_UNMAP) == 0
    assert world.call(A, Ffa.RXTX_MAP, 0x4000_4000, 0x4000_5000, 1) == 0
    onward = offer(world, B, Ffa.MEM_LEND, (WINDOW_IPA + 0x1000, 1))
    other = offer(world, A, Ffa.MEM_SHARE, (FIRST + 0x8000, 1))
    assert take(world, A, onward) == 0
    assert take(world, B, other) == 0  # not where the lent page comes back to
    sweep(world)
    assert give_back(world, A, onward) == 0
    assert reclaim(world, B, onward) == 0
    sweep(world)


def test_a_donated_mailbox_goes_home(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    assert take(world, B, handle) == 0
    assert world.call(B, Ffa.RXTX_UNMAP) == 0
    assert world.call(B, Ffa.RXTX_MAP, WINDOW_IPA, WINDOW_IPA + 0x1000, 1) == 0
    assert world.call(B, Ffa.PARTITION_INFO_GET) == 0
    world.reset(B)
    sweep(world)
    world.reset(A)
    sweep(world)


def test_a_donated_page_lent_to_where_it_came_from(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    assert take(world, B, handle) == 0
    onward = offer(world, B, Ffa.MEM_LEND, (WINDOW_IPA, 2))
    assert take(world, A, onward) == 0
    world.scribble(0, WINDOW.start, 8)
    world.reset(B1)
    sweep(world)
    assert give_back(world, A, onward) == Code.INVALID_PARAMETERS


@pytest.mark.parametrize("destroyed", [False, True])
def test_a_donated_page_goes_to_a_home_that_is_gone(world: Session, destroyed: bool) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 3))
    assert take(world, B, handle) == 0
    world.scribble(1, WINDOW.start + 2, 9)
    assert world.call(M, Vendor.VM_STOP, 1) == 0
    if destroyed:
        assert world.call(M, Vendor.VM_DESTROY, 1) == 0
    world.access(B, Piece.LOAD, WINDOW_IPA + 0x2000)
    world.reset(B)
    assert world.call(M, Vendor.VM_CREATE, 1) == 0
    assert world.call(M, Vendor.VM_START, 1) == 0
    sweep(world)


def test_a_donation_that_was_never_taken_comes_back(world: Session) -> None:
    world.scribble(0, FIRST >> 12, 1)
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    world.reset(B)
    assert reclaim(world, A, handle) == 0
    world.access(A, Piece.LOAD, FIRST)
    offer(world, A, Ffa.MEM_DONATE, (FIRST, 2))
    world.reset(A)
    sweep(world)


@pytest.mark.parametrize("rights", [0, EXECUTABLE])
def test_what_is_lent_on_comes_back_with_the_rights_it_had(world: Session, rights: int) -> None:
    handle = offer(world, A, Ffa.MEM_DONATE, (FIRST, 1))
    assert take(world, B, handle, access=rights) == 0
    onward = offer(world, B, Ffa.MEM_LEND, (WINDOW_IPA, 1))
    assert take(world, A, onward) == 0
    assert give_back(world, A, onward) == 0
    assert reclaim(world, B, onward) == 0
    world.access(B, Piece.EXECUTE, WINDOW_IPA)


@pytest.mark.parametrize("end", ["reset", "crash", "off"])
@pytest.mark.parametrize("who", [A, B], ids=["owner", "borrower"])
@pytest.mark.parametrize("function", [Ffa.MEM_SHARE, Ffa.MEM_LEND])
def test_the_end_of_a_life_ends_its_shares(
    world: Session, function: Ffa, who: Pair, end: str
) -> None:
    handles = [offer(world, A, function, (FIRST + n * 0x2000, 2)) for n in range(3)]
    for handle in handles[:2]:
        assert take(world, B, handle) == 0
    world.scribble(1, WINDOW.start + 1, 6)
    {"reset": world.reset, "crash": world.crash, "off": world.off}[end](who)
    other = B if who == A else A
    for page in (world.state.configs[other[0]].base, WINDOW.start):
        world.sweep(other, page, 64, write=True)
    if who == B:
        for handle in handles:
            assert reclaim(world, A, handle) == 0
    else:
        assert all(give_back(world, B, handle) < 0 for handle in handles)
        assert take(world, B, handles[2]) == Code.INVALID_PARAMETERS


def test_a_mailbox_page_is_not_offered_and_a_shared_one_no_mailbox(world: Session) -> None:
    data = Transaction(1, 2, (Range(0x4000_3000, 1),), permissions=READ_WRITE).packed()
    assert world.call(A, Ffa.MEM_SHARE, len(data), len(data), tx=data) == Code.DENIED
    offer(world, A, Ffa.MEM_SHARE, (FIRST, 1))
    assert world.call(A, Ffa.RXTX_UNMAP) == 0
    assert world.call(A, Ffa.RXTX_MAP, 0x4000_2000, FIRST, 1) == Code.DENIED


def test_records_run_out_and_come_back(world: Session) -> None:
    handles = [offer(world, A, Ffa.MEM_SHARE, (FIRST + n * 0x1000, 1)) for n in range(MOST_SHARES)]
    data = Transaction(1, 2, (Range(0x4002_0000, 1),), permissions=READ_WRITE).packed()
    assert world.call(A, Ffa.MEM_SHARE, len(data), len(data), tx=data) == Code.NO_MEMORY
    for handle in handles:
        assert reclaim(world, A, handle) == 0
    offer(world, A, Ffa.MEM_SHARE, (FIRST, 1))


def test_a_second_offer_of_a_page_changes_nothing(world: Session) -> None:
    offer(world, A, Ffa.MEM_SHARE, (FIRST + 0x2000, 1))
    data = Transaction(1, 2, (Range(FIRST, 4),), permissions=READ_WRITE).packed()
    assert world.call(A, Ffa.MEM_LEND, len(data), len(data), tx=data) == Code.DENIED
    sweep(world)


def test_thirty_two_pages_at_once_and_zeroed(world: Session) -> None:
    ranges = tuple((FIRST + n * 0x1000, 1) for n in reversed(range(32)))
    handle = offer(world, A, Ffa.MEM_LEND, *ranges)
    assert take(world, B, handle, flags=ZERO) == 0
    sweep(world)
    assert give_back(world, B, handle, ZERO) == 0
    assert reclaim(world, A, handle, ZERO) == 0
    data = Transaction(1, 2, (Range(FIRST, 33),), permissions=READ_WRITE).packed()
    assert world.call(A, Ffa.MEM_LEND, len(data), len(data), tx=data) == Code.NO_MEMORY


def test_the_rest_of_a_window_is_found_when_it_has_holes(world: Session) -> None:
    handles = [offer(world, A, Ffa.MEM_SHARE, (FIRST + n * 0x3000, 2)) for n in range(4)]
    for handle in handles:
        assert take(world, B, handle) == 0
    assert give_back(world, B, handles[1]) == 0
    three = offer(world, A, Ffa.MEM_SHARE, (0x4001_8000, 3))
    assert take(world, B, three) == 0  # does not fit into the hole
    assert take(world, B, handles[1]) == 0  # does
    sweep(world)


def test_a_manager_pauses_stops_and_makes_anew(world: Session) -> None:
    handle = offer(world, A, Ffa.MEM_LEND, (FIRST, 2))
    assert take(world, B, handle) == 0
    for function in (Vendor.VM_PAUSE, Vendor.VM_RESUME, Vendor.VM_PAUSE, Vendor.VM_STOP):
        assert world.call(M, function, 2) == 0
        assert world.call(M, Vendor.VM_INFO, 2) == 0
    assert reclaim(world, A, handle) == 0
    assert world.call(M, Vendor.VM_DESTROY, 2) == 0
    assert all(world.oracle.is_zero(f) for f in world.state.configs[1].frames), (
        "a VM that is destroyed leaves nothing behind"
    )
    assert world.call(M, Vendor.VM_START, 2) == VendorCode.BAD_STATE
    assert world.call(M, Vendor.VM_CREATE, 2) == 0
    assert world.call(M, Vendor.VM_START, 2) == 0
    sweep(world)
    assert world.call(A, Vendor.VM_STOP, 2) < 0
    assert world.call(M, Vendor.VM_STOP, 3) == VendorCode.DENIED


def test_the_peer_of_one_that_ends_is_told(world: Session) -> None:
    world.call(B, Ffa.MSG_WAIT)
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1, 2, 3, 4, 5)
    assert world.call(M, Vendor.VM_STOP, 2) == 0  # a.0 gets ABORTED: the session looks
    assert world.able(A)


def test_the_answer_to_a_life_that_has_ended_goes_nowhere(world: Session) -> None:
    world.call(B, Ffa.MSG_WAIT)
    world.call(B1, Ffa.MSG_WAIT)
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 1)
    server = next(w for w in (B, B1) if world.able(w))
    world.reset(A1)
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, 2)
    world.call(server, Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 0xBAD)
    second = next(w for w in (B, B1) if w != server)
    assert world.able(second) and not world.able(A)
    world.call(second, Ffa.DIRECT_RESP, 2 << 16 | 1, 0, 7)
    assert world.able(A)


def test_a_request_in_64_bits_arrives_whole(world: Session) -> None:
    world.call(B, Ffa.MSG_WAIT)
    words = tuple(0x1111_0000_2222_0000 * n for n in range(1, 6))
    world.call(A, Ffa.DIRECT_REQ | 1 << 30, 1 << 16 | 2, 0, *words)
    world.call(B, Ffa.DIRECT_RESP | 1 << 30, 2 << 16 | 1, 0, *words[::-1])
    world.call(A, Ffa.DIRECT_REQ, 1 << 16 | 2, 0, *words)


def test_notifications_bound_set_and_taken(world: Session) -> None:
    bits = (0x8000_0001, 0x8000_0000)
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, *bits) == 0
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == Code.DENIED
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 3, 0) == Code.DENIED
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, *bits) == 0
    assert world.call(A, Ffa.NOTIFICATION_UNBIND, 2 << 16 | 1, 0, *bits) == Code.DENIED
    assert world.call(A, Ffa.NOTIFICATION_GET, 1, 2) == 0
    assert world.call(A, Ffa.NOTIFICATION_GET, 1, 2) == 0
    assert world.call(A, Ffa.NOTIFICATION_UNBIND, 2 << 16 | 1, 0, *bits) == 0
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == Code.DENIED


def test_a_notification_is_an_interrupt(world: Session) -> None:
    for address, value in (
        (GICD, 1),
        (GICD + 0x100, 1 << NOTIFICATION_INTID),
        (GICC + 4, 0xFF),
        (GICC, 1),
    ):
        world.poke_device(A, address, value)
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 1, 0) == 0
    assert not world.interrupted(A)
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == 0
    assert world.interrupted(A)
    assert world.peek_device(A, GICC + 0xC) == NOTIFICATION_INTID


def test_the_bindings_of_a_life_that_has_ended_are_gone(world: Session) -> None:
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 3, 0) == 0
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == 0
    world.reset(B)
    assert world.call(A, Ffa.NOTIFICATION_GET, 1, 2) == 0
    assert world.call(B, Ffa.NOTIFICATION_SET, 2 << 16 | 1, 0, 1, 0) == Code.DENIED
    assert world.call(A, Ffa.NOTIFICATION_BIND, 2 << 16 | 1, 0, 3, 0) == 0


@pytest.mark.parametrize("quantum", [1, 60, 1000])
@pytest.mark.parametrize("delay", [0, 200, 400, 600])
def test_one_offer_of_two_at_once_wins(world: Session, quantum: int, delay: int) -> None:
    data = Transaction(1, 2, (Range(FIRST, 2),), permissions=READ_WRITE).packed()
    world.put_tx(0, data)
    call = (Ffa.MEM_LEND, len(data), len(data))
    world.race({A: call, A1: call}, quantum, seed=3, delay=delay)
    assert len(world.state.shares) == 1


@pytest.mark.parametrize("quantum", [1, 60, 1000])
@pytest.mark.parametrize("delay", [0, 200, 400, 600])
def test_retrieved_or_reclaimed_but_not_both(world: Session, quantum: int, delay: int) -> None:
    handle = offer(world, B, Ffa.MEM_LEND, (FIRST, 3))
    data = Transaction(2, 1, handle=handle).packed()
    world.put_tx(0, data)
    world.race(
        {
            A1: (Ffa.MEM_RETRIEVE_REQ, len(data), len(data)),
            B: (Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32),
        },
        quantum,
        seed=1,
        delay=delay,
    )
    sweep(world)


@pytest.mark.parametrize("quantum", [1, 3, 10, 100])
@pytest.mark.parametrize("offset", range(0, 96, 8))
def test_tx_is_read_once(world: Session, offset: int, quantum: int) -> None:
    data = Transaction(1, 2, (Range(FIRST, 1),), permissions=READ_WRITE).packed()
    word = int.from_bytes(data[offset : offset + 8], "little")
    world.flip(
        A, A1, (Ffa.MEM_SHARE, len(data), len(data)), data, offset, word ^ 0x1001, quantum, offset
    )


def test_the_oracle_sees_a_frame_that_is_wrong(world: Session) -> None:
    address = world.puppets.symbols.address_of("frame_banks")
    assert address is not None
    base, _, frames = (
        int.from_bytes(world.puppets.read(address + n, 8), "little") for n in (0, 8, 16)
    )
    number = world.state.configs[0].frames[9] - (base >> 12)
    world.puppets.write(frames + 4 * number + 1, bytes([FrameState.SHARED]))
    with pytest.raises(Wrong, match="state 4"):
        world.oracle.check(world.state)


def test_the_oracle_sees_an_entry_that_is_wrong(world: Session) -> None:
    """b's page n leads to a's page n."""
    entry = world.oracle.entry(1, 0x4_0009)
    frame = world.state.configs[0].frames[9]
    old = int.from_bytes(world.puppets.read(entry, 8), "little")
    new = old & ~(((1 << 36) - 1) << 12) | frame << 12
    world.puppets.write(entry, new.to_bytes(8, "little"))
    with pytest.raises(Wrong, match="IPA 0x40009000"):
        world.oracle.check(world.state)


def test_one_that_is_no_partition_has_no_ffa(world: Session) -> None:
    for function in (Ffa.VERSION, Ffa.ID_GET, Ffa.RXTX_MAP, Ffa.MEM_SHARE, 0x8400_00EF):
        assert world.call(M, function) == VendorCode.UNKNOWN


def test_pausing_holds_a_vm(world: Session) -> None:
    assert world.call(M, Vendor.VM_PAUSE, 1) == 0
    assert world.puppets.waits(world.as_who(A)) is None
    assert world.call(M, Vendor.VM_RESUME, 1) == 0
    assert world.puppets.waits(world.as_who(A)) is not None
    assert world.state.lives[0] is Life.RUNNING


GICD, GICC = 0x0800_0000, 0x0801_0000
