# SPDX-License-Identifier: Apache-2.0
"""The protocol for several CPUs, on one CPU, against the one for a single PE that the page-table
library is tested with: two implementations, one answer."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.monitor.events import Dsb, decode_tlbi, span_of
from aether_edgecloud.emulator.monitor.journal import Journal, Table
from aether_edgecloud.emulator.monitor.registers import RamTest, Registers
from aether_edgecloud.emulator.monitor.trees import LivePage, Trees
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.properties.monitor.el2_programs import VTCR
from aether_edgecloud.stage2 import protocol
from aether_edgecloud.stage2.protocol import Event, EventKind
from aether_edgecloud.stage2.spec import Config, Regime

ROOT, L2, L3, PAGES = 0x10_0000, 0x10_1000, 0x10_2000, 0x20_0000
VTTBR = 1 << 48 | ROOT
LEAF = 0x7FF
BEGIN = (
    *(Event(EventKind.ZERO, page) for page in (ROOT, L2, L3)),
    Event(EventKind.WRITE, ROOT, L2 | 3),
    Event(EventKind.WRITE, L2, L3 | 3),
    Event(EventKind.WRITE, L3, PAGES | LEAF),
    Event(EventKind.DSB_ISHST),
)
TLBIS = {
    EventKind.TLBI_IPAS2E1IS: reg.key(1, 4, 8, 0, 1),
    EventKind.TLBI_VMALLE1IS: reg.key(1, 0, 8, 3, 0),
    EventKind.TLBI_VMALLS12E1IS: reg.key(1, 4, 8, 3, 6),
}
DSBS = {
    EventKind.DSB_ISHST: Dsb("ishst", True, False, True),
    EventKind.DSB_ISH: Dsb("ish", True, True, True),
}


class Memory:
    """RAM of the model, in which every store is visible at once."""

    def __init__(self) -> None:
        self.pages: dict[int, list[int]] = {page: [0] * 512 for page in (ROOT, L2, L3)}

    def words(self, pa: int, /) -> Sequence[int] | None:
        return self.pages.get(pa)

    def word(self, pa: int, /) -> int | None:
        page = self.pages.get(pa & -4096)
        return None if page is None else page[pa % 4096 // 8]

    def unseen(self, _pa: int, /, *, is_ordered: bool) -> bool:
        return False

    def store(self, pa: int, value: int) -> int:
        page, index = self.pages[pa & -4096], pa % 4096 // 8
        old, page[index] = page[index], value
        return old


def by_protocol(events: Sequence[Event]) -> int | None:
    """Number of the first event that the single-PE monitor objects to."""
    monitor = protocol.Monitor()
    monitor.feed(BEGIN)
    monitor.watch(protocol.Space(Config(Regime.STAGE2, 39, 40, 1), ROOT))
    assert not monitor.violations
    for number, event in enumerate(events):
        monitor.feed([event])
        if monitor.violations:
            return number
    return None


def by_monitor(events: Sequence[Event]) -> tuple[int | None, Rule | None]:
    """The same of the one for several CPUs, with one."""
    memory, journal = Memory(), Journal()
    pages: Table[int, LivePage] = Table(journal)
    trees = Trees(memory, journal, frozenset(), pages, Table(journal))
    registers = Registers(trees, journal, RamTest(0x10_0000, 0x20_0000), 1)
    for event in BEGIN:
        if event.kind is EventKind.WRITE:
            memory.store(event.a, event.b)
    registers.write(0, "hcr_el2", 1)
    registers.write(0, "vtcr_el2", VTCR)
    registers.write(0, "vttbr_el2", VTTBR)
    registers.write(0, "vttbr_el2", 0)
    registers.synchronise(0)
    for number, event in enumerate(events):
        try:
            if event.kind is EventKind.WRITE:
                registers.entries.store(0, event.a, memory.store(event.a, event.b), event.b)
            elif event.kind is EventKind.SET_VTTBR:
                registers.write(0, "vttbr_el2", event.a)
                registers.synchronise(0)
            elif event.kind in DSBS:
                registers.entries.dsb(0, DSBS[event.kind])
            else:
                tlbi = decode_tlbi(TLBIS[event.kind])
                assert tlbi is not None
                vmid = registers.cpus[0].vmid
                registers.entries.tlbi(0, tlbi, span_of(tlbi, event.a >> 12), vmid)
        except Violation as violation:
            return number, violation.rule
    return None, None


IPAS = st.sampled_from((0, 0x1000))
EVENTS = st.one_of(
    st.builds(
        Event,
        st.just(EventKind.WRITE),
        st.sampled_from((L3, L3 + 8)),
        st.sampled_from((0, 0, 2, PAGES | LEAF, PAGES + 0x1000 | LEAF)),
    ),
    st.sampled_from([Event(kind) for kind in (*DSBS, EventKind.DSB_ISH)]),
    st.builds(Event, st.just(EventKind.TLBI_IPAS2E1IS), IPAS),
    st.just(Event(EventKind.TLBI_VMALLE1IS)),
    st.just(Event(EventKind.TLBI_VMALLS12E1IS)),
    st.sampled_from([Event(EventKind.SET_VTTBR, value) for value in (0, VTTBR)]),
)


def without_idle_switches(events: Sequence[Event]) -> list[Event]:
    """A write of the value that VTTBR_EL2 has is nothing to one of the two."""
    vttbr, kept = 0, []
    for event in events:
        if event.kind is EventKind.SET_VTTBR:
            if event.a == vttbr:
                continue
            vttbr = event.a
        kept.append(event)
    return kept


@settings(max_examples=400)
@given(st.lists(EVENTS, max_size=40))
def test_the_same_first_objection(events: list[Event]) -> None:
    shown = without_idle_switches(events)
    number, rule = by_monitor(shown)
    assert number == by_protocol(shown)
    assert rule in (None, Rule.VALID_TO_VALID, Rule.MAKE_BEFORE_CLEAN, Rule.VTTBR_MOVED)


def test_a_whole_sequence_is_accepted_by_both() -> None:
    """So that agreement is not only agreement on mistakes."""
    flush = (
        Event(EventKind.DSB_ISHST),
        Event(EventKind.SET_VTTBR, VTTBR),
        Event(EventKind.TLBI_IPAS2E1IS, 0),
        Event(EventKind.DSB_ISH),
        Event(EventKind.TLBI_VMALLE1IS),
        Event(EventKind.DSB_ISH),
        Event(EventKind.SET_VTTBR, 0),
    )
    events = [Event(EventKind.WRITE, L3, 0), *flush, Event(EventKind.WRITE, L3, PAGES | LEAF)]
    assert by_monitor(events) == (None, None)
    assert by_protocol(events) is None
    for missing in (1, 2, 3, 4, 5, 6):
        fewer = without_idle_switches([e for n, e in enumerate(events) if n != missing])
        assert by_monitor(fewer)[0] == by_protocol(fewer) is not None
