# SPDX-License-Identifier: Apache-2.0
"""Messages, notifications and lives: what each call may do in each state."""

from collections.abc import Sequence
from dataclasses import replace

from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    MASK32,
    Code,
    Ffa,
    Life,
    Vendor,
    VendorCode,
)
from aether_edgecloud.properties.attack.memory_rules import vm_id
from aether_edgecloud.properties.attack.ownership import (
    Doing,
    Notes,
    State,
    Vcpu,
    end_life,
    load,
    start,
)
from aether_edgecloud.properties.attack.verdict import Answer, Reasons, Verdict, exact, success

Who = tuple[int, int]
INVALID = Code.INVALID_PARAMETERS


def waiting(state: State, vm: int) -> list[Who]:
    """vCPUs of a VM that wait for a message."""
    return [who for who, v in state.vcpus.items() if who[0] == vm and v.doing is Doing.WAITS]


def msg_wait(state: State, who: Who, x: Sequence[int]) -> Verdict:
    found = Reasons()
    serves = state.vcpus[who].doing is Doing.SERVES
    found.add(serves, Code.DENIED, "a request is not answered")
    asks = state.vcpus[who].doing is Doing.TOLD
    found.add(asks, Code.DENIED, "it still asks")
    found.allow(serves or asks, INVALID, Code.BUSY)
    found.allow(any(x[1:8]), INVALID)
    return found.verdict(blocks=True)


def waits(state: State, who: Who) -> State:
    """MSG_WAIT has been accepted: RX is the producer's again."""
    box = state.boxes[who[0]]
    if box is not None:
        state = state.with_box(who[0], replace(box, full=False))
    return state.with_vcpus({who: Vcpu(Doing.WAITS)})


def yields(state: State, x: Sequence[int]) -> Verdict:
    """FFA_YIELD: X2 and X3 are a time, which may say nothing."""
    found = Reasons()
    found.add(x[1], INVALID, "X1 is not zero")
    found.add(any(x[4:8]), INVALID, "X4 to X7 are not zero")

    def then(answer: Answer) -> State:
        success(answer, "YIELD", *[0] * 6)
        return state

    return found.verdict(then)


def direct_request(state: State, who: Who, x: Sequence[int]) -> Verdict:
    """X1 = sender << 16 | receiver."""
    found = Reasons()
    vm = who[0]
    sender, receiver = x[1] >> 16 & 0xFFFF, (x[1] & 0xFFFF) - 1
    found.add(sender != vm_id(vm), INVALID, "the sender is another")
    found.add(receiver not in state.configs[vm].peers, INVALID, "the receiver is no peer")
    found.add(x[2] & MASK32, INVALID, "X2 is not zero")
    found.allow(x[2] >> 31 & 1, Code.NOT_SUPPORTED)
    found.allow(x[1] >> 32 or x[2] >> 32, INVALID)
    if receiver in state.configs[vm].peers:
        free = waiting(state, receiver)
        found.add(not free, Code.BUSY, "nobody waits for a message there")
        found.allow(state.lives[receiver] is not Life.RUNNING, Code.BUSY, Code.DENIED)
    doing = state.vcpus[who].doing
    found.allow(doing is Doing.SERVES, Code.DENIED, Code.BUSY)
    found.add(doing is Doing.TOLD, Code.DENIED, "it still asks")
    return found.verdict(blocks=True)


def asked(state: State, who: Who, taker: Who) -> State:
    """The request of `who` has gone to `taker`."""
    before = state.vcpus[who]
    asks = Vcpu(Doing.ASKS, taker, before if before.doing is Doing.SERVES else None)
    return state.with_vcpus({who: asks, taker: Vcpu(Doing.SERVES, who)})


def delivered(x: Sequence[int], *, answer: bool) -> tuple[int, ...]:
    """X0 to X7 of the one that gets a message sent with these."""
    wide = bool(x[0] & FAST_64)
    function = (Ffa.DIRECT_RESP if answer else Ffa.DIRECT_REQ) | (FAST_64 if wide else 0)
    payload = x[3:8] if wide else tuple(value & MASK32 for value in x[3:8])
    return (function, x[1] & MASK32, 0, *payload)


def direct_response(state: State, who: Who, x: Sequence[int]) -> Verdict:
    found = Reasons()
    vcpu = state.vcpus[who]
    sender, receiver = x[1] >> 16 & 0xFFFF, x[1] & 0xFFFF
    found.add(x[2] & MASK32, INVALID, "X2 is not zero")
    found.allow(x[2] >> 31 & 1, Code.NOT_SUPPORTED)
    found.allow(x[1] >> 32 or x[2] >> 32, INVALID)
    found.add(sender != vm_id(who[0]), INVALID, "the sender is another")
    if vcpu.doing is Doing.SERVES and vcpu.peer is None:
        # The VM that asked has ended: nobody gets the answer.
        found.allow(True, Code.DENIED, INVALID, Code.ABORTED)
        return found.verdict(blocks=True)
    if vcpu.doing is not Doing.SERVES or vcpu.peer is None:
        found.add(True, Code.DENIED, "there is no request")
        found.allow(receiver - 1 not in state.configs[who[0]].peers, INVALID)
        return found.verdict()
    found.add(receiver != vm_id(vcpu.peer[0]), INVALID, "the receiver did not ask")
    return found.verdict(blocks=True)


def answered(state: State, who: Who) -> State:
    """The answer has gone; who gave it waits again."""
    peer = state.vcpus[who].peer
    told: dict[Who, Vcpu] = {}
    if peer is not None and state.vcpus[peer].doing is Doing.ASKS:
        told[peer] = state.vcpus[peer].answered()
    return state.with_vcpus({who: Vcpu(Doing.WAITS), **told})


def run(state: State, who: Who, x: Sequence[int]) -> Verdict:
    """FFA_RUN: X1 = the vCPU that was asked, as FFA_INTERRUPT says it."""
    found = Reasons()
    vm, vcpu = (x[1] >> 16 & 0xFFFF) - 1, x[1] & 0xFFFF
    known = vm in state.configs[who[0]].peers and vcpu < state.configs[vm].vcpus
    found.add(not known, INVALID, "no vCPU of a peer")
    is_told = state.vcpus[who].doing is Doing.TOLD and state.vcpus[who].peer == (vm, vcpu)
    found.add(not is_told, Code.DENIED, "it asks nothing of that")
    found.allow(x[1] >> 32 or any(x[2:8]), INVALID)
    return found.verdict(blocks=True)


def interrupted(state: State, who: Who) -> tuple[State, tuple[int, ...]]:
    """The wait of a vCPU ends by its interrupt; X0 to X7 that it finds."""
    vcpu = state.vcpus[who]
    about, after = who, Vcpu(Doing.RESTS)
    if vcpu.doing is Doing.ASKS and vcpu.peer is not None:
        about, after = vcpu.peer, replace(vcpu, doing=Doing.TOLD)
    message = (int(Ffa.INTERRUPT), vm_id(about[0]) << 16 | about[1], 0, 0, 0, 0, 0, 0)
    return state.with_vcpus({who: after}), message


# Notifications.


def _bits(x: Sequence[int]) -> int:
    return x[3] & MASK32 | (x[4] & MASK32) << 32


def _each(bits: int) -> list[int]:
    return [bit for bit in range(64) if bits >> bit & 1]


def bind(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    sender, bits = _parties(state, vm, x, found, receives=True)
    notes = state.notes[vm]
    found.add(any(bit in notes.bound for bit in _each(bits)), Code.DENIED, "bound already")

    def then(answer: Answer) -> State:
        success(answer, "NOTIFICATION_BIND")
        bound = {**notes.bound, **{bit: sender for bit in _each(bits)}}
        return state.with_notes(vm, replace(notes, bound=bound))

    return found.verdict(then)


def unbind(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    sender, bits = _parties(state, vm, x, found, receives=True)
    notes = state.notes[vm]
    for bit in _each(bits):
        found.add(
            bit in notes.bound and notes.bound[bit] != sender, Code.DENIED, "bound to another"
        )
        found.allow(bit not in notes.bound, Code.DENIED)
    found.add(notes.pending & bits, Code.DENIED, "pending")

    def then(answer: Answer) -> State:
        success(answer, "NOTIFICATION_UNBIND")
        bound = {bit: s for bit, s in notes.bound.items() if not bits >> bit & 1}
        return state.with_notes(vm, replace(notes, bound=bound))

    return found.verdict(then)


def notify(state: State, vm: int, x: Sequence[int]) -> Verdict:
    """FFA_NOTIFICATION_SET."""
    found = Reasons()
    receiver, bits = _parties(state, vm, x, found, receives=False)
    if receiver not in state.configs[vm].peers:
        return found.verdict()
    notes = state.notes[receiver]
    found.add(
        any(notes.bound.get(bit) != vm for bit in _each(bits)), Code.DENIED, "not bound to it"
    )

    def then(answer: Answer) -> State:
        success(answer, "NOTIFICATION_SET")
        new = bool(bits & ~notes.pending)
        after = replace(notes, pending=notes.pending | bits, rings=notes.rings or new)
        return state.with_notes(receiver, after)

    return found.verdict(then)


def _parties(
    state: State, vm: int, x: Sequence[int], found: Reasons, *, receives: bool
) -> tuple[int, int]:
    """X1 = sender << 16 | receiver, X2 = flags, X3 and X4 the bits; the other VM and the bits."""
    sender, receiver = (x[1] >> 16 & 0xFFFF) - 1, (x[1] & 0xFFFF) - 1
    me, other = (receiver, sender) if receives else (sender, receiver)
    found.add(me != vm, INVALID, "the caller's id is another's")
    found.add(other not in state.configs[vm].peers, INVALID, "the other is no peer")
    found.add(x[2] & 1, Code.NOT_SUPPORTED, "for one vCPU")
    found.allow(x[2] & 1, INVALID)
    found.add(x[2] & MASK32 & ~1, INVALID, "flags")
    found.allow(any(v >> 32 for v in x[1:5]) or any(x[5:8]), INVALID)
    bits = _bits(x)
    found.allow(not bits, INVALID, Code.DENIED)
    return other, bits


def take_notes(state: State, vm: int, x: Sequence[int]) -> Verdict:
    """FFA_NOTIFICATION_GET: X1 = vCPU << 16 | receiver, X2 = flags."""
    found = Reasons()
    vcpu, receiver = x[1] >> 16 & 0xFFFF, (x[1] & 0xFFFF) - 1
    found.add(receiver != vm, INVALID, "the receiver is another")
    found.add(vcpu >= state.configs[vm].vcpus, INVALID, "no such vCPU")
    found.add(x[2] & MASK32 & ~0xF, INVALID, "flags")
    found.allow(x[2] & MASK32 != 2 or x[2] >> 32 or x[1] >> 32, INVALID, Code.NOT_SUPPORTED)
    found.allow(any(x[3:8]), INVALID)
    notes = state.notes[vm]
    takes = bool(x[2] & 2)
    found.allow(not notes.pending, Code.NO_DATA)

    def then(answer: Answer) -> State:
        pending = notes.pending if takes else 0
        success(answer, "NOTIFICATION_GET", 0, 0, 0, pending & MASK32, pending >> 32)
        return state.with_notes(vm, replace(notes, pending=notes.pending & ~pending))

    return found.verdict(then)


def pending_list(state: State, vm: int, x: Sequence[int]) -> Verdict:
    """FFA_NOTIFICATION_INFO_GET."""
    found = Reasons()
    found.add(not any(n.pending for n in state.notes), Code.NO_DATA, "nothing is pending")
    found.allow(True, Code.NO_DATA)  # told before
    found.allow(any(x[1:8]), INVALID)

    def then(answer: Answer) -> State:
        wide = bool(x[0] & FAST_64)
        success(answer, "NOTIFICATION_INFO_GET", 0, *[None] * 6, wide=wide)
        return state

    return found.verdict(then)


# Lives.

_FROM = {
    Vendor.VM_CREATE: (Life.ABSENT, Life.DOWN),
    Vendor.VM_START: (Life.READY,),
    Vendor.VM_PAUSE: (Life.RUNNING,),
    Vendor.VM_RESUME: (Life.PAUSED,),
    Vendor.VM_STOP: (Life.RUNNING, Life.PAUSED, Life.READY),
    Vendor.VM_DESTROY: (Life.DOWN, Life.READY),
}


def manage(state: State, vm: int, x: Sequence[int]) -> Verdict:
    """VM_INFO and the calls that change a life. The state after is that at the journey's end."""
    function = Vendor(x[0])
    must: dict[int, str] = {}
    may: set[int] = set()
    target = x[1] - 1
    known = 0 <= target < len(state.configs)
    if not known:
        must[VendorCode.INVALID] = "no such VM"
    if any(x[2:8]):
        (must.setdefault if x[2] else lambda c, w: may.add(c))(VendorCode.INVALID, "not zero")
    if not known or target not in state.configs[vm].manages:
        must[VendorCode.DENIED] = "not managed"
        if not state.configs[vm].manages:
            must[VendorCode.UNKNOWN] = "it manages nobody"
    elif function in _FROM and state.lives[target] not in _FROM[function]:
        must[VendorCode.BAD_STATE] = f"it is {state.lives[target].name}"

    def then(answer: Answer) -> State:
        if function is Vendor.VM_INFO:
            exact(answer, "VM_INFO", 0, state.lives[target], None, None, *x[4:8])
            return state
        exact(answer, function.name, 0, None, None, None, *x[4:8])
        return lived(state, function, target)

    return Verdict(must, frozenset(may), then, plain=True)


def lived(state: State, function: Vendor, vm: int) -> State:
    """A VM after such a call."""
    match function:
        case Vendor.VM_CREATE:
            return load(state, vm).with_life(vm, Life.READY)
        case Vendor.VM_START:
            return start(state, vm)
        case Vendor.VM_PAUSE:
            return state.with_life(vm, Life.PAUSED)
        case Vendor.VM_RESUME:
            return state.with_life(vm, Life.RUNNING)
        case Vendor.VM_STOP:
            return end_life(state, vm).with_life(vm, Life.DOWN)
        case Vendor.VM_DESTROY:
            # Its life is over, or has not begun: what others have bound to it since stays bound.
            values = {f: 0 for f in state.configs[vm].frames if state.frames[f].owner == vm}
            return state.changed(values={**state.values, **values}).with_life(vm, Life.ABSENT)
    raise AssertionError(function)


def reset(state: State, vm: int) -> State:
    """A VM that ended and is loaded anew by itself."""
    return start(load(end_life(state, vm), vm), vm)


def ended(state: State, vm: int) -> State:
    """A VM that is down."""
    return end_life(state, vm).with_life(vm, Life.DOWN)


EMPTY = Notes()
