# SPDX-License-Identifier: Apache-2.0
"""A run of the property suites for the eye."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.cli.verify_run import End, Suite, Verification

_BAR = 20
_NAMES = 2
"""Of the tests that run, so many are named."""


def progress(run: Verification) -> RenderableType:
    """While it runs: suite by suite, and what runs now."""
    if not run.began:
        return Text(f"collecting tests ... {run.wall_s:.0f} s", style="dim")
    table = _table()
    table.add_column("", width=_BAR)
    for suite in run.suites.values():
        bar = ProgressBar(total=max(1, suite.tests), completed=suite.done, width=_BAR)
        table.add_row(*_row(suite, started=suite.done > 0), bar)
    done = sum(suite.done for suite in run.suites.values())
    total = sum(suite.tests for suite in run.suites.values())
    lines = [Text(f"{done} of {total} tests, {run.wall_s:.0f} s", style="bold")]
    lines += [Text(f"  {name}", style="dim", overflow="ellipsis", no_wrap=True)
              for name in run.running[:_NAMES]]  # fmt: skip
    return Group(table, *lines)


def print_outcome(run: Verification, left_out: Sequence[str], console: Console) -> None:
    """At the end: the failures, the table, one line."""
    for failure in run.failures:
        console.print(Text(f"\n── {failure.test} ", style="bold red"), soft_wrap=True)
        console.print(Text(failure.text.rstrip("\n")), soft_wrap=True)
    if run.failures:
        console.print()
    table = _table()
    for suite in run.suites.values():
        table.add_row(*_row(suite, started=True))
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
    console.print(table)
    if left_out:
        console.print(f"left out, since they need a source tree: {', '.join(left_out)}")
    words = {
        End.HOLDS: Text("everything holds", style="green"),
        End.FAILS: Text(f"{len(run.failures)} failed", style="red"),
        End.INTERRUPTED: Text("interrupted: the rest was not run", style="red"),
        End.BROKEN: Text(f"the run broke off: {run.detail}", style="red"),
    }
    console.print(Text(f"profile {run.profile}: ").append(words[run.end]), soft_wrap=True)


def _table() -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("suite", no_wrap=True)
    for heading in ("tests", "examples", "instructions", "failed", "skipped", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _row(suite: Suite, *, started: bool) -> tuple[RenderableType, ...]:
    if not started:
        return (Text(suite.name, style="dim"), f"{suite.tests:,}", "", "", "", "", "")
    done = f"{suite.done:,}" if suite.done == suite.tests else f"{suite.done:,}/{suite.tests:,}"
    return (
        suite.name,
        done,
        f"{suite.examples:,}" if suite.examples else "",
        f"{suite.instructions:,}" if suite.instructions else "",
        _failed(len(suite.failures)),
        f"{suite.skipped:,}" if suite.skipped else "",
        f"{suite.seconds:.1f} s",
    )


def _failed(number: int) -> Text:
    return Text(f"{number:,}" if number else "", style="bold red")
