# SPDX-License-Identifier: Apache-2.0
"""What the architecture forbids hardware, the TLB does not do either: right programs stay right."""

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.adversary.tlb_programs import (
    FORGET_ALL,
    PAGES,
    SECRET,
    VISIT,
    run,
)
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DSB_ISH,
    DSB_NSH,
    HCR,
    IPA,
    ISB,
    L2,
    L3,
    PAGE_LEAF,
    ROOT,
    SPARE,
    STAGE2_ON,
    TABLE,
    VTCR,
    entry,
    msr,
    tlbi,
    vttbr,
    write,
)

NOWHERE = msr("vttbr_el2", vttbr(SPARE, 3)) + ISB + msr("vttbr_el2", vttbr(ROOT))
"""VTTBR_EL2 as before the program at the end, and nothing has synchronised that."""
LOOK = f"{constant('x0', IPA)}\nat s12e1r, x0\nmrs x9, par_el1\nand x22, x9, #1\n"
"""X22: whether stage 2 fails."""
THIRD = write(entry(L3, 0), PAGES[2] | PAGE_LEAF)


def test_the_guest_is_fetched_after_the_eret() -> None:
    code = assemble("movz x20, #0x77\nmovz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b .")[64:]
    leave = msr("elr_el2", p.GUEST) + msr("spsr_el2", 0x3C5) + NOWHERE + "eret\n"
    assert run(leave, code=code, count=1).found == (0x77,)
    # From EL2 to EL2: the address is that of what follows.
    stay = f"adr x3, there\nmsr elr_el2, x3\n{msr('spsr_el2', 0x3C9)}{NOWHERE}eret\nthere:\n"
    assert run(stay + LOOK, count=3).found == (SECRET, SECRET + 1, 0)


def test_exceptions_synchronise_at_both_ends() -> None:
    assert run(NOWHERE + LOOK, count=3).found == (SECRET, SECRET + 1, 1)
    firmware = f"{NOWHERE}movz x0, #0x8400, lsl #16\nsmc #0\n"
    assert run(firmware + LOOK, count=3).found == (SECRET, SECRET + 1, 0)


@pytest.mark.parametrize("cause", ["svc #0", "brk #0"])  # taken by the hooks; by the CPU
def test_exceptions_from_el2_to_el2_synchronise(cause: str) -> None:
    handler = f".balign 2048\nhandler:\n.space 0x200\n{LOOK}b after\n.balign 2048\nafter:\n"
    begin = f"adr x3, handler\nmsr vbar_el2, x3\nisb\n{NOWHERE}{cause}\n"
    back = "adr x3, begin\nsub x3, x3, #2048\nmsr vbar_el2, x3\n"
    assert run(begin + handler + back, count=3).found == (SECRET, SECRET + 1, 0)


@pytest.mark.parametrize("leaf", [PAGES[0] | PAGE_LEAF & ~(1 << 10), 1 << 41 | PAGE_LEAF])
def test_what_faults_by_itself_is_not_held(leaf: int) -> None:
    """No access flag; an address beyond the output size."""
    start = write(entry(L3, 0), leaf) + DSB_ISH + FORGET_ALL + STAGE2_ON + VISIT
    body = write(entry(L3, 0), 0) + DSB_ISH + THIRD + DSB_ISH + ISB
    assert run(body, start=start).found == (SECRET + 2, SECRET + 1)
    below = write(entry(L2, 9), 0) + p.FLUSH_ALL + write(entry(L2, 9), L3 | TABLE) + DSB_ISH + ISB
    assert run(below, start=start).found is not None


def test_with_stage_2_off_nothing_is_cached_of_it() -> None:
    start = FORGET_ALL + msr("vtcr_el2", VTCR) + msr("vttbr_el2", vttbr(ROOT)) + ISB
    change = write(entry(L3, 0), 0) + DSB_ISH + THIRD + DSB_ISH + ISB
    on = msr("hcr_el2", HCR) + ISB
    assert run(change + on, start=start).found == (SECRET + 2, SECRET + 1)
    assert run(on + VISIT + change, start=start).found == (SECRET, SECRET + 1)


def test_at_el2_stage_2_is_out_of_context() -> None:
    """VTTBR_EL2 and HCR_EL2.VM alone lead no walk there: an ERET does, and AT for its address."""
    start = FORGET_ALL + STAGE2_ON
    change = write(entry(L3, 0), 0) + DSB_ISH + THIRD + DSB_ISH + ISB
    look = f"{constant('x0', IPA)}\nat s12e1r, x0\nisb\n"
    elsewhere = look.replace(constant("x0", IPA), constant("x0", IPA + 0x1000))
    assert run(change, start=start).found == (SECRET + 2, SECRET + 1)
    assert run(elsewhere + change, start=start).found == (SECRET + 2, SECRET + 1)
    assert run(look + change, start=start).found == (SECRET, SECRET + 1)
    assert run(elsewhere + VISIT + change, start=start).found == (SECRET, SECRET + 1)
    # What it was while nobody walked is not held after the ERET either.
    assert run(change + VISIT, start=start).found == (SECRET + 2, SECRET + 1)
    assert run(elsewhere + change + VISIT, start=start).found == (SECRET + 2, SECRET + 1)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rate", [64, 128, 256])
def test_a_table_is_seen_as_it_was_when_a_dmb_came_before_the_link(seed: int, rate: int) -> None:
    """The link may not be seen, but not without what was ordered before it."""
    body = write(entry(SPARE, 0), PAGES[1] | PAGE_LEAF) + DSB_ISH
    body += write(entry(SPARE, 0), PAGES[2] | PAGE_LEAF) + "dmb ishst\n"
    body += write(entry(L2, 10), SPARE | TABLE)
    look = f"{constant('x0', IPA + 0x20_0000)}\nat s12e1r, x0\nisb\nmrs x22, par_el1\n"
    ipas = (IPA + 0x20_0000, IPA)
    outcome = run(body + ISB + look + DSB_ISH + ISB, ipas=ipas, count=3, seed=seed, rate=rate)
    assert outcome.found is not None
    assert outcome.found[:2] == (SECRET + 2, SECRET)
    par = outcome.found[2]
    assert par & 1 or par & 0xFFFF_FFFF_F000 == PAGES[2]


def both(first: str, second: str, *, rate: int = 256) -> tuple[int, int]:
    """X25 and X26 of CPU 0 after it has run `first`, once CPU 1 has run `second`."""
    start = smp.start(1) + FORGET_ALL + STAGE2_ON + seen("x25", IPA) + smp.wait_for(8, 1)
    machine = smp.machine(
        start + first, second + smp.add(8) + "b .\n", 2, MmuMode.MODEL, quantum=97
    )
    p.load(machine)
    TlbAdversary(machine, Choices(1, rate))
    assert machine.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
    engine = machine.cpu.engine
    return engine.read(reg.X[25]), engine.read(reg.X[26])


def seen(register: str, ipa: int) -> str:
    return f"{constant('x0', ipa)}\nat s12e1r, x0\nisb\nmrs {register}, par_el1\n"


@pytest.mark.parametrize("dsb", [DSB_ISH, DSB_NSH])
def test_what_another_cpu_left_undrained_hides_nothing(dsb: str) -> None:
    """CPU 1 has stored to a page, without a DSB; CPU 0 has it as a table now, with its own."""
    second = write(entry(SPARE, 5), PAGES[1] | PAGE_LEAF) + "dmb ish\n"
    first = write(entry(SPARE, 5), 0) + write(entry(SPARE, 0), PAGES[2] | PAGE_LEAF) + dsb
    first += write(entry(L2, 10), SPARE | TABLE) + dsb + ISB
    first += seen("x25", IPA + 0x20_0000) + seen("x26", IPA + 0x20_5000)
    found, gone = both(first, second)
    assert (found & 1, found & 0xFFFF_FFFF_F000, gone & 1) == (0, PAGES[2], 1)


def test_a_dsb_is_cumulative() -> None:
    """CPU 1 unmaps; CPU 0, after it, has the DSB, the TLBI and the DSB of that."""
    second = write(entry(L3, 0), 0) + "dmb ish\n"
    clean = DSB_ISH + tlbi("vmalls12e1is") + DSB_ISH + ISB
    assert both(clean + seen("x25", IPA), second)[0] & 1
    assert not both(clean.removeprefix(DSB_ISH) + seen("x25", IPA), second)[0] & 1
