# SPDX-License-Identifier: Apache-2.0
"""The events that the C hooks note (`events.c`), against the same from each instruction."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.setup import Setup
from aether_edgecloud.emulator.recording import event_log
from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import (
    LIMIT,
    NO_MEMORY,
    RAM_SIZE,
    constant,
    hcr,
    program,
)
from aether_edgecloud.properties.machine.events_twin import EventsTwin, Row
from aether_edgecloud.properties.machine.hooks_twin import PythonRun
from aether_edgecloud.properties.machine.snapshot_worlds import Vms, first_entry

IN_C = frozenset(
    {
        *(EventKind.EXCEPTION, EventKind.ERET, EventKind.HYPERCALL),
        *(EventKind.TLBI, EventKind.SYSREG_WRITE, EventKind.INTERRUPT),
    }
)
TVM, TTLB, TGE = 1 << 26, 1 << 25, 1 << 27  # HCR_EL2
nightly = pytest.mark.nightly
each_mode = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)


def twin_of(setup: Setup) -> Machine:
    return Machine(
        setup.board,
        setup.image,
        setup.initrd,
        mmu=setup.mmu,
        bootargs=setup.bootargs,
        hooks=PythonRun(shared_library("hooks")),
        quantum=setup.quantum,
        seed=setup.seed,
    )


def compare(machine: Machine, start: int, length: int) -> Counter[EventKind]:
    """Of what kinds the events in `length` instructions from `start` on are. Closes the machine."""
    twin = twin_of(machine.setup)
    if start:
        machine.run(start)
        twin.restore(machine.snapshot())
    log, events = event_log.EventLog(machine), EventsTwin(twin)
    end = machine.run(start + length)
    assert twin.run(start + length) == end
    rows = log.take()
    names = ("position", "kind", "cpu", "vm", "a", "b", "c")
    columns = zip(*(rows[name].tolist() for name in names), strict=True)
    found = [Row(at, EventKind(kind), *rest) for at, kind, *rest in columns]
    found = [row for row in found if row.kind in IN_C]
    for mine, theirs in zip(events.rows, found, strict=False):
        assert mine == theirs
    assert len(events.rows) == len(found)
    for one, other in zip(twin.cpus, machine.cpus, strict=True):
        assert one.registers() == other.registers()
        assert one.exception_counts == other.exception_counts
    twin.close()
    machine.close()
    return Counter(row.kind for row in found)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of the run of VMs, in instructions from the first guest's entry on; what is in it."""

    world: Vms
    start: int
    length: int
    kinds: frozenset[EventKind]


_VMS = frozenset({EventKind.SYSREG_WRITE, EventKind.ERET, EventKind.EXCEPTION})
_HELLO = Vms((("hello", (0,)),))
_GIC = Vms((("gic", (0,)),))
_STAGE1 = Vms((("stage1", (0,)),))
_PAIR = Vms((("observer:pair", (0, 1)),), cpus=2, quantum=200, seed=7)
STRETCHES = {
    "hello": Stretch(_HELLO, -20_000, 40_000, IN_C - {EventKind.INTERRUPT}),
    "interrupts": Stretch(_GIC, 130_000, 30_000, _VMS | {EventKind.INTERRUPT}),
    "tables of its own": Stretch(_STAGE1, 50_000, 35_000, _VMS | {EventKind.TLBI}),
    "two CPUs": Stretch(_PAIR, 20_000, 20_000, _VMS | {EventKind.INTERRUPT}),
}


@each_mode
@pytest.mark.parametrize("name", STRETCHES)
def test_runs_of_vms(name: str, mmu: MmuMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_CAPACITY", 7)  # taken over again and again
    stretch = STRETCHES[name]
    start = first_entry(stretch.world) + stretch.start
    found = compare(replace(stretch.world, mmu=mmu).make(), start, stretch.length)
    assert set(found) >= stretch.kinds


WRITES_BEFORE = 11
TRIES = (
    *("msr sctlr_el1, x1", "msr ttbr0_el1, x1", "msr cpacr_el1, x1", "msr tpidr_el0, x1"),
    *("msr vttbr_el2, x1", "msr tcr_el2, x1", "msr hcr_el2, x1", "msr s3_0_c15_c0_0, x1"),
    *("msr sctlr_el1, xzr", "msr mdscr_el1, x1", "msr s3_6_c1_c1_0, x1", "msr daifset, #15"),
    *("tlbi vmalle1", "tlbi vae1is, x1", "tlbi alle2", "tlbi ipas2e1, x1", "at s1e1r, x1"),
    *("hvc #0x1234", "svc #7", "smc #1", "brk #1", "ldr x2, [x1]", "br x1", "eret"),
)


def _images(el: int, setup: str) -> Iterator[bytes]:
    for tried in TRIES:
        yield program(f"{constant('x1', NO_MEMORY)}\n {tried}", el=el, setup=setup)


@pytest.mark.parametrize("mmu", [MmuMode.MODEL, pytest.param(MmuMode.NATIVE, marks=nightly)])
@pytest.mark.parametrize("el", [0, 1, 2])
@pytest.mark.parametrize(
    "control",
    [0, pytest.param(TVM | TTLB, marks=nightly), pytest.param(TGE, marks=nightly)],
    ids=["", "TVM-TTLB", "TGE"],
)
def test_what_a_level_may_and_may_not_do(mmu: MmuMode, el: int, control: int) -> None:
    """One thing in each run. What is UNDEFINED at a level has written nothing, what it traps to has
    been told."""
    written = 0
    for image in _images(el, hcr(control)):
        machine = Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=mmu)
        found = compare(machine, 0, LIMIT)
        written += found[EventKind.SYSREG_WRITE] - WRITES_BEFORE
    assert written == {0: 0, 1: 4, 2: 10}[el]


@each_mode
def test_a_cpu_that_is_switched_on_anew(mmu: MmuMode) -> None:
    """VTTBR_EL2 is as at reset, and names no VM."""
    second = f"""
        mov x1, #7
        msr tpidr_el2, x1
        lsl x1, x1, #48
        msr vttbr_el2, x1
        msr tpidr_el2, x1
        {smp.add()}
        {constant("x0", smp.CPU_OFF)}
        smc #0
    """
    first = smp.start(1) + smp.wait_for(0, 1)
    first += f"again: {smp.start(1)} ldr x4, [x20]\n cmp x4, #2\n b.ne again\n"
    found = compare(smp.machine(first, second, 2, mmu, quantum=50), 0, smp.LIMIT)
    assert found[EventKind.SYSREG_WRITE] == 2 * 3 + 3


@each_mode
@pytest.mark.parametrize("place", [0x4020_0000, NO_MEMORY, 0x4020_0002], ids=hex)
def test_an_eret_to_where_nothing_can_be_executed(mmu: MmuMode, place: int) -> None:
    """It has gone there all the same. RAM that EL0 may not execute, no memory, no instruction."""
    body = f"{constant('x1', place)}\n msr elr_el1, x1\n msr spsr_el1, xzr\n eret"
    image = program(body)
    found = compare(Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=mmu), 0, LIMIT)
    assert found[EventKind.ERET] == 2
