# SPDX-License-Identifier: Apache-2.0
"""Schedules: equal shares, slots that a person describes, and the rules they obey."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle import slots
from aether_edgecloud.emulator.bundle.check import check
from aether_edgecloud.emulator.bundle.description import (
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import Manifest, Memory, Vm
from aether_edgecloud.emulator.bundle.schedule import CpuSlots, Schedule, Slot, equal_shares
from aether_edgecloud.emulator.errors import UserError

BASE = 0x4000_0000


def vm(name: str, vcpus: int = 1) -> Vm:
    return Vm(name, vcpus, BASE, 0, (Memory(BASE, 4096),), (), ())


def judge(schedule: Schedule, vms: Sequence[Vm], board_cpus: int | None = None) -> None:
    check(
        Manifest(tuple(vms), schedule),
        (),
        where=["x.toml:1"] * len(vms),
        where_schedule="x.toml:9: cpus",
    )


def told(schedule: Schedule, *vms: Vm) -> str:
    with pytest.raises(UserError) as caught:
        judge(schedule, vms)
    assert str(caught.value).startswith("x.toml:9: cpus: ")
    assert caught.value.fix
    return str(caught.value)


PINS = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=8), min_size=1, max_size=8)


@given(PINS, st.integers(16 * 122, 100_000))
def test_equal_shares_are_equal_and_whole(pins: list[list[int]], frame: int) -> None:
    schedule = equal_shares(pins, frame_us=frame)
    assert [cpu.cpu for cpu in schedule.cpus] == sorted({0, *(c for one in pins for c in one)})
    for cpu in schedule.cpus:
        homes: list[tuple[int | None, int]] = [
            (i, j) for i, one in enumerate(pins) for j, home in enumerate(one) if home == cpu.cpu
        ]
        lengths = [slot.length_us for slot in cpu.slots]
        assert sum(lengths) == frame
        assert max(lengths) - min(lengths) <= 1
        assert [(s.vm, s.vcpu) for s in cpu.slots] == (homes or [(None, 0)])
    if max(len(cpu.slots) for cpu in schedule.cpus) <= 16:
        judge(schedule, [vm(f"vm{n}", len(one)) for n, one in enumerate(pins)])
    else:
        assert "slots, and a CPU has 1 to 16" in told(
            schedule, *(vm(f"vm{n}", len(one)) for n, one in enumerate(pins))
        )


def one_cpu(*slots_: Slot, frame: int = 1000) -> Schedule:
    return Schedule(frame, 64, (CpuSlots(0, slots_),))


A, B = vm("a"), vm("b")
HALVES = one_cpu(Slot(0, 0, 500), Slot(1, 0, 500))


def test_a_good_schedule_passes() -> None:
    judge(HALVES, (A, B))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (one_cpu(Slot(0, 0, 500), Slot(1, 0, 501)), "CPU 0: slots of 1001 us exceed the frame"),
        (one_cpu(Slot(0, 0, 500), Slot(1, 0, 499)), "CPU 0: slots of 999 us do not fill the frame"),
        (
            one_cpu(Slot(0, 0, 879), Slot(1, 0, 121)),
            "slot 1 (vCPU 0 of b) of 121 us: the window takes 64 us of it, which leaves too little;"
            " make it 122 us or longer",
        ),
        (
            one_cpu(Slot(0, 0, 500), Slot(1, 0, 436), Slot(None, 0, 64)),
            "slot 2 (nobody) of 64 us: the window takes 64 us of it, which leaves too little;"
            " make it 65 us or longer",
        ),
        (one_cpu(Slot(0, 0, 500), Slot(2, 0, 500)), "slot 1 is for VM 2, and there are 2"),
        (one_cpu(Slot(0, 1, 500), Slot(1, 0, 500)), "slot 0 is for vCPU 1 of a, which has 1 vCPU;"),
        (one_cpu(Slot(0, 0, 1000)), "vCPU 0 of b has no slot"),
        (one_cpu(), "0 slots, and a CPU has 1 to 16"),
        (one_cpu(*[Slot(0, 0, 100)] * 17, frame=1700), "17 slots"),
        (replace(HALVES, frame_us=0), "a frame of 0 us"),
        (replace(HALVES, frame_us=1_000_001), "a frame of 1000001 us"),
        (replace(HALVES, window_us=0), "a window of 0 us"),
        (replace(HALVES, window_us=1000), "a window of 1000 us in a frame of 1000 us"),
        (replace(HALVES, cpus=()), "list each CPU once, from CPU 0 on"),
        (replace(HALVES, cpus=(replace(HALVES.cpus[0], cpu=1),)), "from CPU 0 on"),
        (replace(HALVES, cpus=HALVES.cpus * 2), "list each CPU once"),
        (
            replace(HALVES, cpus=(*HALVES.cpus, replace(HALVES.cpus[0], cpu=8))),
            "CPU 8, and the hypervisor runs on CPUs 0 to 7",
        ),
        (
            replace(HALVES, cpus=(*HALVES.cpus, replace(HALVES.cpus[0], cpu=3))),
            "vCPU 0 of a has slots on CPU 0 and on CPU 3",
        ),
    ],
)
def test_each_breach_is_told(schedule: Schedule, words: str) -> None:
    assert words in told(schedule, A, B)


@given(st.integers(1, 500), st.booleans(), st.booleans())
def test_a_slot_has_room_for_what_must_fit(window: int, ffa: bool, enough: bool) -> None:
    """Behind its window: the guest's entry and a step of its VM's loading, or a call of FF-A about
    one page."""
    of_b = window + (113 if ffa else 58) - (not enough)
    schedule = replace(one_cpu(Slot(0, 0, 1000), Slot(1, 0, of_b)), frame_us=1000 + of_b)
    vms = (A, replace(B, peers=() if ffa else None))
    if enough:
        judge(replace(schedule, window_us=window), vms)
    else:
        words = told(replace(schedule, window_us=window), *vms)
        assert words.endswith(f"make it {of_b + 1} us or longer")


def described(name: str, vcpus: int = 1, cpus: tuple[int, ...] | None = None) -> VmDescription:
    return VmDescription(name, (), vcpus=vcpus, cpus=cpus, where=f"x.toml: {name}")


def slot(name: str | None, length: int, vcpu: int | None = None) -> SlotDescription:
    return SlotDescription(name, vcpu, length, "x.toml:7: cpus")


def resolve(*cpus: tuple[SlotDescription, ...], vms: Sequence[VmDescription]) -> Schedule:
    return slots.resolve(ScheduleDescription(1000, 64, cpus, "x.toml:7: cpus"), vms)


def test_names_become_numbers_and_the_rest_is_nobodys() -> None:
    vms = (described("a"), described("b", 2))
    found = resolve(
        (slot("b", 300), slot(None, 100), slot("a", 400)), (slot("b", 1000),), (), vms=vms
    )
    assert found == Schedule(
        1000,
        64,
        (
            CpuSlots(0, (Slot(1, 0, 300), Slot(None, 0, 100), Slot(0, 0, 400), Slot(None, 0, 200))),
            CpuSlots(1, (Slot(1, 1, 1000),)),
            CpuSlots(2, (Slot(None, 0, 1000),)),
        ),
    )


def test_the_only_vcpu_may_be_anywhere() -> None:
    found = resolve((), (slot("a", 1000),), vms=(described("a"),))
    assert found.cpus[1].slots == (Slot(0, 0, 1000),)


def test_pins_decide_which_vcpu_is_meant() -> None:
    vms = (described("a", 2, cpus=(1, 0)),)
    found = resolve((slot("a", 1000),), (slot("a", 1000),), vms=vms)
    assert [cpu.slots[0].vcpu for cpu in found.cpus] == [1, 0]
    shared = slots.resolve(ScheduleDescription(), vms)
    assert [cpu.slots[0].vcpu for cpu in shared.cpus] == [1, 0]


@pytest.mark.parametrize(
    ("cpus", "vms", "words"),
    [
        (((slot("c", 1000),),), [described("a")], "x.toml:7: cpus: no VM is called 'c'"),
        (((slot("a", 1000),),), [described("a", 2, (0, 0))], "which vCPU of a has this slot"),
        (((slot("a", 936),),), [described("a")], "leave 64 us of the frame"),
        (((slot("a", 1000),),), [described("a", 2, (0,))], "1 CPUs for 2 vCPUs"),
        (((slot("a", 1000),),), [described("a", 1, (8,))], "CPUs 0 to 7"),
        (
            ((slot("a", 1000),),),
            [described("a", 1, (1,))],
            "x.toml: a: vm a: vCPU 0 is to be on CPU 1, and the schedule has it on CPU 0",
        ),
    ],
)
def test_slots_that_fit_no_vm(
    cpus: tuple[tuple[SlotDescription, ...], ...], vms: list[VmDescription], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        resolve(*cpus, vms=vms)
    assert words in str(caught.value)
    assert caught.value.fix
