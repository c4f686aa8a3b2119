# SPDX-License-Identifier: Apache-2.0
"""`aether replay`: goes through a recorded run, in the terminal or for a script."""

import sys
import time
from pathlib import Path

import click

from aether_edgecloud.emulator.cli import replay_json, replay_text
from aether_edgecloud.emulator.cli.replay_request import (
    Hits,
    Wanted,
    check_views,
    parse_show,
    split_link,
    start_of,
)
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.replay import parse
from aether_edgecloud.emulator.replay.conditions import Direction, StepOut, StepOver
from aether_edgecloud.emulator.replay.difference import Difference, difference
from aether_edgecloud.emulator.replay.moments import Moment
from aether_edgecloud.emulator.replay.progress import SILENT, Progress
from aether_edgecloud.emulator.replay.replay import MOST_HITS, Replay

_NOT_FOUND = 1
_FIRST_WORD_S = 1.0
_BETWEEN_S = 0.2
_HEADLESS = ("--show", "--find", "--json", "--diff")


class _Line(Progress):
    """How far it is, in a line of stderr that goes away; only if it takes long."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _FIRST_WORD_S
        self._is_shown = False

    def at(self, done: int, total: int) -> None:
        now = time.monotonic()
        if total and now >= self._next:
            print(f"\r\x1b[K{100 * done // total} %", end="", file=sys.stderr, flush=True)
            self._next, self._is_shown = now + _BETWEEN_S, True

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@click.command("replay")
@click.argument("link", metavar="FILE[@POSITION]")
@click.option("--at", "place", metavar="POSITION",
              help="Where: 12_345, 40%, event:N, mark:NAME, end; without it where a "
              "test failed, or 0.")  # fmt: skip
@click.option("--show", metavar="VIEW,...",
              help="Show it, without the terminal UI: regs, disasm, stage1, stage2, backtrace, "
              "stack, memory:ADDRESS[+SIZE], console, events, all.")  # fmt: skip
@click.option("--find", metavar="CONDITION", help="Go on to where this happens next: "
              f"{parse.CONDITIONS}.")  # fmt: skip
@click.option("--back", is_flag=True, help="With --find: back to where it happened last.")
@click.option("--all", "find_all", is_flag=True,
              help="With --find: list all places from there on; with --back, before.")  # fmt: skip
@click.option("--cpu", type=click.IntRange(min=0), metavar="N",
              help="Show this CPU; without it the one whose instruction is next.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Write JSON in place of text.")
@click.option("--diff", "other", type=click.Path(path_type=Path), metavar="FILE",
              help="Show where the run of another recording parts from this one.")  # fmt: skip
@click.option("--any-emulator", is_flag=True,
              help="Open it even if another version recorded it; the run may differ.")  # fmt: skip
def command(
    link: str,
    place: str | None,
    show: str | None,
    find: str | None,
    back: bool,
    find_all: bool,
    cpu: int | None,
    as_json: bool,
    other: Path | None,
    any_emulator: bool,
) -> int:
    """Go through the recorded run in FILE: in the terminal, or with one of --show, --find, --diff
    and --json printed. Exit status 1: --find has found nothing, or --diff a difference."""
    if (back or find_all) and find is None:
        raise UserError("is for --find", where="--back" if back else "--all", fix="say what")
    wanted = parse_show(show, as_json=as_json)
    path, at = split_link(link, "replay")
    start = start_of(at, place)
    if other is not None:
        _refuse_with_diff({"--find": find, "--show": show, "--cpu": cpu, "--at": start})
    replay = Replay.open(path, any_emulator=any_emulator)
    line = _Line() if sys.stderr.isatty() else None
    try:
        for note in replay.notes:
            click.echo(f"aether: {path}: {note}", err=True)
        check_views(replay, wanted, cpu)
        begin = None if start is None else replay.moment(start)
        if not (wanted or find is not None or other is not None or as_json):
            return _open_ui(replay, begin)
        if other is not None:
            return _diff(replay, other, line or SILENT, as_json=as_json, any_emulator=any_emulator)
        if begin is None:
            begin = Moment(0 if replay.failure is None else replay.failure.position)
        replay.visit(begin, line)
        if find is not None:
            found = _find(replay, find, line or SILENT, back=back, find_all=find_all)
            if line is not None:
                line.clear()
            if found.is_more:
                where = "last before" if back else "first from"
                text = f"only the {where} the position are listed: {MOST_HITS:,}"
                click.echo(f"aether: {text}", err=True)
            return _report(replay, found, wanted, cpu, find_all=find_all, as_json=as_json)
        return _report(replay, None, wanted, cpu, find_all=False, as_json=as_json)
    finally:
        if line is not None:
            line.clear()
        replay.close()


def _refuse_with_diff(others: dict[str, object]) -> None:
    """What says something about one place in one run."""
    for name, value in others.items():
        if value is not None:
            raise UserError("--diff compares whole runs", where=name, fix="leave one of them out")


def _open_ui(replay: Replay, begin: Moment | None) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fix = f"use one of {', '.join(_HEADLESS)}"
        raise UserError("there is no terminal to show it in", fix=fix)
    if begin is not None and begin.attempt:
        replay.visit(begin)
    # Not at the top: it takes as long as all the rest.
    from aether_edgecloud.emulator.ui import run

    run(replay, begin)
    return 0


def _find(replay: Replay, text: str, progress: Progress, *, back: bool, find_all: bool) -> Hits:
    what = parse.condition(replay, text)
    direction = Direction.BACK if back else Direction.FORWARD
    if find_all:
        if isinstance(what, StepOver | StepOut):
            raise UserError("is not for over and out", where="--all", fix="leave it out")
        return Hits(*replay.find_rest(what, direction, progress, most=MOST_HITS))
    hit = replay.find(what, direction, progress)
    return Hits([] if hit is None else [hit])


def _report(
    replay: Replay,
    found: Hits | None,
    wanted: tuple[Wanted, ...],
    cpu: int | None,
    *,
    find_all: bool,
    as_json: bool,
) -> int:
    is_missing = found is not None and not found.hits
    if as_json:
        click.echo(replay_json.render(replay, found, () if is_missing else wanted, cpu))
    elif is_missing:
        click.echo("not found")
    else:
        if found is not None:
            replay_text.print_hits(replay, found.hits)
        if wanted or not find_all:
            replay_text.print_views(replay, wanted, cpu)
    return _NOT_FOUND if is_missing else 0


def _diff(
    replay: Replay, other: Path, progress: Progress, *, as_json: bool, any_emulator: bool
) -> int:
    second = Replay.open(other, any_emulator=any_emulator)
    try:
        found: Difference | None = difference(replay, second, progress)
        if isinstance(progress, _Line):
            progress.clear()
        if as_json:
            click.echo(replay_json.render_difference(replay, second, found))
        else:
            replay_text.print_difference(replay, second, found)
    finally:
        second.close()
    return 0 if found is None else _NOT_FOUND
