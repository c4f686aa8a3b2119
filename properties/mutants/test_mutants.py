# SPDX-License-Identifier: Apache-2.0
"""The measuring of the tests, tested: what counts as killed, and what never does."""

import itertools
import json
import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT
from aether_edgecloud.properties.mutants import (
    catalogue,
    choice,
    judge,
    runner,
    sanitizer,
)
from aether_edgecloud.properties.mutants.judge import Outcome, Run
from aether_edgecloud.properties.mutants.mutant import Edit, Mutant, Verdict
from aether_edgecloud.properties.mutants.runner import Real
from aether_edgecloud.properties.mutants.tree import NotCompiled, Tree

ROOT = Path(__file__).resolve().parents[2]


# The catalogue


def test_the_catalogue_fits_the_sources() -> None:
    """Every entry has its place in the sources as they stand, and there are enough."""
    mutants = catalogue.load(SOURCE_ROOT)
    assert len(mutants) >= 60
    assert len({(m.edit.file, m.edit.start, m.edit.text) for m in mutants}) == len(mutants)


def test_known_bugs_are_recreated_or_told() -> None:
    """docs/seeded-bugs.md names each known bug that no entry re-creates."""
    recreated = {number for mutant in catalogue.load(SOURCE_ROOT) for number in mutant.recreates}
    document = (ROOT / "docs" / "seeded-bugs.md").read_text(encoding="utf-8")
    listed = {int(row) for row in re.findall(r"^\| (\d+) \|", document, re.MULTILINE)}
    assert listed == set(range(1, catalogue.KNOWN_BUGS + 1))
    without = {
        int(number) for number in re.findall(r"^\| (\d+) \|[^|]*\| none:", document, re.MULTILINE)
    }
    assert without == listed - recreated


ENTRY: dict[str, object] = {
    "id": "a-bug",
    "title": "what",
    "file": "el2/a.c",
    "before": "int a;",
    "after": "int b;",
    "tests": ["properties/test_a.py"],
    "expect": "no",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A tree of one source and one test."""
    root = tmp_path / "root"
    for folder in ("el2", "stage2", "emulator", "guest_stubs", "properties"):
        (root / folder).mkdir(parents=True)
    (root / "el2" / "a.c").write_text("// first\nint a;\nint c;\nint c;\n", encoding="utf-8")
    (root / "properties" / "test_a.py").write_text("", encoding="utf-8")
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    return root


def tables(name: str, entries: Sequence[dict[str, object]]) -> str:
    text = ""
    for entry in entries:
        text += f"[[{name}]]\n"
        text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
    return text


def write_catalogue(folder: Path, *entries: dict[str, object]) -> Path:
    folder.mkdir()
    (folder / "some.toml").write_text(tables("bug", entries), encoding="utf-8")
    return folder


def test_an_entry_is_read(sources: Path, tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path / "catalogue", ENTRY | {"recreates": [3]})
    (mutant,) = catalogue.load(sources, folder)
    assert mutant.edit == Edit("el2/a.c", 9, 15, b"int b;")
    assert (mutant.recreates, mutant.tests) == ((3,), ("properties/test_a.py",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"before": "int d;"}, "0 times, not once"),
        ({"before": "int c;"}, "2 times, not once"),
        ({"after": "int a;"}, "`after` is `before`"),
        ({"file": "el2/none.c"}, "not a source"),
        ({"file": "emulator/a.py"}, "not a source"),
        ({"tests": []}, "tests is not"),
        ({"tests": ["properties/none.py"]}, "no such test file"),
        ({"expect": "("}, "expect:"),
        ({"expect": ""}, "expect is not a text"),
        ({"id": "A bug"}, "the id is not"),
        ({"recreates": [0]}, "recreates is not"),
        ({"recreates": ["1"]}, "recreates is not"),
        ({"colour": "red"}, "colour: missing or unknown"),
    ],
)
def test_a_bad_entry_is_refused(
    change: dict[str, object], words: str, sources: Path, tmp_path: Path
) -> None:
    folder = write_catalogue(tmp_path / "catalogue", ENTRY | change)
    with pytest.raises(UserError, match=re.escape(words)):
        catalogue.load(sources, folder)


def test_an_id_is_there_once(sources: Path, tmp_path: Path) -> None:
    folder = write_catalogue(tmp_path / "catalogue", ENTRY, ENTRY | {"after": "int e;"})
    with pytest.raises(UserError, match="the id is there already"):
        catalogue.load(sources, folder)


@pytest.mark.parametrize("text", ["nothing", "x = 1", "bug = 3", "\x00"])
def test_a_file_of_something_else_is_refused(text: str, sources: Path, tmp_path: Path) -> None:
    folder = tmp_path / "catalogue"
    folder.mkdir()
    (folder / "some.toml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"some\.toml"):
        catalogue.load(sources, folder)


# Verdicts

BUG = Mutant("a-bug", "what", Edit("el2/a.c", 0, 1, b""), ("properties/test_a.py",), "bad page")
PASSED = Outcome("properties/test_a.py::test_1", "call", "passed", 1.0)


def failed(text: str, *, when: str = "call", assertion: bool = True) -> Outcome:
    return Outcome(
        "properties/test_a.py::test_2", when, "failed", 1.0, 7, assertion, text, "BAD_PAGE"
    )


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (Run((PASSED, failed("AssertionError: a bad page")), 1), Verdict.KILLED),
        (Run((failed("AssertionError: other"), failed("A: bad page")), 1), Verdict.KILLED),
        (Run((failed("AssertionError: other"),), 1), Verdict.WRONG_REASON),
        (Run((failed("EmulatorFault: bad page", assertion=False),), 1), Verdict.BROKEN),
        (Run((failed("E: bad page", when="setup", assertion=False),), 1), Verdict.BROKEN),
        (Run((failed("E: bad page", when="collect", assertion=False),), 2), Verdict.BROKEN),
        (Run((), None), Verdict.BROKEN),
        (Run((PASSED,), None), Verdict.BROKEN),
        (Run((PASSED,), -11), Verdict.BROKEN),
        (Run((PASSED,), -signal.SIGPROF), Verdict.ENDLESS),
        (Run((PASSED,), -signal.SIGABRT), Verdict.BROKEN),
        (Run((PASSED,), -signal.SIGABRT, judge.RECORDER), Verdict.ENDLESS),
        (Run((), 0), Verdict.BROKEN),
        (Run((Outcome("properties/test_a.py::t", "setup", "skipped", 0.0),), 0), Verdict.BROKEN),
        (Run((PASSED,), 0), Verdict.SURVIVED),
    ],
)
def test_verdicts(run: Run, verdict: Verdict) -> None:
    assert judge.judge(BUG, run, 1.0).verdict is verdict


PANIC = """\
thread 15519 panic: shift exponent 70 is too large for 64-bit type 'uint64_t'
/v/ziglang/lib/ubsan_rt.zig:290:13: 0x7f383bc48458 in shiftOobAbort (ubsan_rt)
    shiftOob(data, lhs_handle, rhs_handle);
            ^
/t/aether_edgecloud/{place}:12:42: 0x7f383bbf828f in split (pgtable.c)
"""
CALLER = "/t/aether_edgecloud/stage2/pgtable.c:20:9: 0x7f383bbf8300 in pgt_map (pgtable.c)\n"
STARTED = Outcome("properties/test_a.py::test_2", "start", "started", 0.0)


@pytest.mark.parametrize(
    ("place", "status", "expect", "verdict"),
    [
        ("stage2/pgtable.c", -signal.SIGABRT, "shift exponent", Verdict.KILLED),
        ("stage2/pgtable.c", -signal.SIGABRT, None, Verdict.KILLED),
        ("stage2/pgtable.c", -signal.SIGABRT, "bad page", Verdict.WRONG_REASON),
        # A text alone is no end, and an end for another reason is the harness's.
        ("stage2/pgtable.c", 0, None, Verdict.SURVIVED),
        ("stage2/pgtable.c", -signal.SIGSEGV, None, Verdict.BROKEN),
        ("stage2/recorder/recorder.c", -signal.SIGABRT, None, Verdict.BROKEN),
        ("el2/host/readers.c", -signal.SIGABRT, None, Verdict.BROKEN),
        ("other.c", -signal.SIGABRT, None, Verdict.BROKEN),
    ],
)
def test_ubsan_kills_if_it_names_the_hypervisor(
    place: str, status: int, expect: str | None, verdict: Verdict
) -> None:
    run = Run((PASSED, STARTED), status, PANIC.format(place=place) + CALLER)
    result = judge.judge(replace(BUG, expect=expect), run, 1.0)
    assert result.verdict is verdict
    if verdict is Verdict.KILLED:
        assert result.test == STARTED.nodeid
        assert "shift exponent 70" in result.detail
        assert "stage2/pgtable.c:12 in split" in result.detail


def test_the_last_report_is_the_one() -> None:
    ours, hardware = (
        PANIC.format(place=place) for place in ("stage2/pgtable.c", "stage2/recorder/recorder.c")
    )
    assert sanitizer.report(ours + hardware) is None
    assert sanitizer.report(hardware + ours) is not None


def test_a_kill_is_told_with_what_and_how_soon() -> None:
    result = judge.judge(BUG, Run((failed("AssertionError: bad page"),), 1), 2.5)
    assert (result.test, result.rule, result.examples, result.seconds) == (
        "properties/test_a.py::test_2",
        "BAD_PAGE",
        7,
        2.5,
    )


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ("properties", True),
        ("properties/test_a.py", True),
        ("properties/test_a.py::test_1", True),
        ("properties/test_a.py::test", False),
        ("properties/test", False),
    ],
)
def test_selectors(selector: str, chosen: bool) -> None:
    assert bool(judge.selected((PASSED,), (selector,))) is chosen


# Runs: a small suite in a copy

SUITE = """
import pytest
from hypothesis import given, strategies as st

from aether_edgecloud.emulator.errors import EmulatorFault

@pytest.fixture
def broken():
    assert False, "in a fixture: bad page"

def test_good(): pass
def test_bad(): assert 1 == 2, "a bad page"
def test_fail(): pytest.fail("a bad page")
def test_fault(): raise EmulatorFault("a bad page")
def test_setup(broken): pass
def test_skipped(): pytest.skip("a bad page")
def test_long():
    import time
    time.sleep(60)
def test_crash():
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)

def test_undefined():
    import os, sys
    os.write(2, PANIC)
    os.abort()
def test_endless():
    while True: pass

count = 0

@given(st.integers())
def test_example(n):
    global count
    count += 1
    assert count < 5, "a bad page"
"""

CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--aether-profile")
"""


SUITE = SUITE.replace("PANIC", repr(PANIC.format(place="stage2/pgtable.c").encode()))


@pytest.fixture
def tree(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A copy in which the suite above is."""
    monkeypatch.setenv("AETHER_CACHE", str(tmp_path / "cache"))
    (sources / "properties" / "test_a.py").write_text(SUITE, encoding="utf-8")
    (sources / "properties" / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    return Tree(tmp_path / "tree", sources)


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ("good", Verdict.SURVIVED),
        ("bad", Verdict.KILLED),
        ("fail", Verdict.KILLED),
        ("example", Verdict.KILLED),
        ("fault", Verdict.BROKEN),
        ("setup", Verdict.BROKEN),
        ("skipped", Verdict.BROKEN),
        ("long", Verdict.BROKEN),
        ("crash", Verdict.BROKEN),
        ("undefined", Verdict.KILLED),
        ("endless", Verdict.ENDLESS),
    ],
)
def test_what_counts_as_killed(tree: Tree, test: str, verdict: Verdict) -> None:
    name = f"properties/test_a.py::test_{test}"
    limit = 1.0 if test == "long" else 60.0
    run = runner.pytest(tree, (name,), BUG.expect, limit, {name: 0.5})
    bug = replace(BUG, expect="shift exponent") if test == "undefined" else BUG
    result = judge.judge(bug, run, 1.0)
    assert result.verdict is verdict, (result, run.output)
    assert result.test == ("" if test in ("good", "skipped", "long", "crash") else name)
    assert result.examples == (5 if test == "example" else 0)


def test_a_run_ends_when_the_mutant_is_killed(tree: Tree) -> None:
    run = runner.pytest(tree, ("properties/test_a.py",), BUG.expect, 60.0)
    ran = [o.nodeid.rpartition("_")[2] for o in run.outcomes if o.when == "call"]
    assert ran == ["good", "bad"]


def test_a_selector_that_names_nothing(tree: Tree) -> None:
    run = runner.pytest(tree, ("properties/test_a.py::test_none",), None, 60.0)
    assert run.exit_status == 4


def test_a_file_is_changed_and_put_back(tree: Tree, sources: Path) -> None:
    path = tree.root / "el2" / "a.c"
    before = path.read_bytes()
    with tree.changed(Edit("el2/a.c", 9, 15, b"int b;")):
        changed = path.read_text(encoding="utf-8")
        assert changed.splitlines()[1:] == ["int b;", "int c;", "int c;"]
        assert (sources / "el2" / "a.c").read_bytes() == before
    assert path.read_bytes() == before


def real_of(products: tuple[str, ...], *outcomes: Outcome) -> Real:
    return Real(outcomes, {False: products, True: products}, "0" * 64, 1.0)


@pytest.fixture
def building(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """What is built is the source itself; one that holds `error` does not compile."""

    def products(self: Tree, file: str) -> tuple[str, ...]:
        text = (self.root / file).read_text(encoding="utf-8").partition("\n")[2]
        if "error" in text:
            raise NotCompiled("el2/a.c:2:1: no")
        return (text.replace(" ", ""),)

    monkeypatch.setattr(Tree, "products", products)
    return tree


@pytest.mark.parametrize(
    ("text", "test", "verdict"),
    [
        (b"int b;", "bad", Verdict.KILLED),
        (b"int b;", "good", Verdict.SURVIVED),
        (b"int error;", "bad", Verdict.NOT_COMPILED),
        (b"int  a;", "bad", Verdict.EQUIVALENT),
    ],
)
def test_one_mutant(building: Tree, text: bytes, test: str, verdict: Verdict) -> None:
    selector = f"properties/test_a.py::test_{test}"
    mutant = Mutant("a-bug", "what", Edit("el2/a.c", 9, 15, text), (selector,), "bad page")
    real = real_of(building.products("el2/a.c"), Outcome(selector, "call", "passed", 0.1))
    result = runner.try_one(building, mutant, real)
    assert result.verdict is verdict
    assert result.mutant is mutant


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_what_the_real_code_does_not_pass_says_nothing(building: Tree, outcome: str) -> None:
    """A test that fails, or is skipped, without the bug cannot tell anything about the bug."""
    selector = "properties/test_a.py::test_bad"
    mutant = Mutant("a-bug", "what", Edit("el2/a.c", 9, 15, b"int b;"), (selector,), "bad page")
    real = real_of(building.products("el2/a.c"), Outcome(selector, "call", outcome, 0.1))
    assert runner.try_one(building, mutant, real).verdict is Verdict.BROKEN


# Choice


def many(count: int) -> tuple[Mutant, ...]:
    return tuple(Mutant(f"bug-{i}", "", BUG.edit, BUG.tests, "x") for i in range(count))


@pytest.mark.parametrize(("count", "share"), [(7, 2), (60, 2), (61, 3), (5, 9)])
def test_samples_of_successive_days_go_through_all(count: int, share: int) -> None:
    mutants = many(count)
    days = [date(2026, 1, 30) + timedelta(days=i) for i in range(-(-count // share) + 1)]
    chosen = [choice.sample(mutants, share, day) for day in days]
    assert all(len(one) == min(share, count) for one in chosen)
    assert {m.id for one in chosen for m in one} == {m.id for m in mutants}
    assert chosen == [choice.sample(mutants, share, day) for day in days]


def test_a_shuffle_depends_on_its_seed_alone() -> None:
    mutants = many(30)
    assert choice.shuffled(mutants, 1) == choice.shuffled(mutants[::-1], 1)
    assert choice.shuffled(mutants, 1) != choice.shuffled(mutants, 2)
    # A new one changes the order of no two others.
    more = [m.id for m in choice.shuffled(many(31), 1) if m.id != "bug-30"]
    assert more == [m.id for m in choice.shuffled(mutants, 1)]


def test_a_spread_has_a_part_of_each_file() -> None:
    edits = {name: replace(BUG.edit, file=name) for name in ("el2/a.c", "el2/b.c", "el2/c.c")}
    sizes = {"el2/a.c": 60, "el2/b.c": 30, "el2/c.c": 10}
    mutants = tuple(
        Mutant(f"{file}:{i}", "", edits[file], ()) for file in sizes for i in range(sizes[file])
    )
    chosen = choice.spread(mutants, 20, 1)
    assert Counter(mutant.edit.file for mutant in chosen) == {
        **{"el2/a.c": 12, "el2/b.c": 6, "el2/c.c": 2}
    }
    assert chosen == choice.spread(mutants[::-1], 20, 1)
    # The first of many are a smaller spread.
    assert chosen == choice.spread(mutants, 40, 1)[:20]
    assert len(choice.spread(mutants, 500, 1)) == 100


def test_an_unknown_id_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no mutant 'bug-x'; did you mean bug-"):
        choice.named(many(3), ["bug-x"])
    with pytest.raises(UserError) as caught:
        choice.named(many(3), ["nope", many(3)[0].id, "nope2"])
    assert str(caught.value) == "no mutant 'nope', 'nope2'; see `aether mutants --list`"


def test_of_a_general_one_the_nearest_is_that_on_the_nearest_line_of_its_file() -> None:
    ids = ("el2/a.c:38:2", "el2/ab.c:38:1", "el2/a.c:100:1", "el2/a.c:33:1", "el2/a.c:33:2")
    mutants = [replace(many(1)[0], id=name) for name in ids]
    for name, near in (
        *(("el2/a.c:36:1", "el2/a.c:38:2"), ("el2/a.c:35:9", "el2/a.c:33:2")),
        *(("el2/a.c:99999:1", "el2/a.c:100:1"), ("el2/a.c:38:1", "el2/a.c:38:2")),
    ):
        with pytest.raises(UserError, match=f"did you mean {near}"):
            choice.named(mutants, [name])


def test_those_named_are_in_the_order_asked_for() -> None:
    names = [mutant.id for mutant in reversed(many(3))]
    assert [mutant.id for mutant in choice.named(many(3), [*names, names[0]])] == names


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("nope-gcc is not installed", where="CROSS_COMPILE", fix="install it"),
         "CROSS_COMPILE: nope-gcc is not installed; install it"),
        (None, "the real code does not build: no room; see `aether build`"),
    ],
)  # fmt: skip
def test_real_code_that_does_not_build_is_a_mistake_of_the_users(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: UserError | None, words: str
) -> None:
    def build(self: Tree) -> str:
        raise error or NotCompiled("no room")

    monkeypatch.setattr(Tree, "_el2", build)
    with pytest.raises(UserError) as caught:
        runner.Bench(tmp_path / "bench", 1, tree.root).real(())
    assert str(caught.value) == words


# What is shipped


def test_the_shipped_binary_knows_nothing_of_this(tmp_path: Path) -> None:
    """The same bytes from sources without this folder; and no source has a switch for a bug."""
    tree = Tree(tmp_path / "tree")
    for folder in ("properties", "docs"):
        path = tree.root / folder
        if path.exists():
            path.rename(tmp_path / f"without-{folder}")
    (without,) = tree.products("el2/")
    assert without == toolchain.artefact("el2").sha256
    words = re.compile(rb"mutant|seeded|AETHER_BUG", re.IGNORECASE)
    for folder in ("el2", "stage2", "guest_stubs"):
        for path in itertools.chain.from_iterable(
            (SOURCE_ROOT / folder).rglob(pattern) for pattern in ("*.c", "*.h", "*.S", "*.lds")
        ):
            assert not words.search(path.read_bytes()), path
