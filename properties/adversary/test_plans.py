# SPDX-License-Identifier: Apache-2.0
"""The text of `--adversary`, and what of it is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.plan import RATES, Plan, parse
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.properties.machine import bare

_PLANS = st.builds(
    Plan,
    tlb=st.booleans(),
    caches=st.booleans(),
    invalidated=st.booleans(),
    seed=st.integers(0, 10**18),
    rate=st.integers(0, RATES),
)


@given(_PLANS.filter(lambda plan: (plan.tlb or plan.caches) and plan.caches >= plan.invalidated))
def test_a_plan_is_what_its_text_says(plan: Plan) -> None:
    assert parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no part"),
        ("tbl", "'tbl' is no part"),
        ("seed=1", "names no adversary"),
        ("tlb=1", "'tlb=1' is no part"),
        ("tlb,rate=257", "'rate=257' is no part"),
        ("tlb,rate=-1", "'rate=-1' is no part"),
        ("tlb,seed=", "'seed=' is no part"),
        ("tlb,invalidated", "of caches only"),
        ("tlb,seed=99999999999999999999", "is no part"),
    ],
)
def test_what_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse(text)


def test_unicorns_own_walker_cannot_be_made_unkind() -> None:
    program = bare.program("hvc #0")
    board, image = virt(bare.RAM_SIZE), bare.boot(program, MmuMode.MODEL).image
    with pytest.raises(UserError, match="MMU model"):
        Machine(board, image, mmu=MmuMode.NATIVE, adversary=Plan(tlb=True))


@given(st.integers(0, 1 << 64), st.integers(1, 1000))
def test_rates_are_kept_to(seed: int, below: int) -> None:
    kind, worst = Choices(seed, 0), Choices(seed, RATES)
    for _ in range(20):
        assert not kind.against()
        assert worst.against()
        assert 0 <= kind.number(below) < below


@given(st.integers(0, 1 << 64))
def test_a_state_put_back_chooses_the_same(seed: int) -> None:
    choices = Choices(seed, 128)
    choices.number(7)
    state = choices.state
    first = [choices.number(1000) for _ in range(10)]
    choices.state = state
    assert [choices.number(1000) for _ in range(10)] == first


def test_seeds_choose_differently() -> None:
    streams = [Choices(seed, 128) for seed in range(100)]
    found = {tuple(stream.against() for _ in range(64)) for stream in streams}
    assert len(found) == 100
