# SPDX-License-Identifier: Apache-2.0
"""`aether verify`: the property suites, run by pytest in a process of its own, and watched."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from aether_edgecloud.emulator.cli import output, verify_view
from aether_edgecloud.emulator.cli.verify_run import Verification, watch
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import SOURCE_ROOT

PROFILES = ("pr", "nightly")
_NEED_SOURCES = ("docs", "packaging")
"""Suites about the source tree itself, which an installed package has not."""
_REFRESH_PER_S = 4
_JOBS_MAX = 64
# What pyproject.toml says of a run, for a package that comes without it.
_INSTALLED = ("-c", "/dev/null", "-p", "pytester", "-o", "xfail_strict=true")


@click.command("verify")
@click.argument("suites", metavar="[SUITE]...", nargs=-1)
@click.option("--profile", type=click.Choice(PROFILES), default=PROFILES[0], show_default=True,
              help="How hard Hypothesis looks; nightly also runs the slow tests.")  # fmt: skip
@click.option("-k", "expression", metavar="EXPR", help="Only tests that match, as pytest's -k.")
@click.option("--jobs", type=click.IntRange(1, _JOBS_MAX), default=1, show_default=True,
              metavar="N", help="Run N tests at a time (with pytest-xdist).")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the outcome as JSON; - for stdout.")  # fmt: skip
def command(
    suites: tuple[str, ...],
    profile: str,
    expression: str | None,
    jobs: int,
    json_file: Path | None,
) -> int:
    """Run the property suites, or those named, and tell what holds.

    Exit status 0: everything holds; 1: something does not; 2: nothing could be run.
    """
    output.check_place(json_file)
    chosen, left_out = choose(SOURCE_ROOT, suites)
    run = Verification(profile, chosen)
    arguments = _pytest_arguments(SOURCE_ROOT, chosen, profile, expression, jobs)
    console = Console(stderr=json_file == output.STDOUT)
    try:
        with Live(
            get_renderable=lambda: verify_view.progress(run, console),
            console=console,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
        ) as live:
            for line in watch(run, arguments, folder=_folder(SOURCE_ROOT)):
                if not console.is_terminal:
                    live.console.print(line, markup=False, highlight=False, soft_wrap=True)
    finally:
        # What was found before an interrupt is told too.
        if run.began:
            verify_view.print_outcome(run, left_out, console)
            _write(run, json_file)
    return 0 if run.holds else 1


def choose(root: Path, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The suites of these names (of none: all), and those left out for want of a source tree."""
    folder = root / "properties"
    found = sorted({path.parent.name for path in folder.glob("*/test_*.py")})
    if not found:
        fix = "run it in a source tree, or install the package anew"
        raise UserError("there are no property suites", where=str(folder), fix=fix)
    has_sources = (root / "pyproject.toml").is_file()
    left_out = [] if has_sources else [name for name in found if name in _NEED_SOURCES]
    usable = [name for name in found if name not in left_out]
    for name in names:
        if name in left_out:
            raise UserError(f"suite {name!r} needs a source tree", fix="clone the repository")
        if name not in usable:
            raise UserError(f"no suite {name!r}", fix=f"there are: {', '.join(usable)}")
    if names:
        return tuple(name for name in usable if name in names), ()
    return tuple(usable), tuple(left_out)


def _pytest_arguments(
    root: Path, suites: Sequence[str], profile: str, expression: str | None, jobs: int
) -> list[str]:
    arguments = [str(root / "properties" / name) for name in suites]
    arguments += [f"--rootdir={root}", "--import-mode=importlib", f"--aether-profile={profile}"]
    if importlib.util.find_spec("aether_edgecloud.properties.plugin") is None:
        raise UserError("the package's tests are not installed", fix="install it whole")
    if not (root / "pyproject.toml").is_file():
        arguments += _INSTALLED
    if expression is not None:
        arguments += ["-k", expression]
    if jobs > 1:
        if importlib.util.find_spec("xdist") is None:
            fix = "pip install pytest-xdist, or leave --jobs out"
            raise UserError("needs pytest-xdist", where="--jobs", fix=fix)
        arguments += ["-n", str(jobs)]
    return arguments


def _folder(root: Path) -> Path | None:
    """Where the run keeps its examples: in the source tree, else where the user is."""
    return root if (root / "pyproject.toml").is_file() else None


def _write(run: Verification, file: Path | None) -> None:
    if file is not None:
        output.write_json(file, run.facts())
