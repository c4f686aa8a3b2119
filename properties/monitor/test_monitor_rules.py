# SPDX-License-Identifier: Apache-2.0
"""Each rule of the monitor, by programs that break just it and programs that keep it."""

import pytest

from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.poison import poison
from aether_edgecloud.emulator.monitor.violation import Rule
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import (
    BLOCK_LEAF,
    DATA,
    DSB_ISH,
    DSB_ISHST,
    DSB_NSH,
    EL2_L2,
    EL2_L3,
    EL2_MMU_ON,
    EL2_PAGE,
    EL2_SPARE,
    FLUSH_ALL,
    IPA,
    ISB,
    L2,
    L3,
    LEAVE,
    PAGE_LEAF,
    ROOT,
    ROOT2,
    SPARE,
    SPARE2,
    STAGE2_ON,
    TABLE,
    VA,
    entry,
    flush_ipa,
    flush_va,
    msr,
    tlbi,
    vttbr,
    write,
)

PAGE = entry(L3, 0)
NEW = DATA + 0x5000 | PAGE_LEAF
BREAK, MAKE = write(PAGE, 0), write(PAGE, NEW) + DSB_ISHST
ADD = write(entry(L3, 5), NEW) + DSB_ISHST
"""Maps a page where there was none."""
UNLINK = write(entry(L2, 9), 0)

EL2_PAGE_ENTRY = entry(EL2_L3, 0)
EL2_NEW = DATA + 0x5000 | EL2_PAGE
EL2_BREAK = write(EL2_PAGE_ENTRY, 0)
EL2_MAKE = write(EL2_PAGE_ENTRY, EL2_NEW) + DSB_ISHST + ISB
BOTH_ON = EL2_MMU_ON + STAGE2_ON


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(write(PAGE, NEW), id="output address"),
        pytest.param(write(PAGE, DATA | PAGE_LEAF & ~0x3C), id="memory type"),
        pytest.param(write(PAGE, DATA | PAGE_LEAF & ~0x300), id="shareability"),
        pytest.param(write(PAGE, DATA | PAGE_LEAF | 1 << 52), id="contiguous"),
        pytest.param(write(entry(L2, 4), SPARE | TABLE), id="block to table"),
        pytest.param(write(entry(L2, 9), DATA | BLOCK_LEAF), id="table to block"),
        pytest.param(write(entry(L2, 9), SPARE | TABLE), id="table to table"),
        pytest.param(write(PAGE, NEW & ~(1 << 10)), id="output address, AF cleared"),
    ],
)
def test_a_valid_entry_is_not_replaced(body: str) -> None:
    assert p.rule_of(body) is Rule.VALID_TO_VALID


def test_what_a_table_descriptor_ignores_may_change() -> None:
    assert p.rule_of(write(entry(L2, 9), L3 | TABLE | 1 << 52 | 0xFFC) + DSB_ISHST) is None
    hierarchical = write(entry(EL2_L2, 25), EL2_L3 | TABLE | 1 << 60)
    assert p.rule_of(hierarchical, start=BOTH_ON) is Rule.VALID_TO_VALID


def test_the_report_has_all_there_is() -> None:
    violation = p.run(write(PAGE, NEW))
    assert violation is not None
    assert violation.rule is Rule.VALID_TO_VALID
    assert (violation.cpu, violation.vmid, violation.level) == (0, 1, 3)
    assert (violation.entry_pa, violation.ia) == (PAGE, IPA)
    assert (violation.old, violation.new) == (DATA | PAGE_LEAF, NEW)
    # The store is the last instruction of the body, which begins after STAGE2_ON.
    assert violation.instruction * 4 == violation.pc - p.CODE - 64 + 4
    for words in ("valid-to-valid", "VMID 1", hex(PAGE), hex(IPA), hex(violation.pc), "Arm ARM"):
        assert words in str(violation)


@pytest.mark.parametrize("change", [1 << 7, 1 << 54, 1 << 10], ids=["S2AP", "XN", "access flag"])
def test_rights_may_be_taken_in_place_but_not_without_tlbi(change: int) -> None:
    body = write(PAGE, (DATA | PAGE_LEAF) ^ change)
    assert p.rule_of(body + DSB_ISHST) is Rule.NOT_FLUSHED
    assert p.rule_of(body + flush_ipa()) is None


def test_rights_may_be_given_in_place() -> None:
    first = write(entry(L3, 5), DATA | PAGE_LEAF & ~(1 << 7) | 1 << 54) + DSB_ISHST
    assert p.rule_of(first + write(entry(L3, 5), DATA | PAGE_LEAF | 1 << 55) + DSB_ISHST) is None


CLEAN_SEQUENCES = {
    "by IPA": flush_ipa(),
    "the whole VMID": FLUSH_ALL,
    "all VMIDs": DSB_ISHST + tlbi("alle1is") + DSB_ISH,
    "first barrier full": DSB_ISH + tlbi("vmalls12e1is") + DSB_ISH,
    "on the only CPU": DSB_ISHST + tlbi("vmalls12e1") + DSB_NSH,
    "last level": DSB_ISHST + tlbi("ipas2le1is", IPA) + DSB_ISH + tlbi("vmalle1is") + DSB_ISH,
    "another address in the page": flush_ipa(IPA + 0xFFF),
}
UNCLEAN_SEQUENCES = {
    "nothing": "",
    "no TLBI": DSB_ISHST + DSB_ISH,
    "no DSB before": tlbi("vmalls12e1is") + DSB_ISH,
    "no DSB before, two after": tlbi("vmalls12e1is") + DSB_ISH + DSB_ISH,
    "no DSB after": DSB_ISHST + tlbi("vmalls12e1is"),
    "only stores waited for": DSB_ISHST + tlbi("vmalls12e1is") + DSB_ISHST,
    "DSB too narrow": DSB_ISHST + tlbi("vmalls12e1is") + DSB_NSH,
    "stage 2 alone": DSB_ISHST + tlbi("ipas2e1is", IPA) + DSB_ISH,
    "stage 1 alone": DSB_ISHST + tlbi("vmalle1is") + DSB_ISH,
    "stage 1 before stage 2": DSB_ISHST
    + tlbi("vmalle1is")
    + DSB_ISH
    + tlbi("ipas2e1is", IPA)
    + DSB_ISH,
    "no DSB between": DSB_ISHST + tlbi("ipas2e1is", IPA) + tlbi("vmalle1is") + DSB_ISH,
    "another address": flush_ipa(IPA + 0x1000),
    "EL2's regime": DSB_ISHST + tlbi("alle2is") + DSB_ISH,
    "another VMID": DSB_ISHST
    + msr("vttbr_el2", vttbr(ROOT2, 2))
    + ISB
    + tlbi("vmalls12e1is")
    + DSB_ISH
    + msr("vttbr_el2", vttbr(ROOT))
    + ISB,
}


@pytest.mark.parametrize("sequence", CLEAN_SEQUENCES.values(), ids=CLEAN_SEQUENCES)
def test_break_before_make(sequence: str) -> None:
    assert p.rule_of(BREAK + sequence + MAKE) is None


@pytest.mark.parametrize("sequence", UNCLEAN_SEQUENCES.values(), ids=UNCLEAN_SEQUENCES)
def test_break_before_make_with_something_missing(sequence: str) -> None:
    assert p.rule_of(BREAK + sequence + MAKE) is Rule.MAKE_BEFORE_CLEAN
    assert p.rule_of(BREAK + sequence) is Rule.NOT_FLUSHED


def test_a_reserved_word_is_as_invalid_as_zero() -> None:
    reserved = write(PAGE, 2)
    assert p.rule_of(reserved + flush_ipa() + write(PAGE, 0) + MAKE) is None
    assert p.rule_of(reserved + write(PAGE, 0) + MAKE) is Rule.MAKE_BEFORE_CLEAN


def test_what_is_unclean_below_is_in_the_way_of_a_block() -> None:
    """The table is clean by IPA, the second page in it is not."""
    body = UNLINK + flush_ipa() + write(entry(L2, 9), DATA | BLOCK_LEAF) + DSB_ISHST
    assert p.rule_of(body) is Rule.MAKE_BEFORE_CLEAN
    both = UNLINK + flush_ipa() + flush_ipa(IPA + 0x1000)
    assert p.rule_of(both + write(entry(L2, 9), DATA | BLOCK_LEAF) + DSB_ISHST) is None


def test_a_last_level_tlbi_leaves_a_table() -> None:
    empty = write(PAGE, 0) + write(entry(L3, 1), 0) + FLUSH_ALL
    last = DSB_ISHST + tlbi("ipas2le1is", IPA) + DSB_ISH + tlbi("vmalle1is") + DSB_ISH
    assert p.rule_of(empty + UNLINK + last) is Rule.NOT_FLUSHED
    assert p.rule_of(empty + UNLINK + flush_ipa()) is None


@pytest.mark.parametrize(
    ("sequence", "broken"),
    [
        pytest.param(flush_va(), False, id="by VA"),
        pytest.param(DSB_ISHST + tlbi("vale2is", VA) + DSB_ISH, False, id="last level"),
        pytest.param(DSB_ISHST + tlbi("alle2") + DSB_NSH, False, id="all, on the only CPU"),
        pytest.param(tlbi("vae2is", VA) + DSB_ISH, True, id="no DSB before"),
        pytest.param(DSB_ISHST + tlbi("vae2is", VA), True, id="no DSB after"),
        pytest.param(flush_va(VA + 0x1000), True, id="another address"),
        pytest.param(DSB_ISHST + tlbi("alle1is") + DSB_ISH, True, id="the regime below"),
        pytest.param("", True, id="nothing"),
    ],
)
def test_el2s_own_tables(sequence: str, broken: bool) -> None:
    body = EL2_BREAK + sequence
    made = Rule.MAKE_BEFORE_CLEAN if broken else None
    left = Rule.NOT_FLUSHED if broken else None
    assert p.rule_of(body + EL2_MAKE, start=BOTH_ON) is made
    assert p.rule_of(body, start=BOTH_ON) is left


def test_el2s_own_tables_need_break_before_make_too() -> None:
    assert p.rule_of(write(EL2_PAGE_ENTRY, EL2_NEW), start=BOTH_ON) is Rule.VALID_TO_VALID
    last = DSB_ISHST + tlbi("vale2is", VA) + DSB_ISH
    empty = EL2_BREAK + write(entry(EL2_L3, 1), 0) + DSB_ISHST + tlbi("alle2is") + DSB_ISH
    unlink = write(entry(EL2_L2, 25), 0)
    assert p.rule_of(empty + unlink + last, start=BOTH_ON) is Rule.NOT_FLUSHED
    assert p.rule_of(empty + unlink + flush_va(), start=BOTH_ON) is None


def test_the_tables_of_el2_are_not_live_before_its_mmu_is_on() -> None:
    late = write(EL2_PAGE_ENTRY, EL2_NEW) + DSB_ISH + EL2_MMU_ON
    assert p.rule_of(late) is None


def test_a_new_entry_is_published() -> None:
    assert p.rule_of(write(entry(L3, 5), NEW)) is Rule.NOT_PUBLISHED
    assert p.rule_of(write(entry(L3, 5), NEW) + DSB_ISHST) is None


FILL = write(entry(SPARE, 0), NEW)
LINK = write(entry(L2, 10), SPARE | TABLE) + DSB_ISHST


def test_a_table_is_visible_before_it_is_linked() -> None:
    assert p.rule_of(FILL + LINK) is Rule.NOT_VISIBLE
    assert p.rule_of(FILL + DSB_ISHST + LINK) is None
    again = FILL + DSB_ISHST + write(entry(SPARE, 1), 0) + LINK
    assert p.rule_of(again) is Rule.NOT_VISIBLE, "a store to a page that was visible once"
    zeroed = f"{constant('x1', SPARE)}\ndc zva, x1\n"
    assert p.rule_of(zeroed + LINK) is Rule.NOT_VISIBLE
    assert p.rule_of(zeroed + DSB_ISHST + LINK) is None
    read = f"{constant('x1', SPARE)}\nldr x2, [x1]\n"
    assert p.rule_of(read + FILL + LINK) is Rule.NOT_VISIBLE
    assert p.rule_of(read + LINK) is None


def test_stores_are_seen_from_the_moment_a_page_is_a_table() -> None:
    """Also where the CPU had just stored to it, and no DSB came between."""
    ignored = frozenset({Rule.NOT_VISIBLE})
    linked = FILL + LINK.removesuffix(DSB_ISHST)
    assert p.run(linked + DSB_ISHST, ignore=ignored) is None
    violation = p.run(linked + write(entry(SPARE, 0), DATA | PAGE_LEAF), ignore=ignored)
    assert violation is not None
    assert violation.rule is Rule.VALID_TO_VALID


@pytest.mark.parametrize(
    "word",
    [
        pytest.param(NEW | 1 << 45, id="a page beyond the output size"),
        pytest.param(0xF_FFFF_F000 | PAGE_LEAF | 1 << 47, id="poison"),
    ],
)
def test_a_table_that_was_not_cleared(word: int) -> None:
    body = write(entry(SPARE, 7), word) + DSB_ISHST + LINK
    assert p.rule_of(body) is Rule.BAD_DESCRIPTOR


def test_a_table_where_there_is_no_memory() -> None:
    assert p.rule_of(write(entry(L2, 10), 0x2000_0000 | TABLE)) is Rule.BAD_DESCRIPTOR


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(write(entry(L2, 10), L3 | TABLE), id="a table twice"),
        pytest.param(write(entry(L2, 10), L2 | TABLE), id="a loop"),
        pytest.param(write(entry(ROOT, 2), ROOT | TABLE), id="the root"),
    ],
)
def test_tables_form_a_tree(body: str) -> None:
    assert p.rule_of(body) is Rule.TWO_PARENTS


def test_a_table_of_el2_is_not_one_of_stage_2() -> None:
    body = write(entry(L2, 10), EL2_L3 | TABLE)
    assert p.rule_of(body, start=BOTH_ON) is Rule.TWO_PARENTS


def test_a_table_rests_until_its_link_is_clean() -> None:
    assert p.rule_of(UNLINK + write(PAGE, 0)) is Rule.FROZEN
    assert p.rule_of(UNLINK + FLUSH_ALL + write(PAGE, 0)) is None
    assert p.rule_of(UNLINK + write(entry(L2, 10), L3 | TABLE)) is Rule.FROZEN
    assert p.rule_of(UNLINK + FLUSH_ALL + write(entry(L2, 10), L3 | TABLE) + DSB_ISHST) is None
    assert p.rule_of(UNLINK + FLUSH_ALL + write(PAGE, 0x1234_5677)) is None, "memory again"


@pytest.mark.parametrize("table", [ROOT, L2, L3])
def test_no_table_is_reachable(table: int) -> None:
    assert p.rule_of(write(entry(L3, 5), table | PAGE_LEAF)) is Rule.TABLE_REACHABLE
    block = write(entry(L2, 10), table & -(1 << 21) | BLOCK_LEAF)
    assert p.rule_of(block) is Rule.TABLE_REACHABLE


def test_no_table_of_el2_is_reachable() -> None:
    body = write(entry(L3, 5), EL2_L2 | PAGE_LEAF)
    assert p.rule_of(body, start=BOTH_ON) is Rule.TABLE_REACHABLE
    assert p.rule_of(body + DSB_ISHST) is None, "no table while the MMU is off"


def test_a_page_that_is_reachable_becomes_no_table() -> None:
    mapped = write(entry(L3, 5), SPARE | PAGE_LEAF) + DSB_ISHST
    assert p.rule_of(mapped + LINK) is Rule.TABLE_REACHABLE
    gone = write(entry(L3, 5), 0) + flush_ipa(IPA + 0x5000)
    assert p.rule_of(mapped + gone + LINK) is None


RET = 0xD65F_03C0


def test_no_code_of_el2_is_reachable() -> None:
    assert p.rule_of(write(entry(L3, 5), p.CODE | PAGE_LEAF)) is Rule.CODE_REACHABLE
    assert p.rule_of(write(entry(L2, 10), p.CODE | BLOCK_LEAF)) is Rule.CODE_REACHABLE
    page = DATA + 0x9000
    mapped = write(entry(L3, 5), page | PAGE_LEAF) + DSB_ISHST
    call = f"{constant('x9', page)}\nblr x9\n"
    code = write(page, RET) + DSB_ISH + ISB
    assert p.rule_of(mapped + code + call) is Rule.CODE_REACHABLE
    assert p.rule_of(mapped + code) is None
    assert p.rule_of(code + call) is None


TO_OTHER, BACK = msr("vttbr_el2", vttbr(ROOT2, 2)), msr("vttbr_el2", vttbr(ROOT))


@pytest.mark.parametrize("done", [DSB_ISH + tlbi("vmalle1is"), ""], ids=["stage 1", "stage 2"])
def test_vttbr_stays_until_a_tlbi_is_complete(done: str) -> None:
    body = BREAK + DSB_ISHST + tlbi("ipas2e1is", IPA) + done
    assert p.rule_of(body + TO_OTHER) is Rule.VTTBR_MOVED
    if done:
        assert p.rule_of(body + DSB_ISH + TO_OTHER + ISB) is None


def test_a_tlbi_waits_for_a_new_vttbr() -> None:
    for operation in ("vmalls12e1is", "vmalle1is"):
        assert p.rule_of(TO_OTHER + tlbi(operation)) is Rule.VTTBR_NOT_SYNCHRONISED
        assert p.rule_of(TO_OTHER + ISB + tlbi(operation)) is None
    assert p.rule_of(TO_OTHER + tlbi("alle1is") + tlbi("alle2is")) is None


def test_another_vmid_is_flushed_as_the_library_does() -> None:
    """The entry of a VMID that does not run: VTTBR goes there and back, an ISB behind each."""
    there_and_back = BREAK + DSB_ISHST + BACK + ISB + flush_ipa()[len(DSB_ISHST) :] + TO_OTHER + ISB
    assert p.rule_of(TO_OTHER + ISB + there_and_back + MAKE) is None
    without = BREAK + DSB_ISHST + flush_ipa()[len(DSB_ISHST) :]
    assert p.rule_of(TO_OTHER + ISB + without + MAKE) is Rule.MAKE_BEFORE_CLEAN


ENTER_AND_RETURN = f"""
    adr x1, vectors
    msr vbar_el2, x1
    {msr("elr_el2", p.GUEST + 0x100)}
    {msr("spsr_el2", 0x3C5)}
    b down
.balign 2048
vectors:
    .rept 8
    b .
    .balign 128
    .endr
    b back
    .balign 128
down:
    eret
back:
"""
HVC = write(p.GUEST + 0x100, 0xD400_0002) + DSB_ISH + ISB
"""EL1's code at the second place: HVC #0."""


def twice(first: str, second: str) -> str:
    """Run with one VTTBR_EL2, then with another."""
    return HVC + first + ISB + ENTER_AND_RETURN + second + ISB


def test_one_root_for_a_vmid_and_one_vmid_for_a_root() -> None:
    here = msr("vttbr_el2", vttbr(ROOT))
    assert p.rule_of(twice(here, msr("vttbr_el2", vttbr(ROOT2, 2)))) is None
    assert p.rule_of(twice(here, msr("vttbr_el2", vttbr(ROOT2, 1)))) is Rule.TWO_ROOTS
    assert p.rule_of(twice(here, msr("vttbr_el2", vttbr(ROOT, 2)))) is Rule.TWO_VMIDS


def test_a_vmid_may_get_another_root_once_the_tlbs_are_clean() -> None:
    away = msr("vttbr_el2", 0) + ISB + tlbi("alle1is") + DSB_ISH
    body = twice(msr("vttbr_el2", vttbr(ROOT)), away + msr("vttbr_el2", vttbr(ROOT2, 1)))
    assert p.rule_of(body) is None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(msr("vttbr_el2", vttbr(0x2000_0000)), id="no memory"),
        pytest.param(msr("vttbr_el2", vttbr(ROOT + 0x800)), id="not aligned"),
        pytest.param(msr("vtcr_el2", p.VTCR | 1 << 14), id="granule"),
        pytest.param(msr("vtcr_el2", p.VTCR & ~0x3F), id="start level and size"),
    ],
)
def test_stage_2_makes_sense_when_el2_is_left(bad: str) -> None:
    assert p.rule_of(bad + ISB) is Rule.BAD_ROOT
    mended = STAGE2_ON
    assert p.rule_of(bad + ISB + mended) is None


def test_el0_under_el2_has_no_stage_2() -> None:
    to_el0 = LEAVE.replace(msr("spsr_el2", 0x3C5), msr("spsr_el2", 0x3C0))
    assert to_el0 != LEAVE
    assert p.rule_of(msr("hcr_el2", p.HCR | 1 << 27) + ISB, end=to_el0) is Rule.BAD_ROOT


def test_stage_2_stays_on() -> None:
    off = msr("hcr_el2", 1 << 31)
    assert p.rule_of(twice(STAGE2_ON, off)) is Rule.STAGE2_OFF
    assert p.rule_of(off + ISB) is None, "it was never on"


def test_a_rule_that_is_ignored() -> None:
    """With its fellow, which the same program breaks: the entry was never clean."""
    body = write(PAGE, NEW) + flush_ipa()
    assert p.run(body) is not None
    assert p.run(body, ignore=frozenset({Rule.VALID_TO_VALID})) is None


def test_tables_that_el1_writes_are_followed() -> None:
    """As a host does that EL2 trusts with them: its barriers are not seen, so it is not judged."""
    host = write(EL2_PAGE_ENTRY, EL2_NEW) + write(entry(EL2_L2, 40), EL2_SPARE | TABLE)
    host += write(entry(EL2_L2, 25), 0) + write(entry(EL2_L2, 25), EL2_L3 | TABLE)
    machine = p.boot("", start=EL2_MMU_ON + msr("hcr_el2", 1 << 31))
    off = p.tables()[p.GUEST]
    machine.memory.write(p.GUEST, assemble(host)[64:] + off)
    monitor = Monitor(machine)
    assert machine.run(p.LIMIT).kind is StopKind.SYSTEM_OFF
    monitor.check()
    assert EL2_SPARE in monitor.trees.pages
    assert machine.memory.read64(EL2_PAGE_ENTRY) == EL2_NEW


def test_two_spare_tables_below_one_another() -> None:
    body = write(entry(SPARE, 3), SPARE2 | TABLE) + DSB_ISHST
    linked = body + write(entry(ROOT, 3), SPARE | TABLE) + DSB_ISHST
    assert p.rule_of(linked) is None
    assert p.rule_of(linked + write(entry(L2, 20), SPARE2 | TABLE)) is Rule.TWO_PARENTS


def test_every_program_ends_at_el1() -> None:
    assert p.rule_of("") is None
    assert p.rule_of(ADD) is None
    assert LEAVE.rstrip().endswith("b .")
    assert EL2_SPARE not in p.tables()


def test_a_table_full_of_what_ram_held_at_reset() -> None:
    """The spare table is not cleared; cleared, all is well."""
    for clear in (False, True):
        stores = f"{constant('x1', p.POISONED)}\nmov x3, #512\nagain: str xzr, [x1], #8\n"
        stores += "sub x3, x3, #1\ncbnz x3, again\n"
        body = (stores if clear else "") + DSB_ISHST
        body += write(entry(L2, 10), p.POISONED | TABLE) + DSB_ISHST
        machine = p.boot(body)
        poison(machine)
        p.load(machine)
        monitor = Monitor(machine)
        machine.run(p.LIMIT)
        found = monitor.violation and monitor.violation.rule
        assert found is (None if clear else Rule.BAD_DESCRIPTOR)
