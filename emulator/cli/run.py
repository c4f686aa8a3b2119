# SPDX-License-Identifier: Apache-2.0
"""`aether run`: boots a guest under the hypervisor, in the emulator or on QEMU.

Exit status: 0 when the guest switched itself off, when all input was taken and it waits for more,
or when the user left with Ctrl-A x; 1 for a crash, a panic, a limit reached; 2 for bad input.
"""

import sys
from pathlib import Path

import click

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.cli import binary as el2_binary
from aether_edgecloud.emulator.cli import options
from aether_edgecloud.emulator.cli.console import ConsoleIO, open_console
from aether_edgecloud.emulator.cli.request import build_request
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.report import json_report
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.report.run_report import RunReport

_STDOUT = Path("-")


@click.command("run")
@click.argument("target_name", metavar="[TARGET]", default=catalogue.DEFAULT)
@click.option("--on", "machine", type=click.Choice(["emulator", "qemu"]), default="emulator",
              show_default=True, help="Where to run.")  # fmt: skip
@options.mmu_option
@options.board_option
@options.ram_option
@options.binary_option
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The guest's console input, in place of stdin.")  # fmt: skip
@click.option("--max-instructions", type=click.IntRange(min=1), metavar="N",
              help="Stop after N instructions (emulator).")  # fmt: skip
@click.option("--icount", is_flag=True, help="Let time follow instructions (QEMU).")
@options.json_option
@click.pass_context
def command(
    context: click.Context,
    target_name: str,
    machine: str,
    mmu: str,
    board: str,
    ram: str,
    binary: Path | None,
    input_file: Path | None,
    max_instructions: int | None,
    icount: bool,
    json_file: Path | None,
) -> int:
    """Run TARGET: a guest's name (see `aether guests`), FILE.toml or FILE.bundle.

    On a terminal Ctrl-A x leaves, and Ctrl-A Ctrl-A sends one Ctrl-A.
    """
    _check_machine(context, machine, max_instructions, icount)
    loaded = el2_binary.load(binary)
    request = build_request(target_name, mmu, board, ram, loaded, max_instructions)
    with open_console(input_file, to_stderr=json_file == _STDOUT) as console:
        report = _run(machine, request, console, icount)
    _tell(report, json_file)
    return report.end.exit_status


def _check_machine(
    context: click.Context, machine: str, max_instructions: int | None, icount: bool
) -> None:
    """Refuses options that would be ignored."""
    given = context.get_parameter_source("mmu")
    if machine == "qemu" and max_instructions is not None:
        raise UserError("QEMU counts none", where="--max-instructions", fix="use --on emulator")
    if machine == "qemu" and given is click.core.ParameterSource.COMMANDLINE:
        raise UserError("QEMU has its own MMU", where="--mmu", fix="leave it out with --on qemu")
    if machine == "emulator" and icount:
        raise UserError(
            "in the emulator time always follows instructions", where="--icount", fix="leave it out"
        )


def _run(machine: str, request: RunRequest, console: ConsoleIO, icount: bool) -> RunReport:
    if machine == "qemu":
        from aether_edgecloud.emulator.qemu.run import run_on_qemu

        return run_on_qemu(request, console, icount=icount)
    from aether_edgecloud.emulator.cli.run_emulator import run_on_emulator

    return run_on_emulator(request, console)


def _tell(report: RunReport, json_file: Path | None) -> None:
    """The table goes to stderr: stdout holds what the guest said, or the JSON."""
    from aether_edgecloud.emulator.report import table

    table.print_report(report, sys.stderr)
    if json_file is None:
        return
    text = json_report.render(report)
    if json_file == _STDOUT:
        click.echo(text, nl=False)
    else:
        atomic_file.write(json_file, text)
