# SPDX-License-Identifier: Apache-2.0
"""Scenarios in which two guests, on two CPUs, ask the hypervisor for things that meet.

Each begins where its guests are ready. What they do at once must be what one order of their calls
explains, as the attack's specification and oracle have it, under the page-table monitor; so must
what follows.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

from aether_edgecloud.emulator.interleave.explore import Explorer
from aether_edgecloud.emulator.interleave.interleaving import QUANTUM
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.properties.attack import message_rules
from aether_edgecloud.properties.attack.abi import (
    MASK32,
    PAGE,
    READ_WRITE,
    Ffa,
    Life,
    Range,
    Transaction,
    Vendor,
    relinquish,
)
from aether_edgecloud.properties.attack.caller import Pair
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.puppets import MEMORY_IPA, Place, Puppets, Slot, Who, World
from aether_edgecloud.properties.attack.session import Session
from aether_edgecloud.properties.attack.verdict import Wrong

A, A1, A2, B, B1, M = (0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)
TX, RX, FIRST = MEMORY_IPA + 2 * PAGE, MEMORY_IPA + 3 * PAGE, MEMORY_IPA + 8 * PAGE
CPU_ON, SYSTEM_RESET, SYSTEM_OFF = 0xC400_0003, 0x8400_0009, 0x8400_0008
ALREADY_ON, ON_PENDING = (1 << 64) - 4, (1 << 64) - 5
GICD_SGIR = 0x0800_0F00

PAIR = World(
    (Place("a", (0, 1), 16, peers=("b",)), Place("b", (0, 1), 16, peers=("a",))),
    ((Slot("a", 0, 2), Slot("b", 0, 2)), (Slot("b", 1), Slot("a", 1, 2), Slot("b", 1))),
)
"""Vcpus of one VM meet, and of both."""
MANAGED = World(
    (Place("a", (0, 1), 16, peers=("b",)), Place("b", (0,), 8, peers=("a",)),
     Place("m", (1,), 8, manages=("a", "b"))),
    ((Slot("a", 0, 2), Slot("b", 0, 2)), (Slot("a", 1), Slot("m", 0), Slot("a", 1, 2))),
)  # fmt: skip
"""a.0 meets a.1 and the manager."""
THREE = World(
    (Place("a", (0, 1, 2), 16),),
    ((Slot("a", 0),), (Slot("a", 1),), (Slot("a", 2),)),
)
ASKING = World(
    (Place("a", (0, 0), 16, peers=("b",)), Place("b", (1,), 16, peers=("a",))),
    ((Slot("a", 0), Slot("a", 1)), (Slot("b", 0, 2),)),
)
ENDING = World(
    (Place("a", (0, 1), 16, peers=("b",)), Place("b", (2,), 16, peers=("a",))),
    ((Slot("a", 0, 2),), (Slot("a", 1, 2),), (Slot("b", 0, 2),)),
)


@dataclass(frozen=True, slots=True)
class Race:
    """`prepare` once, then `act` by each schedule; AssertionError if what it finds is wrong."""

    name: str
    world: World
    prepare: Callable[[Session], None]
    act: Callable[[Session], None]


def _descriptor(page: int = FIRST, pages: int = 1) -> bytes:
    return Transaction(1, 2, (Range(page, pages),), permissions=READ_WRITE).packed()


def _map_mailboxes(s: Session) -> None:
    for who in (A, B):
        assert s.call(who, Ffa.RXTX_MAP, TX, RX, 1) == 0


def _offer(s: Session, function: Ffa = Ffa.MEM_SHARE) -> int:
    """a offers a page to b; the handle."""
    _map_mailboxes(s)
    data = _descriptor()
    assert s.call(A, function, len(data), len(data), tx=data) == 0
    (handle,) = s.state.shares
    return handle


def _at_once(s: Session, calls: dict[Pair, tuple[int, ...]]) -> None:
    """And afterwards nobody finds anything busy."""
    s.race(calls, QUANTUM, 0)
    for who in calls:
        s.call(who, Ffa.RX_RELEASE)


# Sharing memory.


def _ready_to_share(s: Session) -> None:
    _map_mailboxes(s)
    s.put_tx(0, _descriptor())


def _share_twice(s: Session) -> None:
    size = len(_descriptor())
    _at_once(s, {A: (Ffa.MEM_SHARE, size, size), A1: (Ffa.MEM_LEND, size, size)})


def _ready_to_retrieve(s: Session) -> None:
    handle = _offer(s)
    s.put_tx(1, Transaction(1, 2, handle=handle).packed())


def _retrieve(s: Session) -> tuple[int, ...]:
    (handle,) = s.state.shares
    size = len(Transaction(1, 2, handle=handle).packed())
    return (Ffa.MEM_RETRIEVE_REQ, size, size)


def _reclaim(s: Session) -> tuple[int, ...]:
    (handle,) = s.state.shares
    return (Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32)


def _retrieve_twice(s: Session) -> None:
    _at_once(s, {B: _retrieve(s), B1: _retrieve(s)})
    (handle,) = s.state.shares
    assert s.call(B, *_retrieve(s), tx=Transaction(1, 2, handle=handle).packed()) < 0


def _retrieve_and_reclaim(s: Session) -> None:
    _at_once(s, {B: _retrieve(s), A1: _reclaim(s)})


def _ready_to_relinquish(s: Session) -> None:
    _ready_to_retrieve(s)
    assert s.call(B, *_retrieve(s)) == 0
    assert s.call(B, Ffa.RX_RELEASE) == 0
    (handle,) = s.state.shares
    s.put_tx(1, relinquish(handle, 0, 1, 2))


def _relinquish_and_reclaim(s: Session) -> None:
    _at_once(s, {B: (Ffa.MEM_RELINQUISH,), A1: _reclaim(s)})
    # Whoever was first: now both have been heard.
    if s.state.shares:
        loan = next(iter(s.state.shares.values())).loan
        if loan is not None:
            assert s.call(B, Ffa.MEM_RELINQUISH) == 0
        assert s.call(A, *_reclaim(s)) == 0


def _reclaim_twice(s: Session) -> None:
    _at_once(s, {A: _reclaim(s), A1: _reclaim(s)})


# Notifications.


def _bind(s: Session) -> None:
    assert s.call(B, Ffa.NOTIFICATION_BIND, 1 << 16 | 2, 0, 3, 0) == 0


def _notify(s: Session) -> None:
    """Both are there afterwards, unless one was told BUSY."""
    _at_once(
        s,
        {
            A: (Ffa.NOTIFICATION_SET, 1 << 16 | 2, 0, 1, 0),
            A1: (Ffa.NOTIFICATION_SET, 1 << 16 | 2, 0, 2, 0),
        },
    )
    assert s.call(B, Ffa.NOTIFICATION_GET, 2, 2) == 0


# Lives of vCPUs and VMs.


def _off(s: Session) -> None:
    s.cpu_off(A2)


def _turn_on_twice(s: Session) -> None:
    """One of two CPU_ON succeeds, and the vCPU comes."""
    call = {0: CPU_ON, 1: 2, 2: MEMORY_IPA}
    found = s.puppets.race(
        {Who(*A): (Piece.HVC, call), Who(*A1): (Piece.HVC, call)}, QUANTUM, may_block=True
    )
    answers = sorted(result.x[0] for result in found.values())
    if len(answers) != 2:
        raise Wrong(f"only {len(answers)} of two CPU_ON come back")
    if answers[0] != 0 or answers[1] not in (ALREADY_ON, ON_PENDING):
        raise Wrong(f"two CPU_ON of one vCPU answer {answers[0]:#x} and {answers[1]:#x}")
    s.puppets.rest(Who(*A2))
    for who in (A, A1):
        again = s.puppets.do(Who(*who), Piece.HVC, call)
        if again is None or again.x[0] != ALREADY_ON:
            raise Wrong(f"CPU_ON of a vCPU that is on: {again}")


CODE, DATA = 12, 1
"""Pages of a: the first is loaded long after the other."""
STORE_FOR_EVER = b"".join(
    word.to_bytes(4, "little") for word in (0xF900_0062, 0x1400_0001, 0x17FF_FFFE)
)


def _store_for_ever(s: Session) -> None:
    s.puppets.write(s.puppets.own_pages(0)[CODE], STORE_FOR_EVER)
    s.puppets.rest(Who(*A), Who(*A1))


def _reset_beside(s: Session) -> None:
    """a.0 resets the VM, a.1 stores to a page of it. In the next life the page is zero."""
    acts = {
        Who(*A1): (
            Piece.EXECUTE,
            {1: MEMORY_IPA + CODE * PAGE, 2: 0xBAD, 3: MEMORY_IPA + DATA * PAGE},
        ),
        Who(*A): (Piece.HVC, {0: SYSTEM_RESET}),
    }
    if Who(*A1) in s.puppets.race(acts, QUANTUM):
        raise Wrong("what stores for ever comes back")
    s.puppets.rest(Who(*A))
    if s.puppets.read(s.puppets.own_pages(0)[DATA], 8) != bytes(8):
        raise Wrong("a vCPU of the former life has run while its VM was loaded")


def _nothing(_s: Session) -> None:
    pass


def _stop_while_it_ends(s: Session) -> None:
    """The manager's VM_STOP of a VM that ends by itself works, and the VM is down for good."""
    puppets, manager = s.puppets, Who(*M)
    acts = {
        manager: (Piece.HVC, {0: Vendor.VM_STOP, 1: 1}),
        Who(*A): (Piece.HVC, {0: SYSTEM_RESET}),
    }
    found = puppets.race(acts, QUANTUM)
    if manager not in found or found[manager].x[0] != 0:
        raise Wrong(f"VM_STOP of a VM that ends: {found.get(manager)}")
    for _ in range(40):
        info = puppets.call(manager, Vendor.VM_INFO, 1)
        if info is not None and info.x[:2] == (0, Life.DOWN):
            return
        puppets.pass_frames(1)
    raise Wrong("a VM that was stopped is never down")


def _ask_while_it_ends(s: Session) -> None:
    """Whoever asks a VM that ends is told so, or that nobody waits there."""
    puppets, asker = s.puppets, Who(*B)
    request = {0: Ffa.DIRECT_REQ, 1: 2 << 16 | 1, 4: 1}
    acts = {
        asker: (Piece.HVC, request),
        Who(*A1): (Piece.HVC, {0: SYSTEM_OFF}),
    }
    found = puppets.race(acts, QUANTUM)
    result = found.get(asker) or puppets.waits(asker)
    if result is None:
        raise Wrong("a request to a VM that has ended is never answered")
    if result.x[0] != Ffa.ERROR:
        raise Wrong(f"a request to a VM that ends is answered {result.x[0]:#x}")


def _reset_while_lent(s: Session) -> None:
    """b gives back what it has borrowed of a, while a begins anew: then nothing is shared."""
    found = s.puppets.race(
        {
            Who(*A): (Piece.HVC, {0: SYSTEM_RESET}),
            Who(*B1): (Piece.HVC, {0: Ffa.MEM_RELINQUISH}),
        },
        QUANTUM,
    )
    if Who(*B1) not in found or found[Who(*B1)].x[0] not in (Ffa.SUCCESS, Ffa.ERROR):
        raise Wrong(f"MEM_RELINQUISH: {found.get(Who(*B1))}")
    s.puppets.rest(Who(*A))
    s.puppets.machine.seen.clear()  # before it ended, it went on
    s.state = message_rules.reset(s.state, A[0])
    s.oracle.check(s.state)
    assert s.call(B, Ffa.RXTX_UNMAP, 2 << 16) == 0


def _reset_of_the_owner(s: Session) -> None:
    """a begins anew, while b still has what it has borrowed of a, and makes a call."""
    acts = {
        Who(*A): (Piece.HVC, {0: SYSTEM_RESET}),
        Who(*B1): (Piece.HVC, {0: Ffa.VERSION, 1: 0x1_0001}),
    }
    if Who(*B1) not in s.puppets.race(acts, QUANTUM):
        raise Wrong("FFA_VERSION does not come back")
    s.puppets.rest(Who(*A))
    s.puppets.machine.seen.clear()  # before it ended, it went on
    s.state = message_rules.reset(s.state, A[0])
    s.oracle.check(s.state)


def _wait_for_requests(s: Session) -> None:
    assert s.puppets.do(Who(*A), Piece.HVC, {0: Ffa.MSG_WAIT}, may_block=True) is None


REQUEST, RESPONSE = (Ffa.DIRECT_REQ, 1 << 16 | 2), (Ffa.DIRECT_RESP, 2 << 16 | 1)


def _ask_and_end(s: Session) -> None:
    """A vCPU of a has asked, b has the request, and a has been loaded anew."""
    puppets = s.puppets
    assert puppets.call(Who(*B), Ffa.MSG_WAIT) is None
    assert puppets.call(Who(*A), *REQUEST, 0, 1) is None
    asked = puppets.waits(Who(*B))
    assert asked is not None and asked.x[:4] == (*REQUEST, 0, 1)
    puppets.set_going(Who(*A1), Piece.HVC, {0: SYSTEM_RESET})
    puppets.rest(Who(*A))


def _answer_the_former_life(s: Session) -> None:
    """a asks while b answers a's former life: a is told BUSY; or it asks b, which waits already."""
    found = s.puppets.race(
        {
            Who(*A): (Piece.HVC, dict(enumerate((*REQUEST, 0, 2)))),
            Who(*B): (Piece.HVC, dict(enumerate((*RESPONSE, 0, 0xBAD)))),
        },
        QUANTUM,
    )
    asker, other = found.get(Who(*A)), found.get(Who(*B))
    if asker is None and other is None:
        other = s.puppets.waits(Who(*B))
    if asker is not None:
        if asker.x[0] != Ffa.ERROR:
            raise Wrong("an answer to another request")
    elif other is None or other.x[:4] != (*REQUEST, 0, 2):
        raise Wrong(f"the request comes to nobody: {other}")


def _arm(s: Session) -> None:
    for address, value in ((0x0800_0000, 1), (0x0801_0004, 0xFF), (0x0801_0000, 1)):
        s.poke_device(A1, address, value)
    s.puppets.rest(Who(*A), Who(*A1))


def _signal(s: Session) -> None:
    """An SGI from a.0 waits for a.1 in the same slot, whatever that did meanwhile."""
    target = Who(*A1)
    acts = {
        Who(*A): (Piece.STORE_32, {1: GICD_SGIR, 2: 1 << 17 | 1}),
        target: (Piece.HVC, {0: Ffa.VERSION, 1: 0x1_0001}),
    }
    found = s.puppets.race(acts, QUANTUM)
    if len(found) != 2:
        raise Wrong("a store to GICD_SGIR does not come back")
    if not s.interrupted(A1):
        raise Wrong("an SGI is lost, or late")


RACES = (
    Race("share-twice", PAIR, _ready_to_share, _share_twice),
    Race("retrieve-twice", PAIR, _ready_to_retrieve, _retrieve_twice),
    Race("retrieve-and-reclaim", PAIR, _ready_to_retrieve, _retrieve_and_reclaim),
    Race("relinquish-and-reclaim", PAIR, _ready_to_relinquish, _relinquish_and_reclaim),
    Race("reclaim-twice", PAIR, _ready_to_retrieve, _reclaim_twice),
    Race("notify", PAIR, _bind, _notify),
    Race("turn-on-twice", THREE, _off, _turn_on_twice),
    Race("reset-beside", PAIR, _store_for_ever, _reset_beside),
    Race("reset-while-lent", PAIR, _ready_to_relinquish, _reset_while_lent),
    Race("reset-of-the-owner", PAIR, _ready_to_relinquish, _reset_of_the_owner),
    Race("stop-while-it-ends", MANAGED, _nothing, _stop_while_it_ends),
    Race("ask-while-it-ends", ENDING, _wait_for_requests, _ask_while_it_ends),
    Race("answer-the-former-life", ASKING, _ask_and_end, _answer_the_former_life),
    Race("signal", PAIR, _arm, _signal),
)


def find(name: str) -> Race:
    """The race of that name."""
    return next(race for race in RACES if race.name == name)


class Prepared:
    """A race whose guests are ready, to be run by schedules."""

    def __init__(self, race: Race, *, depth: int = 3, el2: binary.El2Binary | None = None) -> None:
        self.puppets = Puppets(race.world, el2=el2)
        session = Session(race.world, self.puppets)
        race.prepare(session)

        def scenario(_machine: Machine) -> str | None:
            now = copy(session)
            now.log = list(session.log)
            now.oracle.forget()
            machine = self.puppets.machine
            machine.arrived.clear()
            machine.wanted = machine.going = frozenset()
            machine.blocking, machine.until = {}, 0
            race.act(now)
            return None

        self.explorer = Explorer(self.puppets.machine, scenario, depth=depth)

    def close(self) -> None:
        """Give the memory back."""
        self.puppets.close()
