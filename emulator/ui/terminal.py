# SPDX-License-Identifier: Apache-2.0
"""What the UI needs of a terminal."""

import os
import sys

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.ui.model.layout import SMALLEST

_HEADLESS = "use --show, which needs no terminal"


def check() -> None:
    """UserError unless input and output are a terminal that is large enough."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("the UI needs a terminal", fix=_HEADLESS)
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise UserError("this terminal has no cursor to move (TERM)", fix=_HEADLESS)
    columns, rows = os.get_terminal_size(sys.stdout.fileno())
    if columns < SMALLEST[0] or rows < SMALLEST[1]:
        needed = f"{SMALLEST[0]}x{SMALLEST[1]}"
        raise UserError(
            f"the terminal has {columns}x{rows} characters, the UI needs {needed}",
            fix=f"enlarge it, or {_HEADLESS}",
        )
