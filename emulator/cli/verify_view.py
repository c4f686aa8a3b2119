# SPDX-License-Identifier: Apache-2.0
"""A run of the property suites for the eye."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.cli.verify_run import End, Suite, Verification

_BAR = 20
_SHORTEST_BAR = 4
_GAP = 2
"""Between two columns."""
_HEADINGS = ("tests", "examples", "instructions", "failed", "skipped", "time")
_SPARE = ("skipped", "examples", "instructions")
"""What is left out, in this order, where there is no room for all. The bar goes first."""
_UNLIMITED = 1000
_NAMES = 2
"""Of the tests that run, so many are named."""


def progress(run: Verification, console: Console) -> RenderableType:
    """While it runs: suite by suite, and what runs now, in the width of the console."""
    if not run.began:
        return Text(f"collecting tests ... {run.wall_s:.0f} s", style="dim")
    headings = _fitting(run, console)
    bar = min(_BAR, console.width - _width(_suites(run, headings), console) - _GAP)
    done = sum(suite.done for suite in run.suites.values())
    total = sum(suite.tests for suite in run.suites.values())
    lines = [Text(f"{done} of {total} tests, {run.wall_s:.0f} s", style="bold")]
    lines += [Text(f"  {name}", style="dim", overflow="ellipsis", no_wrap=True)
              for name in run.running[:_NAMES]]  # fmt: skip
    return Group(_suites(run, headings, bar), *lines)


def _fitting(run: Verification, console: Console) -> tuple[str, ...]:
    """The headings for which there is room."""
    headings: tuple[str, ...] = _HEADINGS
    for spare in _SPARE:
        if _width(_suites(run, headings), console) <= console.width:
            break
        headings = tuple(heading for heading in headings if heading != spare)
    return headings


def _width(table: Table, console: Console) -> int:
    """Of a table of which nothing is cut."""
    return console.measure(table, options=console.options.update(width=_UNLIMITED)).maximum


def _suites(run: Verification, headings: Sequence[str], bar: int = 0) -> Table:
    """A row for each suite, with a bar of so many characters if that is enough for one."""
    table = _table(headings)
    has_bar = bar >= _SHORTEST_BAR
    if has_bar:
        table.add_column("", width=bar)
    for suite in run.suites.values():
        row = _row(suite, headings, started=suite.done > 0)
        if has_bar:
            row.append(ProgressBar(total=max(1, suite.tests), completed=suite.done, width=bar))
        table.add_row(*row)
    return table


def print_outcome(run: Verification, left_out: Sequence[str], console: Console) -> None:
    """At the end: the failures, the table, one line."""
    for failure in run.failures:
        console.print(Text(f"\n── {failure.test} ", style="bold red"), soft_wrap=True)
        console.print(Text(failure.text.rstrip("\n")), soft_wrap=True)
    if run.failures:
        console.print()
    table = _table(_HEADINGS)
    for suite in run.suites.values():
        table.add_row(*_row(suite, _HEADINGS, started=True))
    suites = run.suites.values()
    table.add_section()
    table.add_row(
        "all",
        f"{sum(s.done for s in suites):,}",
        f"{sum(s.examples for s in suites):,}",
        f"{sum(s.instructions for s in suites):,}",
        _failed(sum(len(s.failures) for s in suites)),
        f"{sum(s.skipped for s in suites):,}",
        f"{run.wall_s:.1f} s",
    )
    console.print(table, width=_width(table, console), crop=False, soft_wrap=True)
    if left_out:
        console.print(f"left out, since they need a source tree: {', '.join(left_out)}")
    words = {
        End.HOLDS: Text("everything holds", style="green"),
        End.FAILS: Text(f"{len(run.failures)} failed", style="red"),
        End.INTERRUPTED: Text("interrupted: the rest was not run", style="red"),
        End.BROKEN: Text(f"the run broke off: {run.detail}", style="red"),
    }
    console.print(Text(f"profile {run.profile}: ").append(words[run.end]), soft_wrap=True)


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("suite", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _row(suite: Suite, headings: Sequence[str], *, started: bool) -> list[RenderableType]:
    if not started:
        unknown = {"tests": f"{suite.tests:,}"}
        return [Text(suite.name, style="dim"), *(unknown.get(one, "") for one in headings)]
    done = f"{suite.done:,}" if suite.done == suite.tests else f"{suite.done:,}/{suite.tests:,}"
    cells: dict[str, RenderableType] = {
        "tests": done,
        "examples": f"{suite.examples:,}" if suite.examples else "",
        "instructions": f"{suite.instructions:,}" if suite.instructions else "",
        "failed": _failed(len(suite.failures)),
        "skipped": f"{suite.skipped:,}" if suite.skipped else "",
        "time": f"{suite.seconds:.1f} s",
    }
    return [suite.name, *(cells[heading] for heading in headings)]


def _failed(number: int) -> Text:
    return Text(f"{number:,}" if number else "", style="bold red")
