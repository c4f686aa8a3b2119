# SPDX-License-Identifier: Apache-2.0
"""Sequences of TLB maintenance, right and wrong: the wrong ones leak, the right ones never do."""

from dataclasses import replace

import pytest

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.states import STATES
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.cpu.translation import TranslationUnit
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.recording import document
from aether_edgecloud.emulator.recording.attached import Decoder, encode
from aether_edgecloud.properties.adversary.tlb_programs import (
    FAULT,
    FORGET_ALL,
    IPAS,
    PAGES,
    SECRET,
    Outcome,
    boot,
    finish,
    load,
    run,
)
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    DSB_ISH,
    DSB_ISHST,
    DSB_NSH,
    EL2_L3,
    EL2_MMU_ON,
    IPA,
    ISB,
    L2,
    L3,
    PAGE_LEAF,
    ROOT,
    ROOT2,
    STAGE2_ON,
    TABLE,
    VA,
    entry,
    msr,
    tlbi,
    vttbr,
    write,
)

FIRST = PAGES[0]
UNMAP = write(entry(L3, 0), 0)
UNLINK = write(entry(L2, 9), 0)
IPA_AND_STAGE1 = tlbi("ipas2e1is", IPA) + DSB_ISH + tlbi("vmalle1is")

RIGHT = {
    "by IPA, then stage 1": p.flush_ipa(),
    "all of the VMID": p.FLUSH_ALL,
    "everything": DSB_ISHST + tlbi("alle1is") + DSB_ISH,
    "for this CPU, the only one that ran it": DSB_NSH + tlbi("vmalls12e1") + DSB_NSH,
    "under another VMID, and back": (
        DSB_ISHST + msr("vttbr_el2", vttbr(ROOT2, 2)) + ISB + msr("vttbr_el2", vttbr(ROOT)) + ISB
    )
    + p.FLUSH_ALL,
}
WRONG = {
    "no TLBI": DSB_ISH + ISB,
    "IPAS2 alone": DSB_ISHST + tlbi("ipas2e1is", IPA) + DSB_ISH + ISB,
    "EL2's": DSB_ISHST + tlbi("alle2is") + DSB_ISH + ISB,
    "no DSB after": DSB_ISHST + tlbi("vmalls12e1is") + ISB,
    "no DSB before": tlbi("vmalls12e1is") + DSB_ISH + ISB,
    "no DSB between": DSB_ISHST + tlbi("ipas2e1is", IPA) + tlbi("vmalle1is") + DSB_ISH,
    "a DSB of stores after": DSB_ISHST + tlbi("vmalls12e1is") + DSB_ISHST,
    "wrong VMID": (
        DSB_ISHST
        + (msr("vttbr_el2", vttbr(ROOT2, 2)) + ISB)
        + (tlbi("vmalls12e1is") + DSB_ISH)
        + (msr("vttbr_el2", vttbr(ROOT)) + ISB)
    ),
    "VTTBR_EL2 not yet in force": (
        DSB_ISHST
        + (msr("vttbr_el2", vttbr(ROOT2, 2)) + ISB)
        + (msr("vttbr_el2", vttbr(ROOT)) + tlbi("vmalls12e1is") + DSB_ISH + ISB)
    ),
    "wrong address": (
        DSB_ISHST + tlbi("ipas2e1is", IPA + 0x1000) + DSB_ISH + tlbi("vmalle1is") + DSB_ISH
    ),
    "stage 1 alone": DSB_ISHST + tlbi("vmalle1is") + DSB_ISH + ISB,
}


@pytest.mark.parametrize("sequence", WRONG.values(), ids=WRONG.keys())
def test_what_was_not_invalidated_is_used(sequence: str) -> None:
    assert run(UNMAP + sequence).leaks(FIRST)


@pytest.mark.parametrize("sequence", WRONG.values(), ids=WRONG.keys())
def test_the_kindest_tlb_shows_nothing(sequence: str) -> None:
    assert run(UNMAP + sequence, rate=0).found == (FAULT, SECRET + 1)


@pytest.mark.parametrize("sequence", RIGHT.values(), ids=RIGHT.keys())
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate", [128, 256])
def test_what_was_invalidated_is_gone(sequence: str, seed: int, rate: int) -> None:
    assert run(UNMAP + sequence, seed=seed, rate=rate).found == (FAULT, SECRET + 1)


def test_some_seeds_find_it_and_some_do_not() -> None:
    found = [run(UNMAP + WRONG["no TLBI"], seed=seed, rate=128).leaks(FIRST) for seed in range(20)]
    assert 4 < sum(found) < 16


def test_a_right_that_was_taken_away() -> None:
    store = f"{constant('x0', IPA)}\nmov x2, #7\nstr x2, [x0]\nmov x20, x2\n"
    off = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b ."
    code = assemble(store + off)[64:]
    read_only = write(entry(L3, 0), FIRST | PAGE_LEAF & ~(1 << 7))
    assert run(read_only + DSB_ISH, code=code, count=1).found == (7,)
    assert run(read_only + p.flush_ipa(), code=code, count=1).found == (FAULT,)


# Tables.


def test_an_unlinked_table_is_still_walked() -> None:
    assert run(UNLINK + DSB_ISH).found == (SECRET, SECRET + 1)
    assert run(UNLINK + p.FLUSH_ALL).found == (FAULT, FAULT)


def test_maintenance_of_the_last_level_leaves_the_table() -> None:
    """So what is written to the page of the table, once it serves for something else, is walked."""
    last_level = DSB_ISHST + tlbi("ipas2le1is", IPA) + DSB_ISH + tlbi("vmalle1is") + DSB_ISH
    reuse = write(entry(L3, 0), PAGES[2] | PAGE_LEAF) + DSB_ISH
    found = [run(UNLINK + last_level + reuse, seed=seed).leaks(PAGES[2]) for seed in range(4)]
    assert any(found)
    assert run(UNLINK + p.flush_ipa() + reuse).found == (FAULT, SECRET + 1)


def test_by_ipa_the_other_pages_of_an_unlinked_table_stay() -> None:
    assert run(UNLINK + p.flush_ipa(IPA)).found == (FAULT, SECRET + 1)


# VMIDs.


def test_what_another_tree_left_under_its_vmid() -> None:
    reuse = msr("vttbr_el2", vttbr(ROOT2)) + ISB
    assert run(reuse).found == (SECRET, SECRET + 1)
    assert run(DSB_ISHST + tlbi("vmalls12e1is") + DSB_ISH + reuse).found == (SECRET, SECRET + 1)
    clean = reuse + DSB_ISHST + tlbi("vmalls12e1is") + DSB_ISH + ISB
    assert run(clean).found == (FAULT, FAULT)
    other = msr("vttbr_el2", vttbr(ROOT2, 2)) + ISB
    assert run(other).found == (FAULT, FAULT)


def test_a_vmid_comes_back_after_its_tree_has_changed() -> None:
    """The change was made, and the TLBI issued, while another VMID was in force."""
    away, back = (msr("vttbr_el2", value) + ISB for value in (vttbr(ROOT2, 2), vttbr(ROOT)))
    assert run(away + UNMAP + p.flush_ipa() + back).leaks(FIRST)
    assert not run(away + UNMAP + back + p.flush_ipa()).leaks(FIRST)


@pytest.mark.parametrize("rate", [128, 256])
def test_a_tlb_holds_anything_at_reset(rate: int) -> None:
    assert run("", start=STAGE2_ON, rate=rate).found is None
    assert run("", rate=rate).found == (SECRET, SECRET + 1)


def test_invalidating_the_vmid_of_the_moment_is_not_enough_at_boot() -> None:
    clean = "tlbi alle2\n tlbi vmalls12e1\n dsb nsh\n isb\n"
    assert run("", start=clean + STAGE2_ON).found is None
    assert run("", start=STAGE2_ON + clean).found == (SECRET, SECRET + 1)


def test_el2_with_what_was_in_its_tlb_at_reset() -> None:
    clean = "tlbi alle1\n dsb nsh\n isb\n"
    assert run("", start=clean + STAGE2_ON + EL2_MMU_ON).found is None
    assert run("", start=FORGET_ALL + STAGE2_ON + EL2_MMU_ON).found == (SECRET, SECRET + 1)


# Stores that walkers may not see yet.


def test_a_new_entry_without_a_dsb() -> None:
    made = write(entry(L3, 2), PAGES[2] | PAGE_LEAF)
    ipas = (IPA + 0x2000,)
    assert run(made, ipas=ipas).found == (FAULT,)
    assert run(made + DSB_NSH, ipas=ipas).found == (SECRET + 2,)
    assert run(made + DSB_ISHST, ipas=ipas).found == (SECRET + 2,)


def test_a_table_that_was_linked_before_its_contents_were_visible() -> None:
    """The page held something that looks like a table."""
    poison = write(entry(p.SPARE, 0), PAGES[3] | PAGE_LEAF) + DSB_ISH
    fill = write(entry(p.SPARE, 0), PAGES[2] | PAGE_LEAF)
    link = write(entry(L2, 10), p.SPARE | TABLE)
    ipas = (IPA + (1 << 21),)
    assert run(poison + fill + DSB_ISH + link + DSB_ISH, ipas=ipas).found == (SECRET + 2,)
    late = [run(poison + fill + link, ipas=ipas, seed=s, rate=128) for s in range(12)]
    assert any(one.leaks(PAGES[3]) for one in late)


def test_what_such_a_table_was_may_be_held_after_the_dsb() -> None:
    """A walk that no instruction asked for came between the link and the barrier: at EL2 one of
    its own tables, since stage 2 is out of context there."""
    poison = EL2_MMU_ON + write(entry(p.EL2_SPARE, 0), PAGES[3] | p.EL2_PAGE) + DSB_ISH
    fill = write(entry(p.EL2_SPARE, 0), 0)
    link = write(entry(p.EL2_L2, 40), p.EL2_SPARE | TABLE) + DSB_ISH + ISB
    code, look = p.assemble_at_guest(), load("x20", 0x4500_0000)
    assert run(poison + fill + link + look, code=code, count=1).leaks(PAGES[3])
    flushed = poison + fill + link + DSB_ISHST + tlbi("alle2is") + DSB_ISH + ISB
    assert run(flushed + look, code=code, count=1).found == (FAULT,)
    assert run(poison + fill + DSB_ISHST + link + look, code=code, count=1).found == (FAULT,)
    poison = write(entry(p.SPARE, 0), PAGES[3] | PAGE_LEAF) + DSB_ISH
    fill = write(entry(p.SPARE, 0), 0)
    link = write(entry(L2, 10), p.SPARE | TABLE) + DSB_ISH
    assert run(poison + fill + link, ipas=(IPA + (1 << 21),)).found == (FAULT,)


# EL2's own tables.


def of_el2(sequence: str) -> Outcome:
    """EL2 moves a page of its own, and looks at it."""
    body = EL2_MMU_ON + write(entry(EL2_L3, 0), 0) + sequence + load("x20", VA)
    return run(body, code=p.assemble_at_guest(), count=1)


def test_a_page_of_el2() -> None:
    assert of_el2(DSB_ISH + ISB).leaks(FIRST)
    assert of_el2(DSB_ISHST + tlbi("vae2is", VA + 0x1000) + DSB_ISH + ISB).leaks(FIRST)
    assert of_el2(DSB_ISHST + tlbi("alle1is") + DSB_ISH + ISB).leaks(FIRST)
    assert of_el2(p.flush_va()).found == (FAULT,)
    assert of_el2(DSB_ISHST + tlbi("alle2is") + DSB_ISH + ISB).found == (FAULT,)


def test_what_is_used_before_the_dsb_is_gone_after_it() -> None:
    invalidate = DSB_ISHST + tlbi("vae2is", VA)
    body = EL2_MMU_ON + write(entry(EL2_L3, 0), 0) + invalidate + load("x20", VA)
    done = run(body + DSB_ISH + ISB + load("x21", VA), code=p.assemble_at_guest(), count=2)
    assert done.found == (SECRET, FAULT)


def test_walks_of_stage_1_after_ipas2() -> None:
    """What combines both stages serves accesses, and no reads of stage 1's tables."""
    step = DSB_ISHST + tlbi("ipas2e1is", IPA)
    for sequence, by_access, by_walk in (
        (DSB_ISHST, True, True),
        (step, True, True),
        (step + DSB_ISH, True, False),
        (step + DSB_ISH + tlbi("vmalle1is"), True, False),
        (DSB_ISHST + tlbi("vmalls12e1is"), True, True),
        (p.flush_ipa(), False, False),
    ):
        machine = boot(UNMAP + sequence)
        monitor = Monitor(machine, report=lambda violation: None)
        finish(machine, 0)
        unclean = monitor.entries.unclean.at(ROOT, 3, IPA)
        held = [any(one.may_hold(0, combined=both) for one in unclean) for both in (True, False)]
        assert held == [by_access, by_walk]


def test_a_register_of_el2_before_it_is_in_force() -> None:
    """EL2 turns its MMU off: at the VA of the page there is another."""
    off = EL2_MMU_ON + msr("sctlr_el2", p.SCTLR_ON & ~1)
    for between, found in (("", SECRET), (ISB, 0)):
        done = run(off + between + load("x20", VA), code=p.assemble_at_guest(), count=1)
        assert done.found == (found,)


def test_at_may_go_by_the_vttbr_before() -> None:
    at = f"{constant('x0', IPA)}\nat s12e1r, x0\nisb\nmrs x20, par_el1\n"
    away = msr("vttbr_el2", vttbr(ROOT2, 2))
    for between, is_fault in (("", 0), (ISB, 1)):
        done = run(away + between + at, code=p.assemble_at_guest(), count=1)
        assert done.found is not None
        assert done.found[0] & 1 == is_fault


# Conflicts.


def test_two_entries_for_one_address_are_reported() -> None:
    replaced = write(entry(L3, 0), PAGES[2] | PAGE_LEAF) + DSB_ISH
    conflicts = run(replaced).adversary.conflicts
    assert [(c.vmid, c.ia, c.level, c.new_level) for c in conflicts] == [(1, IPA, 3, 3)]
    assert conflicts[0].old == FIRST | PAGE_LEAF
    assert conflicts[0].new == PAGES[2] | PAGE_LEAF
    assert "tlb-conflict" in str(conflicts[0])
    rightly = UNMAP + p.flush_ipa() + replaced
    done = run(rightly)
    assert done.adversary.conflicts == []
    assert done.found == (SECRET + 2, SECRET + 1)


def test_a_block_and_the_table_that_splits_it() -> None:
    split = write(entry(p.SPARE, 0), PAGES[2] | PAGE_LEAF) + DSB_ISH
    block = write(entry(L2, 10), FIRST & -(1 << 21) | p.BLOCK_LEAF) + DSB_ISH
    link = write(entry(L2, 10), p.SPARE | TABLE) + DSB_ISH
    conflicts = run(split + block + link, ipas=(IPA + (1 << 21),)).adversary.conflicts
    assert [(c.level, c.new_level) for c in conflicts] == [(2, 3)]


# Several old values, and choices anew.


def test_all_old_values_of_an_entry_may_be_met() -> None:
    twice = write(entry(L3, 0), PAGES[2] | PAGE_LEAF) + UNMAP + DSB_ISH
    met = {(run(twice, seed=seed).found or ())[0] for seed in range(12)}
    assert met == {SECRET, SECRET + 2}


def test_a_fault_is_a_choice_too() -> None:
    """A guest that tries again and again: the first loads fault, until an old entry serves."""
    again = "".join(load(f"x{20 + n}", IPAS[0]) for n in range(8))
    off = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b ."
    code = assemble(again + off)[64:]
    met = set()
    for seed in range(12):
        found = run(UNMAP + DSB_ISH, code=code, count=8, rate=128, seed=seed).found
        assert found is not None
        met.add(found.count(FAULT))
        assert found == tuple(sorted(found, reverse=True))  # one entry that serves stays
    assert len(met) > 2


def test_the_same_again_after_a_restore() -> None:
    machine = boot(UNMAP + WRONG["no DSB after"] + write(entry(L3, 3), PAGES[3] | PAGE_LEAF))
    adversary = TlbAdversary(machine, Choices(9, 128))
    snapshots = [machine.snapshot()]
    for until in range(5, 200, 5):
        if machine.run(until).kind is not StopKind.LIMIT:
            break
        snapshots.append(machine.snapshot())
    assert len(snapshots) > 4
    ends = []
    for snapshot in (*reversed(snapshots), *snapshots):
        machine.restore(snapshot)
        ends.append((finish(machine, 2), adversary.choices.state))
    assert len(set(ends)) == 1
    assert ends[0][0] is not None


def test_what_it_holds_comes_back_from_a_file() -> None:
    machine = boot(UNMAP + WRONG["no DSB after"] + write(entry(L3, 3), PAGES[3] | PAGE_LEAF))
    adversary = TlbAdversary(machine, Choices(9, 128))
    machine.run(40)
    snapshot = machine.snapshot()
    sections: document.Sections = {}
    plain = encode(list(snapshot.attachments), "s", sections)
    values, found = document.unpack(document.pack({"states": plain}, sections))
    read = tuple(Decoder(STATES).decode(values["states"], found))
    assert read[1] == snapshot.attachments[1] == adversary.save()
    end = finish(machine, 2)
    machine.restore(replace(snapshot, attachments=read))
    assert finish(machine, 2) == end


def test_without_an_adversary_walks_go_to_memory() -> None:
    unit: TranslationUnit = boot("").cpu.translation
    assert unit.walker is None
