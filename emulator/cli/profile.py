# SPDX-License-Identifier: Apache-2.0
"""`aether profile`: what EL2 does with its instructions, of a run in the emulator.

Exit status: 0 when the run ended by itself, or with its input or limit; 1 when it got stuck; 2 for
bad input.
"""

from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cli import options, output
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.elf.symbols import Symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.bare import BareChoice
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.target import GuestChoice, read_file
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.profile import (
    Profile,
    Profiler,
    json_profile,
    perfetto,
    symbol_file,
    table,
)
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.signals import SignalWatch

_SLICE = 10_000_000
_STUCK = (StopKind.DEADLOCK, StopKind.LOCKUP, StopKind.AARCH32)
_NO_NAMES = "by page: there are no symbols"


@click.command("profile")
@click.argument("target_name", metavar="[TARGET]", required=False)
@options.guest_options
@options.bare_options
@options.board_options
@options.emulator_options
@options.binary_option
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The console's input; without it there is none.")  # fmt: skip
@click.option("--max-instructions", type=click.IntRange(min=1), metavar="N",
              help="Stop after N instructions.")  # fmt: skip
@click.option("--details", type=click.IntRange(min=0), default=5, show_default=True, metavar="N",
              help="Show so many devices, registers or calls of each class.")  # fmt: skip
@click.option("--functions", type=click.IntRange(min=0), default=15, show_default=True,
              metavar="N", help="Show so many functions.")  # fmt: skip
@click.option("--perfetto", "perfetto_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Write all exits for ui.perfetto.dev.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write all of it as JSON too; - for stdout.")  # fmt: skip
def command(
    target_name: str | None,
    guest: GuestChoice,
    bare: BareChoice,
    board: BoardChoice,
    mmu: str,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
    binary: Path | None,
    input_file: Path | None,
    max_instructions: int | None,
    details: int,
    functions: int,
    perfetto_file: Path | None,
    json_file: Path | None,
) -> int:
    """Run TARGET, and tell what its exits to EL2 cost, by class, and which functions run there.

    Any EL2 binary will do, by --binary or --bare. --symbols may be text as nm prints it. All
    figures are instructions: they are the same in every run.
    """
    # Unlike other commands this one takes lists of symbols, for our hypervisor's runs too.
    symbols_file = bare.symbols
    choice = RunChoice(target_name, guest, board, replace(bare, symbols=None), binary)
    output.check_place(json_file)
    if perfetto_file == output.STDOUT:
        raise UserError("stdout is for people", where="--perfetto -", fix="name a file")
    output.check_place(perfetto_file)
    output.check_apart(
        {"--perfetto": perfetto_file, "--json": json_file},
        (*choice.files(), symbols_file, input_file),
    )
    request = choice.request(mmu=mmu, quantum=quantum, seed=seed, adversary=adversary)
    typed = b"" if input_file is None else read_file(input_file)
    machine = build_machine(request, Bytes(typed))
    names = _names(symbols_file, request, machine)
    profiler = Profiler(machine, keep_stays=perfetto_file is not None)
    signals = SignalWatch(machine.interrupt)
    with signals:
        stop = _run(machine, max_instructions)
    profile = profiler.finish(names)
    if perfetto_file is not None:
        with atomic_file.replacing(perfetto_file) as stream:
            stream.writelines(
                f"{line}\n".encode()
                for line in perfetto.lines(profiler.take_stays(), machine.board)
            )
    about = json_profile.About(
        request.target,
        request.binary_sha256,
        request.board,
        request.cpus,
        stop.kind.value,
        _source(symbols_file, request, names),
    )
    if json_file is not None:
        output.write(json_file, json_profile.render(profile, about).rstrip() + "\n")
    if json_file != output.STDOUT:
        _print(profile, about, details, functions)
    machine.close()
    signals.check()
    return int(stop.kind in _STUCK)


def _names(file: Path | None, request: RunRequest, machine: Machine) -> Symbols:
    """From the file that the user names, else from the binary."""
    loaded = machine.loaded[0]
    if file is not None:
        return symbol_file.read(file, loaded)
    return symbols.load(request.elf, loaded)


def _source(file: Path | None, request: RunRequest, names: Symbols) -> str | None:
    found = request.elf if file is None else file
    return None if not names.names or found is None else str(found)


def _run(machine: Machine, limit: int | None) -> Stop:
    with Console(stderr=True).status("profiling") as status:
        while True:
            until = machine.instructions + _SLICE
            stop = machine.run(until if limit is None else min(until, limit))
            is_over = limit is not None and stop.instructions >= limit
            if stop.kind is not StopKind.LIMIT or is_over:
                return stop
            status.update(f"profiling: {stop.instructions:,} instructions")


def _print(profile: Profile, about: json_profile.About, details: int, functions: int) -> None:
    console = output.wide()
    console.print(Text(f"{about.target}: {about.end}", style="bold"))
    named_by = _NO_NAMES if about.symbols is None else "by function"
    for part in table.render(profile, named_by, details=details, functions=functions):
        console.print(part)
