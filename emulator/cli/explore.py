# SPDX-License-Identifier: Apache-2.0
"""`aether explore`: runs a target by many interleavings of its CPUs, and tells which of them fail.

Exit status: 0 if none fails, 1 if one does, 2 for bad input.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cli import options, output
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.interleave import interleaving as schedules
from aether_edgecloud.emulator.interleave.explore import Failure, Result
from aether_edgecloud.emulator.interleave.interleaving import QUANTUM, Interleaving, Method
from aether_edgecloud.emulator.interleave.whole_run import WholeRun
from aether_edgecloud.emulator.launch.bare import BareChoice
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice
from aether_edgecloud.emulator.signals import SignalWatch


@click.command("explore")
@click.argument("target_name", metavar="[TARGET]", required=False)
@click.option("--schedules", "most", type=click.IntRange(min=1), default=1000, show_default=True,
              metavar="N", help="How many schedules are tried.")  # fmt: skip
@click.option("--method", type=click.Choice([m.value for m in Method]), default="pct",
              show_default=True, help="Random priorities (PCT), or all of up to --depth "
              "preemptions, one after another.")  # fmt: skip
@click.option("--depth", type=click.IntRange(1, 19), default=3, show_default=True, metavar="D",
              help="PCT: D - 1 changes of priority; bounded: D preemptions at most.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S",
              help="The first schedule of PCT; the others follow.")  # fmt: skip
@click.option("--only", metavar="SCHEDULE", help="Run this schedule alone, again.")
@click.option("--from", "start", type=click.IntRange(min=0), metavar="N",
              help="Begin after N instructions, not where all CPUs run guests.")  # fmt: skip
@click.option("--max-instructions", type=click.IntRange(min=1), metavar="N",
              help="End each run after N instructions in all.")  # fmt: skip
@click.option("--quantum", type=click.IntRange(min=1), default=QUANTUM, show_default=True,
              metavar="N", help="Instructions between other switches.")  # fmt: skip
@click.option("--failures", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Stop after so many schedules that fail.")  # fmt: skip
@click.option("--check/--no-check", "checked", default=True, show_default=True,
              help="Check the page-table protocol all along.")  # fmt: skip
@click.option("--console", "same_console", is_flag=True,
              help="Other lines on the console are a failure too.")  # fmt: skip
@options.adversary_option
@options.guest_options
@options.bare_options
@options.board_options
@options.binary_option
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the outcome as JSON; - for stdout alone.")  # fmt: skip
def command(
    target_name: str | None,
    most: int,
    method: str,
    depth: int,
    seed: int,
    only: str | None,
    start: int | None,
    max_instructions: int | None,
    quantum: int,
    failures: int,
    checked: bool,
    same_console: bool,
    adversary: Plan | None,
    guest: GuestChoice,
    bare: BareChoice,
    board: BoardChoice,
    binary: Path | None,
    json_file: Path | None,
) -> int:
    """Run TARGET by many interleavings of its CPUs, and tell which fail.

    CPUs are switched inside EL2, at barriers, TLBI, atomic accesses, and accesses to words that
    several CPUs use. A schedule fails that violates the page-table protocol, deadlocks, or ends
    otherwise than the run without preemption. Each is a text that runs again: with --only, or with
    `aether run --interleaving`. With --bare, all of this with another EL2 binary, by --kernel.
    """
    choice = RunChoice(target_name, guest, board, bare, binary)
    output.check_place(json_file)
    output.check_apart({"--json": json_file}, choice.files())
    chosen = None if only is None else schedules.parse(only, "--only")
    request = choice.request(max_instructions=max_instructions, adversary=adversary)
    with SignalWatch(lambda: None) as signals:
        run = WholeRun(
            request,
            depth=depth,
            quantum=quantum,
            start=start if chosen is None else max(chosen.start - 1, 0),
            checked=checked,
            same_console=same_console,
        )
        run.on_poll(signals.check)
        failure = run.explorer.learn()
        names = symbols.load(request.elf, run.machine.loaded[0])
        began = time.monotonic()
        if failure is not None:
            result = Result(1, run.explorer.plain.shared, 1, [failure])
        elif chosen is not None:
            result = _explore(run, [chosen], 1, 1, signals)
        else:
            found = run.explorer.schedules(Method(method), seed)
            result = _explore(run, found, most, failures, signals)
    seconds = time.monotonic() - began
    if json_file is not None:
        output.write_json(json_file, _facts(request.target, run, result, seconds))
    if json_file != output.STDOUT:
        _print(result, seconds, names)
    return 1 if result.failures else 0


def _explore(
    run: WholeRun,
    chosen: Iterable[Interleaving],
    most: int,
    failures: int,
    signals: SignalWatch,
) -> Result:
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    errors = Console(stderr=True)
    is_watched = errors.is_terminal
    with Progress(*columns, console=errors, transient=True, disable=not is_watched) as progress:
        task = progress.add_task("schedules", total=most)

        def tell(result: Result) -> None:
            signals.check()
            rate = result.schedules / (time.monotonic() - began)
            told = f"{rate:.0f}/s, {result.distinct:,} distinct, {len(result.failures)} fail"
            progress.update(task, completed=result.schedules, description=told)

        return run.explorer.explore(chosen, most=most, failures=failures, tell=tell)


def _print(result: Result, seconds: float, names: symbols.Symbols) -> None:
    console = output.wide()
    reached = ", ".join(dict.fromkeys(_function(names, va) for va in result.shared))
    console.print(
        f"switch points  {result.points:,} in the run without preemption", highlight=False
    )
    if reached:
        console.print(f"shared words   reached by {escape(reached)}", highlight=False)
    rate = result.schedules / seconds if seconds else 0
    all_ = ", which are all" if result.is_complete else ""
    console.print(
        f"schedules      {result.schedules:,}{all_}; {result.distinct:,} distinct; {seconds:.1f} s,"
        f" {rate:.0f} a second",
        highlight=False,
    )
    if not result.failures:
        console.print("[green]none fails[/]")
    for failure in result.failures:
        console.print(f"[red]fails[/]: {escape(failure.what)}", highlight=False)
        console.print("  again, with the same options: aether explore --only, or aether run")
        console.print(f"  --interleaving '{escape(str(failure.interleaving))}'", highlight=False)


def _function(names: symbols.Symbols, va: int) -> str:
    name = names.at(va)
    return hex(va) if name is None else name.partition("+")[0]


def _facts(target: str, run: WholeRun, result: Result, seconds: float) -> dict[str, object]:
    return {
        "format": "aether-explore-report",
        "version": 1,
        "target": target,
        "points": result.points,
        "shared": [hex(va) for va in result.shared],
        "start": run.explorer.plain.start,
        "schedules": result.schedules,
        "distinct": result.distinct,
        "is_complete": result.is_complete,
        "failures": [_failure(failure) for failure in result.failures],
        "seconds": round(seconds, 3),
    }


def _failure(failure: Failure) -> dict[str, object]:
    return {
        "what": failure.what,
        "seed": failure.interleaving.seed,
        "interleaving": str(failure.interleaving),
    }
