# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor says on its console, told from what a guest prints.

A guest can print the same words. That is why the boot error counts only before a guest first runs,
and why of several end lines the last one counts: behind the true one nothing follows.
"""

import hashlib

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.run_report import End

_MARK = b"[aether] "
_LONGEST_LINE = 4096
_ENDS = {end.value: end for end in (End.GUEST_OFF, End.GUEST_CRASH, End.BOOT_FAILED, End.PANIC)}


class ConsoleProtocol:
    """Follows a console byte by byte; `feed` it everything in order, in pieces of any size."""

    def __init__(self) -> None:
        self.started = False
        """The hypervisor has announced a guest's start: from here on input is the guest's."""
        self.end: End | None = None
        self.boot_error: str | None = None
        self.crash: str | None = None
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._line = bytearray()

    @property
    def sha256(self) -> str:
        """Hash of everything fed, as hex."""
        return self._hash.hexdigest()

    def feed(self, data: bytes) -> None:
        """The console's next bytes."""
        self.bytes += len(data)
        self._hash.update(data)
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self._extend(piece)
            self._finish_line()
        self._extend(pieces[-1])

    def _extend(self, piece: bytes) -> None:
        room = _LONGEST_LINE - len(self._line)
        self._line += piece[:room]

    def _finish_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line.startswith(_MARK):
            return
        words = line[len(_MARK) :].decode("utf-8", "replace").strip()
        kind, _, rest = words.partition(": ")
        if kind == "end":
            self.end = _ENDS.get(rest, self.end)
        elif kind == "boot" and not self.started:
            self.boot_error = rest
        elif kind.startswith("vm "):
            if rest == "start":
                self.started = True
            elif rest.startswith("crash: "):
                self.crash = f"{kind}: {rest.removeprefix('crash: ')}"


def boot_failure(words: str | None) -> UserError:
    """The hypervisor's boot error, `where: what; what to do`, as the user's one line."""
    if words is None:
        return UserError("the hypervisor refused to boot", fix="see its console output")
    return UserError(words)
