# SPDX-License-Identifier: Apache-2.0
"""The table as Markdown and as facts for JSON."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aether_edgecloud.properties.adversary.table import Cell, Row
from aether_edgecloud.properties.adversary.table_scenarios import SCENARIOS
from aether_edgecloud.properties.adversary.table_ways import ADVERSARIES, RATES, Way

REASONS = Path(__file__).with_name("unseen.toml")
"""By id: why no guest of the scenarios can see it, whatever the hardware does."""
INTRODUCTION = Path(__file__).with_name("table_introduction.md")
UNSEEN = "."
_TITLES = {
    Way.PLAIN: "plain",
    Way.QEMU: "QEMU",
    Way.CHECKER: "checker",
    Way.TLB: "TLB",
    Way.CACHES: "caches",
    Way.BOTH: "both",
}


def reasons() -> dict[str, str]:
    """What is argued of bugs that stay unseen."""
    content: dict[str, str] = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    return content


def facts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Everything, for JSON."""
    return [
        {
            "id": row.bug.id,
            "what": row.bug.title,
            "recreates": list(row.bug.recreates),
            "ways": {
                way.name.lower(): {
                    "seen": c.is_seen,
                    "what": c.what,
                    "run": c.where,
                    "runs": c.runs,
                }
                for way, c in row.cells.items()
            },
            "killer": row.killer,
            "killed_by": list(row.bug.tests),
        }
        for row in rows
    ]


def markdown(rows: Sequence[Row]) -> str:
    """The whole document."""
    introduction = INTRODUCTION.read_text(encoding="utf-8")
    ways = [way for way in Way if any(way in row.cells for row in rows)]
    parts = [introduction.strip(), "", *_scenarios(), *_counts(rows, ways), *_rows(rows, ways)]
    parts += [*_seen(rows), *_unseen(rows)]
    return "\n".join(parts) + "\n"


def _scenarios() -> list[str]:
    lines = ["## Scenarios", "", "| scenario | CPUs | what its guests do |", "| --- | --- | --- |"]
    lines += [f"| `{s.name}` | {s.cpus} | {s.what} |" for s in SCENARIOS]
    runs = ", ".join(f"seed {seed} at rate {rate}" for seed, rate in RATES)
    return [*lines, "", f"With an adversary each is run with {runs}.", ""]


def _counts(rows: Sequence[Row], ways: Sequence[Way]) -> list[str]:
    lines = ["## Seen by whom", "", "| way | seen | unseen | not run |", "| --- " * 4 + "|"]
    for way in ways:
        cells = [row.cells[way] for row in rows if way in row.cells]
        seen = sum(cell.is_seen for cell in cells)
        lines.append(f"| {way.value} | {seen} | {len(cells) - seen} | {len(rows) - len(cells)} |")
    seen = sum(row.is_seen for row in rows)
    lines.append(f"| any of these | {seen} | {len(rows) - seen} | 0 |")
    return [*lines, ""]


def _rows(rows: Sequence[Row], ways: Sequence[Way]) -> list[str]:
    titles = " | ".join(_TITLES[way] for way in ways)
    lines = ["## Bug by bug", "", f"| known bug | seeded bug | {titles} | property |"]
    lines.append("| --- " * (3 + len(ways)) + "|")
    for row in rows:
        cells = " | ".join(_short(way, row.cells.get(way)) for way in ways)
        named = f"`{row.bug.id}`: {row.bug.title}"
        lines.append(f"| {row.number} | {named} | {cells} | `{row.killer}` |")
    return [*lines, ""]


def _short(way: Way, cell: Cell | None) -> str:
    if cell is None:
        return ""
    if not cell.is_seen:
        return UNSEEN
    return cell.what if way is Way.CHECKER else "seen"


def _seen(rows: Sequence[Row]) -> list[str]:
    """What gives each away, in the first adversary's column that shows it."""
    lines = ["## What the adversary shows", "", "| seeded bug | run | the console says |"]
    lines.append("| --- | --- | --- |")
    for row in rows:
        cell = next(
            (row.cells[w] for w in ADVERSARIES if w in row.cells and row.cells[w].what), None
        )
        if cell is not None:
            lines.append(f"| `{row.bug.id}` | {cell.where} | {_code(cell.what)} |")
    return [*lines, ""]


def _code(text: str) -> str:
    return f"`{text.replace('|', '/').replace('`', '')}`"


def _unseen(rows: Sequence[Row]) -> list[str]:
    known = reasons()
    lines = ["## What stays unseen, and why", ""]
    for row in rows:
        if row.is_unseen_by_adversary:
            why = known.get(row.bug.id, "not known")
            lines.append(f"- `{row.bug.id}`: {why}. Property: `{row.killer}`.")
    return lines
