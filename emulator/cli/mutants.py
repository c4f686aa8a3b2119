# SPDX-License-Identifier: Apache-2.0
"""`aether mutants`: puts bugs into the hypervisor one at a time and tells which test notices."""

import importlib
from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aether_edgecloud.emulator.cli import mutants_report, output
from aether_edgecloud.emulator.errors import UserError

# By name: what is measured does not import what measures it.
_PACKAGE = "aether_edgecloud.properties.mutants"
_JOBS_MAX = 64


@click.command("mutants")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--jobs", type=click.IntRange(1, _JOBS_MAX), default=1, show_default=True,
              metavar="N", help="How many are tried at a time.")  # fmt: skip
@click.option("--sample", type=click.IntRange(min=1), metavar="N",
              help="Only N of them, others each day.")  # fmt: skip
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), metavar="YYYY-MM-DD",
              help="The day that --sample is for; today.")  # fmt: skip
@click.option("--general", "general_ones", is_flag=True,
              help="Mechanical mutants: operators, constants, conditions.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help="With --general: N of them, the same ones each time.")  # fmt: skip
@click.option("--list", "list_only", is_flag=True, help="Say what there is, and try nothing.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the results as JSON; - for stdout.")  # fmt: skip
def command(
    ids: tuple[str, ...],
    jobs: int,
    sample: int | None,
    day: datetime | None,
    general_ones: bool,
    limit: int | None,
    list_only: bool,
    json_file: Path | None,
) -> int:
    """Try the seeded bugs, or those with these IDs: a bug in the hypervisor, made in a copy of the
    sources, is killed when a property fails for the reason that it should.

    The exit status is 0 if all are killed, and 1 if not.
    """
    output.check_place(json_file)
    if day is not None and sample is None:
        raise UserError("--date is for --sample", where="mutants", fix="add --sample N")
    if limit is not None and not general_ones:
        raise UserError("--limit is for --general", where="mutants", fix="add --general")
    for option, count in (("--sample", sample), ("--limit", limit)):
        if ids and count is not None:
            raise UserError(f"{option} is not for chosen IDs", where="mutants", fix="leave one out")
    if sample is not None and limit is not None:
        raise UserError("--sample and --limit", where="mutants", fix="leave one out")
    chosen = _choose(ids, sample, day, general_ones, limit)
    if list_only:
        _list(chosen, json_file)
        return 0
    real, results = _try(chosen, jobs)
    if json_file is not None:
        output.write_json(json_file, _facts(real, results))
    if json_file != output.STDOUT:
        mutants_report.show(output.wide(), results)
    return 0 if all(mutants_report.is_good(result) for result in results) else 1


def _choose(
    ids: tuple[str, ...], sample: int | None, day: datetime | None, general: bool, limit: int | None
) -> tuple[Any, ...]:
    choice = importlib.import_module(f"{_PACKAGE}.choice")
    kinds = sorted({":" in name for name in ids}) if ids else [general]
    mutants: tuple[Any, ...] = tuple(one for kind in kinds for one in choice.known(kind))
    if ids:
        mutants = choice.named(mutants, ids)
    if limit is not None:
        mutants = choice.spread(mutants, limit, choice.GENERAL_SEED)
    if sample is not None:
        mutants = choice.sample(mutants, sample, date.today() if day is None else day.date())
    return mutants


def _try(mutants: tuple[Any, ...], jobs: int) -> tuple[Any, list[Any]]:
    """The run of the real code, and the results in the order of `mutants`."""
    runner = importlib.import_module(f"{_PACKAGE}.runner")
    errors = Console(stderr=True, emoji=False)  # :100: is a line number here
    found: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    is_watched = errors.is_terminal
    with Progress(*columns, console=errors, transient=True, disable=not is_watched) as progress:
        task = progress.add_task("copying the sources", total=len(mutants))
        with runner.bench(min(jobs, max(1, len(mutants)))) as bench:
            progress.update(task, description="the real code")
            if not is_watched:
                errors.print("the real code, on all their tests ...", highlight=False)
            real = bench.real(mutants)
            if not is_watched:
                errors.print(f"the real code: {real.seconds:.0f} s", highlight=False)

            def began(mutant: Any) -> None:
                progress.update(task, description=escape(mutant.id))

            for result in bench.try_all(mutants, real, began):
                found[result.mutant.id] = result
                progress.advance(task)
                if not is_watched:
                    errors.print(f"{escape(result.mutant.id)}: {result.verdict.value}")
    return real, [found[mutant.id] for mutant in mutants]


def _list(mutants: tuple[Any, ...], json_file: Path | None) -> None:
    if json_file is not None:
        output.write_json(json_file, [_mutant_facts(mutant) for mutant in mutants])
        if json_file == output.STDOUT:
            return
    if mutants:
        output.wide().print(mutants_report.listing(mutants))


def _facts(real: Any, results: list[Any]) -> dict[str, Any]:
    counts = Counter(result.verdict.value for result in results)
    return {
        "real": {"el2_sha256": real.sha256, "seconds": round(real.seconds, 1)},
        "counts": dict(sorted(counts.items())),
        "mutants": [
            _mutant_facts(result.mutant)
            | {
                "verdict": result.verdict.value,
                "test": result.test or None,
                "rule": result.rule or None,
                "examples": result.examples,
                "seconds": round(result.seconds, 1),
                "detail": result.detail,
            }
            for result in results
        ],
    }


def _mutant_facts(mutant: Any) -> dict[str, Any]:
    return {
        "id": mutant.id,
        "what": mutant.title,
        "recreates": list(mutant.recreates),
        "file": mutant.edit.file,
        "tests": list(mutant.tests),
        "expect": mutant.expect,
        "accepted": mutant.accepted or None,
    }
