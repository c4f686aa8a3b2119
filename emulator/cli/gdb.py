# SPDX-License-Identifier: Apache-2.0
"""`aether gdb`: lets gdb debug a recording, or a run that is made meanwhile, in both directions."""

from pathlib import Path

import click

from aether_edgecloud.emulator.cli import options
from aether_edgecloud.emulator.cli.replay_request import is_recording, split_link, start_of
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.gdb import opening, server
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.launch.bare import BareChoice
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice, read_file

_DEFAULT_PORT = 1234
_GIVEN = click.core.ParameterSource.COMMANDLINE
_OF_ANY_SOURCE = (
    "target_name", "at", "port", "stdio", "any_emulator", "once", "show_commands",
)  # fmt: skip

COMMANDS = """\
# For ~/.gdbinit, or gdb -x FILE: moves that gdb cannot know of by itself.
define aether-goto
  monitor goto $arg0
  maintenance flush register-cache
  maintenance flush dcache
  frame
end
document aether-goto
Go to a place of the run: a position, 40%, event:N, mark:NAME, end, +N, -N.
end
define aether-last-write
  eval "monitor last-write %lu %lu", (unsigned long)&($arg0), (unsigned long)sizeof($arg0)
  maintenance flush register-cache
  maintenance flush dcache
  frame
end
document aether-last-write
Go back to the last write of a variable: aether-last-write vms[0].vmid
end
"""


@click.command("gdb")
@click.argument("target_name", metavar="[FILE|TARGET]", default=catalogue.DEFAULT)
@click.option("--at", metavar="POSITION", help="Begin there; without it, at reset.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULT_PORT,
    show_default=True,
    metavar="N",
    help="Listen on this TCP port of 127.0.0.1; 0 is any that is free.",
)
@click.option(
    "--stdio",
    is_flag=True,
    help="Speak over stdin and stdout, for `target remote | aether gdb --stdio ...`.",
)
@click.option(
    "--any-emulator",
    is_flag=True,
    help="Open a recording that another version made, too; its run may then differ.",
)
@click.option("--once", is_flag=True, help="End when the first gdb has left.")
@click.option(
    "--commands",
    "show_commands",
    is_flag=True,
    help="Print commands for gdb that go with it, and end.",
)
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The guest's console input; none without it.",
)
@options.guest_options
@options.board_options
@options.bare_options
@click.option("--quantum", type=click.IntRange(min=1), metavar="N",
              help="Instructions of one CPU before the next one's turn.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Which interleaving of the CPUs.")  # fmt: skip
@options.binary_option
@click.pass_context
def command(
    context: click.Context,
    target_name: str,
    at: str | None,
    port: int,
    stdio: bool,
    any_emulator: bool,
    once: bool,
    show_commands: bool,
    input_file: Path | None,
    guest: GuestChoice,
    board: BoardChoice,
    bare: BareChoice,
    quantum: int | None,
    seed: int,
    binary: Path | None,
) -> int:
    """Wait for gdb, and let it debug the recording FILE or a run of TARGET: a guest's name,
    FILE.toml or FILE.bundle. Forwards and backwards; nothing can be changed."""
    if show_commands:
        click.echo(COMMANDS, nl=False)
        return 0
    if stdio and context.get_parameter_source("port") is _GIVEN:
        raise UserError("is not for --stdio", where="--port", fix="leave one of them out")
    file, linked = split_link(target_name, "gdb")
    is_recorded = is_recording(file)
    place = start_of(linked if is_recorded else None, at)
    if is_recorded:
        _refuse_options(context)
        target = opening.recorded(file, any_emulator=any_emulator)
        for note in target.replay.notes:
            click.echo(f"aether: {note}", err=True)
    else:
        if any_emulator:
            raise UserError("is for recordings", where="--any-emulator", fix="leave it out")
        told = target_name if context.get_parameter_source("target_name") is _GIVEN else None
        choice = RunChoice(told, guest, board, bare, binary)
        request = choice.request(quantum=quantum, seed=seed)
        typed = b"" if input_file is None else read_file(input_file)
        target = opening.live(request, request.elf, typed)
    if place is not None:
        target.go_to(place)
    if stdio:
        server.serve_stdio(target)
        return 0
    with server.listen(port) as listener:
        number = listener.getsockname()[1]
        click.echo(f"gdb-multiarch -ex 'target remote :{number}'", err=True)
        server.serve(target, listener, once=once)
    return 0


def _refuse_options(context: click.Context) -> None:
    """A recording says itself what runs."""
    for name in context.params:
        if name not in _OF_ANY_SOURCE and context.get_parameter_source(name) is _GIVEN:
            option = "--input" if name == "input_file" else f"--{name.replace('_', '-')}"
            fix = "leave it out with a recording"
            raise UserError("the recording says what runs", where=option, fix=fix)
