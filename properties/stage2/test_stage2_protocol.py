# SPDX-License-Identifier: Apache-2.0
"""The monitor of the page-table-entry protocol, on streams written by hand."""

import pytest

from aether_edgecloud.stage2.protocol import Event, EventKind, Monitor, Rule, Space
from aether_edgecloud.stage2.spec import Config, Regime

ROOT, OTHER, TABLE, LAST = 0x4000_0000, 0x4001_0000, 0x4002_0000, 0x4002_1000
VMID = 7
OWN = VMID << 48 | ROOT
FOREIGN = 1 << 48 | 0x9000_0000
RW = 1 << 10 | 3 << 6 | 0xF << 2 | 1

DSB_ISHST = Event(EventKind.DSB_ISHST)
DSB_ISH = Event(EventKind.DSB_ISH)
ISB = Event(EventKind.ISB)
STAGE1 = Event(EventKind.TLBI_VMALLE1IS)
ALL = Event(EventKind.TLBI_VMALLS12E1IS)
PUBLISH = (DSB_ISHST, ISB)


def write(entry: int, descriptor: int) -> Event:
    return Event(EventKind.WRITE, entry, descriptor)


def zero(page: int) -> Event:
    return Event(EventKind.ZERO, page)


def vttbr(value: int) -> Event:
    return Event(EventKind.SET_VTTBR, value)


def ipa(address: int) -> Event:
    return Event(EventKind.TLBI_IPAS2E1IS, address)


def va(address: int) -> Event:
    return Event(EventKind.TLBI_VAE2IS, address)


def clean(address: int) -> tuple[Event, ...]:
    """What makes an entry clean, after it was written invalid."""
    return (
        *(DSB_ISHST, vttbr(OWN), ipa(address), DSB_ISH, STAGE1, DSB_ISH),
        vttbr(FOREIGN),
    )


def rules(*events: Event, regime: Regime = Regime.STAGE2) -> list[Rule]:
    """A 39-bit space with its first gigabyte mapped; then the events, then the end of the call."""
    monitor = Monitor(vttbr=FOREIGN)
    monitor.end_of_operation()
    monitor.feed([zero(ROOT), DSB_ISHST])
    config = Config(regime, ia_bits=39, vmid=VMID if regime is Regime.STAGE2 else 0)
    monitor.watch(Space(config, ROOT))
    monitor.feed([write(ROOT, RW), *PUBLISH])
    monitor.end_of_operation()
    assert not monitor.violations
    monitor.feed(events)
    monitor.end_of_operation()
    return [violation.rule for violation in monitor.violations]


def test_unmap_done_right() -> None:
    assert rules(write(ROOT, 0), *clean(0x1000), ISB) == []
    everything = (DSB_ISHST, vttbr(OWN), ALL, DSB_ISH, vttbr(FOREIGN), ISB)
    assert rules(write(ROOT, 0), *everything) == []
    el2 = (write(ROOT, 0), DSB_ISHST, va(0), DSB_ISH, ISB)
    assert rules(*el2, regime=Regime.EL2) == []


@pytest.mark.parametrize("dropped", range(5))
def test_each_step_of_the_sequence_matters(dropped: int) -> None:
    steps = [DSB_ISHST, ipa(0), DSB_ISH, STAGE1, DSB_ISH]
    del steps[dropped]
    events = (write(ROOT, 0), vttbr(OWN), *steps, vttbr(FOREIGN), *PUBLISH)
    assert Rule.NOT_FLUSHED in rules(*events)
    assert (Rule.VTTBR_MOVED in rules(*events)) == (dropped == 4)


def test_wrong_kind_page_or_vmid() -> None:
    def unmap(current: int, *tlbi: Event) -> list[Rule]:
        ends = (DSB_ISH, STAGE1, DSB_ISH, vttbr(FOREIGN), ISB)
        return rules(write(ROOT, 0), DSB_ISHST, vttbr(current), *tlbi, *ends)

    assert unmap(OWN, ipa(0)) == []
    for current, tlbi in ((OWN, ipa(1 << 30)), (OWN, STAGE1), (OWN, va(0)), (FOREIGN, ipa(0))):
        assert unmap(current, tlbi) == [Rule.NOT_FLUSHED]


def test_break_before_make() -> None:
    moved = RW | 1 << 30
    assert rules(write(ROOT, 0), *clean(0), write(ROOT, moved), *PUBLISH) == []
    assert Rule.VALID_TO_VALID in rules(write(ROOT, moved), *clean(0), ISB)
    assert Rule.VALID_TO_VALID in rules(write(ROOT, RW & ~(1 << 5)), *clean(0), ISB)
    early = (write(ROOT, 0), DSB_ISHST, write(ROOT, moved), *clean(0), ISB)
    assert rules(*early) == [Rule.MAKE_BEFORE_CLEAN]


def test_permissions_may_change_in_place_but_need_the_tlbi() -> None:
    assert rules(write(ROOT, RW & ~(1 << 7)), *clean(0), ISB) == []
    assert Rule.NOT_FLUSHED in rules(write(ROOT, RW & ~(1 << 7)), *PUBLISH)


def test_a_table_is_whole_and_visible_before_it_is_linked() -> None:
    link = write(ROOT + 8, TABLE | 3)
    assert rules(zero(TABLE), DSB_ISHST, link, *PUBLISH) == []
    assert rules(zero(TABLE), link, *PUBLISH) == [Rule.NOT_VISIBLE]
    assert rules(write(TABLE, 0), DSB_ISHST, link, *PUBLISH) == [Rule.NOT_CLEARED]
    twice = write(ROOT + 16, TABLE | 3)
    assert rules(zero(TABLE), DSB_ISHST, link, twice, *PUBLISH) == [Rule.TWO_PARENTS]
    assert rules(zero(TABLE), DSB_ISHST, link, zero(TABLE), *PUBLISH) == [Rule.FROZEN]


def test_a_detached_table_rests_until_it_is_clean() -> None:
    build = (zero(TABLE), DSB_ISHST, write(ROOT + 8, TABLE | 3), *PUBLISH)
    detach = (*build, write(ROOT + 8, 0))
    assert rules(*detach, *clean(1 << 30), write(TABLE, OTHER), ISB) == []
    assert rules(*detach, write(TABLE, OTHER), *clean(1 << 30), ISB) == [Rule.FROZEN]
    assert rules(*detach, zero(TABLE), *clean(1 << 30), ISB) == [Rule.FROZEN]


def test_a_table_is_empty_when_it_is_detached() -> None:
    build = (zero(TABLE), DSB_ISHST, write(ROOT + 8, TABLE | 3), write(TABLE, RW), *PUBLISH)
    detached = rules(*build, write(ROOT + 8, 0), *clean(1 << 30), ISB)
    assert detached == [Rule.DETACHED_VALID]


def test_the_end_of_a_call() -> None:
    new = write(ROOT + 8, RW | 1 << 30)
    assert rules(new, *PUBLISH) == []
    assert rules(new, ISB) == [Rule.NOT_PUBLISHED]
    assert rules(new, DSB_ISHST) == [Rule.NOT_SYNCHRONISED]
    assert rules(ISB, new, DSB_ISHST) == [Rule.NOT_SYNCHRONISED]
    assert rules(vttbr(OWN)) == [Rule.VTTBR_LOST]
    assert rules(vttbr(VMID << 48 | OTHER), vttbr(FOREIGN)) == [Rule.WRONG_ROOT]
    assert rules(Event(EventKind.BAD_ACCESS, 0x1000)) == [Rule.BAD_ACCESS]


def test_a_reserved_page_breaks_like_any_invalid_word() -> None:
    hold = write(ROOT, 2)
    assert rules(hold, *clean(0), write(ROOT, RW | 1 << 30), *PUBLISH) == []
    assert Rule.NOT_FLUSHED in rules(hold, *PUBLISH)
    assert rules(hold, write(ROOT, RW), *clean(0), ISB) == [Rule.MAKE_BEFORE_CLEAN]


def test_a_word_of_a_free_list_in_a_live_table() -> None:
    for annotations, expected in ((True, []), (False, [Rule.FROZEN])):
        monitor = Monitor(annotations=annotations)
        monitor.feed([zero(ROOT), DSB_ISHST])
        monitor.watch(Space(Config(Regime.EL2, ia_bits=39), ROOT))
        monitor.feed([write(ROOT, OTHER), *PUBLISH])
        monitor.end_of_operation()
        assert [violation.rule for violation in monitor.violations] == expected
