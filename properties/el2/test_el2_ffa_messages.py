# SPDX-License-Identifier: Apache-2.0
"""FF-A 1.1 (Arm DEN0077A) between partitions: discovery, direct messages."""

import struct
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from aether_edgecloud.guest_stubs.ffa import (
    FEATURE_NPI,
    FFA_64,
    NOTIFICATION_INTID,
    VERSION_1_1,
    FfaError,
    FfaFunction,
    PartitionInfo,
    VmCall,
    VmState,
    ids,
)

from ..guest import program
from ..guest.partitions import (
    UNKNOWN,
    Actor,
    answers,
    bundle,
    error,
    ffa,
    manage,
    request,
    response,
    run,
    schedule,
    success,
    wait,
)
from ..guest.program import (
    GICC,
    GICD,
    Operation,
    Step,
    finish,
    poll,
    read,
    results,
    settle,
    switch_on,
    write,
)

A, B, C = 1, 2, 3
F = FfaFunction
BUSY, DENIED = error(FfaError.BUSY), error(FfaError.DENIED)
INVALID, NOT_SUPPORTED = error(FfaError.INVALID_PARAMETERS), error(FfaError.NOT_SUPPORTED)
ABORTED, NO_DATA = error(FfaError.ABORTED), error(FfaError.NO_DATA)
WORDS = (0x1111_2222_3333_4444, 5, 2**64 - 1, 0x8000_0000_0000_0001, 0)
SHORT = tuple(word & 0xFFFF_FFFF for word in WORDS)
REQ, RESP = F.MSG_SEND_DIRECT_REQ, F.MSG_SEND_DIRECT_RESP


def interrupted(who: int) -> tuple[int, ...]:
    return (F.INTERRUPT, who, 0, 0, 0, 0, 0, 0)


def pair(a: list[Step], b: list[Step], *others: Actor, cpus: tuple[int, int] = (0, 0)) -> str:
    """`a` and `b` are peers of each other."""
    return run(
        Actor("a", [*a, *finish()], peers=("b",), cpus=(cpus[0],)),
        Actor("b", [*b, *finish()], peers=("a",), cpus=(cpus[1],)),
        *others,
    )


def alone(steps: list[Step], peers: tuple[str, ...] | None = ()) -> list[tuple[int, ...]]:
    """What a VM gets that has nobody to talk to."""
    text = run(Actor("a", [*steps, *finish()], peers=peers), Actor("other", finish()))
    return answers(text, "a")


# Discovery


def test_no_function_is_there_for_a_vm_that_is_no_partition() -> None:
    numbers = [*range(0x60, 0x90), 0xEF]
    steps = [ffa(base | number) for number in numbers for base in (0x8400_0000, 0xC400_0000)]
    assert {answer[0] for answer in alone(steps, None)} == {UNKNOWN}


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (0x1_0000, VERSION_1_1),
        (0x1_0001, VERSION_1_1),
        (0x1_0002, VERSION_1_1),
        (0x0_FFFF, UNKNOWN),
        (0x2_0000, UNKNOWN),
        (0x8001_0001, UNKNOWN),
    ],
)
def test_version(asked: int, answer: int) -> None:
    assert alone([ffa(F.VERSION, asked)])[0][0] == answer


WIDE = {
    F.SUCCESS, F.RXTX_MAP, REQ, RESP, F.MEM_DONATE, F.MEM_LEND, F.MEM_SHARE, F.MEM_RETRIEVE_REQ,
    F.NOTIFICATION_INFO_GET,
}  # fmt: skip
THERE = WIDE | {
    F.ERROR, F.INTERRUPT, F.VERSION, F.FEATURES, F.RX_RELEASE, F.RXTX_UNMAP, F.ID_GET,
    F.PARTITION_INFO_GET, F.MSG_WAIT, F.YIELD, F.RUN, F.MEM_RETRIEVE_RESP, F.MEM_RELINQUISH,
    F.MEM_RECLAIM, F.NOTIFICATION_BIND, F.NOTIFICATION_UNBIND, F.NOTIFICATION_SET,
    F.NOTIFICATION_GET,
}  # fmt: skip
ANSWERS = {F.ERROR, F.SUCCESS, F.INTERRUPT, F.MEM_RETRIEVE_RESP}


def test_features_tells_what_there_is() -> None:
    functions = [base | n for n in range(0x60, 0xF0) for base in (0x8400_0000, 0xC400_0000)]
    expected = {int(f) for f in THERE} | {f | FFA_64 for f in WIDE}
    found = alone([ffa(F.FEATURES, function) for function in functions])
    assert {f for f, got in zip(functions, found, strict=True) if got == success()} == expected
    assert set(found) == {success(), NOT_SUPPORTED}


def test_features_tells_the_interrupt_of_notifications() -> None:
    asked = [FEATURE_NPI, 0, 2, 3, FEATURE_NPI | 0x100]
    found = alone([ffa(F.FEATURES, feature) for feature in asked])
    assert found == [success(NOTIFICATION_INTID), *[NOT_SUPPORTED] * 4]


def test_what_is_not_there_is_not_supported() -> None:
    functions = [
        base | n
        for n in range(0x60, 0xF0)
        for base in (0x8400_0000, 0xC400_0000)
        if base | n not in {int(f) for f in THERE - ANSWERS} | {f | FFA_64 for f in WIDE - ANSWERS}
    ]
    assert set(alone([ffa(function) for function in functions])) == {NOT_SUPPORTED}


def test_each_knows_its_id() -> None:
    text = pair([ffa(F.ID_GET)], [ffa(F.ID_GET)])
    assert [answers(text, name) for name in "ab"] == [[success(A)], [success(B)]]


def test_partitions_are_the_caller_and_its_peers() -> None:
    """C is a partition too, and a stranger."""
    count = ffa(F.PARTITION_INFO_GET, 0, 0, 0, 0, 1)
    c = Actor("c", [count, *finish()], peers=())
    text = pair([count, ffa(F.PARTITION_INFO_GET, 1, 2, 3, 4, 1)], [count], c)
    assert answers(text, "a") == [success(2), INVALID]
    assert answers(text, "c") == [success(1)]


TX, RX = 0x4030_0000, 0x4030_1000
UUIDS = {"a": UUID("00112233-4455-6677-8899-aabbccddeeff"), "b": UUID(int=1)}


@pytest.mark.parametrize("uuid", [UUID(int=0), UUIDS["b"]], ids=["all", "one"])
def test_partitions_are_described_in_rx(uuid: UUID) -> None:
    """With their UUIDs, unless the caller asked by it. Until RX is released there is no room."""
    words = struct.unpack("<4I", uuid.bytes)
    info = ffa(F.PARTITION_INFO_GET, *words)
    expected = [
        PartitionInfo(A, 1, 0x10B, UUIDS["a"]),
        PartitionInfo(B, 2, 0x10B, UUIDS["b"]),
    ]
    if uuid.int:
        expected = [replace(expected[1], uuid=UUID(int=0))]
    steps = [info, ffa(F.RXTX_MAP | FFA_64, TX, RX, 1), info]
    rx = [read(0, RX + 8 * i, 8) for i in range(3 * len(expected))]
    vms = [
        Actor("a", [*steps, *rx, info, ffa(F.RX_RELEASE), info, *finish()], peers=("b",)),
        Actor("b", finish(), peers=("a",), cpus=(0, 0)),
        Actor("c", finish(), peers=()),
    ]
    described = [replace(vm.describe(), uuid=UUIDS.get(vm.name)) for vm in vms]
    text = program.in_emulator(program.bundle(described, schedule(vms)), cpus=1)
    found = results(text, "a")
    done = success(len(expected), 24)
    calls, words_found, rest = found[:24], found[24:-24], found[-24:]
    assert calls == [*INVALID, *success(), *done], "no mailbox; one; and then"
    data = struct.pack(f"<{len(words_found)}Q", *words_found)
    assert list(PartitionInfo.unpack(data, len(expected))) == expected
    assert rest == [*BUSY, *success(), *done]


def test_a_wait_releases_rx() -> None:
    """If it is one, and not if it is refused; an answer does not."""
    info = ffa(F.PARTITION_INFO_GET)
    b = [
        ffa(F.RXTX_MAP | FFA_64, TX, RX, 1), info, ffa(F.MSG_WAIT, 1), ffa(F.MSG_WAIT, 0, 1), info,
        wait(), info, wait(), info, response(B, A), info, ffa(F.RX_RELEASE), info,
    ]  # fmt: skip
    got = answers(pair([request(A, B), request(A, B)], b), "b")
    asked, filled = (REQ, ids(A, B), 0, 0, 0, 0, 0, 0), success(2, 24)
    assert got == [
        success(), filled, INVALID, INVALID, BUSY, asked, filled, DENIED, BUSY, asked, BUSY,
        success(), filled,
    ]  # fmt: skip


def test_a_wait_without_a_mailbox_and_with_an_empty_one() -> None:
    steps = [*GIC_ON, SGI_SELF, wait(), ffa(F.RXTX_MAP | FFA_64, TX, RX, 1), wait()]
    steps += [ffa(F.RX_RELEASE), ffa(F.PARTITION_INFO_GET), wait(), ffa(F.RX_RELEASE)]
    got = interrupted(ids(A, 0))
    assert alone(steps) == [got, success(), got, DENIED, success(1, 24), got, DENIED]


def test_yield() -> None:
    """X2 and X3, a time, say nothing."""
    steps = [ffa(F.YIELD), ffa(F.YIELD, 0, 1, 1 << 31), *[ffa(F.YIELD, x) for x in (1, A << 16)]]
    assert alone(steps) == [success(), success(), INVALID, INVALID]


MBZ = {
    F.FEATURES: (0x8400_0060, 2),
    F.RX_RELEASE: (0, 1),
    F.RXTX_MAP: (0, 4),
    F.RXTX_UNMAP: (0, 2),
    F.PARTITION_INFO_GET: (0, 6),
    F.ID_GET: (0, 1),
    F.MSG_WAIT: (0, 1),
    F.YIELD: (0, 4),
    F.RUN: (ids(B, 0), 2),
    F.MEM_DONATE: (0, 3),
    F.MEM_LEND: (0, 3),
    F.MEM_SHARE: (0, 3),
    F.MEM_RETRIEVE_REQ: (0, 3),
    F.MEM_RELINQUISH: (0, 1),
    F.MEM_RECLAIM: (0, 4),
    F.NOTIFICATION_BIND: (ids(B, A), 5),
    F.NOTIFICATION_UNBIND: (ids(B, A), 5),
    F.NOTIFICATION_SET: (ids(A, B), 5),
    F.NOTIFICATION_GET: (ids(0, A), 3),
    F.NOTIFICATION_INFO_GET: (0, 1),
}
"""What X1 is good for, and the first register that must be zero."""


def test_registers_that_must_be_zero() -> None:
    steps: list[Step] = []
    for function, (x1, first) in MBZ.items():
        for register in range(first, 8):
            arguments = [x1, 0, 0, 0, 0, 0, 0]
            arguments[register - 1] = 1 << 31
            steps.append(ffa(function, *arguments))
            if function in WIDE:
                arguments[register - 1] = 1 << 63
                steps.append(ffa(function | FFA_64, *arguments))
    assert set(answers(pair(steps, []), "a")) == {INVALID}


def test_the_upper_halves_of_a_32_bit_call_say_nothing() -> None:
    high = 0xFFFF_FFFF << 32
    assert alone([ffa(F.ID_GET, *[high] * 7)]) == [success(A)]


# Direct messages: when B ends after what it was asked last, A learns that.


@pytest.mark.parametrize("cpus", [(0, 0), (0, 1)], ids=["one-cpu", "two-cpus"])
@pytest.mark.parametrize("wide", [False, True], ids=["32", "64"])
def test_requests_and_their_answers(wide: bool, cpus: tuple[int, int]) -> None:
    """An answer waits for the next request."""
    words = WORDS if wide else SHORT
    kind = FFA_64 if wide else 0
    a = [request(A, B, *WORDS, wide=wide), request(A, B, 1, wide=wide), request(A, B)]
    b = [wait(), response(B, A, *WORDS[::-1], wide=wide), response(B, A, 7)]
    text = pair(a, b, cpus=cpus)
    assert answers(text, "a") == [
        (RESP | kind, ids(B, A), 0, *words[::-1]),
        (RESP, ids(B, A), 0, 7, 0, 0, 0, 0),
        ABORTED,
    ]
    assert answers(text, "b") == [
        (REQ | kind, ids(A, B), 0, *words),
        (REQ | kind, ids(A, B), 0, 1, 0, 0, 0, 0),
        (REQ, ids(A, B), 0, 0, 0, 0, 0, 0),
    ]


def test_a_chain_of_requests() -> None:
    """B answers A once C has answered B."""
    c = Actor("c", [wait(), response(C, B, 30), *finish()], peers=("b",))
    b = [wait(), request(B, C, 3), response(B, A, 20), request(B, C)]
    text = run(
        Actor("a", [request(A, B, 2), request(A, B), *finish()], peers=("b",)),
        Actor("b", [*b, *finish()], peers=("a", "c")),
        c,
    )
    assert [found[:4] for found in answers(text, "a")] == [(RESP, ids(B, A), 0, 20), ABORTED[:4]]
    assert [found[:4] for found in answers(text, "b")] == [
        (REQ, ids(A, B), 0, 0 + 2),
        (RESP, ids(C, B), 0, 30),
        (REQ, ids(A, B), 0, 0),
        ABORTED[:4],
    ]


def test_nobody_waits() -> None:
    """Neither B, which runs, nor C, which has ended, nor, for B, the one that it serves."""
    a = [ffa(REQ, ids(A, B)), settle(0, 100_000), ffa(REQ, ids(A, C)), request(A, B), request(A, B)]
    b = [settle(0, 200_000), wait(), ffa(REQ, ids(B, A)), response(B, A)]
    text = run(
        Actor("a", [*a, *finish()], peers=("b", "c")),
        Actor("b", [*b, *finish()], peers=("a",)),
        Actor("c", finish(), peers=("a",)),
    )
    assert answers(text, "a")[:2] == [BUSY, BUSY]
    assert answers(text, "b")[1] == BUSY


def test_messages_with_wrong_ids_or_flags() -> None:
    wrong = [
        (ids(A, A), 0), (ids(B, A), 0), (ids(0, B), 0), (ids(A, 0), 0), (ids(A, C), 0),
        (ids(A, 4), 0), (ids(A, 9), 0), (ids(A, 0x8001), 0), (ids(A, B), 1), (ids(A, B), 1 << 31),
    ]  # fmt: skip
    steps = [ffa(call, *arguments) for call in (REQ, RESP) for arguments in wrong]
    text = pair([*steps, request(A, B)], [wait()], Actor("c", [*finish()], peers=()))
    assert answers(text, "a")[:-1] == [INVALID] * len(steps)
    assert len(answers(text, "b")) == 1, "B has got one of them"


def test_an_answer_to_the_wrong_one() -> None:
    """C is a peer of B too, but has not asked."""
    b = [ffa(RESP, ids(B, A)), wait(), ffa(RESP, ids(B, C)), wait()]
    text = run(
        Actor("a", [request(A, B), *finish()], peers=("b",)),
        Actor("b", [*b, *finish()], peers=("a", "c")),
        Actor("c", finish(), peers=("b",)),
    )
    found = answers(text, "b")
    assert found[0] == DENIED, "there is no request"
    assert found[2] == INVALID
    assert found[3] == DENIED, "it has a request to answer"


def test_run_of_what_does_not_owe_an_answer() -> None:
    text = pair([ffa(F.RUN, ids(B, 0)), *[ffa(F.RUN, w) for w in (0, ids(B, 1), ids(3, 0))]], [])
    assert answers(text, "a") == [DENIED, INVALID, INVALID, INVALID]


@pytest.mark.parametrize("cpus", [(0, 0), (0, 1)], ids=["one-cpu", "two-cpus"])
def test_the_receiver_ends_with_a_request_unanswered(cpus: tuple[int, int]) -> None:
    text = pair([request(A, B), ffa(REQ, ids(A, B))], [wait()], cpus=cpus)
    assert answers(text, "a")[0] == ABORTED
    assert answers(text, "a")[1] == BUSY


def test_the_sender_ends_before_the_answer() -> None:
    """Vcpu 1 of A asks, vCPU 0 ends the VM. B's answer is nobody's, and it serves the next."""
    a = Actor(
        "a",
        [
            settle(0, 100_000),
            *switch_on(2),
            Step(Operation.LEAVE, 1, (0, REQ, ids(A, B), 0, 5)),
            settle(0, 200_000),
            *finish(),
        ],
        peers=("b",),
        cpus=(0, 1),
    )
    b = Actor("b", [wait(), settle(0, 600_000), response(B, A), *finish()], peers=("a", "c"))
    c = Actor("c", [settle(0, 2_000_000), request(C, B, 6), *finish()], peers=("b",))
    asked = answers(run(a, b, c), "b")
    assert [answer[:4] for answer in asked] == [
        (REQ, ids(A, B), 0, 5),
        (REQ, ids(C, B), 0, 6),
    ]


def boss(steps: list[Step]) -> Actor:
    return Actor("boss", [*steps, *finish()], manages=("a", "b"))


def test_the_receiver_is_stopped_while_the_sender_waits() -> None:
    steps = [settle(0, 200_000), manage(VmCall.STOP, B), poll(0, 1, VmState.DOWN, VmCall.INFO, B)]
    text = pair([request(A, B)], [wait(), settle(0, 10**12)], boss(steps))
    assert answers(text, "a") == [ABORTED]


@pytest.mark.parametrize("who", [A, B])
def test_a_pause_in_the_middle_delays(who: int) -> None:
    steps = [settle(0, 200_000), manage(VmCall.PAUSE, who), settle(0, 500_000)]
    steps += [manage(VmCall.INFO, who), manage(VmCall.RESUME, who)]
    b = [wait(), settle(0, 400_000), response(B, A, 8)]
    text = pair([request(A, B), request(A, B)], b, boss(steps))
    assert [found[:4] for found in answers(text, "a")] == [(RESP, ids(B, A), 0, 8), ABORTED[:4]]
    assert answers(text, "boss")[1][:2] == (0, VmState.PAUSED)


def test_a_paused_vm_can_be_stopped_in_the_middle() -> None:
    steps = [settle(0, 200_000), manage(VmCall.PAUSE, B), settle(0, 100_000)]
    steps += [manage(VmCall.STOP, B), poll(0, 1, VmState.DOWN, VmCall.INFO, B)]
    text = pair([request(A, B)], [wait(), settle(0, 10**12)], boss(steps))
    assert answers(text, "a") == [ABORTED]


def test_any_vcpu_that_waits_is_asked() -> None:
    """Both of B do, and A's two ask; a vCPU that is switched off lets its caller go."""
    b = Actor(
        "b",
        [
            *switch_on(2),
            Step(Operation.LEAVE, 1, (0, F.MSG_WAIT)),
            settle(0, 100_000),
            wait(),
            *finish(),
        ],
        peers=("a",),
        cpus=(0, 1),
    )
    a = [settle(0, 300_000), request(A, B, 1)]
    text = run(Actor("a", [*a, *finish()], peers=("b",)), b)
    assert answers(text, "a") == [ABORTED]


# Interrupts


SGI_SELF = write(0, GICD + 0xF00, 2 << 24 | 5)
GIC_ON = [write(0, GICD, 1), write(0, GICC + 4, 0xF0), write(0, GICC, 1)]


def test_an_interrupt_ends_a_wait() -> None:
    steps = [*GIC_ON, SGI_SELF, wait(), wait()]
    assert alone(steps) == [interrupted(ids(A, 0))] * 2


@pytest.mark.parametrize(
    "off", [write(0, GICD, 0), write(0, GICC, 0), write(0, GICC + 4, 0)], ids=["d", "c", "mask"]
)
def test_an_interrupt_that_is_not_signalled_does_not(off: Step) -> None:
    """The request comes all the same."""
    text = pair([request(A, B, 4)], [*GIC_ON, off, SGI_SELF, wait()])
    assert answers(text, "b")[0][:4] == (REQ, ids(A, B), 0, 4)


def test_an_interrupt_interrupts_a_request() -> None:
    """FFA_RUN waits on, and does so again until the interrupt is ended. Nothing else is possible
    meanwhile."""
    a = [
        *GIC_ON, SGI_SELF, request(A, B), ffa(F.RUN, ids(B, 0)), ffa(REQ, ids(A, B)), wait(),
        ffa(RESP, ids(A, B)), write(0, GICD + 0xF14, 0xFF00), ffa(F.RUN, ids(B, 0)),
        request(A, B),
    ]  # fmt: skip
    text = pair(a, [wait(), settle(0, 100_000), response(B, A, 3)])
    got = interrupted(ids(B, 0))
    assert answers(text, "a") == [
        got, got, DENIED, DENIED, DENIED, (RESP, ids(B, A), 0, 3, 0, 0, 0, 0), ABORTED
    ]  # fmt: skip


@pytest.mark.usefixtures("qemu")
def test_the_same_on_qemu(tmp_path: Path) -> None:
    a = [request(A, B, 5), *GIC_ON, SGI_SELF, wait(), request(A, B)]
    actors = [
        Actor("a", [*a, *finish()], peers=("b",)),
        Actor("b", [wait(), response(B, A, 7), *finish()], peers=("a",)),
    ]
    text = program.on_qemu(bundle(actors), tmp_path, cpus=1)
    assert answers(text, "a") == [
        (RESP, ids(B, A), 0, 7, 0, 0, 0, 0), interrupted(ids(A, 0)), interrupted(ids(B, 0))
    ]  # fmt: skip


def test_an_answer_waits_for_run() -> None:
    a = [
        *GIC_ON, SGI_SELF, request(A, B), settle(0, 200_000), ffa(F.RUN, ids(B, 0)), request(A, B)
    ]  # fmt: skip
    text = pair(a, [wait(), response(B, A, 3)])
    found = answers(text, "a")
    assert found[:2] == [interrupted(ids(B, 0)), (RESP, ids(B, A), 0, 3, 0, 0, 0, 0)]


def test_so_does_the_news_that_there_will_be_none() -> None:
    a = [*GIC_ON, SGI_SELF, request(A, B), settle(0, 200_000), ffa(F.RUN, ids(B, 0))]
    found = answers(pair(a, [wait()]), "a")
    assert found == [interrupted(ids(B, 0)), ABORTED]
