# SPDX-License-Identifier: Apache-2.0
"""A VM that is told to stop while it is still being loaded does not become READY, nor run."""

import pytest

from aether_edgecloud.guest_stubs.ffa import VmCall, VmEnd, VmResult, VmState

from ..guest.partitions import Actor, answers, manage, run, until
from ..guest.program import finish, settle

IT = 2


@pytest.mark.parametrize("delay", [0, 2_000, 20_000])
def test_stopped_between_create_and_ready(delay: int) -> None:
    steps = [
        manage(VmCall.CREATE, IT),
        *([settle(0, delay)] if delay else []),
        manage(VmCall.STOP, IT),
        until(VmState.DOWN, IT),
        manage(VmCall.START, IT),
        manage(VmCall.INFO, IT),
    ]
    boss = Actor("boss", [*steps, *finish()], manages=("it",))
    text = run(boss, Actor("it", [*finish()], manual=True))
    found = answers(text, "boss")
    assert found[-4][0] == VmResult.SUCCESS
    assert found[-3][:2] == (0, VmState.DOWN)
    assert found[-2][0] - 2**64 == VmResult.BAD_STATE
    assert found[-1][:3] == (0, VmState.DOWN, VmEnd.STOPPED)
    assert "vm it: start" not in text
