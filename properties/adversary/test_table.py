# SPDX-License-Identifier: Apache-2.0
"""Bugs that a kind machine hides, and an unkind one shows: the table, some of it."""

import re
from dataclasses import replace

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.properties.adversary import table, table_builds, table_report, table_ways
from aether_edgecloud.properties.adversary.table import Cell, Row, Table
from aether_edgecloud.properties.adversary.table_builds import Program
from aether_edgecloud.properties.adversary.table_scenarios import find
from aether_edgecloud.properties.adversary.table_ways import Outcome, Trial, Way
from aether_edgecloud.properties.mutants import catalogue
from aether_edgecloud.properties.mutants.mutant import Mutant

DOCUMENT = toolchain.SOURCE_ROOT / "docs" / "adversary-table.md"
BUGS = {bug.id: bug for bug in table.bugs()}
OFF = "firmware switched the machine off"
FIRST = ((0, 256),)

REPRESENTATIVE = (
    ("tlbi-stage-1-only", "lending", Way.TLB),
    pytest.param("tlbi-ipa-of-one-cpu", "two-cpus", Way.TLB, marks=pytest.mark.nightly),
    ("two-vcpus-share-a-tlb", "shared-cpu", Way.TLB),
    ("reset-tlbi-not-completed", "lives", Way.TLB),
    ("scrub-of-a-page-without-clean", "lending", Way.CACHES),
)
"""One of each family: the bug, a scenario that shows it, and the adversary that it takes."""


@pytest.mark.parametrize(("name", "scenario", "way"), REPRESENTATIVE, ids=lambda p: str(p))
def test_what_plain_emulation_hides_the_adversary_shows(
    name: str, scenario: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_ways, "RATES", FIRST)
    row = Table((Way.PLAIN, way), (find(scenario),)).row(BUGS[name])
    assert not row.cells[Way.PLAIN].is_seen, row.cells[Way.PLAIN].what
    assert row.cells[way].is_seen
    assert "WRONG" in row.cells[way].what


@pytest.mark.nightly
@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
def test_the_adversary_shows_each_bug(bug: Mutant) -> None:
    """Or it is written down why no guest can see it; then none does."""
    row = Table((Way.TLB, Way.CACHES, Way.BOTH)).row(bug)
    assert row.is_seen_by_adversary != (bug.id in table_report.reasons())


def test_reasons_are_of_bugs_that_there_are() -> None:
    assert set(table_report.reasons()) <= set(BUGS)


KIND = (
    ("protect-loses-the-memory-type", "library"),
    ("total-of-pages-unchecked", "lending"),
    ("cpu-on-twice-succeeds", "shared-cpu"),
)
"""What any machine shows to those who look for it."""


@pytest.mark.parametrize(("name", "scenario"), KIND, ids=lambda p: str(p))
def test_what_is_not_of_the_hardware_shows_on_any(name: str, scenario: str) -> None:
    cell = Table((Way.PLAIN,), (find(scenario),)).cell(BUGS[name], Way.PLAIN)
    assert "WRONG" in cell.what


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("bundle-size-overflows", "part with a size that wraps: "),
        ("image-larger-than-the-memory", "image beyond the memory: "),
        ("ipa-beyond-40-bits", "memory beyond 40 bits: "),
        ("strings-beyond-the-blob", "name beyond the strings: "),
    ],
)
def test_a_malformed_bundle_that_is_not_refused_shows(name: str, what: str) -> None:
    cell = Table((Way.PLAIN,), (find("malformed"),)).cell(BUGS[name], Way.PLAIN)
    assert cell.what.startswith(what)


def test_a_bug_without_a_property_that_kills_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = "properties/adversary/test_table.py"
    name = test_a_bug_without_a_property_that_kills_it_is_refused.__name__
    good: tuple[tuple[str, ...], ...] = (
        (f"{file}::{name}",),
        (f"{file}::{name}[model-x]", "y"),
        (file,),
    )
    bad: tuple[tuple[str, ...], ...] = ((), (f"{file}::{name[:-1]}",), ("properties/gone.py",))
    for tests in good:
        assert table.killer(replace(BUGS["tlbi-never"], tests=tests)) == tests[0]
    for tests in bad:
        bug = replace(BUGS["tlbi-never"], tests=tests)
        with pytest.raises(UserError, match="no property kills tlbi-never"):
            table.killer(bug)
        monkeypatch.setattr(catalogue, "load", lambda _, bug=bug: (bug,))
        with pytest.raises(UserError, match="no property kills tlbi-never"):
            table.bugs()


def test_the_document_is_of_today() -> None:
    """But for what is measured: the command that writes it takes half an hour."""
    text = DOCUMENT.read_text(encoding="utf-8")
    empty = table_report.markdown(
        [Row(bug, {way: Cell("") for way in Way}) for bug in BUGS.values()]
    )
    assert _bugs(text) == _bugs(empty) != []
    assert text.startswith(empty.partition("## Seen by whom")[0])
    unseen = dict(re.findall(r"^- `([a-z0-9-]+)`: (.*)\. Property: `", text, re.MULTILINE))
    assert unseen == table_report.reasons()


def _bugs(text: str) -> list[tuple[str, str]]:
    """What a row says that is not measured: number, bug and title; property."""
    return re.findall(
        r"^(\| [0-9]+ \| `[a-z0-9-]+`: [^|]*) \|.*\| (`[^`|]*`) \|$", text, re.MULTILINE
    )


def test_an_edit_changes_the_programs_that_hold_its_file() -> None:
    hypervisor, drill = (table_builds.binary(program) for program in Program)
    library = BUGS["tlbi-stage-1-only"].edit
    boot = BUGS["tlb-of-firmware-left"].edit
    assert table_builds.binary(Program.HYPERVISOR, boot) != hypervisor
    assert table_builds.binary(Program.DRILL, boot) == drill
    assert table_builds.binary(Program.DRILL, library) != drill


GOOD = Outcome(frozenset({"a", "b"}), OFF)


@pytest.mark.parametrize(
    ("outcome", "what"),
    [
        (Outcome(frozenset({"a", "b"}), OFF), ""),
        (Outcome(frozenset({"a", "b", "c"}), OFF), "c"),
        (Outcome(frozenset({"a"}), OFF), "never said: b"),
        (Outcome(frozenset({"a", "0", "x: WRONG 1"}), OFF), "x: WRONG 1"),
        (Outcome(frozenset({"a", "b"}), "it does not end"), "it does not end"),
        (Outcome(frozenset({"a", "b"}), OFF, rule="frozen"), "frozen"),
    ],
)
def test_what_counts_as_seen(outcome: Outcome, what: str) -> None:
    assert outcome.differs(GOOD) == what


def test_a_column_in_which_the_real_binary_is_wrong_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trial = Trial(Way.PLAIN, find("lending"))
    monkeypatch.setattr(table_ways, "run", lambda *_: Outcome(frozenset({"lent: WRONG 0x1"}), OFF))
    with pytest.raises(UserError, match="the real binary: lent: WRONG 0x1"):
        Table((Way.PLAIN,)).real(trial)


def test_lines_that_another_vm_broke_into_are_whole_again() -> None:
    text = b"[a] one \r\n[b] x\r\n[a+] two\r\n"
    assert table_ways.console_lines(text) == {"[a] one two", "[b] x"}


def test_the_report_counts_and_names() -> None:
    bugs = (BUGS["tlbi-never"], BUGS["tlbi-stage-1-only"])
    rows = [
        Row(bug, {Way.PLAIN: Cell(plain, "lending", 1), Way.TLB: Cell("x | y", "lending", 1)})
        for bug, plain in zip(bugs, ("panic", ""), strict=True)
    ]
    text = table_report.markdown(rows)
    assert "| plain emulation | 1 | 1 | 0 |" in text
    assert "| TLB adversary | 2 | 0 | 0 |" in text
    assert "| any of these | 2 | 0 | 0 |" in text
    killer = "properties/stage2/test_stage2_operations.py::test_random_sequences"
    assert f"| 1 | `tlbi-never`: {bugs[0].title} | seen | seen | `{killer}` |" in text
    assert [one["killer"] for one in table_report.facts(rows)] == [killer] * 2
    assert "| `tlbi-stage-1-only` | lending | `x / y` |" in text
