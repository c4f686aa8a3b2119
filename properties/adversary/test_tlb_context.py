# SPDX-License-Identifier: Apache-2.0
"""An entry of EL2's own tables that has become valid: a DSB shows it to walks, but an access may
have been translated before, by speculation, and found nothing. That ends with a context
synchronisation event of the CPU (Arm ARM B2, DSB: a walk is no explicit access; D8, ordering of
memory accesses from translation table walks)."""

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary.tlb_programs import (
    FAULT,
    FORGET_ALL,
    PAGES,
    SECRET,
    boot,
    finish,
    load,
    run,
)
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DSB_ISH,
    DSB_ISHST,
    EL2_L2,
    EL2_L3,
    EL2_MMU_ON,
    EL2_PAGE,
    EL2_SPARE,
    ISB,
    TABLE,
    VA,
    entry,
    write,
)

CODE = p.assemble_at_guest()
NEW = VA + 0x2000
MAP = write(entry(EL2_L3, 2), PAGES[2] | EL2_PAGE)
TWICE = load("x20", NEW) + load("x21", NEW)
THERE = (SECRET + 2, SECRET + 2)


def found(sequence: str, *, rate: int = 256, seed: int = 1) -> tuple[int, ...] | None:
    """What EL2 finds twice at a page that it has mapped, with a sequence after that."""
    return run(EL2_MMU_ON + MAP + sequence + TWICE, code=CODE, count=2, rate=rate, seed=seed).found


@pytest.mark.parametrize("dsb", [DSB_ISHST, DSB_ISH, "dsb sy\n"])
def test_a_dsb_alone_is_not_enough(dsb: str) -> None:
    # The exception that comes of it synchronises.
    assert found(dsb) == (FAULT, SECRET + 2)
    assert found(dsb, rate=0) == THERE
    assert {found(dsb, rate=128, seed=seed) for seed in range(10)} == {(FAULT, SECRET + 2), THERE}
    for rate in (0, 128, 256):
        assert found(dsb + ISB, rate=rate) == THERE


@pytest.mark.parametrize("event", ["svc #0", "movz x0, #0x8400, lsl #16\nsmc #0"])
def test_every_context_synchronisation_event_counts(event: str) -> None:
    # ELR is past the SVC: the handler skips one instruction more.
    assert found(f"{DSB_ISH}{event}\nnop\n") == THERE


def test_an_eret_counts() -> None:
    to = "adr x3, there\nmsr elr_el2, x3\nmov x3, #0x3c9\nmsr spsr_el2, x3\neret\nthere:\n"
    assert found(DSB_ISH + to) == THERE


def test_a_table_that_was_linked() -> None:
    fill = write(entry(EL2_SPARE, 0), PAGES[1] | EL2_PAGE) + DSB_ISH
    link = write(entry(EL2_L2, 40), EL2_SPARE | TABLE) + DSB_ISH
    look = load("x20", 0x4500_0000)
    assert run(EL2_MMU_ON + fill + link + look, code=CODE, count=1).found == (FAULT,)
    assert run(EL2_MMU_ON + fill + link + ISB + look, code=CODE, count=1).found == (SECRET + 1,)


def test_an_entry_that_was_valid_is_not_concerned() -> None:
    read_only = write(entry(EL2_L3, 2), PAGES[2] | EL2_PAGE | 1 << 7) + DSB_ISH + ISB
    store = load("x20", NEW).replace("ldr x2, [x0]", "mov x2, #7\nstr x2, [x0]")
    assert run(EL2_MMU_ON + read_only + store, code=CODE, count=1).found == (FAULT,)
    writable = read_only + MAP + DSB_ISH
    assert run(EL2_MMU_ON + writable + store, code=CODE, count=1).found == (7,)


@pytest.mark.parametrize("rate", [0, 256])
def test_what_another_cpu_has_mapped(rate: int) -> None:
    """It has its DSB and its ISB; whoever learns of it needs an ISB too."""
    wait = FORGET_ALL + EL2_MMU_ON + smp.add(8) + smp.wait_for(0, 1)
    look = f"{constant('x0', NEW)}\nat s1e2r, x0\nisb\nmrs x25, par_el1\n"
    second = FORGET_ALL + EL2_MMU_ON + smp.wait_for(8, 1) + MAP + DSB_ISH + ISB + smp.add(0)
    for synchronise, fails in (("", rate > 0), (ISB, False)):
        machine = smp.machine(
            smp.start(1) + wait + synchronise + look, second + "b .\n", 2, MmuMode.MODEL
        )
        p.load(machine)
        TlbAdversary(machine, Choices(1, rate))
        assert machine.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
        assert machine.cpu.engine.read(reg.X[25]) & 1 == fails


def test_the_same_from_a_snapshot() -> None:
    ends = set()
    for seed in range(6):
        machine = boot(EL2_MMU_ON + MAP + DSB_ISH + "b .+4\n" + TWICE, code=CODE)
        adversary = TlbAdversary(machine, Choices(seed, 128))
        for until in range(40, 120):
            machine.run(until)
            if adversary.save().cpus[0].made:
                break
        snapshot = machine.snapshot()
        end, state = finish(machine, 2), adversary.save()
        machine.restore(snapshot)
        assert finish(machine, 2) == end
        assert adversary.save() == state
        ends.add(end)
    assert ends == {(FAULT, SECRET + 2), THERE}
