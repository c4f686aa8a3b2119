# SPDX-License-Identifier: Apache-2.0
"""The hypervisor by many schedules: what two CPUs ask of it at once is done as in some order, and
bugs that need several CPUs are found."""

import re
from dataclasses import replace
from itertools import islice

import pytest

from aether_edgecloud.emulator.interleave.explore import Result
from aether_edgecloud.emulator.interleave.interleaving import Method
from aether_edgecloud.emulator.interleave.whole_run import WholeRun
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.launch.target import GuestChoice
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.adversary import seeded_races
from aether_edgecloud.properties.adversary.races import RACES, Prepared, Race, find
from aether_edgecloud.properties.adversary.seeded_races import HUNTS, MOST, Hunt

QUICK = ("share-twice", "turn-on-twice", "answer-the-former-life")


def explored(race: Race, schedules: int, method: Method = Method.PCT, depth: int = 3) -> Result:
    prepared = Prepared(race, depth=depth)
    failure = prepared.explorer.learn()
    assert failure is None, failure
    chosen = prepared.explorer.schedules(method)
    result = prepared.explorer.explore(chosen, most=schedules)
    prepared.close()
    return result


@pytest.mark.parametrize("name", QUICK)
def test_a_race_goes_right_by_some_schedules(name: str) -> None:
    result = explored(find(name), 30)
    assert result.first is None, result.first
    assert result.distinct > 20


def test_a_whole_run_by_a_schedule_is_the_same_from_reset() -> None:
    """Explored in one machine from a snapshot, and run in another from its first instruction."""
    request = build_request(
        "smp", binary.load(None), mmu="model", board=BoardChoice(), guest=GuestChoice(cpus=2)
    )
    run = WholeRun(request, depth=3)
    assert run.explorer.learn() is None
    for interleaving in islice(run.explorer.schedules(Method.PCT, 1), 2):
        assert run.explorer.run(interleaving) is None
        assert run.explorer.interleaver.switches
        made = build_machine(replace(request, interleaving=interleaving))
        assert made.run().kind is StopKind.SYSTEM_OFF
        assert state_sha256(made) == state_sha256(run.machine)
        assert made.instructions == run.machine.instructions
        made.close()
    run.machine.close()


@pytest.mark.nightly
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.name)
def test_a_race_goes_right_by_many_schedules(race: Race) -> None:
    result = explored(race, 1000)
    assert result.first is None, result.first


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["share-twice", "reclaim-twice", "turn-on-twice"])
def test_a_race_goes_right_by_every_schedule_of_one_preemption(name: str) -> None:
    result = explored(find(name), 2000, Method.BOUNDED, 1)
    assert result.first is None, result.first
    assert result.is_complete and result.schedules > 20


@pytest.mark.nightly
@pytest.mark.parametrize("one", HUNTS, ids=lambda one: one.bug)
def test_a_bug_of_several_cpus_is_found(one: Hunt) -> None:
    found = seeded_races.hunt(one)
    assert re.search(one.expect, found.what), found
    assert found.schedules <= MOST
    assert (found.result is not None) == one.schedules
