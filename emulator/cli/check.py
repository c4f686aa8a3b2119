# SPDX-License-Identifier: Apache-2.0
"""`aether check`: runs an EL2 binary under checkers that know the architecture and no hypervisor.

Exit status: 0 when the run came to its end and nothing of severity error was found; 1 when an error
was found; 2 for bad input; 3 when no error was found, but the run did not come to its end: it never
switched EL2's MMU on, never entered a guest, locked up, came to a deadlock or loops. Interrupted,
it tells what was seen so far, and ends as the signal says: 130 for Ctrl-C.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from aether_edgecloud.emulator.adversary import plan
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.check import json_report, sarif
from aether_edgecloud.emulator.check.names import is_elf, read_names
from aether_edgecloud.emulator.check.request import CheckRequest
from aether_edgecloud.emulator.check.rules import RULES
from aether_edgecloud.emulator.check.session import DEFAULT_LIMIT, Outcome, Session
from aether_edgecloud.emulator.cli import check_view, output
from aether_edgecloud.emulator.cli.run_record import record
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import binary as el2_binary
from aether_edgecloud.emulator.launch import foreign, guest_loader, input_files
from aether_edgecloud.emulator.launch.bare import BareChoice, style
from aether_edgecloud.emulator.launch.host import AS_NEEDED, BoardChoice
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.launch.target import GuestChoice, read_file
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.signals import SignalWatch

_file = click.Path(path_type=Path)
_out = click.Path(path_type=Path, allow_dash=True)


def _rule_ids(
    _context: click.Context, option: click.Parameter, text: str | None
) -> frozenset[str] | None:
    if text is None:
        return None
    ids = frozenset(word.strip() for word in text.split(",") if word.strip())
    unknown = sorted(ids - RULES.keys())
    if unknown:
        where = f"--{option.name}".replace("_", "-")
        raise UserError(
            f"no rule {unknown[0]!r}", where=where, fix="see `aether check --list-rules`"
        )
    return ids


def _modules(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> tuple[foreign.Module, ...]:
    return tuple(guest_loader.parse(text) for text in texts)


def _adversary(_context: click.Context, _option: click.Parameter, text: str | None) -> Plan | None:
    return None if text is None else plan.parse(text)


@click.command("check")
@click.argument("binary", metavar="[BINARY]", type=_file, required=False)
@click.option("--bundle", "target", metavar="TARGET",
              help="BINARY, or the hypervisor, is given this: a guest's name, FILE.toml or "
                   "FILE.bundle.")  # fmt: skip
@click.option("--append", metavar="ARGS", help="BINARY's command line.")
@click.option("--initrd", type=_file, metavar="FILE", help="BINARY's initrd.")
@click.option("--dtb", type=_file, metavar="FILE", help="A DTB, in place of the board's.")
@click.option("--guest-loader", "modules", multiple=True, callback=_modules,
              metavar="addr=ADDR,kernel=FILE[,bootargs=TEXT]",
              help="A module for BINARY, or addr=ADDR,initrd=FILE; repeatable.")  # fmt: skip
@click.option("--memory", metavar="SIZE", help="The board's RAM (128MiB).")
@click.option("--cpus", type=click.IntRange(min=1), metavar="N", help="The board's CPUs (1).")
@click.option("--board", default="virt", show_default=True, help="The board to run on.")
@click.option("--symbols", type=_file, metavar="FILE",
              help="BINARY's symbols: an ELF file, or a list as nm prints it.")  # fmt: skip
@click.option("--input", "input_file", type=_file, metavar="FILE", help="The console's input.")
@click.option("--max-instructions", type=click.IntRange(min=1), default=DEFAULT_LIMIT,
              metavar="N", help=f"Stop after N instructions ({DEFAULT_LIMIT:,}).")  # fmt: skip
@click.option("--quantum", type=click.IntRange(min=1), metavar="N",
              help="Instructions of one CPU before the next one's turn.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N",
              help="Which interleaving of the CPUs.")  # fmt: skip
@click.option("--adversary", callback=_adversary, metavar="PARTS",
              help="As in `aether run`: tlb,caches[,seed=N][,rate=0..256].")  # fmt: skip
@click.option("--stores", type=click.Choice(["exact", "difference"]), default="exact",
              show_default=True,
              help="How changes of tables are seen: each store, or what has changed at each DSB, "
                   "TLBI and ERET.")  # fmt: skip
@click.option("--rules", callback=_rule_ids, metavar="RULE,...", help="Check these only.")
@click.option("--ignore", callback=_rule_ids, metavar="RULE,...", help="Do not check these.")
@click.option("--record", "record_file", type=_file, metavar="FILE",
              help="Record the run, for `aether replay`.")  # fmt: skip
@click.option("--json", "json_file", type=_out, metavar="FILE",
              help="Write the findings as JSON; - for stdout.")  # fmt: skip
@click.option("--sarif", "sarif_file", type=_out, metavar="FILE",
              help="Write the findings as SARIF 2.1.0; - for stdout.")  # fmt: skip
@click.option("--list-rules", is_flag=True, help="List the rules, and do nothing else.")
@click.option("--markdown", is_flag=True, help="With --list-rules: as a table for a document.")
def command(
    binary: Path | None,
    target: str | None,
    append: str | None,
    initrd: Path | None,
    dtb: Path | None,
    modules: tuple[foreign.Module, ...],
    memory: str | None,
    cpus: int | None,
    board: str,
    symbols: Path | None,
    input_file: Path | None,
    max_instructions: int,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
    stores: str,
    rules: frozenset[str] | None,
    ignore: frozenset[str] | None,
    record_file: Path | None,
    json_file: Path | None,
    sarif_file: Path | None,
    list_rules: bool,
    markdown: bool,
) -> int:
    """Run BINARY at EL2, as QEMU runs what -kernel names, and report what it does that the
    architecture does not allow.

    With --bundle, BINARY is booted as the hypervisor is (and is the hypervisor, if left out).
    """
    if list_rules:
        check_view.print_rules(as_markdown=markdown)
        return 0
    if markdown:
        raise UserError("is for --list-rules", where="--markdown", fix="leave it out")
    for file in (json_file, sarif_file, record_file):
        output.check_place(file)
    if json_file == sarif_file == output.STDOUT:
        raise UserError("is the place of --json too", where="--sarif -", fix="name a file")
    outputs = {"--record": record_file, "--json": json_file, "--sarif": sarif_file}
    inputs = (binary, initrd, dtb, symbols, input_file, *(module.file for module in modules))
    output.check_apart(outputs, (*inputs, *input_files.of_target(target)))
    guest = GuestChoice(cpus=cpus, memory=memory, dtb=dtb, append=append, kernel=binary)
    elf = symbols if symbols is not None and is_elf(symbols) else None
    bare = BareChoice(bare=True, initrd=initrd, modules=modules, symbols=elf)
    if target is not None:
        run = _with_bundle(binary, target, board, guest, bare, quantum, seed, adversary)
    elif binary is None:
        raise UserError("BINARY is missing", where="check", fix="see `aether check --help`")
    else:
        chosen = style(bare, guest, BoardChoice(board), target=None, binary=None)
        assert chosen is not None
        run = foreign.load(chosen).request(quantum=quantum, seed=seed, adversary=adversary)
    wanted = (frozenset(RULES) if rules is None else rules) - (ignore or frozenset())
    if not wanted:
        where = "--rules" if not rules and rules is not None else "--ignore"
        raise UserError("no rule is left to check", where=where, fix="leave one in")
    name = str(binary) if binary is not None else "el2"
    request = CheckRequest(name, run, wanted, stores == "difference", record_file)
    console = Console(
        stderr=output.STDOUT in (json_file, sarif_file), soft_wrap=True, highlight=False
    )
    data = b"" if input_file is None else read_file(input_file)
    outcome, signals = _check(request, symbols or run.elf, data, max_instructions, console)
    check_view.print_outcome(outcome, record_file, console)
    if json_file is not None:
        output.write(json_file, json_report.render(request, outcome))
    if sarif_file is not None:
        output.write(sarif_file, sarif.render(request, outcome, _version()))
    signals.check()
    return outcome.exit_status


def _with_bundle(
    binary: Path | None,
    target: str,
    board: str,
    guest: GuestChoice,
    bare: BareChoice,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
) -> RunRequest:
    """A binary that takes a bundle."""
    for given, option in (
        (guest.append, "--append"),
        (guest.dtb, "--dtb"),
        (bare.initrd, "--initrd"),
        (bare.modules or None, "--guest-loader"),
    ):
        if given is not None:
            raise UserError("does not go with --bundle", where=option, fix="leave one out")
    chosen = AS_NEEDED
    if board != AS_NEEDED.name or guest.memory is not None or guest.cpus is not None:
        chosen = BoardChoice(board, guest.memory, guest.cpus)
    return build_request(
        target,
        el2_binary.load(binary),
        board=chosen,
        quantum=quantum,
        seed=seed,
        adversary=adversary,
    )


def _check(
    request: CheckRequest, symbols: Path | None, data: bytes, limit: int, console: Console
) -> tuple[Outcome, SignalWatch]:
    """Runs it, with a bar that shows how far it is. A signal ends the run; what it means is still
    to be asked, when all is told that was seen before."""
    machine = build_machine(request.run, Bytes(data))
    names = read_names(symbols, machine.loaded[0])
    with ExitStack() as stack:
        recorder = None
        if request.recording is not None:
            recorder = stack.enter_context(record(machine, request.recording, request.run))
        session = Session(
            machine,
            names,
            rules=request.rules,
            by_difference=request.by_difference,
            limit=limit,
            advance=None if recorder is None else recorder.run,
        )
        signals = stack.enter_context(SignalWatch(session.interrupt))
        bar = stack.enter_context(
            Progress(
                TextColumn("{task.fields[told]}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty(),
            )
        )
        task = bar.add_task("", total=None, told="")
        for _ in session.run():
            told = f"{machine.instructions / 1e6:,.0f} M instructions, {session.findings} findings"
            bar.update(task, told=told)
        if recorder is not None:
            recorder.finish(session.stop)
        return session.outcome(), signals


def _version() -> str:
    # Not at the top: it takes as long as all the rest of this module.
    import importlib.metadata

    try:
        return importlib.metadata.version("aether-edgecloud")
    except importlib.metadata.PackageNotFoundError:
        return ""
