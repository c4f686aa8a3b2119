# SPDX-License-Identifier: Apache-2.0
"""Where a console's output goes beside the screen as it is: colours, one file for each VM."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.console_lines import HYPERVISOR, ConsoleLines, Part

_COLORS = (36, 32, 33, 35, 34, 96, 92, 93)
_DIM = 2


class Painter:
    """Gives each VM's prefix a colour of its own, by the order of the VMs. Text stays as it is."""

    def __init__(self, names: Sequence[str]) -> None:
        self._lines = ConsoleLines(names)
        self._codes = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(names)}
        self._codes[HYPERVISOR] = _DIM

    def feed(self, data: bytes) -> bytes:
        """The console's next bytes, with colours. What may yet become a prefix waits."""
        return b"".join(
            f"\x1b[{self._codes[f.speaker]}m".encode() + f.data + b"\x1b[0m"
            if f.part in (Part.BEGIN, Part.GO_ON)
            else f.data
            for f in self._lines.feed(data)
        )

    def finish(self) -> bytes:
        """What still waited."""
        return b"".join(f.data for f in self._lines.finish())


class VmFiles:
    """One file for each VM, `NAME.log`, and `aether.log` for the hypervisor's own lines."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Makes the folder and empty files. Raises UserError."""
        self._files: dict[str, BinaryIO] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*names, HYPERVISOR):
                self._files[name] = (folder / f"{name}.log").open("wb", buffering=0)
        except OSError as e:
            self.close()
            where = str(e.filename or folder)
            fix = "name a folder that can be written with --console-dir"
            raise UserError(f"cannot be written ({e.strerror})", where=where, fix=fix) from None

    def write(self, speaker: str, data: bytes) -> None:
        """The speaker's next bytes."""
        self._files[speaker].write(data)

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()
