# SPDX-License-Identifier: Apache-2.0
"""Guests that look at what they must not see see nothing of it, whatever the hardware does; and
the checker has nothing to say meanwhile. What no hypervisor should boot is not booted."""

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary import table_builds, table_ways
from aether_edgecloud.properties.adversary.table_scenarios import CODE_IPA, SCENARIOS, Scenario
from aether_edgecloud.properties.adversary.table_ways import ADVERSARIES, Outcome, Trial, Way


def check(outcome: Outcome, scenario: Scenario) -> None:
    assert not outcome.wrong, outcome.wrong[0]
    assert not outcome.rule, outcome.rule
    assert outcome.end == StopKind.SYSTEM_OFF.value, outcome.end
    if scenario.refused is None:
        assert any("as it should be" in line for line in outcome.lines)
    for name in scenario.bundles() if scenario.refused is not None else ():
        assert any(line.startswith(f"{name}: [aether] boot: ") for line in outcome.lines)


def run(scenario: Scenario, way: Way, seed: int = 0, rate: int = 0) -> None:
    trial = Trial(way, scenario, seed, rate)
    check(table_ways.run(table_builds.binary(scenario.program), trial), scenario)


def test_what_a_witness_is_lies_below_what_it_looks_at() -> None:
    with toolchain.artefact("stub:witness").elf.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        ends = symbols.get_symbol_by_name("bss_end")
    assert ends is not None and ends[0]["st_value"] <= CODE_IPA


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
