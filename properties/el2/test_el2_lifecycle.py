# SPDX-License-Identifier: Apache-2.0
"""A VM that the manifest lets manage others creates, starts, pauses, resumes, stops and destroys
them, in the states that allow it and in no others."""

from dataclasses import replace

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.description import ScheduleDescription, SlotDescription
from aether_edgecloud.emulator.bundle.manifest import Memory, Restart
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine, StopKind
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.guest_stubs.ffa import VmCall, VmEnd, VmResult, VmState

from ..guest import program
from ..guest.partitions import MASK, SLOT_US, Actor, answers, manage, run, schedule, timeline, until
from ..guest.program import Step, call_8, finish, leave, poll, settle
from .several_vms import StubVm

BOSS, IT = 1, 2
PINNED_AT = 0x4C00_0000
PINNED_SIZE = catalogue.find("script").memory_size
HELLO = [settle(0, 1), *finish()]
FOREVER = [settle(0, 10**12)]
ALLOWED = {
    VmCall.CREATE: {VmState.ABSENT, VmState.DOWN},
    VmCall.START: {VmState.READY},
    VmCall.PAUSE: {VmState.RUNNING},
    VmCall.RESUME: {VmState.PAUSED},
    VmCall.STOP: {VmState.RUNNING, VmState.PAUSED, VmState.READY},
    VmCall.DESTROY: {VmState.DOWN, VmState.READY},
}
TO_RUNNING = [manage(VmCall.CREATE, IT), until(VmState.READY, IT), manage(VmCall.START, IT)]
WAYS = {
    VmState.ABSENT: [],
    VmState.READY: TO_RUNNING[:2],
    VmState.RUNNING: TO_RUNNING,
    VmState.PAUSED: [*TO_RUNNING, manage(VmCall.PAUSE, IT)],
    VmState.DOWN: [*TO_RUNNING[:2], manage(VmCall.STOP, IT), until(VmState.DOWN, IT)],
}
"""From ABSENT to each state in which it can be for long."""
LEADS_TO = {
    VmCall.CREATE: VmState.READY,
    VmCall.START: VmState.RUNNING,
    VmCall.PAUSE: VmState.PAUSED,
    VmCall.RESUME: VmState.RUNNING,
    VmCall.STOP: VmState.DOWN,
    VmCall.DESTROY: VmState.ABSENT,
}


def boss(steps: list[Step]) -> Actor:
    return Actor("boss", [*steps, *finish()], manages=("it",))


def it(steps: list[Step], restart: Restart = Restart.NEVER) -> Actor:
    return Actor("it", steps, manual=True, restart=restart)


def code(answer: tuple[int, ...]) -> int:
    return answer[0] - 2**64 if answer[0] >> 63 else answer[0]


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("[aether] vm it")]


def test_a_whole_life() -> None:
    steps = [
        manage(VmCall.INFO, IT),
        *TO_RUNNING,
        until(VmState.DOWN, IT),
        manage(VmCall.DESTROY, IT),
        until(VmState.ABSENT, IT),
    ]
    text = run(boss(steps), it(HELLO))
    found = answers(text, "boss")
    assert found[0][:4] == (0, VmState.ABSENT, VmEnd.OFF, 0)
    assert [code(answer) for answer in found] == [0] * len(steps)
    assert found[4][:4] == (0, VmState.DOWN, VmEnd.OFF, 0)
    assert lines(text) == ["[aether] vm it: start", "[aether] vm it: off"]
    assert "[it] script: printed" in text


@pytest.mark.parametrize("state", WAYS)
def test_what_a_state_allows(state: VmState) -> None:
    """All that it forbids first, which changes nothing; then, again from ABSENT, each thing."""
    way = WAYS[state]
    forbidden = [manage(call, IT) for call, states in ALLOWED.items() if state not in states]
    allowed = [call for call, states in ALLOWED.items() if state in states]
    for call in allowed:
        steps = [*way, *forbidden, manage(VmCall.INFO, IT), manage(call, IT)]
        steps += [until(LEADS_TO[call], IT)]
        if LEADS_TO[call] is VmState.RUNNING:
            steps += [manage(VmCall.STOP, IT)]
        found = answers(run(boss(steps), it(FOREVER)), "boss")[len(way) :]
        assert [code(answer) for answer in found[: len(forbidden)]] == (
            [VmResult.BAD_STATE] * len(forbidden)
        )
        # START and RESUME have been seen to work only once the VM has been in its slot.
        assert found[len(forbidden)][:2] == (0, state)
        assert code(found[len(forbidden) + 1]) == VmResult.SUCCESS
        assert found[len(forbidden) + 2][:2] == (0, LEADS_TO[call])


@pytest.mark.parametrize("call", VmCall)
def test_wrong_arguments(call: VmCall) -> None:
    invalid: list[tuple[int, ...]] = [(0,), (3,), (IT | 1 << 32,), (MASK,)]
    invalid += [(IT, *(int(i == k) for i in range(6))) for k in range(6)]
    steps = [call_8(0, call, *arguments) for arguments in invalid]
    steps += [call_8(0, call, BOSS), manage(VmCall.INFO, IT)]
    found = answers(run(boss(steps), it(HELLO)), "boss")
    assert [code(answer) for answer in found[: len(invalid)]] == (
        [VmResult.INVALID_PARAMETER] * len(invalid)
    )
    assert code(found[-2]) == VmResult.DENIED
    assert found[-1][:2] == (0, VmState.ABSENT)


def test_who_manages_nobody_is_denied() -> None:
    calls = [call_8(0, call, vm) for call in VmCall for vm in (1, 2, 3)]
    clerk = Actor("clerk", [*calls, *finish()])
    text = run(boss([]), it(HELLO), clerk)
    assert [code(answer) for answer in answers(text, "clerk")] == [VmResult.DENIED] * len(calls)
    assert lines(text) == []


@pytest.mark.parametrize("function", [0xC600_0017, 0x8600_0010, 0xC600_000F, 0xC600_0110])
def test_functions_that_there_are_not(function: int) -> None:
    found = answers(run(boss([call_8(0, function, IT)]), it(HELLO)), "boss")
    assert code(found[0]) == -1


def test_a_stop_is_no_reason_to_restart() -> None:
    steps = [*TO_RUNNING, settle(0, 100_000), manage(VmCall.STOP, IT), until(VmState.DOWN, IT)]
    steps += [settle(0, 100_000), manage(VmCall.INFO, IT)]
    text = run(boss(steps), it(FOREVER, Restart.ALWAYS))
    assert answers(text, "boss")[-1][:4] == (0, VmState.DOWN, VmEnd.STOPPED, 0)
    assert lines(text) == ["[aether] vm it: start", "[aether] vm it: stopped"]


@pytest.mark.parametrize("phase", [100_000, 150_000, 222_222, 333_333])
def test_a_vm_that_ends_again_and_again_can_be_stopped(phase: int) -> None:
    """It is seldom, or never, met while it runs: between two lives it can be stopped too."""
    steps = [*TO_RUNNING, settle(0, phase), manage(VmCall.STOP, IT), until(VmState.DOWN, IT)]
    steps += [settle(0, 1_000_000), manage(VmCall.INFO, IT)]
    text = run(boss(steps), it([leave(0, program.SYSTEM_RESET)]))
    found = answers(text, "boss")
    assert code(found[len(TO_RUNNING)]) == VmResult.SUCCESS
    assert found[-1][:2] == (0, VmState.DOWN)


def test_a_crash_of_what_was_created_restarts_it_as_its_manifest_says() -> None:
    """Until it is stopped, which ends the machine."""
    crash = catalogue.find("hostile").case("crash").number
    bad = StubVm("it", "hostile", case=crash, restart=Restart.CRASH).describe()
    steps = [*TO_RUNNING, settle(0, 1_500_000), poll(0, 0, 0, VmCall.STOP, IT)]
    actors = [boss(steps), it([])]
    vms = [actors[0].describe(), replace(bad, manual_start=True)]
    initrd = program.bundle(vms, schedule(actors))
    text = program.in_emulator(initrd, cpus=1, end="[aether] end: guest-")
    assert len([line for line in lines(text) if line.endswith("; restarts")]) >= 1


@pytest.mark.parametrize("shortest", ["boss", "it"])
def test_the_shortest_slots_are_long_enough(shortest: str) -> None:
    """58 us behind the window: a guest runs, and a VM is loaded, ends and is destroyed."""
    steps = [*TO_RUNNING, until(VmState.DOWN, IT)]
    steps += [manage(VmCall.DESTROY, IT), until(VmState.ABSENT, IT)]
    actors = [boss(steps), it(HELLO)]
    slots = [SlotDescription(a.name, 0, 122 if a.name == shortest else SLOT_US) for a in actors]
    short = ScheduleDescription(frame_us=122 + SLOT_US, cpus=(tuple(slots),))
    text = program.in_emulator(program.bundle([a.describe() for a in actors], short), cpus=1)
    assert lines(text) == ["[aether] vm it: start", "[aether] vm it: off"]
    assert answers(text, "boss")[-1][:2] == (0, VmState.ABSENT)


def test_created_anew_after_a_stop_it_starts_from_its_image() -> None:
    again = [manage(VmCall.CREATE, IT), until(VmState.READY, IT), manage(VmCall.START, IT)]
    steps = [*TO_RUNNING, until(VmState.DOWN, IT), *again, until(VmState.DOWN, IT)]
    text = run(boss(steps), it(HELLO))
    assert text.count("[it] script: printed") == 2


@pytest.mark.parametrize("state", [VmState.ABSENT, VmState.READY, VmState.PAUSED, VmState.DOWN])
def test_the_machine_ends_with_the_last_vm_that_runs(state: VmState) -> None:
    run(boss(WAYS[state]), it(FOREVER))


def test_the_machine_goes_on_while_one_runs() -> None:
    text = run(boss(TO_RUNNING), it([settle(0, 300_000), *finish()]))
    assert text.index("vm boss: off") < text.index("vm it: off")


def test_a_destroyed_vm_leaves_nothing_behind() -> None:
    """Its memory, program and image, is zero as it becomes ABSENT; as READY it was not."""
    memory = Memory(catalogue.find("script").memory_base, PINNED_SIZE, PINNED_AT)
    target = replace(it(HELLO).describe(), memory=(memory,))
    for last, zero in ((VmState.READY, False), (VmState.ABSENT, True)):
        steps = [manage(VmCall.CREATE, IT), until(VmState.READY, IT)]
        steps += [manage(VmCall.DESTROY, IT), until(VmState.ABSENT, IT)] if zero else []
        actors = [boss([*steps, manage(VmCall.INFO, IT)]), it(HELLO)]
        initrd = program.bundle([actors[0].describe(), target], schedule(actors))
        image = BootImage.from_file(toolchain.artefact("el2").flat)
        machine = Machine(
            virt(program.RAM_SIZE, 1), image, initrd, mmu=MmuMode.NATIVE, source=Bytes(b"")
        )
        try:
            assert machine.run(until=100_000_000).kind is not StopKind.LIMIT
            left = machine.read_pa(PINNED_AT, PINNED_SIZE)
        finally:
            machine.close()
        assert (left == bytes(PINNED_SIZE)) == zero, last


@pytest.mark.parametrize("cpus", [(0, 0), (0, 1), (1, 0)], ids=["same", "boss-here", "it-here"])
def test_what_is_done_to_a_vm_moves_no_other(cpus: tuple[int, int]) -> None:
    busy = [manage(VmCall.CREATE, 3), until(VmState.READY, 3), manage(VmCall.START, 3)]
    busy += [manage(VmCall.PAUSE, 3), settle(0, 10_000), manage(VmCall.RESUME, 3)]
    busy += [until(VmState.DOWN, 3), manage(VmCall.DESTROY, 3), until(VmState.ABSENT, 3)]
    found = [
        timeline(
            Actor("boss", [*steps, *finish()], manages=("it",), cpus=cpus[:1]),
            Actor("it", HELLO, manual=True, cpus=cpus[1:]),
        )
        for steps in ([settle(0, 1)] * 2 * len(busy), [*busy, *busy])
    ]
    assert found[0] == found[1]
