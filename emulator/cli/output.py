# SPDX-License-Identifier: Apache-2.0
"""Where the commands print and write."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import IO

import click
from rich.console import Console

from aether_edgecloud.emulator import atomic_file
from aether_edgecloud.emulator.errors import UserError

STDOUT = Path("-")
"""As a file that is named on the command line."""
_UNLIMITED = 1000


def wide(file: IO[str] | None = None) -> Console:
    """A console (stdout by default) whose lines are never cut or wrapped to the terminal: what is
    printed can be copied, and searched in a pipe."""
    return Console(file=file, width=_UNLIMITED)


def write(file: Path, text: str | bytes) -> None:
    """Makes `text` the content of the file that the user named: whole, or not at all."""
    if file == STDOUT:
        click.echo(text, nl=False)
    else:
        atomic_file.write(file, text if isinstance(text, bytes) else text.encode())


def write_json(file: Path, content: object) -> None:
    """Writes what `json` can, for people too: indented."""
    write(file, json.dumps(content, indent=2) + "\n")


def check_place(file: Path | None) -> None:
    """Raises UserError for a file that could not be written once there is something to write."""
    if file is None or file == STDOUT:
        return
    fix = "name a file you may write"
    if file.is_dir():
        raise UserError("cannot be written (it is a directory)", where=str(file), fix=fix)
    target = file.resolve()
    if not target.parent.exists():
        raise UserError("cannot be written (there is no such folder)", where=str(file), fix=fix)
    is_plain = _is_plain(file)
    if not os.access(target.parent if is_plain else file, os.W_OK):
        raise UserError("cannot be written (it may not be)", where=str(file), fix=fix)
    if is_plain:
        try:
            # As it will be done: rights are not all that decides.
            with tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent):
                pass
        except OSError as e:
            what = f"cannot be written ({e.strerror})"
            raise UserError(what, where=str(file), fix=fix) from None


def check_apart(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Raises UserError if two outputs, by their options, are one file, or an output is an input.
    Devices and pipes (stdout, /dev/null) may be named twice."""
    fix = "name another file"
    files = [(option, file) for option, file in outputs.items() if file and _is_plain(file)]
    for (one, first), (other, second) in combinations(files, 2):
        if first.resolve() == second.resolve() or _is_same(first, second):
            raise UserError(f"is the file of {one} too", where=f"{other} {second}", fix=fix)
    sources = [file for file in inputs if file is not None]
    for option, file in files:
        if any(_is_same(file, source) for source in sources):
            raise UserError("is what the run is made of", where=f"{option} {file}", fix=fix)


def _is_plain(file: Path) -> bool:
    return file != STDOUT and (file.is_file() or not file.exists())


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False
