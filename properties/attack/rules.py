# SPDX-License-Identifier: Apache-2.0
"""The step function: a call in a state, and all that it may answer."""

from collections.abc import Sequence
from dataclasses import replace

from aether_edgecloud.properties.attack import memory_rules, message_rules
from aether_edgecloud.properties.attack.abi import (
    FAST_64,
    FFA_FIRST,
    FFA_LAST,
    HAS_64,
    MASK32,
    NOTIFICATION_INTID,
    Code,
    Ffa,
    Vendor,
    VendorCode,
)
from aether_edgecloud.properties.attack.memory_rules import vm_id
from aether_edgecloud.properties.attack.ownership import Kind, State
from aether_edgecloud.properties.attack.verdict import (
    Answer,
    Reasons,
    Verdict,
    always,
    exact,
    success,
    wrong,
)

_SENDS = {Ffa.MEM_SHARE: Kind.SHARE, Ffa.MEM_LEND: Kind.LEND, Ffa.MEM_DONATE: Kind.DONATE}

SUPPORTED = frozenset(
    {
        Ffa.VERSION,
        Ffa.FEATURES,
        Ffa.ID_GET,
        Ffa.PARTITION_INFO_GET,
        Ffa.RXTX_MAP,
        Ffa.RXTX_UNMAP,
        Ffa.RX_RELEASE,
        Ffa.MEM_SHARE,
        Ffa.MEM_LEND,
        Ffa.MEM_DONATE,
        Ffa.MEM_RETRIEVE_REQ,
        Ffa.MEM_RELINQUISH,
        Ffa.MEM_RECLAIM,
        Ffa.MSG_WAIT,
        Ffa.YIELD,
        Ffa.RUN,
        Ffa.DIRECT_REQ,
        Ffa.DIRECT_RESP,
        Ffa.NOTIFICATION_BIND,
        Ffa.NOTIFICATION_UNBIND,
        Ffa.NOTIFICATION_SET,
        Ffa.NOTIFICATION_GET,
        Ffa.NOTIFICATION_INFO_GET,
    }
)
VERSION = 0x1_0001


def is_ffa(function: int) -> bool:
    return FFA_FIRST <= function & ~FAST_64 & MASK32 <= FFA_LAST


def verdict(state: State, who: tuple[int, int], x: Sequence[int], tx: bytes) -> Verdict | None:
    """What HVC #0 with X0 to X7 may do. `tx`: the caller's TX page, empty without a mailbox.
    None: a call that is not specified here."""
    function = x[0]
    if function in Vendor.__members__.values() and function != Vendor.VERSION:
        return message_rules.manage(state, who[0], x)
    if not is_ffa(function):
        return None
    if not state.configs[who[0]].partition:
        return Verdict({VendorCode.UNKNOWN: "it is no partition"}, plain=True)
    wide = bool(function & FAST_64)
    base = function & ~FAST_64
    if base not in SUPPORTED or (wide and base not in HAS_64):
        return always(Code.NOT_SUPPORTED, "it is not supported")
    narrow = tuple(x) if wide else tuple(value & MASK32 for value in x)
    found = _verdict(state, who, Ffa(base), narrow, x, tx)
    if not wide and found is not None and any(value >> 32 for value in x[1:8]):
        return found.with_may(Code.INVALID_PARAMETERS)
    return found


def _verdict(
    state: State,
    who: tuple[int, int],
    function: Ffa,
    x: Sequence[int],
    full: Sequence[int],
    tx: bytes,
) -> Verdict | None:
    vm = who[0]
    match function:
        case Ffa.MEM_SHARE | Ffa.MEM_LEND | Ffa.MEM_DONATE:
            return memory_rules.send(state, vm, _SENDS[function], x, tx)
        case Ffa.MEM_RETRIEVE_REQ:
            return memory_rules.retrieve(state, vm, x, tx)
        case Ffa.MEM_RELINQUISH:
            return memory_rules.relinquish(state, vm, x, tx)
        case Ffa.MEM_RECLAIM:
            return memory_rules.reclaim(state, vm, x)
        case Ffa.RXTX_MAP:
            return memory_rules.rxtx_map(state, vm, x)
        case Ffa.RXTX_UNMAP:
            return memory_rules.rxtx_unmap(state, vm, x)
        case Ffa.RX_RELEASE:
            return memory_rules.rx_release(state, vm, x)
        case Ffa.MSG_WAIT:
            return message_rules.msg_wait(state, who, x)
        case Ffa.YIELD:
            return message_rules.yields(state, x)
        case Ffa.RUN:
            return message_rules.run(state, who, x)
        case Ffa.DIRECT_REQ:
            return message_rules.direct_request(state, who, x)
        case Ffa.DIRECT_RESP:
            return message_rules.direct_response(state, who, x)
        case Ffa.NOTIFICATION_BIND:
            return message_rules.bind(state, vm, x)
        case Ffa.NOTIFICATION_UNBIND:
            return message_rules.unbind(state, vm, x)
        case Ffa.NOTIFICATION_SET:
            return message_rules.notify(state, vm, x)
        case Ffa.NOTIFICATION_GET:
            return message_rules.take_notes(state, vm, x)
        case Ffa.NOTIFICATION_INFO_GET:
            return message_rules.pending_list(state, vm, full)
        case Ffa.VERSION:
            return _version(state, x)
        case Ffa.ID_GET:
            return _id_get(state, vm, x)
        case Ffa.FEATURES:
            return _features(state, x)
        case Ffa.PARTITION_INFO_GET:
            return _partition_info(state, vm, x)
    return None


def _version(state: State, x: Sequence[int]) -> Verdict:
    bad = x[1] >> 31 & 1 or x[1] >> 16 & 0x7FFF != 1
    must: dict[int, str] = {Code.NOT_SUPPORTED: "another major version"} if bad else {}
    may = frozenset({int(Code.NOT_SUPPORTED)}) if any(x[2:8]) else frozenset()

    def then(answer: Answer) -> State:
        exact(answer, "VERSION", VERSION, *[None] * 7)
        return state

    return Verdict(must, may, then, plain=True)


def _id_get(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    found.allow(any(x[1:8]), Code.INVALID_PARAMETERS)

    def then(answer: Answer) -> State:
        success(answer, "ID_GET", 0, vm_id(vm))
        return state

    return found.verdict(then)


def _features(state: State, x: Sequence[int]) -> Verdict:
    found = Reasons()
    asked = x[1]
    if is_ffa(asked):
        base = asked & ~FAST_64
        known = base in SUPPORTED and (not asked & FAST_64 or base in HAS_64)
        found.add(not known, Code.NOT_SUPPORTED, "a function that is not there")
        found.allow(
            base in (Ffa.ERROR, Ffa.SUCCESS, Ffa.INTERRUPT, Ffa.MEM_RETRIEVE_RESP),
            Code.NOT_SUPPORTED,
        )
        if base in (Ffa.ERROR, Ffa.SUCCESS, Ffa.INTERRUPT, Ffa.MEM_RETRIEVE_RESP):
            return Verdict({}, frozenset({Code.NOT_SUPPORTED}), lambda _: state)
    else:
        found.add(asked not in (1, 2, 3), Code.NOT_SUPPORTED, "no feature")
        found.allow(asked != 1, Code.NOT_SUPPORTED)
    found.allow(any(x[2:8]), Code.INVALID_PARAMETERS)

    def then(answer: Answer) -> State:
        if asked == 1:
            success(answer, "FEATURES", 0, NOTIFICATION_INTID)
        else:
            success(answer, "FEATURES", 0, *[None] * 6)
        return state

    return found.verdict(then)


COUNT_ONLY = 1


def _partition_info(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    box = state.boxes[vm]
    counts = x[5] & COUNT_ONLY
    found.add(x[5] & ~COUNT_ONLY, Code.INVALID_PARAMETERS, "flags")
    found.allow(any(x[6:8]), Code.INVALID_PARAMETERS)
    found.allow(any(x[1:5]), Code.INVALID_PARAMETERS)
    if not counts:
        found.add(box is not None and box.full, Code.BUSY, "the RX buffer is full")
        found.add(box is None, Code.INVALID_PARAMETERS, "no mailbox")
        found.allow(box is None, Code.BUSY, Code.DENIED)

    def then(answer: Answer) -> State:
        success(answer, "PARTITION_INFO_GET", 0, None, None)
        most = sum(config.partition for config in state.configs)
        if not 0 < answer.x[2] <= most:
            wrong(f"there are {most} partitions", answer)
        if counts:
            return state
        assert box is not None
        values = {**state.values, state.maps[vm][box.rx].frame: None}
        return state.changed(values=values).with_box(vm, replace(box, full=True))

    return found.verdict(then)
