# SPDX-License-Identifier: Apache-2.0
"""The specification of ownership by itself: its laws hold whatever is called, a call that is
refused changes nothing, and its judge refuses answers that are wrong in any one register."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.properties.attack import message_rules, moves, rules
from aether_edgecloud.properties.attack.abi import (
    MASK32,
    READ_WRITE,
    Code,
    Ffa,
    FrameState,
    Life,
    Range,
    Transaction,
)
from aether_edgecloud.properties.attack.campaign import Dice
from aether_edgecloud.properties.attack.obedient import Obedient
from aether_edgecloud.properties.attack.ownership import WINDOW, State, broken_laws, end_life
from aether_edgecloud.properties.attack.verdict import Answer, Wrong, judge

A, B = (0, 0), (1, 0)
PAGES = (0x4_0008, 0x4_0009)


def act(world: Obedient, dice: Dice) -> None:
    """One call, or the end of a life."""
    kinds: list[Any] = [moves.memory] * 8 + [moves.talk, moves.notify, moves.discover, moves.manage]
    if dice.once_in(15):
        vm = dice.number(0, 1)
        if world.state.lives[vm] is Life.RUNNING:
            world.state = message_rules.reset(world.state, vm)
        return
    dice.of(kinds)(world, dice)


@settings(max_examples=30)
@given(st.integers(0, 1 << 32))
def test_laws_hold_whatever_is_called(seed: int) -> None:
    world, dice = Obedient(), Dice(seed)
    for _ in range(60):
        act(world, dice)
        assert list(broken_laws(world.state)) == []


@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_the_end_of_all_lives_brings_every_frame_home(seed: int) -> None:
    world, dice = Obedient(), Dice(seed)
    for _ in range(60):
        act(world, dice)
    state = world.state
    for vm in (0, 1):
        state = end_life(state, vm)
    assert not state.shares and state.boxes == (None, None, None)
    for vm, config in enumerate(state.configs):
        for number in config.frames:
            frame = state.frames[number]
            assert (frame.owner, frame.state, frame.borrower) == (vm, FrameState.OWNED, None)
    assert all(not notes.bound for notes in state.notes)


def shared(**changes: Any) -> tuple[Obedient, int]:
    """A world in which a has offered two pages to b; both have mailboxes."""
    world = Obedient()
    for who in (A, B):
        world.call(who, Ffa.RXTX_MAP, 0x4000_2000, 0x4000_3000, 1)
    offer = Transaction(1, 2, (Range(PAGES[0] << 12, 2),), permissions=READ_WRITE).but(**changes)
    world.call(A, Ffa.MEM_SHARE, len(offer.packed()), len(offer.packed()), tx=offer.packed())
    return world, next(iter(world.state.shares))


def retrieval(world: Obedient, handle: int) -> tuple[tuple[int, ...], bytes]:
    data = Transaction(1, 2, handle=handle, permissions=READ_WRITE).packed()
    return (Ffa.MEM_RETRIEVE_REQ, len(data), len(data), 0, 0, 0, 0, 0), data


def test_nobody_reaches_a_frame_that_was_only_offered() -> None:
    world, _ = shared()
    assert not set(world.state.maps[1]) & set(WINDOW)


def test_a_retrieved_frame_is_reached_by_both_and_reclaimed_only_when_given_back() -> None:
    world, handle = shared()
    x, tx = retrieval(world, handle)
    assert world.call(B, *x, tx=tx) == 0
    frame = world.state.maps[0][PAGES[0]].frame
    assert world.state.maps[1][WINDOW.start].frame == frame
    assert world.state.frames[frame].borrower == 1
    reclaims = (Ffa.MEM_RECLAIM, handle & MASK32, handle >> 32)
    assert world.call(A, *reclaims) == Code.DENIED
    world.state = end_life(world.state, 1)
    assert world.call(A, *reclaims) == 0
    assert world.call(A, *reclaims) == Code.INVALID_PARAMETERS


@pytest.mark.parametrize("register", range(8))
def test_the_judge_refuses_a_wrong_register(register: int) -> None:
    world, handle = shared()
    x, tx = retrieval(world, handle)
    world.pages[1] = tx.ljust(4096, b"\0")
    verdict = rules.verdict(world.state, B, x, world.tx(1))
    assert verdict is not None
    good = world.answer(B, x, verdict)
    judge(world.state, verdict, good)
    registers = list(good.x)
    registers[register] ^= 1 << 33
    with pytest.raises(Wrong):
        judge(world.state, verdict, Answer(tuple(registers), good.rx))


@pytest.mark.parametrize("offset", [0, 8, 16, 48, 50, 64, 68, 80, 88])
def test_the_judge_refuses_a_wrong_response(offset: int) -> None:
    world, handle = shared()
    x, tx = retrieval(world, handle)
    world.pages[1] = tx.ljust(4096, b"\0")
    verdict = rules.verdict(world.state, B, x, world.tx(1))
    assert verdict is not None
    good = world.answer(B, x, verdict)
    rx = bytearray(good.rx)
    rx[offset] ^= 1
    with pytest.raises(Wrong):
        judge(world.state, verdict, Answer(good.x, bytes(rx)))


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": 2},
        {"receiver": 1},
        {"receiver": 3},
        {"receiver": 9},
        {"handle": 1},
        {"attributes": 1},
        {"flags": 1},
        {"permissions": 0},
        {"permissions": 3},
        {"permissions": READ_WRITE | 4},
        {"endpoint_flags": 1},
        {"endpoint_count": 2},
        {"endpoint_size": 24},
        {"endpoint_offset": 4096},
        {"total": 3},
        {"count": 2},
        {"count": 0},
        {"reserved": b"\1" + bytes(11)},
        {"ranges": (Range(0x4000_8800, 1),)},
        {"ranges": (Range(0x4000_8000, 2), Range(0x4000_9000, 1))},
        {"ranges": (Range((1 << 64) - 4096, 2),)},
        {"ranges": (Range(0x4000_2000, 1),)},
        {"ranges": (Range(0x5000_0000, 1),)},
        {"ranges": (Range(0x4000_8000, 33),)},
    ],
    ids=str,
)
def test_an_offer_with_one_thing_wrong_must_be_refused(changes: dict[str, Any]) -> None:
    world, _ = shared()
    data = Transaction(1, 2, (Range(0x4000_A000, 1),), permissions=READ_WRITE).but(**changes)
    before: State = world.state
    packed = data.packed()
    assert world.call(A, Ffa.MEM_SHARE, len(packed), len(packed), tx=packed) < 0
    assert world.state is before
