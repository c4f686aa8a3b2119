# SPDX-License-Identifier: Apache-2.0
"""Malformed bundles of the table: the hypervisor refuses each for what is wrong with it, and would
run them but for that."""

from collections.abc import Mapping

import pytest

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary import (
    table_builds,
    table_malformed,
    table_scenarios,
    table_ways,
)
from aether_edgecloud.properties.adversary.table_builds import Program
from aether_edgecloud.properties.adversary.table_scenarios import Scenario
from aether_edgecloud.properties.adversary.table_ways import Outcome, Trial, Way

OFF = StopKind.SYSTEM_OFF.value
REFUSED = {
    "part with a size that wraps": "bundle blob table: a blob outside the bundle;",
    "image beyond the memory": "manifest image: does not fit into the VM's memory;",
    "memory beyond 40 bits": "manifest memory: not whole 4 KiB pages below 2^40;",
    "name beyond the strings": "manifest: a node or property does not lie within the structure",
}


def boots(refused: Mapping[str, bytes]) -> Outcome:
    scenario = Scenario("test", "", refused=lambda: refused)
    return table_ways.run(table_builds.binary(scenario.program), Trial(Way.PLAIN, scenario))


def test_each_is_refused_for_what_is_wrong_with_it() -> None:
    scenario = table_scenarios.find("malformed")
    assert scenario.program is Program.HYPERVISOR
    outcome = boots(scenario.bundles())
    assert outcome.end == OFF
    assert scenario.bundles().keys() == REFUSED.keys()
    for name, why in REFUSED.items():
        assert any(line.startswith(f"{name}: [aether] boot: {why}") for line in outcome.lines)
        assert f"{name}: [aether] vm test: start" not in outcome.lines


def test_it_would_run_but_for_that() -> None:
    outcome = boots({"sound": table_malformed.sound(), "malformed": b"AETHERB1"})
    assert "sound: [aether] vm test: start" in outcome.lines
    assert "sound: [aether] end: guest-off" in outcome.lines
    assert "malformed: [aether] boot: bundle: too short for a header; " in "".join(outcome.lines)


ONE = Outcome(frozenset({"a"}), OFF, instructions=1)


@pytest.mark.parametrize(
    ("boots", "together"),
    [
        ({"x": ONE}, ONE),
        (
            {"x": ONE, "y": Outcome(frozenset({"a", "b"}), OFF, instructions=2)},
            Outcome(frozenset({"x: a", "y: a", "y: b"}), OFF, instructions=3),
        ),
        (
            {"x": ONE, "y": Outcome(frozenset(), "stuck", "frozen"), "z": Outcome(frozenset(), "")},
            Outcome(frozenset({"x: a"}), "y: stuck", "frozen", instructions=1),
        ),
    ],
)
def test_of_several_boots_each_line_has_its_name(
    boots: Mapping[str, Outcome], together: Outcome
) -> None:
    assert table_ways.together(boots) == together
