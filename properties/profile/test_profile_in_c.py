# SPDX-License-Identifier: Apache-2.0
"""The C side of the profile against its twin, and the run against that without a profile."""

from collections import Counter
from collections.abc import Callable

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.profile import Profiler
from aether_edgecloud.emulator.profile import buffers as layout
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine.hooks_twin import PythonRun
from aether_edgecloud.properties.profile.profile_twin import ProfileTwin, told
from aether_edgecloud.properties.profile.runs import LIMIT, hypervisor, known

_SGI = "bench-irq:sgi=3"


def end(machine: Machine) -> None:
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF


def profile_in_c(machine: Machine, after: int = 0) -> tuple[list[object], Counter[int], object]:
    """The stays, how often each instruction retired, and what the profile comes to, after so many
    instructions."""
    machine.run(after)
    profiler = Profiler(machine, keep_stays=True)
    end(machine)
    profile = profiler.finish()
    retired: Counter[int] = Counter()
    for (pc, instructions, _tag, _inside), runs in profiler.code.items():
        for n in range(instructions):
            retired[pc + 4 * n] += runs
    machine.close()
    return [*told(profiler.take_stays())], retired, profile


def twin_of(machine: Machine, after: int = 0) -> tuple[list[object], Counter[int]]:
    machine.run(after)
    twin = ProfileTwin(machine)
    end(machine)
    twin.finish()
    machine.close()
    return [*twin.stays], twin.retired


def test_the_twin_agrees_on_a_known_program(known_el2: El2Binary) -> None:
    stays, retired, _ = profile_in_c(known(known_el2))
    assert (stays, retired) == twin_of(known(known_el2, hooks=python_run()))


@pytest.mark.parametrize(
    ("guest", "cpus", "after"),
    [("hello", 1, 945_000), (_SGI, 2, 960_000), (_SGI, 2, 994_001)],
    ids=["last of boot", "before CPU 1 starts", "while both run"],
)
def test_the_twin_agrees_on_the_hypervisor(guest: str, cpus: int, after: int) -> None:
    stays, retired, _ = profile_in_c(hypervisor(guest, cpus=cpus), after)
    expected = twin_of(hypervisor(guest, hooks=python_run(), cpus=cpus), after)
    assert len(stays) > 3
    assert stays == expected[0]
    assert retired == expected[1]


@pytest.mark.nightly
@pytest.mark.parametrize(("guest", "cpus"), [("hello", 1), (_SGI, 2), ("bench-irq:timer=20", 1)])
def test_the_twin_agrees_on_whole_runs(guest: str, cpus: int) -> None:
    stays, retired, _ = profile_in_c(hypervisor(guest, cpus=cpus))
    expected = twin_of(hypervisor(guest, hooks=python_run(), cpus=cpus))
    assert stays == expected[0]
    assert retired == expected[1]


def python_run() -> PythonRun:
    return PythonRun(shared_library("hooks"))


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
@pytest.mark.parametrize(("guest", "cpus"), [("hello", 1), ("bench-irq:timer=3", 1), (_SGI, 2)])
def test_a_profiled_run_is_the_run(guest: str, cpus: int, mmu: MmuMode) -> None:
    def outcome(attach: Callable[[Machine], object]) -> tuple[object, ...]:
        machine = hypervisor(guest, mmu, cpus=cpus)
        kept = attach(machine)
        end(machine)
        found = (
            machine.instructions,
            bytes(machine.console.output),
            state_sha256(machine),
            [cpu.instructions_by_el() for cpu in machine.cpus],
            [cpu.timelines for cpu in machine.cpus],
            [cpu.exits.lengths for cpu in machine.cpus],
        )
        if isinstance(kept, Profiler):
            kept.finish()
        machine.close()
        return found

    assert outcome(Profiler) == outcome(lambda _: None)


def test_full_buffers_lose_nothing(known_el2: El2Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = profile_in_c(known(known_el2))
    monkeypatch.setattr(layout, "STAYS", 3)
    assert profile_in_c(known(known_el2)) == whole


def test_both_mmus_give_the_same_profile() -> None:
    assert profile_in_c(hypervisor("hello")) == profile_in_c(hypervisor("hello", MmuMode.NATIVE))


def test_exits_are_those_that_every_run_counts() -> None:
    """`Cpu.exits` has them by exception class."""
    machine = hypervisor("hello")
    profiler = Profiler(machine)
    end(machine)
    found = {stay.name: stay.figures.total for stay in profiler.finish().stays}
    lengths = {
        kind: sum(machine.cpu.exits.lengths_of(kind)) for kind in ("hvc", "data-abort", "boot")
    }
    machine.close()
    assert found["hvc"] == lengths["hvc"]
    assert found["boot"] == lengths["boot"]
    assert found["mmio-read"] + found["mmio-write"] == lengths["data-abort"]
