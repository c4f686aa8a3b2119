# SPDX-License-Identifier: Apache-2.0
"""`aether inspect`: runs to a point and shows the machine there."""

import io
from pathlib import Path

import click

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.cli import binary as el2_binary
from aether_edgecloud.emulator.cli import machine_state, options, output, render_state, symbols
from aether_edgecloud.emulator.cli.console import ConsoleIO, open_console
from aether_edgecloud.emulator.cli.request import build_request
from aether_edgecloud.emulator.cli.run_emulator import build_machine
from aether_edgecloud.emulator.guests import catalogue


@click.command("inspect")
@click.argument("target_name", metavar="[TARGET]", default=catalogue.DEFAULT)
@click.option("--at", type=click.IntRange(min=0), metavar="N",
              help="Stop after N instructions; without it, where the run ends.")  # fmt: skip
@click.option("--register", "registers", multiple=True, metavar="NAME",
              help="Show this system register, every field of it; may be repeated.")  # fmt: skip
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The guest's console input; none without it.")  # fmt: skip
@click.option("--console", "show_console", is_flag=True, help="Show the console's output too.")
@options.mmu_option
@options.board_option
@options.ram_option
@options.binary_option
def command(
    target_name: str,
    at: int | None,
    registers: tuple[str, ...],
    input_file: Path | None,
    show_console: bool,
    mmu: str,
    board: str,
    ram: str,
    binary: Path | None,
) -> int:
    """Run TARGET in the emulator up to a point, and show the machine: registers by field, the
    VM's stage-2 map, EL2's own map. A run stops at the first block boundary at or past N."""
    names = machine_state.register_names(registers)
    loaded = el2_binary.load(binary)
    request = build_request(target_name, mmu, board, ram, loaded, at)
    with _console(input_file) as console:
        machine = build_machine(request, console)
        stop = machine.run(at)
    if show_console:
        click.echo(bytes(machine.console.output))
    place = boards.by_name(request.board, ram_size=request.ram_size).place(
        request.binary_memory, len(request.bundle)
    )
    state = machine_state.read_state(machine, stop, names or machine_state.DEFAULT_REGISTERS)
    render_state.print_state(
        state, symbols.load(loaded.elf, place.image), output.wide(), every_field=bool(names)
    )
    return 0


def _console(input_file: Path | None) -> ConsoleIO:
    """No output, and input only from a file: the terminal is for what is shown."""
    if input_file is None:
        return ConsoleIO(None, io.BytesIO())
    opened = open_console(input_file, to_stderr=False)
    return ConsoleIO(opened.source, io.BytesIO())
