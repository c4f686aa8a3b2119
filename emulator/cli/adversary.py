# SPDX-License-Identifier: Apache-2.0
"""`aether adversary`: what an unkind machine shows that a kind one does not."""

import importlib
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.errors import UserError

# By name: what is measured does not import what measures it.
_PACKAGE = "aether_edgecloud.properties.adversary"
_WAYS = ("plain", "qemu", "checker", "tlb", "caches", "both")


@click.group("adversary")
def command() -> None:
    """What an unkind machine shows: TLBs that never forget, caches that do not agree."""


@command.command("table")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--way", "ways", multiple=True, type=click.Choice(_WAYS),
              help="Only this way of running; may be repeated.")  # fmt: skip
@click.option("--scenario", "names", multiple=True, metavar="NAME",
              help="Only this scenario; may be repeated.")  # fmt: skip
@click.option("--list", "list_only", is_flag=True, help="Say what there is, and run nothing.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the results as JSON; - for stdout.")  # fmt: skip
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the table as Markdown; - for stdout.")  # fmt: skip
def table_command(
    ids: tuple[str, ...],
    ways: tuple[str, ...],
    names: tuple[str, ...],
    list_only: bool,
    json_file: Path | None,
    markdown_file: Path | None,
) -> int:
    """Run the hypervisor with each seeded bug of translation, caches and start-up, or those with
    these IDs, in every way; tell what guests see of it, what the checker says, and which property
    of the suite `aether mutants` tries on it.

    The exit status is 1 if no adversary shows one of them, and nothing says why none can; it is 2
    if one of them names no property.
    """
    for file in (json_file, markdown_file):
        output.check_place(file)
    if json_file == markdown_file == output.STDOUT:
        raise UserError("is the place of --json too", where="--markdown -", fix="name a file")
    output.check_apart({"--json": json_file, "--markdown": markdown_file}, ())
    table = importlib.import_module(f"{_PACKAGE}.table")
    report = importlib.import_module(f"{_PACKAGE}.table_report")
    chosen = importlib.import_module("aether_edgecloud.properties.mutants.choice").named(
        table.bugs(), ids or tuple(bug.id for bug in table.bugs())
    )
    if list_only:
        for bug in chosen:
            click.echo(f"{bug.id}: {bug.title}")
        return 0
    rows = _rows(table, chosen, ways, _scenarios(names))
    if json_file is not None:
        output.write_json(json_file, report.facts(rows))
    if markdown_file is not None:
        output.write(markdown_file, report.markdown(rows))
    known = report.reasons()
    return int(any(row.is_unseen_by_adversary and row.bug.id not in known for row in rows))


def _scenarios(names: tuple[str, ...]) -> tuple[Any, ...]:
    scenarios = importlib.import_module(f"{_PACKAGE}.table_scenarios")
    known = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
    for name in names:
        if name not in known:
            raise UserError(f"no scenario {name!r}", fix=f"there are {', '.join(known)}")
    return tuple(known[name] for name in names or known)


def _rows(
    table: Any, chosen: tuple[Any, ...], ways: tuple[str, ...], scenarios: tuple[Any, ...]
) -> list[Any]:
    errors = Console(stderr=True, emoji=False)
    maker = table.Table([table.Way[name.upper()] for name in ways or _WAYS], scenarios)
    rows = []
    for bug in chosen:

        def told(way: Any, cell: Any, name: str = bug.id) -> None:
            said = f"{cell.what} ({cell.where})" if cell.is_seen else "unseen"
            errors.print(Text(f"{name}: {way.value}: {said}"))

        rows.append(maker.row(bug, told))
        errors.print(Text(f"{bug.id}: `aether mutants` tries {rows[-1].killer}"))
    return rows
