# SPDX-License-Identifier: Apache-2.0
"""Where the commands print."""

import os
from pathlib import Path
from typing import IO

from rich.console import Console

from aether_edgecloud.emulator.errors import UserError

_UNLIMITED = 1000


def wide(file: IO[str] | None = None) -> Console:
    """A console (stdout by default) whose lines are never cut or wrapped to the terminal: what is
    printed can be copied, and searched in a pipe."""
    return Console(file=file, width=_UNLIMITED)


def check_place(file: Path | None) -> None:
    """Raises UserError for a file that could not be written once there is something to write."""
    if file is None or file == Path("-"):
        return
    fix = "name a file you may write"
    if file.is_dir():
        raise UserError("cannot be written (it is a directory)", where=str(file), fix=fix)
    place = file if file.exists() and not file.is_file() else file.resolve().parent
    if not place.exists():
        raise UserError("cannot be written (there is no such folder)", where=str(file), fix=fix)
    if not os.access(place, os.W_OK):
        raise UserError("cannot be written (it may not be)", where=str(file), fix=fix)
