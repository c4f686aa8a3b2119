# SPDX-License-Identifier: Apache-2.0
"""Programs of the test's own making, found in place of the real ones."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, programs: Mapping[str, str], *, alone: bool = False) -> dict[str, str]:
    """Puts Python scripts under their names into `folder`; the environment that finds them.

    With `alone` nothing else is found.
    """
    folder.mkdir(exist_ok=True)
    for name, body in programs.items():
        script = folder / name
        script.write_text(f"#!{sys.executable}\n{body}", encoding="utf-8")
        script.chmod(0o755)
    path = str(folder) if alone else f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path}
