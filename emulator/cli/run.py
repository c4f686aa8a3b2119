# SPDX-License-Identifier: Apache-2.0
"""`aether run`: boots a guest under the hypervisor, in the emulator or on QEMU.

Exit status: 0 when the guest switched itself off, when all input was taken and it waits for more,
or when the user left with Ctrl-A x; 1 for a crash, a panic, a limit reached; 2 for bad input, and
where nothing of a run that ended well was to be traced.
"""

import sys
from dataclasses import replace
from pathlib import Path

import click

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cli import options, output, run_trace
from aether_edgecloud.emulator.cli.run_trace import TraceChoice
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.host_console.console import ConsoleIO, ConsoleOptions, open_console
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.launch.bare import BareChoice
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.foreign import QemuStyle
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import SHELL_PROMPT, GuestChoice
from aether_edgecloud.emulator.report import json_report
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.report.run_report import RunReport

_NO_TRACE = 2
_EMULATORS_OWN = {
    "mmu": "QEMU has its own MMU",
    "quantum": "QEMU has its own order of the CPUs",
    "seed": "QEMU has its own order of the CPUs",
    "adversary": "QEMU is as kind as it is",
    "interleaving": "QEMU has its own order of the CPUs",
}


@click.command("run")
@click.argument("target_name", metavar="[TARGET]", required=False)
@click.option("--on", "machine", type=click.Choice(["emulator", "qemu"]), default="emulator",
              show_default=True, help="Where to run.")  # fmt: skip
@options.guest_options
@options.board_options
@options.bare_options
@options.emulator_options
@options.interleaving_option
@options.binary_option
@click.option("--input", "input_file", type=click.Path(path_type=Path), metavar="FILE",
              help="The guest's console input, in place of stdin.")  # fmt: skip
@click.option("--input-after", metavar="WORDS",
              help="Hold piped input back until the console has shown WORDS.")  # fmt: skip
@click.option("--console-dir", type=click.Path(path_type=Path), metavar="DIR",
              help="Write what each VM prints to a file of its own.")  # fmt: skip
@click.option("--pty", is_flag=True, help="Give each VM a pseudo-terminal; their names are told.")
@click.option("--max-instructions", type=click.IntRange(min=1), metavar="N",
              help="Stop after N instructions (emulator).")  # fmt: skip
@click.option("--icount", is_flag=True, help="Let time follow instructions (QEMU).")
@click.option("--record", "record_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Record the run, for `aether replay` (emulator).")  # fmt: skip
@click.option("--trace", "trace_range", metavar="FROM:TO",
              help="Trace these instructions in full, to -o FILE; see `aether trace`.")  # fmt: skip
@click.option("-o", "--output", "trace_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Where the trace goes.")  # fmt: skip
@click.option("--trace-el", "trace_els", type=click.IntRange(0, 2), multiple=True, metavar="N",
              help="Trace only instructions at ELn; may be repeated.")  # fmt: skip
@click.option("--trace-vm", metavar="VM",
              help="Trace only while this VM (name or VMID) is loaded.")  # fmt: skip
@options.json_option
@click.pass_context
def command(
    context: click.Context,
    target_name: str | None,
    machine: str,
    guest: GuestChoice,
    board: BoardChoice,
    bare: BareChoice,
    mmu: str,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
    interleaving: Interleaving | None,
    binary: Path | None,
    input_file: Path | None,
    input_after: str | None,
    console_dir: Path | None,
    pty: bool,
    max_instructions: int | None,
    icount: bool,
    record_file: Path | None,
    trace_range: str | None,
    trace_file: Path | None,
    trace_els: tuple[int, ...],
    trace_vm: str | None,
    json_file: Path | None,
) -> int:
    """Run TARGET: a guest's name (see `aether guests`), FILE.toml or FILE.bundle.

    With --bare, run another EL2 binary, given by --kernel, as QEMU runs it.

    On a terminal Ctrl-A x leaves, and Ctrl-A Ctrl-A sends one Ctrl-A. With several VMs Ctrl-T N
    gives VM N the keys, and Ctrl-T Ctrl-T sends one Ctrl-T.
    """
    _check_machine(context, machine, max_instructions, icount)
    output.check_place(json_file)
    _check_recording(record_file, machine, mmu)
    output.check_place(trace_file)
    choice = RunChoice(target_name, guest, board, bare, binary)
    style = choice.style()
    if style is not None:
        _check_one_console(console_dir, pty)
    trace = run_trace.choose(trace_range, trace_file, trace_els, trace_vm, machine)
    output.check_apart(
        {
            "--record": record_file,
            "-o": trace_file,
            "--json": json_file,
        },
        (*choice.files(), input_file),
    )
    request = choice.request(
        mmu=mmu,
        max_instructions=max_instructions,
        quantum=quantum,
        seed=seed,
        adversary=adversary,
    )
    request = replace(request, interleaving=interleaving)
    if input_after is None and guest.shell:
        input_after = SHELL_PROMPT
    wanted = ConsoleOptions(
        names=request.vms,
        folder=console_dir,
        terminals=pty,
        input_after=None if input_after is None else input_after.encode(),
    )
    to_stderr = json_file == output.STDOUT
    with open_console(input_file, to_stderr=to_stderr, options=wanted) as console:
        for name, path in console.terminal_paths.items():
            click.echo(f"console of {name}: {path}", err=True)
        report = _run(machine, request, style, console, icount, record_file, trace)
    _tell(report, json_file)
    status = report.end.exit_status
    return _NO_TRACE if trace is not None and not trace.instructions and not status else status


def _check_machine(
    context: click.Context, machine: str, max_instructions: int | None, icount: bool
) -> None:
    """Refuses options that would be ignored."""
    if machine == "qemu" and max_instructions is not None:
        raise UserError("QEMU counts none", where="--max-instructions", fix="use --on emulator")
    for name, why in _EMULATORS_OWN.items():
        given = context.get_parameter_source(name)
        if machine == "qemu" and given is click.core.ParameterSource.COMMANDLINE:
            raise UserError(why, where=f"--{name}", fix="leave it out with --on qemu")
    if machine == "emulator" and icount:
        raise UserError(
            "in the emulator time always follows instructions", where="--icount", fix="leave it out"
        )


def _check_one_console(console_dir: Path | None, pty: bool) -> None:
    """A machine without our hypervisor has one console, which is nobody's VM."""
    for given, where in ((console_dir is not None, "--console-dir"), (pty, "--pty")):
        if given:
            fix = "leave it out: there is one console"
            raise UserError("is for VMs, and with --bare we know none", where=where, fix=fix)


def _check_recording(file: Path | None, machine: str, mmu: str) -> None:
    """Refuses what cannot be recorded, before anything is built."""
    if file is None:
        return
    if machine == "qemu":
        raise UserError("QEMU's runs are not recorded", where="--record", fix="use --on emulator")
    if mmu != "model":
        raise UserError(
            "only runs with the MMU model are recorded", where="--record", fix="use --mmu model"
        )


def _run(
    machine: str,
    request: RunRequest,
    style: QemuStyle | None,
    console: ConsoleIO,
    icount: bool,
    record_file: Path | None,
    trace: TraceChoice | None,
) -> RunReport:
    if machine == "qemu":
        from aether_edgecloud.emulator.qemu.run import run_on_qemu

        return run_on_qemu(request, console, icount=icount, style=style)
    from aether_edgecloud.emulator.cli.run_emulator import run_on_emulator

    return run_on_emulator(request, console, record_file, trace)


def _tell(report: RunReport, json_file: Path | None) -> None:
    """The table goes to stderr: stdout holds what the guest said, or the JSON."""
    from aether_edgecloud.emulator.report import table

    table.print_report(report, sys.stderr)
    if json_file is not None:
        output.write(json_file, json_report.render(report))
