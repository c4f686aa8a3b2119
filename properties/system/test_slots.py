# SPDX-License-Identifier: Apache-2.0
"""Every VM gets its slots, none of them late, and hostile guests stay within theirs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.properties.system.neighbours import (
    HOSTILE,
    QUIET,
    layouts,
    neighbours,
    observer,
    two_cpus,
)
from aether_edgecloud.properties.system.side_by_side import Guest, Layout, Place, Run

FRAMES = 8
IDS = [f"{guest.stub}:{guest.case}" for guest in HOSTILE]
SPINS = Guest("hostile", "masked-loop")


def check_nothing_is_late(run: Run) -> None:
    """No window was missed; nothing was said of a panic."""
    found = run.telemetry()
    assert [cpu.late for cpu in found.hypervisor.cpus] == [0] * len(run.layout.slots)
    assert all(cpu.most_ticks <= found.hypervisor.window for cpu in found.hypervisor.cpus)
    assert not any(vcpu.late for vm in found.vms for vcpu in vm.vcpus)
    assert "panic" not in run.console().decode("latin-1")


@settings(max_examples=settings().max_examples // 20)
@given(st.data(), st.integers(1, 2))
def test_every_vm_gets_its_slots(data: st.DataObject, vcpus: int) -> None:
    """A VM that always wants to run, beside any others: each of its slots of each frame."""
    layout, number = data.draw(layouts(vcpus=vcpus), label="layout")
    count = len(layout.places) - 1
    guests = data.draw(st.lists(neighbours(), min_size=count, max_size=count), label="others")
    guests.insert(number, SPINS)
    run = Run(layout, guests).until_frame(FRAMES)
    cpu = layout.places[number].cpus[0]
    frames = run.telemetry().hypervisor.cpus[cpu].slots / len(layout.slots[cpu])
    slots = sum((vm, vcpu) == (number, 0) for vm, vcpu, _ in layout.slots[cpu])
    got = run.telemetry().vms[number].vcpus[0].slots
    run.close()
    assert int(frames) * slots <= got <= (int(frames) + 1) * slots
    check_nothing_is_late(run)


@pytest.mark.parametrize("guest", HOSTILE, ids=IDS)
def test_a_hostile_guest_beside_another(guest: Guest) -> None:
    """With two vCPUs, where it uses them, on two pCPUs; the other one is as quick as ever."""
    run = Run(two_cpus(), [SPINS, guest]).until_frame(FRAMES)
    check_nothing_is_late(run)
    run.close()


ALONE = Layout((Place("alone", (0,), Restart.ALWAYS),), (((0, 0, 500), (None, 0, 500)),), 1000)


@pytest.mark.parametrize("guest", HOSTILE, ids=IDS)
def test_a_hostile_guest_alone_in_both_modes(guest: Guest) -> None:
    """The same timeline, console and counters, and nothing is late."""
    seen = []
    for mmu in MmuMode:
        layout = Layout(ALONE.places, ALONE.slots, ALONE.frame_us, mmu=mmu)
        run = Run(layout, [guest]).until_frame(3)
        check_nothing_is_late(run)
        seen.append((run.machine.cpu.timelines, run.console(), run.telemetry()))
        run.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("quantum", [1000, 333, 50])
def test_vcpus_that_wait_for_each_other_are_not_late(quantum: int) -> None:
    """Both at one vGIC with 96 interrupts pending. No longer quantum: the one that has the lock
    would keep the other waiting for all of it."""
    places = (
        Place("other0", (0, 1)),
        Place("observed", (0,), Restart.CRASH),
        Place("other2", (0,)),
    )
    slots = (
        ((0, 0, 214), (1, 0, 214), (2, 0, 214), (None, 0, 164)),
        ((0, 1, 214), (None, 0, 592)),
    )
    layout = Layout(places, slots, 806, quantum=quantum, window_us=128)
    run = Run(layout, [Guest("intruder", "interrupts"), SPINS, SPINS]).until_frame(FRAMES)
    check_nothing_is_late(run)
    run.close()


def test_sleepers_get_their_slots_too() -> None:
    """A slot in which a guest sleeps from its start to its end is its slot all the same."""
    run = Run(two_cpus(), [QUIET, QUIET]).until_frame(FRAMES)
    assert run.telemetry().vms[0].vcpus[0].slots >= FRAMES
    check_nothing_is_late(run)
    run.close()


def test_a_board_that_is_always_late_speaks_all_the_same() -> None:
    """The window is shorter than what EL2 does in it, as on a simulator that follows the host's
    clock: then being late no longer matters, and the console does not fall silent."""
    places = (Place("observed", (0,), Restart.CRASH), Place("other", (0,)))
    slots = (((0, 0, 300), (1, 0, 400), (0, 0, 200), (None, 0, 100)),)
    run = Run(Layout(places, slots, 1000, window_us=6), [observer("single"), QUIET])
    run.until_line("[observed] observer: done", most=12_000_000)
    assert run.telemetry().hypervisor.cpus[0].late > FRAMES
    run.close()
