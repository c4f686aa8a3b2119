# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor says on its console, told from what a guest prints.

A guest can print the same words. That is why the boot error counts only before a guest first runs,
and why of several end lines the last one counts: behind the true one nothing follows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.console_lines import (
    HYPERVISOR,
    ConsoleLines,
    Fragment,
    Part,
)
from aether_edgecloud.emulator.report.run_report import End

_MARK = b"[aether] "
_AGAIN = "; restarts"
_LONGEST_LINE = 4096
_ENDS = {end.value: end for end in (End.GUEST_OFF, End.GUEST_CRASH, End.BOOT_FAILED, End.PANIC)}


@dataclass(slots=True)
class VmStory:
    """What the hypervisor has said of one VM. `crash` is the first line of its last record."""

    running: bool = False
    crashes: int = 0
    restarts: int = 0
    crash: str | None = None


class ConsoleProtocol:
    """Follows a console byte by byte; `feed` it everything in order, in pieces of any size, and
    `finish` it before asking how a run went."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """`names` are the VMs'. Several share the console, and prefixes tell them apart."""
        self.started = False
        """The hypervisor has announced a guest's start: from here on input is the guest's."""
        self.end: End | None = None
        self.boot_error: str | None = None
        self.crash: str | None = None
        """The last VM that crashed, and why."""
        self.vms: dict[str, VmStory] = {}
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._line = bytearray()
        self._shared = ConsoleLines(names) if len(names) > 1 else None
        self._held: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of everything fed, as hex."""
        return self._hash.hexdigest()

    def feed(self, data: bytes) -> None:
        """The console's next bytes."""
        self.bytes += len(data)
        self._hash.update(data)
        if self._shared is not None:
            self._follow(self._shared.feed(data))
            return
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self._extend(piece)
            self._finish_line()
        self._extend(pieces[-1])

    def finish(self) -> None:
        """The console says no more."""
        self._judge_held()

    def _follow(self, fragments: Sequence[Fragment]) -> None:
        """A line that another's interrupted goes on later: it is judged when the next begins."""
        for fragment in fragments:
            if fragment.speaker != HYPERVISOR:
                continue
            match fragment.part:
                case Part.BEGIN:
                    self._judge_held()
                    self._line.clear()
                case Part.TEXT:
                    self._extend(fragment.data)
                case Part.END:
                    self._held = bytes(self._line).decode("utf-8", "replace").strip()
                    # Told at once: input may wait for it.
                    self.started |= self._held.startswith("vm ") and self._held.endswith(": start")
                case Part.GO_ON:
                    pass

    def _judge_held(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._judge(held)

    def _extend(self, piece: bytes) -> None:
        room = _LONGEST_LINE - len(self._line)
        self._line += piece[:room]

    def _finish_line(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line.startswith(_MARK):
            return
        self._judge(line[len(_MARK) :].decode("utf-8", "replace").strip())

    def _judge(self, words: str) -> None:
        """One line of the hypervisor's."""
        kind, _, rest = words.partition(": ")
        if kind == "end":
            self.end = _ENDS.get(rest, self.end)
            for story in self.vms.values():
                story.running = False
        elif kind == "boot" and not self.started:
            self.boot_error = rest
        elif kind.startswith("vm "):
            self._of_vm(kind, rest)

    def _of_vm(self, kind: str, rest: str) -> None:
        story = self.vms.setdefault(kind.removeprefix("vm "), VmStory())
        words, suffix, _ = rest.partition(_AGAIN)
        again = bool(suffix)
        what, _, more = words.partition(": ")
        match what:
            case "start":
                self.started = story.running = True
                return
            case "crash":
                story.crashes += 1
                story.crash = more
                self.crash = f"{kind}: {more}"
            case "reset":
                again = True
            case "off" | "stopped":
                pass
            case _:
                return
        story.running = again
        story.restarts += again


def boot_failure(words: str | None) -> UserError:
    """The hypervisor's boot error, `where: what; what to do`, as the user's one line."""
    if words is None:
        return UserError("the hypervisor refused to boot", fix="see its console output")
    return UserError(words)
