# SPDX-License-Identifier: Apache-2.0
"""Mechanical mutants: what they change in C and in assembly, and which of them are accepted."""

import re
import signal
import textwrap
from pathlib import Path

import pytest

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT
from aether_edgecloud.properties.mutants import (
    accepted,
    assembly,
    general,
    runner,
    sanitizer,
)
from aether_edgecloud.properties.mutants.mutant import Edit, Mutant, Verdict
from aether_edgecloud.properties.mutants.runner import Real
from aether_edgecloud.properties.mutants.test_mutants import tables
from aether_edgecloud.properties.mutants.tree import Tree

C_SOURCE = b"""// first
static int f(int a, int b)
{
    if (a < b && b != 3) {
        g(a);
        return a + 1;
    }
    // a < b
    return b;
}
"""


def changes(source: bytes, name: str, tmp_path: Path) -> set[str]:
    """The sources that one change each leads to, as one line."""
    path = tmp_path / name
    path.write_bytes(source)
    found = set()
    for _, edit, _ in general._changes(path, name):
        changed = source[: edit.start] + edit.text + source[edit.end :]
        assert changed.count(b"\n") == source.count(b"\n")
        found.add(changed.decode())
    return found


def test_general_mutants_of_c(tmp_path: Path) -> None:
    text = C_SOURCE.decode()
    wanted = [
        ("a < b &&", "a <= b &&"),
        ("&&", "||"),
        ("!=", "=="),
        ("a + 1", "a - 1"),
        ("3", "(3 + 1)"),
        ("1;", "(1 + 1);"),
        ("g(a);", ";"),
        ("(a < b && b != 3)", "(!((a < b && b != 3)))"),
    ]
    assert changes(C_SOURCE, "a.c", tmp_path) == {text.replace(*pair, 1) for pair in wanted}


def test_general_mutants_of_assembly() -> None:
    source = textwrap.dedent("""\
        // mov x0, x1
        .macro pair operation
            \\operation x0, x1, [x2]
        .endm
            .text
        label:
            pair    ldp
            mov     x0, x1          // why
            eret
            b.ne    label
        """).encode()
    found = [source[start:end] for start, end, _, _ in assembly.instructions(source)]
    assert found == [
        *(b"\\operation x0, x1, [x2]", b"pair    ldp", b"mov     x0, x1", b"eret"),
        b"b.ne    label",
    ]


@pytest.mark.nightly  # half a minute where zig's runtime of UBSan is not built yet
def test_undefined_behaviour_of_the_library_is_reported(tmp_path: Path) -> None:
    """All the way: the library, built so that it tells, ends a process with what is understood."""
    tree = Tree(tmp_path / "tree")
    path = tree.root / "stage2" / "pgtable.c"
    before = b"enum pgt_status pgt_map("
    source = path.read_bytes()
    assert source.count(before) == 1
    start = source.index(b"{", source.index(before)) + 1
    shift = b" volatile unsigned far = 70; (void)(1 << far);"
    with tree.changed(Edit("stage2/pgtable.c", start, start, shift)):
        test = "properties/stage2/test_stage2_ranges.py::test_sizes_that_overflow"
        run = runner.pytest(tree, (test,), "", 300.0, reporting=True)
    assert run.exit_status == -signal.SIGABRT
    assert run.unfinished == test
    report = sanitizer.report(run.output)
    assert report is not None
    assert re.search(r"shift exponent 70 .* at stage2/pgtable\.c:\d+ in pgt_map", report)


# Accepted mutants


ACCEPTED: dict[str, object] = {
    "file": "el2/a.c",
    "text": "int a = 1;",
    "change": "constant + 1: 1",
    "reason": "nobody reads it",
}


def accept(tmp_path: Path, *entries: dict[str, object]) -> tuple[Mutant, ...]:
    (tmp_path / "el2").mkdir()
    source = b"// first\nint a = 1;\nint b = 1, c = 1;\nint b;\n"
    (tmp_path / "el2" / "a.c").write_bytes(source)
    found = general._numbered("el2/a.c", general._changes(tmp_path / "el2/a.c", "el2/a.c"))
    mutants = [Mutant(name, title, edit, ()) for name, title, edit in found]
    path = tmp_path / "accepted.toml"
    path.write_text(tables("accepted", entries), encoding="utf-8")
    return accepted.accept(tmp_path, mutants, path)


def test_a_mutant_is_accepted_with_its_reason(tmp_path: Path) -> None:
    mutants = accept(tmp_path, ACCEPTED)
    assert [(mutant.id, mutant.accepted) for mutant in mutants] == [
        ("el2/a.c:2:1", "nobody reads it"),
        ("el2/a.c:3:1", ""),
        ("el2/a.c:3:2", ""),
    ]
    real = Real((), {}, "", 0.0)
    tree = Tree.__new__(Tree)  # nothing is built
    result = runner.try_one(tree, mutants[0], real)
    assert (result.verdict, result.detail) == (Verdict.ACCEPTED, "nobody reads it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": "int d"}, "0 times, not once"),
        ({"text": "int b"}, "2 times, not once"),
        ({"text": "int b = 1, c = 1;"}, "holds 2 such changes, not one"),
        ({"change": "constant + 1: 2"}, "holds 0 such changes, not one"),
        ({"file": "el2/none.c"}, "0 times, not once"),
        ({"reason": ""}, "is not of the texts"),
        ({"colour": "red"}, "is not of the texts"),
    ],
)
def test_an_accepted_mutant_that_is_not_there_is_refused(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        accept(tmp_path, ACCEPTED | change)


def test_a_mutant_is_accepted_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="accepted twice"):
        accept(tmp_path, ACCEPTED, ACCEPTED)


def test_every_source_of_general_mutants_is_there() -> None:
    for file, tests in general.selectors().items():
        assert (SOURCE_ROOT / file).is_file()
        assert all((SOURCE_ROOT / test.partition("::")[0]).exists() for test in tests)


def test_ids_of_general_mutants_differ() -> None:
    mutants = general.mutants(SOURCE_ROOT)
    assert len({mutant.id for mutant in mutants}) == len(mutants) > 1000
