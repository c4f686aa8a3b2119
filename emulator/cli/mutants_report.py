# SPDX-License-Identifier: Apache-2.0
"""What `aether mutants` shows, within 80 columns; `--json` has the same without their limit."""

import textwrap
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 80
_COLOURS = {
    "killed": "green",
    "endless": "green",
    "equivalent": "dim",
    "accepted": "dim",
    "not compiled": "dim",
}
_NOT_TRIED = ("equivalent", "accepted", "not compiled")
_COLUMNS = ("killed", "endless", "survived", "broken", "accepted")


def is_general(mutant: Any) -> bool:
    """Made mechanically: nobody has said how it should be noticed."""
    return mutant.expect is None


def is_good(result: Any) -> bool:
    """A seeded bug must be killed; of general ones some are no bugs, and some are no programs."""
    return _is_noticed(result) or (is_general(result.mutant) and result.verdict.value in _NOT_TRIED)


def _is_noticed(result: Any) -> bool:
    verdict = result.verdict.value
    return verdict == "killed" or (verdict == "endless" and is_general(result.mutant))


def listing(mutants: tuple[Any, ...]) -> Text:
    """What there is."""
    lines = []
    for mutant in mutants:
        where = f"{mutant.id}  {mutant.edit.file}"
        if mutant.recreates:
            where += f"  re-creates {', '.join(map(str, mutant.recreates))}"
        lines += [*_wrapped(where), *_wrapped(mutant.title, "    ")]
        if mutant.accepted:
            lines += _wrapped(f"accepted: {mutant.accepted}", "    ")
    return Text("\n".join(lines))


def show(console: Console, results: list[Any]) -> None:
    """Each result, the reasons of those that are not good, and the counts."""
    for result in results:
        console.print(_result(result))
    for result in results:
        if not is_good(result):
            console.print(Text("\n".join(_wrapped(f"{result.mutant.id}: {result.detail}"))))
    if any(is_general(result.mutant) for result in results):
        console.print(_by_file(results))
    for line in _wrapped(_summary(results)):
        console.print(Text(line))


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent or "    ",
        break_on_hyphens=False,
    )  # fmt: skip


def _result(result: Any) -> Text:
    verdict = result.verdict.value
    first = f"{result.mutant.id}  {verdict}, {result.seconds:.1f} s"
    lines = [*_wrapped(first), *_wrapped(result.mutant.title, "    ")]
    if result.test:
        said = [f"by {result.test}"]
        said += [f"rule {result.rule}"] if result.rule else []
        said += [_number(result.examples, "example")] if result.examples else []
        lines += _wrapped(", ".join(said), "    ")
    if verdict == "accepted":
        lines += _wrapped(result.detail, "    ")
    text = Text("\n".join(lines))
    text.highlight_words([f"  {verdict}"], _COLOURS.get(verdict, "red"))
    return text


def _by_file(results: list[Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("file", no_wrap=True)
    for header in ("made", *_COLUMNS, "other"):
        table.add_column(header, justify="right", no_wrap=True)
    files: dict[str, Counter[str]] = {}
    for result in results:
        files.setdefault(result.mutant.edit.file, Counter())[result.verdict.value] += 1
    for file, counts in files.items():
        numbers = [counts.total(), *(counts[name] for name in _COLUMNS)]
        numbers.append(counts.total() - sum(numbers[1:]))
        table.add_row(file, *map(str, numbers))
    return table


def _summary(results: list[Any]) -> str:
    counts = Counter(result.verdict.value for result in results)
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    tried = len(results) - sum(counts[name] for name in _NOT_TRIED)
    noticed = sum(_is_noticed(result) for result in results)
    share = f" ({100 * noticed / tried:.1f} % of what could be noticed)" if tried else ""
    return f"{_number(len(results), 'mutant')}: {words or 'none'}{share}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
