# SPDX-License-Identifier: Apache-2.0
"""What is not a mistake, or less of one: descriptors that come back, access flags, EL2's own TLB
entries, other granules, stacks in address spaces of their own; and what an adversary sees."""

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.check.checker import Checker
from aether_edgecloud.emulator.check.descriptor import describe_change
from aether_edgecloud.emulator.check.names import read_names
from aether_edgecloud.emulator.check.session import Session
from aether_edgecloud.emulator.cli.app import main
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.profile import symbol_file
from aether_edgecloud.properties.check import programs as c
from aether_edgecloud.properties.check.test_check_tables import (
    MAP,
    USE,
    el2_machine,
    ids,
    make_tidy,
    put,
)
from aether_edgecloud.properties.machine.bare import assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

LEAF, AF = p.DATA | p.PAGE_LEAF, 1 << 10
FIRST = p.entry(p.L3, 0)
SPAN = range(0x4000_0000, 0x4001_0000)
FORGET = "tlbi alle1\ntlbi alle2\ndsb nsh\nisb\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(p.write(FIRST, 0) + p.write(FIRST, LEAF) + p.DSB_ISH, [], id="back"),
        pytest.param(p.write(FIRST, 0) + p.write(FIRST, LEAF | 1 << 55) + p.DSB_ISH,
                     [], id="back with another bit for software"),
        pytest.param(p.write(FIRST, 0) + p.write(FIRST, LEAF & ~(1 << 7)) + p.DSB_ISH,
                     ["not-flushed"], id="back with a right less"),
        pytest.param(p.write(FIRST, 0) + p.write(FIRST, LEAF ^ 1 << 2) + p.DSB_ISH,
                     ["make-before-clean", "not-flushed"], id="back with another memory type"),
        pytest.param(p.write(FIRST, LEAF & ~AF) + p.DSB_ISH, [], id="AF"),
        pytest.param(p.write(FIRST, LEAF & ~AF & ~(1 << 7)) + p.DSB_ISH, ["not-flushed"],
                     id="AF and a right"),
    ],
)  # fmt: skip
def test_what_a_tlb_may_hold_all_the_same(body: str, expected: list[str]) -> None:
    assert ids(c.findings(c.machine(c.program([body + c.OFF])))) == expected


TOP, LINK = p.entry(p.ROOT, 1), p.entry(p.L2, 9)
UNLINK, RELINK = p.write(LINK, 0), p.write(LINK, p.L3 | p.TABLE)
OTHER_LEAF = p.DATA + 0x3000 | p.PAGE_LEAF
SECOND, THIRD = p.entry(p.L3, 1), p.entry(p.L3, 40)
GONE = UNLINK + p.DSB_ISH + p.write(FIRST, 0) + p.DSB_ISH
COPY = "".join(
    p.write(p.entry(p.SPARE, n), p.DATA + (n << 12) | p.PAGE_LEAF) for n in range(2)
) + p.DSB_ISHST  # fmt: skip


@pytest.mark.parametrize("by_difference", [False, True], ids=["exact", "difference"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(UNLINK + RELINK + p.DSB_ISH, set(), id="at once"),
        pytest.param(UNLINK + p.DSB_ISH + RELINK + p.DSB_ISH, set(), id="after a DSB"),
        pytest.param(UNLINK + p.flush_ipa() + RELINK + p.DSB_ISH, set(), id="after half of it"),
        pytest.param(UNLINK + p.FLUSH_ALL + RELINK + p.DSB_ISH, set(), id="after all TLBI"),
        pytest.param(2 * (UNLINK + p.DSB_ISH + RELINK + p.DSB_ISH), set(), id="twice"),
        pytest.param(p.write(TOP, 0) + p.DSB_ISH + p.write(TOP, p.L2 | p.TABLE) + p.DSB_ISH, set(),
                     id="with a table below"),
        pytest.param(p.write(FIRST, 0) + p.DSB_ISH + UNLINK + p.DSB_ISH + RELINK + p.flush_ipa(),
                     set(), id="with an entry that goes"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(TOP, 0) + p.DSB_ISH
                     + p.write(TOP, p.L2 | p.TABLE) + p.FLUSH_ALL, set(),
                     id="without a table below that went before"),
        pytest.param(UNLINK + p.DSB_ISH + COPY + p.write(LINK, p.SPARE | p.TABLE) + p.DSB_ISH,
                     {"make-before-clean", "not-flushed"}, id="a copy of it"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(LINK, p.L3 | p.TABLE | 1 << 61) + p.DSB_ISH,
                     {"make-before-clean", "frozen", "not-flushed"}, id="with other attributes"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(FIRST, OTHER_LEAF) + p.DSB_ISH + RELINK
                     + p.DSB_ISH, {"frozen", "make-before-clean", "not-flushed"},
                     id="changed below"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(LINK, p.L3 | p.TABLE | 1 << 55) + p.DSB_ISH,
                     set(), id="with another bit that is ignored"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(FIRST, LEAF | 1 << 55) + p.DSB_ISH + RELINK
                     + p.DSB_ISH, set(), id="with another bit for software below"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(FIRST, LEAF & ~(1 << 7)) + p.DSB_ISH + RELINK
                     + p.DSB_ISH, {"not-flushed"}, id="with a right less below"),
        pytest.param(GONE + RELINK + p.FLUSH_ALL, set(), id="with an entry gone meanwhile"),
        pytest.param(GONE + RELINK + p.DSB_ISH, {"not-flushed"}, id="the same, not flushed"),
        pytest.param(GONE + RELINK + p.DSB_ISH + p.write(FIRST, OTHER_LEAF) + p.FLUSH_ALL,
                     {"make-before-clean"}, id="the same, another made before"),
        pytest.param(GONE + RELINK + p.FLUSH_ALL + p.write(FIRST, OTHER_LEAF) + p.DSB_ISH, set(),
                     id="the same, another made behind"),
        pytest.param(GONE + RELINK + p.FLUSH_ALL + p.write(SECOND, OTHER_LEAF) + p.FLUSH_ALL,
                     {"valid-to-valid"}, id="it is watched again"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(THIRD, OTHER_LEAF) + p.DSB_ISH + RELINK
                     + p.FLUSH_ALL, set(), id="with one more entry"),
        pytest.param(GONE + p.write(FIRST, LEAF) + p.DSB_ISH + RELINK + p.DSB_ISH, set(),
                     id="with an entry gone and back"),
        pytest.param(GONE + p.write(FIRST, OTHER_LEAF) + p.DSB_ISH + RELINK + p.FLUSH_ALL,
                     {"frozen", "make-before-clean"}, id="with an entry gone and another"),
        pytest.param(p.write(TOP, 0) + p.DSB_ISH + UNLINK + p.DSB_ISH
                     + p.write(TOP, p.L2 | p.TABLE) + p.FLUSH_ALL + p.write(FIRST, 7), set(),
                     id="without a table below that went meanwhile"),
        pytest.param(p.write(TOP, 0) + p.DSB_ISH + UNLINK + p.DSB_ISH
                     + p.write(TOP, p.L2 | p.TABLE) + p.DSB_ISH + p.write(FIRST, 7) + p.FLUSH_ALL,
                     {"frozen"}, id="the same, used for data before"),
        pytest.param(GONE + p.write(FIRST, OTHER_LEAF) + p.FLUSH_ALL, {"frozen"},
                     id="not linked again, an entry gone and another"),
        pytest.param(p.write(TOP, 0) + p.DSB_ISH + UNLINK + p.flush_ipa()
                     + p.write(LINK, p.DATA | p.BLOCK_LEAF) + p.FLUSH_ALL
                     + p.write(TOP, p.L2 | p.TABLE) + p.DSB_ISH, {"frozen"},
                     id="a block over a table below, linked again after all TLBI"),
        pytest.param(UNLINK + p.DSB_ISH + p.write(THIRD, 7) + p.FLUSH_ALL, {"frozen"},
                     id="not linked again, used for data"),
        pytest.param(UNLINK + p.DSB_ISH + RELINK + p.DSB_ISH + p.write(FIRST, OTHER_LEAF)
                     + p.flush_ipa(), {"valid-to-valid"}, id="changed later"),
        pytest.param(UNLINK + p.DSB_ISH, {"not-flushed"}, id="not linked again"),
    ],
)  # fmt: skip
def test_a_table_that_comes_back(body: str, expected: set[str], by_difference: bool) -> None:
    """As it was, it contradicts nothing that a TLB or a walk cache may hold of it."""
    found = c.findings(c.machine(c.program([body + c.OFF])), by_difference=by_difference)
    assert set(ids(found)) == expected


def test_an_unlinked_table_that_is_used_is_likely_a_mistake() -> None:
    body = UNLINK + p.DSB_ISH + p.write(FIRST, OTHER_LEAF) + p.FLUSH_ALL
    (found,) = c.findings(c.machine(c.program([body + c.OFF])))
    assert (found.rule.id, found.rule.confidence.value) == ("frozen", "likely")


def test_one_word_of_each_level_is_read_for_an_entry_that_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole tables are read once when they are unlinked and once when they are linked, however
    many entries they have."""
    made = c.machine(c.program([UNLINK + p.DSB_ISH + RELINK + p.DSB_ISH + c.OFF]))
    for number in range(512):
        put(made, p.entry(p.L3, number), OTHER_LEAF)
    pages: list[int] = []
    read = Monitor.words

    def words(monitor: Monitor, pa: int, /) -> Sequence[int] | None:
        pages.append(pa)
        return read(monitor, pa)

    monkeypatch.setattr(Monitor, "words", words)
    assert c.findings(made) == ()
    assert pages.count(p.L3) < 10 and pages.count(p.L2) < 10


@pytest.mark.parametrize("leaf", [p.DATA, p.DATA + 0x3000])
def test_a_table_of_el2s_own_that_comes_back(leaf: int) -> None:
    link = p.entry(p.EL2_L2, 25)
    body = p.write(link, 0) + p.DSB_ISH
    body += p.write(p.entry(p.EL2_L3, 0), leaf | p.EL2_PAGE) + p.DSB_ISH
    body += p.write(link, p.EL2_L3 | p.TABLE) + p.DSB_ISH + p.ISB
    expected = {"frozen", "make-before-clean", "not-flushed"} if leaf != p.DATA else set()
    assert set(ids(c.findings(el2_machine(body)))) == expected


def test_own_entries_may_go_later() -> None:
    (found,) = c.findings(el2_machine(p.write(p.entry(p.EL2_L3, 1), 0) + p.DSB_ISH))
    assert found.rule.id == "not-flushed" and "of its own" in found.rule.words
    assert (found.rule.severity.value, found.rule.confidence.value) == ("warning", "possible")


@pytest.mark.parametrize(("stack", "level"), [(0x4060_0008, "error"), (0x0900_0000, "warning")])
def test_stacks(stack: int, level: str) -> None:
    """One that nobody may ever use is a warning; one on which every push faults is an error."""
    body = f"{constant('x1', stack)}\nmov sp, x1\n{c.enter(1, c.VM1)}"
    on = p.EL2_MMU_ON.replace(
        p.msr("sctlr_el2", p.SCTLR_ON), p.msr("sctlr_el2", p.SCTLR_ON | 1 << 3)
    )
    made = c.machine(c.program([body, c.OFF], c.setup(start=p.STAGE2_ON + on)))
    make_tidy(made)
    (found,) = c.findings(made)
    assert (found.rule.id, found.rule.severity.value) == ("bad-stack", level)


def test_another_granule_of_stage2() -> None:
    """The rules that need its tables are silent, and the report says so."""
    other = f"{p.msr('vtcr_el2', p.VTCR | 1 << 14)}isb\n"
    back = f"{p.msr('vtcr_el2', p.VTCR)}isb\n"
    made = c.machine(c.program([c.enter(1, c.VM1, prepare=other), back + c.OFF]))
    checker = Checker(made)
    made.run(p.LIMIT)
    assert "bad-root" not in ids(checker.findings.found)
    assert checker.unchecked == ("stage 2 uses a granule that is not checked: only 4 KiB is",)


def test_another_granule_of_el2() -> None:
    """64 KiB: a block of 512 MiB, VA = PA."""
    root = 0x4130_0000
    on = p.EL2_MMU_ON.replace(p.msr("tcr_el2", p.TCR), p.msr("tcr_el2", 0x8082_4016))
    on = on.replace(p.msr("ttbr0_el2", p.EL2_ROOT), p.msr("ttbr0_el2", root))
    made = c.machine(c.program([c.OFF], c.setup(start=p.STAGE2_ON + on)))
    put(made, p.entry(root, 2), 0x4000_0000 | p.EXECUTABLE)
    checker = Checker(made)
    made.run(p.LIMIT)
    checker.finish()
    assert ids(checker.findings.found) == []
    assert checker.unchecked == ("EL2 uses a granule that is not checked: only 4 KiB is",)
    assert checker.has_translated


def test_an_entry_of_another_tree_is_not_used() -> None:
    """EL2 goes on from its first tables to others: a store to the first has no use there."""
    switch = f"{p.DSB_ISH}{p.msr('ttbr0_el2', p.SPARE2)}{p.ISB}"
    for shared, expected in ((True, ["used-before-dsb"]), (False, [])):
        made = el2_machine(switch + MAP + USE + p.DSB_ISH + p.ISB)
        put(made, p.entry(p.SPARE2, 0), p.EL2_BLOCK | 1 << 54)
        put(made, p.entry(p.SPARE2, 1), (p.EL2_L2 if shared else p.SPARE) | p.TABLE)
        for number in range(32):
            word = made.memory.read64(p.entry(p.EL2_L2, number))
            assert word is not None
            put(made, p.entry(p.SPARE, number), word)
        if not shared:
            put(made, p.entry(p.SPARE, 25), p.EL2_SPARE | p.TABLE)
            put(made, p.entry(p.EL2_SPARE, 5), p.DATA + 0x5000 | p.EL2_PAGE)
        found = ids(c.findings(made))
        assert [rule for rule in found if rule.startswith("used")] == expected


def test_what_the_tlb_adversary_sees() -> None:
    replaced = p.write(FIRST, p.DATA + 0x3000 | p.PAGE_LEAF) + p.DSB_ISH + p.ISB
    use = f"{constant('x1', p.IPA)}\nat s12e1r, x1\nisb\n"
    made = c.machine(c.program([FORGET + use + replaced + use + c.OFF]))
    adversary = TlbAdversary(made, Choices(1, 256))
    checker = Checker(made)
    made.run(p.LIMIT)
    checker.finish()
    (conflict,) = adversary.conflicts
    (found,) = (f for f in checker.findings.found if f.rule.id == "tlb-conflict")
    assert (found.place.pc, found.place.instruction) == (conflict.pc, conflict.instruction)
    assert found.entry is not None and found.entry.ia == p.IPA


def test_what_the_cache_adversary_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "el2.bin"
    read = f"{constant('x1', p.DATA)}\nldr x2, [x1]\n"
    file.write_bytes(assemble(f"{read}movz x0, #0x8400, lsl #16\nmovk x0, #8\nsmc #0\nb ."))
    main(["check", str(file), "--adversary", "caches", "--json", "-"])
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["rule"], found["value"]) == ("uninitialised-read", hex(p.DATA))


def test_an_interrupted_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells what it saw, not that it reached a limit, and ends by the signal."""
    file, report = tmp_path / "el2.bin", tmp_path / "report.json"
    file.write_bytes(assemble("b ."))
    begin = Session.run

    def run(session: Session) -> Any:
        signal.raise_signal(signal.SIGINT)
        return begin(session)

    monkeypatch.setattr(Session, "run", run)
    assert main(["check", str(file), "--json", str(report)]) == 130
    told = json.loads(report.read_text())
    assert (told["end"], told["exit_status"]) == ("interrupted", 3)
    out = capsys.readouterr().out
    assert "the run was interrupted" in out and out.rstrip().endswith("nothing found up to there")


def test_rules_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "el2.bin"
    file.write_bytes(assemble("b ."))
    assert main(["check", str(file), "--rules", ""]) == 2
    assert "--rules: no rule is left" in capsys.readouterr().err


def test_symbols_of_another_machine(tmp_path: Path) -> None:
    elf = bytearray(Path(toolchain.artefact("el2").elf or "").read_bytes())
    elf[0x12:0x14] = (62).to_bytes(2, "little")  # EM_X86_64
    file = tmp_path / "x86"
    file.write_bytes(elf)
    for read in (read_names, symbol_file.read):
        with pytest.raises(UserError, match="X86_64"):
            read(file, SPAN)


@pytest.mark.parametrize("bit", [1 << 52, 1 << 11, 1 << 55])
def test_a_change_that_shows(bit: int) -> None:
    words = describe_change(LEAF, LEAF ^ bit, 3, is_stage2=True, mair=0)
    was, _, now = words.partition(" -> ")
    assert was != now
