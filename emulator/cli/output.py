# SPDX-License-Identifier: Apache-2.0
"""Where the commands print."""

from typing import IO

from rich.console import Console

_UNLIMITED = 1000


def wide(file: IO[str] | None = None) -> Console:
    """A console (stdout by default) whose lines are never cut or wrapped to the terminal: what is
    printed can be copied, and searched in a pipe."""
    return Console(file=file, width=_UNLIMITED)
