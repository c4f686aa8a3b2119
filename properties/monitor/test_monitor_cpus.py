# SPDX-License-Identifier: Apache-2.0
"""The protocol with several CPUs: who has to be reached, by which TLBI, with whose DSB."""

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DATA,
    DSB_ISH,
    DSB_ISHST,
    DSB_NSH,
    EL2_L3,
    EL2_MMU_ON,
    EL2_PAGE,
    IPA,
    ISB,
    L3,
    PAGE_LEAF,
    STAGE2_ON,
    VA,
    entry,
    msr,
    tlbi,
    vttbr,
    write,
)

PAGE = entry(L3, 0)
BREAK, MAKE = write(PAGE, 0), write(PAGE, DATA + 0x5000 | PAGE_LEAF) + DSB_ISHST
SIGNAL, ANSWER = 0, 8
"""Words of the shared page: CPU 0 has got somewhere, CPU 1 has."""


def signal(offset: int) -> str:
    """Add 1 to a word that the other CPU waits for."""
    return smp.add(offset)


def machine(first: str, second: str) -> Machine:
    made = smp.machine(smp.start(1) + first, second, 2, MmuMode.MODEL, quantum=97)
    p.load(made)
    return made


def run(first: str, second: str, *, ignore: frozenset[Rule] = frozenset()) -> Violation | None:
    """CPU 0 runs `first`, CPU 1 `second`; the first violation."""
    made = machine(first, second)
    monitor = Monitor(made, ignore=ignore)
    stop = made.run(smp.LIMIT)
    # A violation in the block that switches the machine off does not keep it from that.
    assert stop.kind is StopKind.SYSTEM_OFF or monitor.violation, stop
    return monitor.violation


def rule_of(first: str, second: str) -> Rule | None:
    violation = run(first, second)
    return None if violation is None else violation.rule


READY = STAGE2_ON + signal(ANSWER)
WAIT_READY = smp.wait_for(ANSWER, 1)


def of_both(sequence: str) -> Rule | None:
    """CPU 0 replaces an entry of a tree that both have in VTTBR_EL2."""
    return rule_of(STAGE2_ON + WAIT_READY + BREAK + sequence + MAKE, READY)


def test_a_broadcast_reaches_all() -> None:
    assert of_both(p.flush_ipa()) is None
    assert of_both(p.FLUSH_ALL) is None


@pytest.mark.parametrize(
    "sequence",
    [
        pytest.param(DSB_ISHST + tlbi("vmalls12e1") + DSB_ISH, id="the VMID"),
        pytest.param(DSB_ISHST + tlbi("alle1") + DSB_ISH, id="all"),
        pytest.param(
            DSB_ISHST + tlbi("ipas2e1", IPA) + DSB_ISH + tlbi("vmalle1is") + DSB_ISH,
            id="stage 2 local",
        ),
        pytest.param(
            DSB_ISHST + tlbi("ipas2e1is", IPA) + DSB_ISH + tlbi("vmalle1") + DSB_ISH,
            id="stage 1 local",
        ),
    ],
)
def test_a_local_tlbi_cleans_the_cpu_that_issues_it(sequence: str) -> None:
    assert of_both(sequence) is Rule.MAKE_BEFORE_CLEAN
    alone = STAGE2_ON + BREAK + sequence + MAKE
    assert rule_of(alone, "nop") is None, "the other CPU has never had the tree"


def test_each_cpu_may_clean_itself() -> None:
    first = STAGE2_ON + WAIT_READY + BREAK + DSB_ISHST + signal(SIGNAL)
    first += tlbi("vmalls12e1") + DSB_ISH + smp.wait_for(ANSWER, 2) + MAKE
    second = READY + smp.wait_for(SIGNAL, 1) + tlbi("vmalls12e1") + DSB_ISH + signal(ANSWER)
    assert rule_of(first, second) is None
    late = second.replace(tlbi("vmalls12e1") + DSB_ISH, tlbi("vmalls12e1"))
    assert rule_of(first, late) is Rule.MAKE_BEFORE_CLEAN


def test_the_dsb_of_another_cpu_completes_nothing() -> None:
    first = STAGE2_ON + WAIT_READY + BREAK + DSB_ISHST + tlbi("vmalls12e1is") + signal(SIGNAL)
    first += smp.wait_for(ANSWER, 2) + MAKE
    second = READY + smp.wait_for(SIGNAL, 1) + DSB_ISH + signal(ANSWER)
    assert rule_of(first, second) is Rule.MAKE_BEFORE_CLEAN


def test_the_dsb_before_may_be_that_of_another_cpu() -> None:
    """It is cumulative: what its CPU has seen comes before it."""
    first = STAGE2_ON + WAIT_READY + BREAK + signal(SIGNAL) + smp.wait_for(ANSWER, 2) + MAKE
    second = READY + smp.wait_for(SIGNAL, 1) + p.FLUSH_ALL + signal(ANSWER)
    assert rule_of(first, second) is None
    without = second.replace(p.FLUSH_ALL, p.FLUSH_ALL.removeprefix(DSB_ISHST))
    assert rule_of(first, without) is Rule.MAKE_BEFORE_CLEAN
    assert rule_of(first.replace(BREAK, BREAK + DSB_ISHST), without) is None


def test_a_narrow_dsb_is_not_enough_before() -> None:
    narrow = DSB_NSH + tlbi("vmalls12e1is") + DSB_ISH
    assert of_both(narrow) is Rule.MAKE_BEFORE_CLEAN


def test_the_other_cpu_makes_it_too_early() -> None:
    first = STAGE2_ON + WAIT_READY + BREAK + DSB_ISHST + signal(SIGNAL)
    first += smp.wait_for(ANSWER, 2) + tlbi("vmalls12e1is") + DSB_ISH
    second = READY + smp.wait_for(SIGNAL, 1) + MAKE + signal(ANSWER)
    violation = run(first, second)
    assert violation is not None
    assert (violation.rule, violation.cpu) == (Rule.MAKE_BEFORE_CLEAN, 1)


def test_a_table_filled_by_one_and_linked_by_another() -> None:
    fill = write(entry(p.SPARE, 0), DATA | PAGE_LEAF)
    link = write(entry(p.L2, 10), p.SPARE | p.TABLE) + DSB_ISHST
    second = STAGE2_ON + smp.wait_for(SIGNAL, 1) + link + signal(ANSWER)
    wait = signal(SIGNAL) + smp.wait_for(ANSWER, 1)
    assert rule_of(fill + wait, second) is Rule.NOT_VISIBLE
    for order in (DSB_ISHST, "dmb ishst\n", "dmb ish\n", "add x6, x20, #64\nstlr xzr, [x6]\n"):
        assert rule_of(fill + order + wait, second) is None
    for order in ("dmb ishld\n", "dmb nshst\n", DSB_NSH):
        assert rule_of(fill + order + wait, second) is Rule.NOT_VISIBLE


def test_the_stores_of_all_are_seen_from_the_moment_a_page_is_a_table() -> None:
    """CPU 1 has just stored to it, without a DSB, and stores again."""
    fill = write(entry(p.SPARE, 0), DATA | PAGE_LEAF)
    link = write(entry(p.L2, 10), p.SPARE | p.TABLE)
    first = STAGE2_ON + WAIT_READY + link + signal(SIGNAL) + smp.wait_for(ANSWER, 2)
    again = write(entry(p.SPARE, 0), DATA + 0x1000 | PAGE_LEAF)
    second = fill + signal(ANSWER) + smp.wait_for(SIGNAL, 1) + again + signal(ANSWER)
    violation = run(first, second, ignore=frozenset({Rule.NOT_VISIBLE}))
    assert violation is not None
    assert (violation.rule, violation.cpu) == (Rule.VALID_TO_VALID, 1)


def test_el2s_own_tables() -> None:
    new = write(entry(EL2_L3, 0), DATA + 0x5000 | EL2_PAGE) + DSB_ISHST + ISB
    first = EL2_MMU_ON + WAIT_READY + write(entry(EL2_L3, 0), 0)
    second = EL2_MMU_ON + signal(ANSWER)
    assert rule_of(first + p.flush_va() + new, second) is None
    local = DSB_ISHST + tlbi("vae2", VA) + DSB_ISH
    assert rule_of(first + local + new, second) is Rule.MAKE_BEFORE_CLEAN


def test_a_cpu_that_has_left_the_tree_and_flushed_is_not_asked() -> None:
    """CPU 1 went to no tree, dropped the VMID and is done: local maintenance is enough on CPU 0."""
    leave = msr("vttbr_el2", 0) + ISB + tlbi("alle1") + DSB_ISH
    local = DSB_ISHST + tlbi("vmalls12e1") + DSB_ISH
    first = STAGE2_ON + smp.wait_for(ANSWER, 1) + BREAK + local + MAKE
    assert rule_of(first, STAGE2_ON + leave + signal(ANSWER)) is None
    stays = STAGE2_ON + tlbi("alle1") + DSB_ISH + signal(ANSWER)
    assert rule_of(first, stays) is Rule.MAKE_BEFORE_CLEAN
    unflushed = STAGE2_ON + msr("vttbr_el2", vttbr(p.ROOT2, 2)) + ISB + signal(ANSWER)
    assert rule_of(first, unflushed) is Rule.MAKE_BEFORE_CLEAN


def test_a_cpu_that_starts_anew_holds_nothing() -> None:
    """CPU 1 has the tree, goes off and comes back; then it is not among those to be reached."""
    off = f"{constant('x0', smp.CPU_OFF)}\nsmc #0\n"
    second = f"cbnz x27, again\n{STAGE2_ON}{signal(ANSWER)}{off}again:\n{signal(ANSWER)}"
    wait_off = f"""
    poll: {constant("x0", smp.AFFINITY_INFO)}
    mov x1, #1
    mov x2, #0
    smc #0
    cmp x0, #1
    b.ne poll
    """
    local = DSB_ISHST + tlbi("vmalls12e1") + DSB_ISH
    again = smp.start(1, 1) + smp.wait_for(ANSWER, 2)
    first = STAGE2_ON + WAIT_READY + wait_off
    assert rule_of(first + again + BREAK + local + MAKE, second) is None
    assert rule_of(first + BREAK + local + MAKE, second) is Rule.MAKE_BEFORE_CLEAN
