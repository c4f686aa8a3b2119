# SPDX-License-Identifier: Apache-2.0
"""Several CPUs, each with a TLB that forgets nothing: whom maintenance reaches, and whose."""

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.properties.adversary.tlb_programs import FORGET_ALL
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DSB_ISH,
    DSB_ISHST,
    DSB_NSH,
    IPA,
    ISB,
    L3,
    STAGE2_ON,
    entry,
    tlbi,
    write,
)

SIGNAL, ANSWER = 0, 8
"""Words of the shared page: CPU 0 has got somewhere, CPU 1 has."""
UNMAP = write(entry(L3, 0), 0)


def look() -> str:
    """Whether stage 2 translates the page: PAR_EL1 in X25, by AT as EL1 would access
    it."""
    return f"{ISB}{constant('x0', IPA)}\nat s12e1r, x0\nisb\nmrs x25, par_el1\n"


def machine(sequence: str, *, seed: int = 1, rate: int = 256) -> Machine:
    """CPU 0 unmaps a page, with a sequence after that; CPU 1 looks at it then."""
    start = FORGET_ALL + STAGE2_ON + look()  # of what they have never used they hold nothing
    first = start + smp.wait_for(ANSWER, 1) + UNMAP + sequence + smp.add(SIGNAL)
    first += smp.wait_for(ANSWER, 2) + look()
    second = start + smp.add(ANSWER) + smp.wait_for(SIGNAL, 1)
    second += look() + smp.add(ANSWER)
    made = smp.machine(smp.start(1) + first, second, 2, MmuMode.MODEL, quantum=97)
    p.load(made)
    TlbAdversary(made, Choices(seed, rate))
    return made


def reached(sequence: str, *, rate: int = 256) -> tuple[bool, bool]:
    """Which of the CPUs still reach the page."""
    made = machine(sequence, rate=rate)
    assert made.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
    first, second = (not cpu.engine.read(reg.X[25]) & 1 for cpu in made.cpus)
    return first, second


@pytest.mark.parametrize("rate", [128, 256])
def test_broadcast_maintenance_reaches_both(rate: int) -> None:
    for sequence in (p.FLUSH_ALL, p.flush_ipa()):
        assert reached(sequence, rate=rate) == (False, False)


@pytest.mark.parametrize(
    ("sequence", "left"),
    [
        (DSB_ISHST + tlbi("vmalls12e1") + DSB_ISH, (False, True)),
        (DSB_ISHST + tlbi("vmalls12e1is") + DSB_NSH, (True, True)),
        (DSB_NSH + tlbi("vmalls12e1is") + DSB_ISH, (True, True)),
        (DSB_ISH, (True, True)),
    ],
    ids=["for one CPU", "DSB NSH after", "DSB NSH before", "none"],
)
def test_what_does_not_reach_both(sequence: str, left: tuple[bool, bool]) -> None:
    assert reached(sequence) == left
    assert reached(sequence, rate=0) == (False, False)


def test_a_cpu_that_starts_holds_nothing_of_before() -> None:
    made = machine(DSB_ISH)
    adversary = next(a for a in made.attachments if isinstance(a, TlbAdversary))
    made.run(smp.LIMIT)
    unclean = adversary.entries.unclean.all()
    assert [one.may_hold(1, combined=True) for one in unclean] == [True]
    for tell in made.cpus[1].on_power_on:
        tell()
    assert [one.may_hold(1, combined=True) for one in adversary.entries.unclean.all()] == [False]


def test_the_same_again_after_a_restore() -> None:
    made = machine(DSB_ISHST + tlbi("vmalls12e1") + DSB_ISH, rate=128)
    snapshots = []
    for until in range(100, 4000, 100):
        if made.run(until).kind is not StopKind.LIMIT:
            break
        snapshots.append(made.snapshot())
    assert len(snapshots) > 3
    ends = set()
    for snapshot in (*reversed(snapshots), *snapshots):
        made.restore(snapshot)
        assert made.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
        ends.add((made.instructions, *(cpu.engine.read(reg.X[25]) for cpu in made.cpus)))
    assert len(ends) == 1
