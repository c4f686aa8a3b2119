# SPDX-License-Identifier: Apache-2.0
"""The command as its users run it: a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LIMIT_S = 240
"""A test that hangs ends here; nothing is measured by it."""
COMMAND = (sys.executable, "-m", "aether_edgecloud.emulator.cli")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: bytes
    err: str

    @property
    def error_line(self) -> str:
        """The one line of a user's mistake; anything else fails here."""
        assert self.status == 2, self
        assert self.out == b"", self
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        assert lines[0].startswith("aether: "), self
        return lines[0]


def aether(
    *arguments: str | Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Outcome:
    """Runs the command to its end."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=LIMIT_S,
        env=os.environ | (environment or {}),
        cwd=folder,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())
