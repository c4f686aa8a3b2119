# SPDX-License-Identifier: Apache-2.0
"""Calls that guests make: mostly ones that lead on from where they are, now and then stale ones,
and ones with something wrong. All choices are a `Pick`'s: Hypothesis, or a seeded generator."""

import struct
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    MASK32,
    MOST_PAGES,
    Ffa,
    FrameState,
    Life,
    Range,
    Transaction,
    relinquish,
)
from aether_edgecloud.properties.attack.caller import Pair
from aether_edgecloud.properties.attack.memory_rules import vm_id
from aether_edgecloud.properties.attack.message_rules import waiting
from aether_edgecloud.properties.attack.ownership import WINDOW, Doing, Kind
from aether_edgecloud.properties.attack.rules import SUPPORTED
from aether_edgecloud.properties.attack.session import Session

T = TypeVar("T")
Call = tuple[tuple[int, ...], bytes | None]
"""X0 and up, and what is written to TX before."""
SENDS = {Kind.SHARE: Ffa.MEM_SHARE, Kind.LEND: Ffa.MEM_LEND, Kind.DONATE: Ffa.MEM_DONATE}
KEPT_PAGES = 2
"""The puppet's code and its tables: it does not give them away."""
ODD = (0, 1, 2, 3, 4, 8, 0xFF, 0x1000, 0xFFFF, 1 << 31, MASK32, 1 << 63, (1 << 64) - 1)


class Pick(Protocol):
    """Makes choices."""

    def of(self, choices: Sequence[T]) -> T:
        """One of these; the first is the simplest."""

    def number(self, low: int, high: int) -> int:
        """Both ends included."""

    def once_in(self, n: int) -> bool:
        """Seldom true."""


def partition(s: Session, pick: Pick) -> Pair | None:
    """A vCPU of a partition that can act; now and then any."""
    able = [w for w in s.actors if s.state.configs[w[0]].partition]
    if pick.once_in(40):
        able = s.actors
    return actor(s, able, pick)


def actor(s: Session, able: Sequence[Pair], pick: Pick) -> Pair | None:
    """One of these; mostly one whose slot it is now, since the others' have to come first."""
    here = [w for w in s.here if w in able]
    if here and not pick.once_in(8):
        return pick.of(here)
    return pick.of(able) if able else None


def peer_of(s: Session, vm: int, pick: Pick) -> int:
    """Another VM's number; seldom one that is no peer."""
    peers = sorted(s.state.configs[vm].peers)
    if peers and not pick.once_in(30):
        return pick.of(peers)
    return pick.of([vm, 7, len(s.state.configs) - 1, -1, 0xFFFE])


def wide(function: int, pick: Pick) -> int:
    return function | FAST_64 if pick.once_in(3) else function


# Memory.


def good_pages(s: Session, vm: int) -> list[int]:
    """Pages that a VM can offer."""
    base = s.state.configs[vm].base
    return [
        page
        for page, entry in s.state.maps[vm].items()
        if not base <= page < base + KEPT_PAGES
        and s.state.frames[entry.frame].owner == vm
        and s.state.frames[entry.frame].state is FrameState.OWNED
    ]


def any_page(s: Session, vm: int, pick: Pick) -> int:
    """A page of any kind, of those that a VM can survive to lose."""
    base = s.state.configs[vm].base
    others = [base + 47, base + 48, base + 100, WINDOW.start, WINDOW.start + 3, WINDOW.stop - 1]
    others += [WINDOW.stop, 0x8000, 0x9000, 0x4_0200, 0, (1 << 28) - 1, 1 << 28, (1 << 52) - 1]
    mapped = [p for p in s.state.maps[vm] if not base <= p < base + KEPT_PAGES]
    held = [p for share in s.state.shares.values() if share.owner == vm for p, _ in share.pages]
    return pick.of([*mapped[:1], *others, *mapped, *held])


def ranges(s: Session, vm: int, pick: Pick) -> tuple[Range, ...]:
    """Ranges to offer: mostly good ones."""
    good = good_pages(s, vm)
    found: list[Range] = []
    for _ in range(pick.of([1, 1, 1, 2, 3])):
        hostile = not good or pick.once_in(12)
        page = any_page(s, vm, pick) if hostile else pick.of(good)
        count = 1
        while count < pick.of([1, 1, 2, 4, 8]) and page + count in good:
            count += 1
        if pick.once_in(25):
            count = pick.of([0, 33, 40, 1 << 20, MASK32])
        if not any(
            r.address >> 12 < page + count and page < (r.address >> 12) + r.pages for r in found
        ) or pick.once_in(20):
            found.append(Range((page << 12) & (1 << 64) - 1, count))
    return tuple(found)


def damaged(t: Transaction, pick: Pick) -> Transaction:
    """One field that is not as it should be."""
    field, values = pick.of(
        [
            ("sender", (0, 1, 2, 3, 0xFFFF)),
            ("receiver", (0, 1, 2, 3, 9, 0xFFFF)),
            ("attributes", (0x2F, 1, 0x40, 0xFFFF)),
            ("flags", (1, 2, 4, 8, 0x10, 0x18, 0x20, 1 << 31)),
            ("handle", (1, 1 << 63, (1 << 64) - 1)),
            ("tag", (1, (1 << 64) - 1)),
            ("permissions", (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 0x80)),
            ("endpoint_flags", (1, 0x80)),
            ("endpoint_reserved", (1, 1 << 63)),
            ("total", (0, 1, 2, 33, MASK32)),
            ("count", (0, 1, 2, 3, 200, 1 << 28, MASK32)),
            ("endpoint_size", (0, 15, 17, 32, MASK32)),
            ("endpoint_count", (0, 2, 255, MASK32)),
            ("endpoint_offset", (0, 16, 32, 47, 49, 56, 64, 80, 4080, 4096, MASK32, MASK32 - 15)),
            ("composite_offset", (0, 1, 16, 48, 63, 65, 72, 80, 4080, 4096, MASK32 - 15, MASK32)),
            ("reserved", (b"\1" + bytes(11), bytes(11) + b"\x80")),
            ("composite_reserved", (1, 1 << 63)),
        ]
    )
    return t.but(**{field: pick.of(values)})


def gives_kept(s: Session, vm: int, data: bytes) -> bool:
    """Whether a descriptor could offer a page that the puppet lives on, wherever in it the ranges
    may stand."""
    base = s.state.configs[vm].base
    for at in range(0, len(data) - 15, 8):
        address, pages = struct.unpack_from("<QI", data, at)
        near = pages <= MOST_PAGES  # what is longer is refused
        if near and address >> 12 < base + KEPT_PAGES and base < (address >> 12) + pages:
            return True
    return False


def lengths(data: bytes, pick: Pick) -> tuple[int, int]:
    """X1 and X2: mostly right."""
    if not pick.once_in(25):
        return len(data), len(data)
    length = pick.of(
        [0, 1, 47, 48, 49, 63, 64, len(data) - 1, len(data) + 1, 4095, 4096, 4097, MASK32]
    )
    return length, pick.of([length, length, len(data)])


def send(s: Session, vm: int, pick: Pick) -> Call:
    kind = pick.of(list(Kind))
    found = ranges(s, vm, pick)
    t = Transaction(
        vm_id(vm),
        vm_id(peer_of(s, vm, pick)) & 0xFFFF,
        found,
        tag=pick.of([0, 5]),
        permissions=0 if kind is Kind.DONATE else pick.of([2, 1]),
        flags=pick.of([0, 1]) if kind is not Kind.SHARE else 0,
        attributes=pick.of([0, 0x2F]) if kind is Kind.SHARE else 0,
    )
    if pick.once_in(6):
        t = damaged(t, pick)
    data = t.packed()
    if pick.once_in(40) and found:
        data = data[:-4] + pick.of([1, MASK32]).to_bytes(4, "little")
    return (wide(SENDS[kind], pick), *lengths(data, pick)), data


def handles(s: Session, pick: Pick, good: Sequence[int]) -> int:
    """A handle: mostly one of `good`, else live, finished or made up."""
    if good and not pick.once_in(10):
        return pick.of(good)
    others = [*s.state.shares, *sorted(s.state.finished)[-3:]]
    made_up = [h ^ 1 << pick.number(0, 63) for h in others[:1]]
    return pick.of([*others, *made_up, 0, 1 << 63, (1 << 64) - 1])


def retrieve(s: Session, vm: int, pick: Pick) -> Call:
    good = [h for h, share in s.state.shares.items() if share.receiver == vm and not share.loan]
    handle = handles(s, pick, good)
    share = s.state.shares.get(handle)
    kind = Kind.SHARE if share is None else share.kind
    t = Transaction(
        vm_id(peer_of(s, vm, pick) if share is None else share.owner) & 0xFFFF,
        vm_id(vm),
        handle=handle,
        tag=0 if share is None else share.tag,
        flags=pick.of([0, kind.value << 3]) | (0 if kind is Kind.SHARE else pick.of([0, 1])),
        permissions=pick.of([0, 2, 1]) | pick.of([0, 0, 4, 8]),
    )
    if pick.once_in(8):
        t = damaged(t, pick)
    data = t.packed()
    return (wide(Ffa.MEM_RETRIEVE_REQ, pick), *lengths(data, pick)), data


def give_back(s: Session, vm: int, pick: Pick) -> Call:
    good = [h for h, share in s.state.shares.items() if share.receiver == vm and share.loan]
    odd = pick.once_in(12)
    data = relinquish(
        handles(s, pick, good),
        pick.of([0, 0, 1]) if not odd else pick.of([2, 3, 1 << 31]),
        1 if not pick.once_in(20) else pick.of([0, 2, MASK32]),
        vm_id(vm) if not pick.once_in(20) else pick.of([0, 3, 0xFFFF]),
    )
    return (Ffa.MEM_RELINQUISH,), data


def reclaim(s: Session, vm: int, pick: Pick) -> Call:
    good = [h for h, share in s.state.shares.items() if share.owner == vm and not share.loan]
    handle = handles(s, pick, good)
    flags = pick.of([0, 0, 1]) if not pick.once_in(20) else pick.of([2, MASK32])
    return (Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32, flags), None


def mailbox(s: Session, vm: int, pick: Pick) -> Call:
    base = s.state.configs[vm].base
    if s.state.boxes[vm] is not None and not pick.once_in(3):
        if pick.once_in(4):
            return (Ffa.RXTX_UNMAP, pick.of([0, vm_id(vm) << 16, 0xFFFF0000, 1])), None
        return (Ffa.RX_RELEASE, pick.of([0, 0, 0, vm_id(vm)])), None
    tx, rx = (base + 2) << 12, (base + 3) << 12
    given = [page for page in good_pages(s, vm) if page in WINDOW]
    if given and not pick.once_in(3):
        rx = given[0] << 12
    if pick.once_in(5):
        tx = any_page(s, vm, pick) << 12 | pick.of([0, 0, 8, 0x800])
    if pick.once_in(5):
        rx = pick.of([tx, any_page(s, vm, pick) << 12])
    pages = 1 if not pick.once_in(12) else pick.of([0, 2, 64, MASK32])
    mask = (1 << 64) - 1
    return (wide(Ffa.RXTX_MAP, pick), tx & mask, rx & mask, pages), None


def memory_call(s: Session, vm: int, pick: Pick) -> Call:
    """A call about memory: mostly one that leads on from where the VM is."""
    box = s.state.boxes[vm]
    if pick.once_in(8):
        return pick.of([send, retrieve, give_back, reclaim, mailbox])(s, vm, pick)
    if box is None:
        return mailbox(s, vm, pick)
    if box.full and not pick.once_in(3):
        return (Ffa.RX_RELEASE,), None
    shares = s.state.shares.values()
    useful: list[Callable[[Session, int, Pick], Call]] = [send]
    if any(share.receiver == vm and share.loan is None for share in shares):
        useful += [retrieve, retrieve]
    if any(share.receiver == vm and share.loan is not None for share in shares):
        useful.append(give_back)
    if any(share.owner == vm and share.loan is None for share in shares):
        useful.append(reclaim)
    return pick.of(useful)(s, vm, pick)


# Messages and notifications.


def message(s: Session, who: Pair, pick: Pick) -> Call | None:
    vm = who[0]
    vcpu = s.state.vcpus[who]
    if vcpu.doing is Doing.SERVES and vcpu.peer is not None and not pick.once_in(6):
        parties = vm_id(vm) << 16 | vm_id(vcpu.peer[0])
        return (wide(Ffa.DIRECT_RESP, pick), parties, 0, *_payload(pick)), None
    if vcpu.doing is Doing.TOLD and vcpu.peer is not None and not pick.once_in(6):
        return (Ffa.RUN, vm_id(vcpu.peer[0]) << 16 | vcpu.peer[1]), None
    if pick.once_in(10):
        return (
            Ffa.RUN,
            pick.of([*(n << 16 | v for n in range(4) for v in range(3)), MASK32]),
        ), None
    peer = peer_of(s, vm, pick)
    others_run = any(w[0] == vm and w != who and s.able(w) for w in s.state.vcpus)
    if waiting(s.state, peer) and not pick.once_in(5):
        parties = vm_id(vm) << 16 | vm_id(peer)
    elif others_run and vcpu.doing is Doing.RESTS and not waiting(s.state, vm):
        return (Ffa.MSG_WAIT,), None
    else:
        parties = pick.of(
            [vm_id(vm) << 16 | vm_id(peer) & 0xFFFF, vm_id(peer) << 16, 0, (1 << 64) - 1]
        )
    if 0 <= peer < len(s.state.lives) and s.state.lives[peer] is not Life.RUNNING:
        return None if len(waiting(s.state, peer)) > 1 else ((Ffa.DIRECT_REQ, parties), None)
    if not others_run and waiting(s.state, peer):
        # The only one of its VM would be gone until the answer; that is for the others to try.
        return None
    function = pick.of([Ffa.DIRECT_REQ, Ffa.DIRECT_REQ, Ffa.DIRECT_RESP])
    if function is Ffa.DIRECT_RESP and vcpu.doing is Doing.SERVES:
        parties |= 1 << 15
    flags = 0 if not pick.once_in(10) else pick.of([1, 1 << 31])
    return (wide(function, pick), parties, flags, *_payload(pick)), None


def _payload(pick: Pick) -> tuple[int, ...]:
    return tuple(pick.of([0, 1, MASK32, (1 << 64) - 1]) for _ in range(5))


def notification(s: Session, vm: int, pick: Pick) -> Call:
    peer = peer_of(s, vm, pick)
    mine, theirs = vm_id(vm), vm_id(peer) & 0xFFFF
    bits = pick.of([1, 2, 3, 1 << 31, 1 << 32, 1 << 63, 0, (1 << 64) - 1])
    mine_bound = [bit for bit, other in s.state.notes[vm].bound.items() if other == peer]
    free = [bit for bit in range(64) if bit not in s.state.notes[vm].bound]
    flags = 0 if not pick.once_in(12) else pick.of([1, 2, 1 << 31])
    function = pick.of(
        [
            Ffa.NOTIFICATION_BIND,
            Ffa.NOTIFICATION_SET,
            Ffa.NOTIFICATION_GET,
            Ffa.NOTIFICATION_UNBIND,
            Ffa.NOTIFICATION_INFO_GET,
        ]
    )
    if function is Ffa.NOTIFICATION_GET:
        parties = pick.of([mine, mine, 1 << 16 | mine, 9 << 16 | mine, theirs])
        return (function, parties, pick.of([2, 2, 2, 0, 3, 4, 16])), None
    if function is Ffa.NOTIFICATION_INFO_GET:
        return (wide(function, pick),), None
    parties = mine << 16 | theirs if function is Ffa.NOTIFICATION_SET else theirs << 16 | mine
    peers = s.state.notes[peer].bound if 0 <= peer < len(s.state.notes) else {}
    able = {
        Ffa.NOTIFICATION_SET: [bit for bit, other in peers.items() if other == vm],
        Ffa.NOTIFICATION_BIND: free,
        Ffa.NOTIFICATION_UNBIND: mine_bound,
    }[function]
    if able and not pick.once_in(4):
        bits = 1 << pick.of(able) | 1 << pick.of(able)
    if pick.once_in(12):
        parties = pick.of([parties >> 16 | (parties & 0xFFFF) << 16, 0, MASK32])
    return (function, parties, flags, bits & MASK32, bits >> 32), None


def discovery(s: Session, vm: int, pick: Pick) -> Call:
    """Everything else, and numbers that are nothing."""
    function = pick.of(
        [
            Ffa.VERSION,
            Ffa.FEATURES,
            Ffa.ID_GET,
            Ffa.PARTITION_INFO_GET,
            Ffa.SPM_ID_GET,
            Ffa.YIELD,
            *range(0x8400_0060, 0x8400_00F0),
        ]
    )
    if function in SUPPORTED and function not in (
        Ffa.VERSION,
        Ffa.FEATURES,
        Ffa.ID_GET,
        Ffa.PARTITION_INFO_GET,
        Ffa.YIELD,
    ):
        function = Ffa.SPM_ID_GET
    match function:
        case Ffa.VERSION:
            return (function, pick.of([0x1_0001, 0x1_0000, 0x2_0000, 1 << 31, 0, 0x1_FFFF])), None
        case Ffa.YIELD:
            return (function, pick.of([0, 0, 0, 1]), pick.of(ODD), pick.of(ODD)), None
        case Ffa.FEATURES:
            return (function, pick.of([1, 2, 3, 4, 0, *range(0x8400_0060, 0x8400_00F0)])), None
        case Ffa.PARTITION_INFO_GET:
            return (function, 0, 0, 0, 0, pick.of([0, 1, 2, MASK32])), None
    if function != Ffa.ID_GET and function not in SUPPORTED and pick.once_in(2):
        return (wide(function, pick), *(pick.of(ODD) for _ in range(7))), None
    return (function,), None
