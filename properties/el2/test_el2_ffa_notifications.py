# SPDX-License-Identifier: Apache-2.0
"""FF-A 1.1 (Arm DEN0077A) between partitions: notifications, and all kinds of messages at once."""

import pytest

from aether_edgecloud.guest_stubs.ffa import (
    FFA_64,
    GET_FROM_VMS,
    NOTIFICATION_INTID,
    FfaError,
    VmCall,
    ids,
)

from ..guest import program
from ..guest.partitions import (
    Actor,
    answers,
    bundle,
    ffa,
    manage,
    request,
    response,
    run,
    success,
    timeline,
    wait,
)
from ..guest.program import (
    GICC,
    GICD,
    Step,
    finish,
    poll,
    read,
    results,
    settle,
    write,
)
from .test_el2_ffa_messages import (
    ABORTED,
    DENIED,
    GIC_ON,
    INVALID,
    NO_DATA,
    NOT_SUPPORTED,
    RESP,
    A,
    B,
    C,
    F,
    boss,
    interrupted,
    pair,
)

BITS = (0x8000_0001, 0x4000_0002)
LIVE_ON = settle(0, 800_000)
"""What a VM has set goes when it ends."""


def bind(own: int, sender: int, low: int, high: int = 0) -> Step:
    return ffa(F.NOTIFICATION_BIND, ids(sender, own), 0, low, high)


def unbind(own: int, sender: int, low: int, high: int = 0) -> Step:
    return ffa(F.NOTIFICATION_UNBIND, ids(sender, own), 0, low, high)


def notify(own: int, receiver: int, low: int, high: int = 0) -> Step:
    """Once the receiver has bound them."""
    denied = FfaError.DENIED & 0xFFFF_FFFF
    return poll(0, 2 | 8, denied, F.NOTIFICATION_SET, ids(own, receiver), 0, low, high)


def get(own: int, flags: int = GET_FROM_VMS, vcpu: int = 0) -> Step:
    return ffa(F.NOTIFICATION_GET, ids(vcpu, own), flags)


def test_notifications_arrive() -> None:
    b = [bind(B, A, *BITS), settle(0, 200_000), get(B, 0), get(B, 0xD), get(B), get(B)]
    text = pair([notify(A, B, *BITS), notify(A, B, 1), LIVE_ON], b)
    assert answers(text, "a") == [success()] * 2
    assert answers(text, "b") == [success()] * 3 + [success(0, 0, *BITS), success()]


def test_a_notification_is_an_interrupt_of_vcpu_0() -> None:
    """PPI 20, an edge, which ends the wait."""
    enable = write(0, GICD + 0x100, 1 << NOTIFICATION_INTID)
    b = [*GIC_ON, enable, bind(B, A, 1), wait(), read(0, GICC + 0xC), read(0, GICD + 0xC04)]
    text = pair([notify(A, B, 1)], b)
    found = results(text, "b")
    assert tuple(found[8:16]) == interrupted(ids(B, 0))
    assert found[16] == NOTIFICATION_INTID
    assert found[17] == 2 << 2 * (NOTIFICATION_INTID - 16)


def test_who_may_bind_and_set() -> None:
    b = [
        bind(B, A, 6), bind(B, A, 4), bind(B, C, 2), bind(B, C, 8), unbind(B, A, 8),
        unbind(B, C, 2), unbind(B, A, 4), unbind(B, A, 4), bind(B, C, 4), settle(0, 300_000),
        unbind(B, A, 2), get(B), unbind(B, A, 2),
    ]  # fmt: skip
    a = [notify(A, B, 2), ffa(F.NOTIFICATION_SET, ids(A, B), 0, 6), LIVE_ON]
    c = [notify(C, B, 8), ffa(F.NOTIFICATION_SET, ids(C, B), 0, 2), LIVE_ON, *finish()]
    text = run(
        Actor("a", [*a, *finish()], peers=("b",)),
        Actor("b", [*b, *finish()], peers=("a", "c")),
        Actor("c", c, peers=("b",)),
    )
    fine = success()
    assert answers(text, "b") == [
        fine, DENIED, DENIED, fine, DENIED, DENIED, fine, DENIED, fine, DENIED,
        success(0, 0, 10), fine,
    ]  # fmt: skip
    assert answers(text, "a") == [fine, DENIED]
    assert answers(text, "c") == [fine, DENIED]


def test_notifications_with_wrong_arguments() -> None:
    functions = (F.NOTIFICATION_BIND, F.NOTIFICATION_UNBIND)
    wrong: list[tuple[int, ...]] = [(ids(A, B), 0, 1), (ids(0, A), 0, 1)]
    wrong += [(ids(A, A), 0, 1), (ids(C, A), 0, 1)]
    wrong += [(ids(B, A), 2, 1), (ids(B, A), 1 << 16, 1), (ids(B, A), 0, 0, 0)]
    steps = [ffa(f, *arguments) for f in functions for arguments in wrong]
    wrong = [(ids(B, A), 0, 1), (ids(A, 0), 0, 1), (ids(A, C), 0, 1), (ids(A, B), 2, 1)]
    wrong += [(ids(A, B), 0, 0, 0)]
    steps += [ffa(F.NOTIFICATION_SET, *arguments) for arguments in wrong]
    steps += [get(B), get(A, 16), get(A, vcpu=1), ffa(F.NOTIFICATION_UNBIND, ids(B, A), 1, 1)]
    text = pair(steps, [], Actor("c", finish(), peers=()))
    assert answers(text, "a") == [INVALID] * len(steps)


def test_no_notification_is_of_one_vcpu() -> None:
    steps = [ffa(F.NOTIFICATION_BIND, ids(B, A), 1, 1), ffa(F.NOTIFICATION_SET, ids(A, B), 1, 1)]
    assert answers(pair(steps, []), "a") == [NOT_SUPPORTED] * 2


@pytest.mark.parametrize("kind", [0, FFA_64], ids=["32", "64"])
def test_info_tells_of_each_once(kind: int) -> None:
    info = ffa(F.NOTIFICATION_INFO_GET | kind)
    b = [info, bind(B, A, 3), settle(0, 200_000), info, info, settle(0, 200_000), info, get(B)]
    b += [info]
    text = pair([notify(A, B, 1), settle(0, 250_000), notify(A, B, 2), LIVE_ON], b)
    news = (F.SUCCESS | kind, 0, 1 << 7, B, 0, 0, 0, 0)
    found = answers(text, "b")
    assert found == [NO_DATA, success(), news, NO_DATA, news, success(0, 0, 3), NO_DATA]


def test_a_life_of_notifications_ends_with_the_vm() -> None:
    """B's own, and what B might set at A: neither is left for its next life."""
    b = [bind(B, A, 1), notify(B, A, 4), settle(0, 200_000)]
    a = [
        bind(A, B, 4), notify(A, B, 1), get(A), notify(A, B, 1), settle(0, 1_500_000),
        ffa(F.NOTIFICATION_SET, ids(A, B), 0, 1), bind(A, B, 4),
    ]  # fmt: skip
    text = pair(a, b)
    assert answers(text, "a")[-2:] == [DENIED, success()]


@pytest.mark.parametrize("cpus", [(0, 0), (0, 1), (1, 1)], ids=["here", "apart", "elsewhere"])
def test_talk_moves_nobody_else(cpus: tuple[int, int]) -> None:
    """Of VMs 2 and 3, beside VM 1, which has nothing to do with them."""
    a = [notify(2, 3, 1), *[request(2, 3, n) for n in range(30)], notify(2, 3, 2)]
    b = [bind(3, 2, 3), wait(), *[response(3, 2, n) for n in range(29)], get(3)]
    found = [
        timeline(
            Actor("a", [*steps[0], *finish()], peers=("b",), cpus=cpus[:1]),
            Actor("b", [*steps[1], *finish()], peers=("a",), cpus=cpus[1:]),
        )
        for steps in ([[settle(0, 1)] * len(a), [settle(0, 2)] * len(b)], [a, b])
    ]
    assert found[0] == found[1]


INTERLEAVINGS = [(50, 1), *((quantum, seed) for quantum in (1, 7) for seed in (1, 2))]


@pytest.mark.parametrize(
    ("quantum", "seed"),
    [
        pytest.param(*case, marks=[pytest.mark.nightly] if number else [])
        for number, case in enumerate(INTERLEAVINGS)
    ],
)
def test_however_two_cpus_take_turns(quantum: int, seed: int) -> None:
    """Requests, notifications and pauses at once: every answer arrives, once and in order."""
    count = 15
    a = [bind(A, B, 1), *[request(A, B, n) for n in range(count)]]
    b = [wait()]
    for n in range(count - 1):
        b += [ffa(F.NOTIFICATION_SET, ids(B, A), 0, 1), response(B, A, n)]
    pauses: list[Step] = []
    for vm in (A, B) * 3:
        pauses += [settle(0, 3_000), manage(VmCall.PAUSE, vm)]
        pauses += [settle(0, 1_000), manage(VmCall.RESUME, vm)]
    actors = [
        Actor("a", [*a, *finish()], peers=("b",)),
        Actor("b", [*b, *finish()], peers=("a",), cpus=(1,)),
        boss(pauses),
    ]
    text = program.in_emulator(
        bundle(actors), cpus=2, end="[aether] end: guest-off", quantum=quantum, seed=seed
    )
    answered = [(RESP, ids(B, A), 0, n, 0, 0, 0, 0) for n in range(count - 1)]
    assert answers(text, "a") == [success(), *answered, ABORTED]
    assert {answer[0] for answer in answers(text, "boss")} == {0}
