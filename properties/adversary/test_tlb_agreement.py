# SPDX-License-Identifier: Apache-2.0
"""The checker and the adversary agree: what a guest meets is what the checker says a TLB may hold,
over sequences of stores, TLBIs and barriers that nobody thought of."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.violation import Rule, Violation
from aether_edgecloud.properties.adversary import tlb_programs as programs
from aether_edgecloud.properties.adversary.tlb_programs import FAULT, IPAS, PAGES, SECRET
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor.el2_programs import L2, L3, TABLE, entry, tlbi, vttbr

LEAVES = (0, *(pa | p.PAGE_LEAF for pa in PAGES))
STEPS = st.one_of(
    st.builds(
        lambda index, leaf: p.write(entry(L3, index), leaf),
        st.sampled_from((0, 1)),
        st.sampled_from(LEAVES),
    ),
    st.sampled_from((p.write(entry(L2, 9), 0), p.write(entry(L2, 9), L3 | TABLE))),
    st.sampled_from((p.DSB_ISH, p.DSB_ISH, p.DSB_ISHST, p.DSB_NSH, p.ISB)),
    st.sampled_from([tlbi("ipas2e1is", ipa) for ipa in IPAS]),
    st.sampled_from([tlbi("ipas2le1is", ipa) for ipa in IPAS]),
    st.sampled_from(
        [tlbi(name) for name in ("vmalle1is", "vmalls12e1is", "vmalls12e1", "alle1is", "alle2")]
    ),
    st.sampled_from(
        [p.msr("vttbr_el2", vttbr(p.ROOT2, 2)) + p.ISB, p.msr("vttbr_el2", vttbr(p.ROOT)) + p.ISB]
    ),
    st.just(p.flush_ipa()),
)
BACK = p.msr("vttbr_el2", vttbr(p.ROOT)) + p.ISB


def in_memory(words: dict[int, int], ipa: int) -> int:
    """What the tables in memory say a load finds."""
    if words[entry(L2, 9)] & 3 != TABLE:
        return FAULT
    return meaning(words[entry(L3, IPAS.index(ipa))])


def meaning(leaf: int) -> int:
    if not leaf & 1:
        return FAULT
    return SECRET + PAGES.index(leaf & 0xFFFF_FFFF_F000)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=12))
@pytest.mark.parametrize("rate", [256, 0])
def test_what_a_guest_meets(rate: int, steps: list[str]) -> None:
    machine = programs.boot("".join(steps) + BACK + p.DSB_ISHST)
    reported: list[Violation] = []
    TlbAdversary(machine, Choices(1, rate))
    checker = Monitor(machine, report=reported.append)
    # Up to the guest, whose loads change nothing of what may be held.
    while machine.cpu.current_el == 2:
        assert machine.run(machine.instructions + 1).kind is StopKind.LIMIT
    held = {
        ipa: [
            (unclean.level, unclean.old)
            for level in range(4)
            for unclean in checker.entries.unclean.at(p.ROOT, level, ipa)
            if unclean.may_hold(0, combined=True)
        ]
        for ipa in IPAS
    }
    at = (entry(L2, 9), entry(L3, 0), entry(L3, 1))
    words = {pa: machine.memory.read64(pa) or 0 for pa in at}
    found = programs.finish(machine, len(IPAS))
    assert found is not None
    for ipa, met in zip(IPAS, found, strict=True):
        permitted = {meaning(old) for level, old in held[ipa] if level == 3}
        if any(level == 2 for level, _ in held[ipa]):
            permitted.add(meaning(words[entry(L3, IPAS.index(ipa))]))
        if rate == 0 or not permitted:
            assert met == in_memory(words, ipa)
        else:
            assert met in permitted
    if any(held.values()):
        rules = {violation.rule for violation in reported}
        assert rules & {Rule.NOT_FLUSHED, Rule.MAKE_BEFORE_CLEAN, Rule.VALID_TO_VALID}
