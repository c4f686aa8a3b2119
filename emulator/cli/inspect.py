# SPDX-License-Identifier: Apache-2.0
"""`aether inspect`: runs to a point and shows the machine there."""

import io
from dataclasses import replace
from pathlib import Path

import click

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cli import options, output, render_state, state_json
from aether_edgecloud.emulator.cli.run_emulator import run_machine
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.console import ConsoleIO, open_input
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.launch import host
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice
from aether_edgecloud.emulator.report import machine_state


@click.command("inspect")
@click.argument("target_name", metavar="[TARGET]", required=False)
@click.option("--at", type=click.IntRange(min=0), metavar="N",
              help="Stop after N instructions; without it, where the run ends.")  # fmt: skip
@click.option("--register", "registers", multiple=True, metavar="NAME",
              help="Show this system register, every field of it; may be repeated.")  # fmt: skip
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The guest's console input; none without it.")  # fmt: skip
@click.option("--cpu", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Show this CPU.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write it as JSON too; - for stdout alone.")  # fmt: skip
@click.option("--console", "show_console", is_flag=True, help="Show the console's output too.")
@options.guest_options
@options.board_options
@options.emulator_options
@options.interleaving_option
@options.binary_option
def command(
    target_name: str | None,
    at: int | None,
    registers: tuple[str, ...],
    input_file: Path | None,
    show_console: bool,
    cpu: int,
    json_file: Path | None,
    guest: GuestChoice,
    board: BoardChoice,
    mmu: str,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
    interleaving: Interleaving | None,
    binary: Path | None,
) -> int:
    """Run TARGET in the emulator up to a point, and show the machine: registers by field, the
    VM's stage-2 map, EL2's own map. A run stops at the first block boundary at or past N."""
    names = machine_state.register_names(registers)
    choice = RunChoice(target_name, guest, board, binary=binary)
    output.check_place(json_file)
    output.check_apart({"--json": json_file}, (*choice.files(), input_file))
    request = choice.request(
        mmu=mmu, max_instructions=at, quantum=quantum, seed=seed, adversary=adversary
    )
    request = replace(request, interleaving=interleaving)
    if cpu >= request.cpus:
        last = request.cpus - 1
        raise UserError(f"there is no CPU {cpu}", where="--cpu", fix=f"use 0 to {last}")
    with _console(input_file) as console:
        machine, stop = run_machine(request, console)
    if show_console:
        click.echo(bytes(machine.console.output))
    place = host.sized_board(request.board, request.ram_size, request.cpus).place(
        request.binary_memory, len(request.bundle)
    )
    wanted = names or machine_state.DEFAULT_REGISTERS
    state = machine_state.read_state(machine, cpu, stop, wanted)
    if json_file is not None:
        output.write(json_file, state_json.render(state))
    if json_file != output.STDOUT:
        found = symbols.load(request.elf, place.image)
        render_state.print_state(state, found, output.wide(), every_field=bool(names))
    return 0


def _console(input_file: Path | None) -> ConsoleIO:
    """No output, and input only from a file: the terminal is for what is shown."""
    return ConsoleIO(None if input_file is None else open_input(input_file), io.BytesIO())
