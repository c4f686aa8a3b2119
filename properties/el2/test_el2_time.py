# SPDX-License-Identifier: Apache-2.0
"""Time slots: what a VM does moves no other VM by one instruction."""

from functools import cache

import pytest

from aether_edgecloud.emulator.bundle.description import ScheduleDescription, SlotDescription
from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.guest_stubs import catalogue

from .several_vms import StubVm, boot, run_until

HOSTILE = catalogue.find("hostile").cases
CALLS = 12_000
"""Of the VM that is watched: some frames long."""


def slots(*parts: tuple[str | None, int]) -> tuple[SlotDescription, ...]:
    return tuple(SlotDescription(vm, 0 if vm else None, us) for vm, us in parts)


SCHEDULES = {
    "halves": None,
    "short": slots(("victim", 300), ("hostile", 300), ("victim", 300), ("hostile", 2100)),
    "with-idle": slots((None, 500), ("hostile", 900), ("victim", 700), (None, 900)),
    "alone-twice": slots(("hostile", 1000), ("victim", 400), ("victim", 600), ("hostile", 1000)),
}
SCHEDULE_FRAME_US = 3_000


@cache
def timeline(case: str, cpu: int, schedule: str = "halves") -> tuple[int, int]:
    """Of a VM that makes calls until it switches itself off, beside a hostile one on the same CPU:
    the hash over PC and counter at each of its entries and exits, and how many there were."""
    neighbour = StubVm(
        "hostile",
        "hostile",
        case=catalogue.find("hostile").case(case).number,
        cpus=(cpu, 1 - cpu),
        restart=Restart.ALWAYS,
    )
    shared = SCHEDULES[schedule]
    other = (SlotDescription("hostile", 1, SCHEDULE_FRAME_US),)
    machine = boot(
        [neighbour, StubVm("victim", "null-hvc", parameter=CALLS, cpus=(cpu,))],
        cpus=2,
        schedule=None
        if shared is None
        else ScheduleDescription(SCHEDULE_FRAME_US, cpus=(shared, other)),
    )
    run_until(machine, "[aether] vm victim: off")
    return machine.cpus[cpu].timelines[2]


@pytest.mark.parametrize("cpu", [0, 1], ids=["console-cpu", "other-cpu"])
@pytest.mark.parametrize("case", [c.name for c in HOSTILE[1:]])
def test_a_neighbour_shifts_nothing(case: str, cpu: int) -> None:
    quiet = timeline(HOSTILE[0].name, cpu)
    assert quiet[1] > 2 * CALLS
    assert timeline(case, cpu) == quiet


@pytest.mark.parametrize("schedule", list(SCHEDULES)[1:])
@pytest.mark.parametrize("case", ["sleep", "crash", "console"])
def test_in_any_schedule(case: str, schedule: str) -> None:
    assert timeline(case, 0, schedule) == timeline(HOSTILE[0].name, 0, schedule)
