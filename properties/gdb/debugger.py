# SPDX-License-Identifier: Apache-2.0
"""gdb-multiarch in batch mode on `aether gdb --stdio`."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aether_edgecloud.properties.docs.documents import ROOT

_PATIENCE = 120
_SERVER = (sys.executable, "-m", "aether_edgecloud.emulator.cli", "gdb", "--stdio")


def debug(gdb: Path, commands: Sequence[str], *target: str) -> list[str]:
    """What each command printed; `target` are the arguments of `aether gdb`."""
    server = shlex.join((*_SERVER, *target))
    return run(gdb, commands, f"target remote | {server}")


def run(gdb: Path, commands: Sequence[str], connect: str) -> list[str]:
    """What each command printed on a gdb that is connected to something. gdb is started where the
    sources are, as the binary names them."""
    words = [str(gdb), "-nx", "-batch"]
    settings = ("pagination off", "confirm off", "width 0", f"remotetimeout {_PATIENCE}")
    for command in (*(f"set {setting}" for setting in settings), connect):
        words += ["-ex", command]
    for command in (*commands, "detach"):
        words += ["-ex", f"echo {_MARK}\\n", "-ex", command]
    done = subprocess.run(
        words,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    head, *found = done.stdout.split(f"{_MARK}\n")
    assert len(found) == len(commands) + 1, head
    return found[:-1]


def value(text: str) -> int:
    """What `print/x` or `info registers` of one register says."""
    found = re.search(r"0x[0-9a-f]+", text)
    assert found is not None, text
    return int(found[0], 16)


_MARK = "-- aether --"
