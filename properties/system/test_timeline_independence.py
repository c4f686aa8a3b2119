# SPDX-License-Identifier: Apache-2.0
"""What a VM can see of its run does not depend on what the other VMs do: every entry and exit by PC
and counter, every counter value it reads, its interrupts, registers, memory, console, telemetry."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.system.neighbours import (
    HOSTILE,
    OBSERVED,
    QUIET,
    layouts,
    neighbours,
    observer,
    one_cpu,
    two_cpus,
)
from aether_edgecloud.properties.system.side_by_side import (
    Guest,
    Layout,
    Observation,
    Place,
    Run,
    observe,
)

EXAMPLES = settings().max_examples // 20


def observed(layout: Layout, number: int, watched: Guest, *others: Guest) -> Observation:
    """What the watched VM, at place `number`, saw beside the others."""
    guests = [*others]
    guests.insert(number, watched)
    run = Run(layout, guests)
    try:
        return observe(run, number)
    finally:
        run.close()


@cache
def beside_a_quiet_one(layout: Layout, watched: Guest) -> Observation:
    found = observed(layout, OBSERVED, watched, QUIET)
    assert found.console.count(b"digest=") >= 6
    return found


def names(guests: tuple[Guest, ...]) -> list[str]:
    return [f"{guest.stub}:{guest.case}" for guest in guests]


@pytest.mark.parametrize("other", HOSTILE, ids=names(HOSTILE))
def test_one_vcpu_beside_each_neighbour(other: Guest) -> None:
    quiet = beside_a_quiet_one(one_cpu(), observer())
    assert observed(one_cpu(), OBSERVED, observer(), other) == quiet


@pytest.mark.parametrize("other", HOSTILE, ids=names(HOSTILE))
def test_two_vcpus_beside_each_neighbour(other: Guest) -> None:
    quiet = beside_a_quiet_one(two_cpus(), observer("pair"))
    assert observed(two_cpus(), OBSERVED, observer("pair"), other) == quiet


@pytest.mark.parametrize("other", [Guest("hostile", "crash"), Guest("intruder", "registers")])
def test_a_vm_that_starts_again_is_not_shifted(other: Guest) -> None:
    """It resets itself, then crashes: what the hypervisor does for that, it does in its slots."""
    quiet = beside_a_quiet_one(one_cpu(), observer("lives"))
    assert quiet.counters.restarts == 2 and quiet.counters.crashes == 1
    assert observed(one_cpu(), OBSERVED, observer("lives"), other) == quiet


@pytest.mark.usefixtures("kind_machine")
def test_the_same_in_model_mode() -> None:
    """Both translate alike, so what is true of one is of the other."""
    quiet = beside_a_quiet_one(one_cpu(), observer())
    model = one_cpu(MmuMode.MODEL)
    assert observed(model, OBSERVED, observer(), Guest("hostile", "crash")) == quiet


def test_two_vcpus_that_wait_for_the_same_lock_stay_in_their_window() -> None:
    """Both of a neighbour's vCPUs enter with 96 interrupts pending while the other is at it: longer
    than the default window, not longer than the one that docs/not-modelled.md asks for then."""
    layout = Layout(
        (
            Place("other0", (0, 1), Restart.CRASH),
            Place("observed", (1, 0), Restart.CRASH),
            Place("other2", (0,)),
        ),
        (
            ((1, 1, 284), (1, 1, 283), (2, 0, 322), (0, 0, 226), (1, 1, 344), (None, 0, 159)),
            ((1, 0, 489), (0, 1, 364), (0, 1, 372), (1, 0, 217), (None, 0, 176)),
        ),
        1618,
        quantum=333,
        seed=1,
        window_us=128,
    )
    watched = observer("pair", lines=4)
    run = Run(layout, [Guest("intruder", "interrupts"), watched, QUIET])
    seen = observe(run, 1)
    cpus = run.telemetry().hypervisor.cpus
    run.close()
    assert max(cpu.most_ticks for cpu in cpus) > 4000 and [cpu.late for cpu in cpus] == [0, 0]
    assert seen == observed(layout, 1, watched, QUIET, QUIET)


@settings(max_examples=EXAMPLES)
@given(st.data(), st.integers(1, 2))
def test_any_layout_and_neighbours(data: st.DataObject, vcpus: int) -> None:
    layout, number = data.draw(layouts(vcpus=vcpus), label="layout")
    count = len(layout.places) - 1
    others = data.draw(st.lists(neighbours(), min_size=count, max_size=count), label="others")
    case = "pair" if vcpus == 2 else data.draw(st.sampled_from(("single", "lives")), label="case")
    watched = observer(case, lines=4)
    quiet = observed(layout, number, watched, *[QUIET] * count)
    assert observed(layout, number, watched, *others) == quiet
