# SPDX-License-Identifier: Apache-2.0
"""EL2's own tables, and tables of any shape: what is wrong is found, and what is known to be right
is not."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.difference import DifferenceMonitor
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.monitor.violation import Violation
from aether_edgecloud.properties.check import programs as c
from aether_edgecloud.properties.machine.bare import LOAD, constant
from aether_edgecloud.properties.monitor import el2_programs as p

BOTH_ON = p.STAGE2_ON + p.EL2_MMU_ON
WXN = 1 << 19
READ_ONLY, XN = 1 << 7, 1 << 54
CODE_BLOCK = LOAD >> 21 & 511
USE = f"{constant('x3', p.VA + 0x5000)}\nldr x4, [x3]\n"
MAP = p.write(p.entry(p.EL2_L3, 5), p.DATA + 0x5000 | p.EL2_PAGE)


def el2_machine(body: str, *, sctlr: int = p.SCTLR_ON, tidy: bool = True) -> Machine:
    """A program that enters a guest with EL2's MMU on. `tidy`: EL2 can execute its code alone, and
    not write it."""
    on = BOTH_ON.replace(p.msr("sctlr_el2", p.SCTLR_ON), p.msr("sctlr_el2", sctlr))
    made = c.machine(c.program([body + c.OFF], c.setup(start=on)))
    if tidy:
        make_tidy(made)
    return made


def make_tidy(made: Machine) -> None:
    """EL2's tables with W^X."""
    put(made, p.entry(p.EL2_ROOT, 0), p.EL2_BLOCK | XN)
    for number in range(32):
        if number == 25:
            continue
        word = 0x4000_0000 + (number << 21) | p.EXECUTABLE
        put(made, p.entry(p.EL2_L2, number), word | (READ_ONLY if number == CODE_BLOCK else XN))


def put(made: Machine, pa: int, word: int) -> None:
    """A descriptor."""
    made.memory.write(pa, word.to_bytes(8, "little"))


def ids(found: Sequence[Finding]) -> list[str]:
    return [finding.rule.id for finding in found]


def test_a_tidy_el2() -> None:
    assert not c.findings(el2_machine(""))


def test_write_and_execute() -> None:
    (found,) = c.findings(el2_machine("", tidy=False))
    assert found.rule.id == "writable-code"
    assert found.words.endswith("can be executed and written")


def test_wxn_takes_execution_away() -> None:
    """With SCTLR_EL2.WXN only what cannot be written can be executed, whatever XN says."""
    made = el2_machine("", sctlr=p.SCTLR_ON | WXN, tidy=False)
    put(made, p.entry(p.EL2_L2, CODE_BLOCK), LOAD & -(1 << 21) | p.EXECUTABLE | READ_ONLY)
    assert not c.findings(made)


def test_a_second_mapping_that_writes() -> None:
    made = el2_machine("")
    put(made, p.entry(p.EL2_L3, 9), LOAD | p.EL2_PAGE)
    (found,) = c.findings(made)
    assert found.rule.id == "writable-code"
    assert f"and written at VA {p.VA + 0x9000:#x}" in found.words


def test_what_boot_code_does_is_its_own_affair() -> None:
    """A mapping that is gone before the first guest."""
    gone = p.write(p.entry(p.EL2_L3, 9), 0) + p.flush_va(p.VA + 0x9000)
    made = el2_machine(gone)
    put(made, p.entry(p.EL2_L3, 9), LOAD | p.EL2_PAGE)
    assert not c.findings(made)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(MAP + p.DSB_ISHST + p.ISB + USE, [], id="right"),
        pytest.param(MAP + p.DSB_ISH + p.ISB + USE, [], id="a stronger DSB"),
        pytest.param(MAP + p.DSB_NSH + p.ISB + USE + p.DSB_ISH, [], id="for this CPU"),
        pytest.param(MAP + USE + p.DSB_ISH + p.ISB, ["used-before-dsb"], id="no DSB"),
        pytest.param(MAP + p.ISB + USE + p.DSB_ISH, ["used-before-dsb"], id="ISB alone"),
        pytest.param(MAP + "dsb ishld\n" + p.ISB + USE + p.DSB_ISH, ["used-before-dsb"],
                     id="a DSB for loads"),
        pytest.param(MAP + p.DSB_ISH + USE, ["used-before-isb"], id="no ISB"),
        pytest.param(MAP + p.ISB + p.DSB_ISH + USE, ["used-before-isb"], id="ISB before DSB"),
        pytest.param(MAP + p.DSB_ISH, [], id="not used"),
    ],
)  # fmt: skip
def test_use_before_the_barriers(body: str, expected: list[str]) -> None:
    found = c.findings(el2_machine(body))
    assert ids(found) == expected
    for finding in found:
        assert finding.entry is not None and finding.entry.ia == finding.value == p.VA + 0x5000
        assert finding.entry.pa == p.entry(p.EL2_L3, 5)


# What is known to be right, and what is not when a piece is missing.

EMPTY = p.SPARE
OTHER = 2


def erratum(*, isb: str = p.ISB, dsb: str = p.DSB_ISH) -> str:
    """Maintenance for another VMID, entered with a root that maps nothing: speculative walks find
    nothing to keep under it."""
    steps = (
        p.DSB_ISHST, p.msr("vttbr_el2", p.vttbr(EMPTY, OTHER)), isb, p.tlbi("vmalls12e1is"), dsb,
        p.msr("vttbr_el2", p.vttbr(p.ROOT)), p.ISB,
    )  # fmt: skip
    return "".join(steps)


def other_tree_changes() -> str:
    """VMID 2 has run, and something of it is taken away while VMID 1 is loaded."""
    return p.write(p.entry(p.ROOT2_L2, 9), 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(erratum(), [], id="right"),
        pytest.param(erratum(isb=""), ["vttbr-not-synchronised"], id="no ISB"),
        pytest.param(erratum(dsb=""), ["not-flushed", "vttbr-moved"], id="no DSB"),
        pytest.param("", ["not-flushed"], id="nothing at all"),
    ],
)
def test_maintenance_under_an_empty_root(body: str, expected: list[str]) -> None:
    other = c.enter(2, c.VM2)
    made = c.machine(c.program([other, other_tree_changes() + body + c.OFF]))
    put(made, p.entry(p.ROOT2_L2, 9), p.DATA & -(1 << 21) | p.BLOCK_LEAF)
    assert ids(c.findings(made)) == expected


def recursive(index: int, word: int) -> Machine:
    made = el2_machine("")
    put(made, p.entry(p.EL2_ROOT, index), word)
    return made


def test_tables_that_map_themselves() -> None:
    assert not c.findings(recursive(511, p.EL2_ROOT | p.TABLE))


def test_tables_that_map_others() -> None:
    """The table at another place of the same tree, and not one above."""
    assert ids(c.findings(recursive(511, p.EL2_L2 | p.TABLE))) == ["two-parents"]


def second_tree(word: int) -> Machine:
    """EL2 goes on from the tables it boots with to others."""
    switch = f"{p.DSB_ISH}{p.msr('ttbr0_el2', p.SPARE2)}{p.ISB}{p.tlbi('alle2')}{p.DSB_NSH}{p.ISB}"
    made = el2_machine(switch)
    put(made, p.entry(p.SPARE2, 0), p.EL2_BLOCK | XN)
    put(made, p.entry(p.SPARE2, 1), word)
    return made


def test_boot_tables_and_final_ones_share() -> None:
    assert not c.findings(second_tree(p.EL2_L2 | p.TABLE))


def test_what_was_shared_is_still_watched() -> None:
    """The boot tree is gone; its table is the final one's, and a change of it is seen."""
    switch = f"{p.DSB_ISH}{p.msr('ttbr0_el2', p.SPARE2)}{p.ISB}{p.tlbi('alle2')}{p.DSB_NSH}{p.ISB}"
    change = p.write(p.entry(p.EL2_L3, 1), p.DATA + 0x7000 | p.EL2_PAGE)
    change += p.flush_va(p.VA + 0x1000)
    made = el2_machine(switch + change)
    put(made, p.entry(p.SPARE2, 0), p.EL2_BLOCK | XN)
    put(made, p.entry(p.SPARE2, 1), p.EL2_L2 | p.TABLE)
    assert ids(c.findings(made)) == ["valid-to-valid"]


def test_a_change_of_permissions_alone() -> None:
    """No break-before-make for AP and XN."""
    body = p.write(p.entry(p.L3, 0), p.DATA | p.PAGE_LEAF & ~(1 << 7)) + p.flush_ipa()
    assert not c.run([body + c.OFF])
    body = p.write(p.entry(p.L3, 0), p.DATA + 0x9000 | p.PAGE_LEAF) + p.flush_ipa()
    assert ids(c.run([body + c.OFF])) == ["valid-to-valid"]


# All is found that is found store by store.

PAGES = [0, p.DATA | p.PAGE_LEAF, p.DATA + 0x3000 | p.PAGE_LEAF, p.DATA | p.PAGE_LEAF & ~(1 << 7)]
BARRIERS = st.sampled_from([p.DSB_ISHST, p.DSB_ISH, p.DSB_NSH, p.ISB])
MAINTENANCE = st.one_of(
    st.integers(0, 3).map(lambda n: p.tlbi("ipas2e1is", p.IPA + 0x1000 * n)),
    st.sampled_from(["vmalle1is", "vmalls12e1is", "alle1is", "vmalle1"]).map(p.tlbi),
)


@st.composite
def sequences(draw: st.DrawFn) -> str:
    """Stores, each to an entry that no store has changed since the last barrier, and by rising
    address: the order is all that is lost."""
    text = ""
    for _ in range(draw(st.integers(1, 6))):
        entries = sorted(draw(st.sets(st.integers(0, 3), max_size=3)))
        for number in entries:
            text += p.write(p.entry(p.L3, number), draw(st.sampled_from(PAGES)))
        text += draw(BARRIERS)
        text += "".join(draw(st.lists(st.one_of(BARRIERS, MAINTENANCE), max_size=3)))
    return text


@settings(max_examples=25)
@given(sequences())
def test_stores_seen_by_difference(body: str) -> None:
    def found(kind: type[Monitor]) -> set[tuple[object, ...]]:
        made, breaches = c.machine(c.program([body + c.OFF])), list[Violation]()
        monitor = kind(made, report=breaches.append)
        made.run(p.LIMIT)
        monitor.close()
        return {(v.rule, v.entry_pa, v.ia, v.old, v.new) for v in breaches}

    assert found(DifferenceMonitor) == found(Monitor)
