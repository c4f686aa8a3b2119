# SPDX-License-Identifier: Apache-2.0
"""`aether mutants`: what it says, writes and returns."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator import cli, toolchain
from aether_edgecloud.properties.mutants import catalogue, choice, runner
from aether_edgecloud.properties.mutants.mutant import Edit, Mutant, Result, Verdict
from aether_edgecloud.properties.mutants.runner import Real

BUGS = tuple(
    Mutant(
        name, f"what {name} is", Edit("el2/a.c", 0, 1, b""), ("properties/test_a.py",), "no", (3,)
    )
    for name in ("first", "second", "third")
)
FIELDS = {
    *("id", "what", "recreates", "file", "tests", "expect"),
    "accepted",
    *("verdict", "test", "rule", "examples", "seconds", "detail"),
}


@dataclass(frozen=True, slots=True)
class FakeBench:
    """Verdicts by id."""

    verdicts: dict[str, Verdict]

    def real(self, mutants: Sequence[Mutant]) -> Real:
        return Real((), {}, "5a" * 32, 1.25)

    def try_all(
        self, mutants: Sequence[Mutant], real: Real, began: Callable[[Mutant], None]
    ) -> Iterator[Result]:
        for mutant in reversed(mutants):  # as they come, not in order
            began(mutant)
            verdict = self.verdicts.get(mutant.id, Verdict.KILLED)
            yield Result(mutant, verdict, 2.5, "properties/test_a.py::test_x", "RULE", 7, "why")


@pytest.fixture
def trying(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Verdict]], None]:
    """Nothing is built or run: these are the verdicts."""

    def install(verdicts: dict[str, Verdict]) -> None:
        @contextmanager
        def bench(jobs: int) -> Iterator[FakeBench]:
            yield FakeBench(verdicts)

        monkeypatch.setattr(choice, "known", lambda general: BUGS)
        monkeypatch.setattr(runner, "bench", bench)

    return install


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ({}, 0),
        ({"second": Verdict.SURVIVED}, 1),
        ({"second": Verdict.WRONG_REASON}, 1),
        ({"second": Verdict.BROKEN}, 1),
        ({"second": Verdict.EQUIVALENT}, 1),
        ({"second": Verdict.NOT_COMPILED}, 1),
        ({"second": Verdict.ENDLESS}, 1),
    ],
)
def test_the_status_is_0_if_all_are_killed(
    trying: Callable[[dict[str, Verdict]], None],
    verdicts: dict[str, Verdict],
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trying(verdicts)
    assert cli.main(["mutants"]) == status
    shown = capsys.readouterr().out
    for bug in BUGS:
        assert f"{bug.id} " in shown and bug.title in shown
    for verdict in verdicts.values():
        assert verdict.value in shown
        assert "second: why" in shown
    assert "\n3 mutants: " in shown
    if Verdict.ENDLESS in verdicts.values():  # of a seeded bug that is not the right reason
        assert "(66.7 % of what could be noticed)" in " ".join(shown.split())


def test_the_results_as_json(
    trying: Callable[[dict[str, Verdict]], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trying({"third": Verdict.SURVIVED})
    assert cli.main(["mutants", "third", "first", "--json", str(tmp_path / "out.json")]) == 1
    content: dict[str, Any] = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert content["real"] == {"el2_sha256": "5a" * 32, "seconds": 1.2}
    assert content["counts"] == {"killed": 1, "survived": 1}
    # In the order asked for.
    assert [mutant["id"] for mutant in content["mutants"]] == ["third", "first"]
    shown = capsys.readouterr()
    assert shown.out.index("third  survived") < shown.out.index("first  killed")
    assert shown.err.splitlines() == [
        "the real code, on all their tests ...",
        "the real code: 1 s",
        "first: killed",
        "third: survived",
    ]
    for mutant in content["mutants"]:
        assert set(mutant) == FIELDS
    first = content["mutants"][1]
    assert (first["verdict"], first["rule"], first["examples"]) == ("killed", "RULE", 7)
    assert (first["recreates"], first["seconds"]) == ([3], 2.5)
    assert cli.main(["mutants", "first", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"killed": 1}


def test_a_sample_is_of_its_day(
    trying: Callable[[dict[str, Verdict]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    trying({})
    seen = set()
    for day in range(1, 4):
        assert cli.main(["mutants", "--sample", "1", "--date", f"2026-03-0{day}", "--list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        seen.add(lines[0].split()[0])
    assert seen == {"first", "second", "third"}


def test_a_terminal_of_80_columns_is_wide_enough(
    trying: Callable[[dict[str, Verdict]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trying({"second": Verdict.WRONG_REASON})
    name = "a-name-of-" + "many-" * 8 + "words"
    long = replace(BUGS[0], id=name, title="what it is " * 20)
    general = replace(long, id="el2/a.c:1:1", expect=None, accepted="because " * 30)
    monkeypatch.setattr(choice, "known", lambda general_ones: (*BUGS, long, general))
    for arguments in (["--list"], [], ["first"]):
        cli.main(["mutants", *arguments])
        lines = capsys.readouterr().out.splitlines()
        assert lines
        assert max(map(len, lines)) <= 80
    assert lines[-1] == "1 mutant: 1 killed (100.0 % of what could be noticed)"


def test_the_real_ones_are_listed_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--general"]):
        assert cli.main(["mutants", "--list", *arguments]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_general_mutants_by_file(
    trying: Callable[[dict[str, Verdict]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = {
        **{"a": Verdict.KILLED, "b": Verdict.ENDLESS, "c": Verdict.ACCEPTED},
        **{"d": Verdict.EQUIVALENT, "e": Verdict.NOT_COMPILED},
    }
    trying(verdicts)
    mutants = tuple(replace(BUGS[0], id=name, expect=None) for name in verdicts)
    monkeypatch.setattr(choice, "known", lambda general_ones: mutants)
    assert cli.main(["mutants", "--general"]) == 0
    shown = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in shown if line.startswith("el2/a.c "))
    head = next(line.split() for line in shown if line.startswith("file "))
    assert dict(zip(head[1:], map(int, row[1:]), strict=True)) == {
        **{"made": 5, "killed": 1, "endless": 1, "survived": 0, "broken": 0, "accepted": 1},
        "other": 2,
    }
    assert " ".join("".join(shown[-2:]).split()).endswith("(100.0 % of what could be noticed)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frist"], "no mutant 'frist'; did you mean first?"),
        (["first", "nope", "nope2"], "no mutant 'nope', 'nope2'; see `aether mutants --list`"),
        (["--date", "2026-01-01"], "--date is for --sample"),
        (["--limit", "3"], "--limit is for --general"),
        (["--sample", "0"], "sample"),
        (["--sample", "1", "first"], "--sample is not for chosen IDs"),
        (["--general", "--limit", "1", "first"], "--limit is not for chosen IDs"),
        (["--general", "--limit", "1", "--sample", "1"], "leave one out"),
        (["--date", "yesterday", "--sample", "1"], "date"),
        (["--json", "/"], "it is a directory"),
    ],
)
def test_a_mistake_is_one_line(
    trying: Callable[[dict[str, Verdict]], None],
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trying({})
    assert cli.main(["mutants", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert words in shown.err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_tried(
    trying: Callable[[dict[str, Verdict]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trying({})
    monkeypatch.setattr(runner, "bench", lambda jobs: pytest.fail("it is tried"))
    assert cli.main(["mutants", "--json", "/dev/null/out.json"]) == 2
    assert "out.json: cannot be written (Not a directory)" in capsys.readouterr().err


def test_seeded_and_general_ones_together(
    trying: Callable[[dict[str, Verdict]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trying({})
    general = (replace(BUGS[0], id="el2/a.c:1:1", expect=None),)
    monkeypatch.setattr(choice, "known", lambda general_ones: general if general_ones else BUGS)
    assert cli.main(["mutants", "el2/a.c:1:1", "second", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == ["el2/a.c:1:1", "second"]


@pytest.mark.nightly
def test_a_seeded_bug_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One, all the way."""
    assert cli.main(["mutants", "size-overflows-the-input-space", "--json", "-"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"killed": 1}
    assert content["real"]["el2_sha256"] == toolchain.artefact("el2").sha256
    (mutant,) = content["mutants"]
    assert mutant["test"].endswith("::test_sizes_that_overflow")


@pytest.mark.nightly
def test_every_seeded_bug_is_killed() -> None:
    mutants = catalogue.load(toolchain.SOURCE_ROOT)
    with runner.bench(1) as bench:
        results = list(bench.try_all(mutants, bench.real(mutants), lambda mutant: None))
    wrong = [
        (r.mutant.id, r.verdict.value, r.detail) for r in results if r.verdict is not Verdict.KILLED
    ]
    assert not wrong
