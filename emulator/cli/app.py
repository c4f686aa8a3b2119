# SPDX-License-Identifier: Apache-2.0
"""The command line's frame: which commands there are, and how every mistake is told.

Exit status: what the command returns; 2 and one line `aether: ...` for a mistake of the user's;
130 when interrupted; 141 when the reader of the output went away.
"""

import difflib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from aether_edgecloud.emulator.errors import EmulatorFault, UserError
from aether_edgecloud.emulator.signals import leaving_by_signal

EMULATOR_FAULT = 1
USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

_COMMANDS = (
    "run", "build", "guests", "bundle", "inspect", "check", "explore", "replay", "trace",
    "profile", "gdb", "top", "noninterference", "verify", "mutants", "bench", "adversary",
)  # fmt: skip
_PACKAGE = "aether_edgecloud.emulator.cli"
_DISTRIBUTION = "aether-edgecloud"


class _Commands(click.Group):
    """Commands imported on first use: `aether run` should not wait for what others import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{_PACKAGE}.{cmd_name}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise _unknown_command(args[0])
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """--help and --version print here."""
        with _watching_the_reader():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """All else prints here."""
        with _watching_the_reader():
            return super().invoke(ctx)


class _ReaderGone(Exception):
    """Whoever read stdout or stderr does not any more."""


@contextmanager
def _watching_the_reader() -> Iterator[None]:
    """Raises _ReaderGone when a pipe breaks. click and rich would end the process, with status 1:
    click once it sees the error, rich at once."""
    try:
        yield
    except BrokenPipeError:
        raise _ReaderGone from None
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):
            raise _ReaderGone from None
        raise


def _unknown_command(name: str) -> UserError:
    close = difflib.get_close_matches(name, _COMMANDS, n=1)
    listed = f"commands: {', '.join(_COMMANDS)}"
    return UserError(
        f"no command {name!r}", fix=f"did you mean `aether {close[0]}`?" if close else listed
    )


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    # Not at the top: it takes as long as all the rest of this module.
    import importlib.metadata

    try:
        version = importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    click.echo(f"aether {version}")
    context.exit()


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@click.pass_context
def app(context: click.Context) -> int:
    """Aether EdgeCloud: an ARM64 hypervisor, and the machine it is run and attacked on."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    _stand_in_for_closed_streams()
    _let_stdout_take_any_text()
    with leaving_by_signal():
        return _run(arguments)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app.main(
            None if arguments is None else list(arguments),
            prog_name="aether",
            standalone_mode=False,
        )
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except UserError as e:
        return _fail(str(e), USER_ERROR)
    except EmulatorFault as e:
        return _fail(f"the emulator is at fault: {e}; please report it", EMULATOR_FAULT)
    except click.UsageError as e:
        given = sys.argv[1:] if arguments is None else arguments
        return _fail(str(_usage_error(e, given)), USER_ERROR)
    except click.ClickException as e:
        return _fail(str(UserError(e.format_message())), USER_ERROR)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except (_ReaderGone, BrokenPipeError):
        _drop_output(sys.stdout, sys.stderr)
        return BROKEN_PIPE
    except OSError as e:
        # What no command has better words for: a full disk, a path no system call takes.
        where = None if e.filename is None else str(e.filename)
        fix = "check the path, your rights and the space left"
        return _fail(str(UserError(e.strerror or str(e), where=where, fix=fix)), USER_ERROR)
    except MemoryError:
        fix = "use smaller files, or less with --ram"
        return _fail(str(UserError("not enough memory", fix=fix)), USER_ERROR)
    except RuntimeError as e:
        # pathlib's way to say these two.
        if not str(e).startswith(("Could not determine home", "Symlink loop")):
            raise
        fix = "set HOME, or name a path that leads somewhere"
        return _fail(str(UserError(str(e), fix=fix)), USER_ERROR)


def _stand_in_for_closed_streams() -> None:
    """A stream that the process was started without takes what is printed, and drops it."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _let_stdout_take_any_text() -> None:
    """What its encoding does not have becomes a question mark, and no error."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and (
        stream.errors == "strict" or stream.encoding.lower() != "utf-8"
    ):
        stream.reconfigure(errors="replace")


def _usage_error(error: click.UsageError, given: Sequence[str]) -> UserError:
    """click's words for a wrong option or argument, as one line."""
    if error.ctx is not None:
        path = error.ctx.command_path
    else:
        # Some errors of the parser do not know their command.
        path = " ".join(["aether", *(word for word in given[:1] if word in _COMMANDS)])
    where = path.removeprefix("aether").strip() or None
    fix = f"see `{path} --help`"
    if isinstance(error, click.NoSuchOption):
        close = difflib.get_close_matches(error.option_name, error.possibilities or [], n=1)
        if close:
            fix = f"did you mean {close[0]}?"
        return UserError(f"no option {error.option_name}", where=where, fix=fix)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        name = error.param.make_metavar(error.ctx) if error.ctx else error.param.name
        return UserError(f"{name} is missing", where=where, fix=fix)
    return UserError(error.format_message().rstrip("."), where=where, fix=fix)


def _fail(line: str, status: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output(sys.stdout)
    try:
        print(f"aether: {line}", file=sys.stderr, flush=True)
    except OSError:
        _drop_output(sys.stderr)
    return status


def _drop_output(*streams: TextIO) -> None:
    """Nobody reads: what is still buffered must not fail again when Python shuts down."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue
