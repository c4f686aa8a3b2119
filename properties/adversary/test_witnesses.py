# SPDX-License-Identifier: Apache-2.0
"""Guests that look at what they must not see see nothing of it, whatever the hardware does; and
the checker has nothing to say meanwhile."""

import pytest

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary import table_builds, table_ways
from aether_edgecloud.properties.adversary.table_scenarios import SCENARIOS, Scenario
from aether_edgecloud.properties.adversary.table_ways import ADVERSARIES, Outcome, Trial, Way


def check(outcome: Outcome, scenario: Scenario) -> None:
    wrong = [line for line in sorted(outcome.lines) if "WRONG" in line or "panic" in line]
    assert not wrong, wrong[0]
    assert not outcome.rule, outcome.rule
    assert outcome.end == StopKind.SYSTEM_OFF.value, outcome.end
    assert any("as it should be" in line for line in outcome.lines)


def run(scenario: Scenario, way: Way, seed: int = 0, rate: int = 0) -> None:
    trial = Trial(way, scenario, seed, rate)
    check(table_ways.run(table_builds.binary(scenario.program), trial), scenario)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_guests_see_what_they_should(scenario: Scenario) -> None:
    run(scenario, Way.CHECKER)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_so_they_do_on_the_worst_hardware(scenario: Scenario) -> None:
    run(scenario, Way.BOTH, 0, 256)


@pytest.mark.nightly
@pytest.mark.parametrize("way", [Way.PLAIN, Way.QEMU, Way.TLB, Way.CACHES], ids=lambda w: w.name)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_so_they_do_in_every_column(scenario: Scenario, way: Way) -> None:
    run(scenario, way, 0, 256 if way in ADVERSARIES else 0)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_so_they_do_on_any_hardware(scenario: Scenario, seed: int) -> None:
    run(scenario, Way.BOTH, seed, 32 * seed - 16)
