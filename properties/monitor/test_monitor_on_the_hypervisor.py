# SPDX-License-Identifier: Apache-2.0
"""The monitor on the real binary: it is silent, and does not show in the run."""

import hashlib
from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.monitor import casemate
from aether_edgecloud.emulator.monitor.events import EventKind
from aether_edgecloud.emulator.monitor.monitor import Monitor, Record
from aether_edgecloud.emulator.monitor.poison import POISON, poison
from aether_edgecloud.emulator.monitor.stage2_map import stage2_map
from aether_edgecloud.properties.el2 import several_vms
from aether_edgecloud.properties.el2.several_vms import StubVm
from aether_edgecloud.properties.system import neighbours
from aether_edgecloud.properties.system.side_by_side import Guest, Run

LIMIT = 2_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must not differ with the monitor on."""

    stop: object
    by_el: tuple[tuple[int, int, int], ...]
    console: str
    state: str
    timelines: tuple[dict[int, tuple[int, int]], ...]


def outcome(machine: Machine, limit: int = LIMIT) -> Outcome:
    stop = machine.run(limit)
    found = Outcome(
        stop,
        tuple(cpu.instructions_by_el() for cpu in machine.cpus),
        hashlib.sha256(machine.console.output).hexdigest(),
        state_sha256(machine),
        tuple(cpu.timelines for cpu in machine.cpus),
    )
    machine.close()
    return found


def one(name: str) -> Machine:
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    return Machine(virt(), image, target.resolve(name).bundle)


def two() -> Machine:
    """Two VMs of which one crashes and is loaded anew, again and again."""
    guests = (neighbours.observer("single"), Guest("fault-loop", "data-abort"))
    return Run(neighbours.one_cpu(MmuMode.MODEL), guests).machine


def smp() -> Machine:
    """Two CPUs, two VMs with two vCPUs each."""
    guests = (neighbours.observer("pair"), Guest("intruder", "anything"))
    return Run(neighbours.two_cpus(MmuMode.MODEL), guests).machine


MACHINES = {
    "hello": lambda: one("hello"),
    "stage1": lambda: one("stage1"),
    "two VMs": two,
    "two CPUs": smp,
}


@pytest.mark.parametrize("name", MACHINES)
def test_silent_and_not_to_be_seen(name: str) -> None:
    without = outcome(MACHINES[name]())
    for record in (Record.NOTHING, Record.EVENTS):
        machine = MACHINES[name]()
        monitor = Monitor(machine, record=record)
        assert outcome(machine) == without
        monitor.check()
        if record is Record.NOTHING:
            with pytest.raises(UserError, match="the monitor has kept no events; say"):
                list(casemate.export(monitor.events))
        else:
            assert monitor.events


def test_attached_in_the_middle() -> None:
    without = outcome(two())
    machine = two()
    machine.run(1_200_000)
    monitor = Monitor(machine)
    assert outcome(machine) == without
    monitor.check()


def test_watching_ends() -> None:
    without = outcome(two())
    machine = two()
    monitor = Monitor(machine, record=Record.EVENTS)
    machine.run(1_200_000)
    monitor.close()
    count = len(monitor.events)
    assert outcome(machine) == without
    assert len(monitor.events) == count


def test_it_sees_what_a_hypervisor_does() -> None:
    """So that silence is worth something: live tables of both kinds, unmapping, several VMIDs."""
    machine = two()
    monitor = Monitor(machine, record=Record.EVENTS)
    machine.run(LIMIT)
    monitor.check()
    vmids = {tree.vmid for tree in monitor.trees.trees.values()}
    assert vmids == {None, 1, 2}
    assert len(monitor.trees.pages) > 6
    stores = [event for event in monitor.events if event.kind is EventKind.STORE]
    assert sum(event.old & 1 and not event.value & 1 for event in stores) > 5
    tlbis = {event.name for event in monitor.events if event.kind is EventKind.TLBI}
    assert {"vmalls12e1is", "vae2is"} <= tlbis
    assert any(event.kind is EventKind.ERET for event in monitor.events)


def test_the_map_of_a_vm() -> None:
    vms = [StubVm("a", "spin", restart=Restart.NEVER), StubVm("b", "spin")]
    machine = several_vms.boot(vms, mmu=MmuMode.MODEL)
    monitor = Monitor(machine)
    machine.run(1_800_000)
    monitor.check()
    vtcr = machine.cpu.engine.read(reg.VTCR_EL2)
    maps = {}
    for tree in monitor.trees.trees.values():
        if tree.vmid is not None:
            leaves = stage2_map(machine, tree.vmid << 48 | tree.root, vtcr)
            maps[tree.vmid] = {(leaf.pa, leaf.pa + leaf.size) for leaf in leaves if leaf.write}
    assert set(maps) == {1, 2}
    ram = [span for span in maps[1] | maps[2] if span[0] >= machine.board.ram_base]
    assert len(ram) >= 2
    assert not {span for span in maps[1] & maps[2] if span[0] >= machine.board.ram_base}


def test_a_snapshot_takes_the_monitor_along() -> None:
    machine = two()
    monitor = Monitor(machine, record=Record.EVENTS)
    machine.run(1_200_000)
    before = len(monitor.events)
    snapshot = machine.snapshot()
    ends = []
    for _ in range(3):
        machine.restore(snapshot)
        assert len(monitor.events) == before
        machine.run(1_600_000)
        monitor.check()
        ends.append((state_sha256(machine), tuple(monitor.events)))
    assert ends[0] == ends[1] == ends[2]
    assert len(monitor.events) > before


def test_native_translation_is_refused() -> None:
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    machine = Machine(virt(), image, mmu=MmuMode.NATIVE)
    with pytest.raises(UserError, match="model"):
        Monitor(machine)


@pytest.mark.parametrize("name", ["hello", "two VMs"])
def test_nothing_depends_on_what_ram_held_at_reset(name: str) -> None:
    """With a pattern that no table may hold."""
    without = MACHINES[name]()
    stop = without.run(LIMIT)
    machine = MACHINES[name]()
    poison(machine)
    assert POISON in (machine.memory.read64(pa) for pa in _some_pages(machine))
    monitor = Monitor(machine)
    assert machine.run(LIMIT) == stop
    monitor.check()
    assert machine.console.output == without.console.output


def _some_pages(machine: Machine) -> range:
    base = machine.board.ram_base
    return range(base, base + machine.board.ram_size, 1 << 20)
