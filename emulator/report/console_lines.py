# SPDX-License-Identifier: Apache-2.0
"""The one console of several VMs, told apart again.

With several VMs every line has a prefix: `[NAME] ` begins a line of that VM, `[NAME+] ` goes on
with one that another's line interrupted; the hypervisor speaks as `aether`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

HYPERVISOR = "aether"
"""The speaker of the hypervisor's lines. No VM may have this name."""


class Part(Enum):
    """What a fragment is."""

    BEGIN = auto()
    """The prefix of a new line."""
    GO_ON = auto()
    """The prefix of a line that goes on."""
    TEXT = auto()
    END = auto()
    """A line's end, with carriage returns before it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Bytes of the console, nothing added or left out: all fragments in a row are all bytes."""

    speaker: str
    part: Part
    data: bytes


class ConsoleLines:
    """Cuts a console into fragments; `feed` it everything in order, in pieces of any size."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are the VMs'. One alone writes without prefix: what has none is its own."""
        self._prefixes: dict[bytes, tuple[str, Part]] = {}
        self._alone = names[0] if len(names) == 1 else HYPERVISOR
        for name in (HYPERVISOR, *(names if len(names) > 1 else ())):
            self._prefixes[f"[{name}] ".encode()] = (name, Part.BEGIN)
            self._prefixes[f"[{name}+] ".encode()] = (name, Part.GO_ON)
        self._speaker: str | None = None
        self._undecided = b""

    def feed(self, data: bytes) -> list[Fragment]:
        """The fragments that are certain now. What may become a prefix or a line's end waits."""
        found: list[Fragment] = []
        data = self._undecided + data
        self._undecided = b""
        while data:
            if self._speaker is None:
                prefix = self._prefix(data)
                if prefix is None:
                    self._undecided = data
                    break
                self._speaker, part = self._prefixes.get(prefix, (self._alone, Part.TEXT))
                if prefix:
                    found.append(Fragment(self._speaker, part, prefix))
                data = data[len(prefix) :]
                continue
            line, newline, data = data.partition(b"\n")
            text = line.rstrip(b"\r")
            if text:
                found.append(Fragment(self._speaker, Part.TEXT, text))
            returns = line[len(text) :]
            if not newline:
                self._undecided = returns
                break
            found.append(Fragment(self._speaker, Part.END, returns + newline))
            self._speaker = None
        return found

    def finish(self) -> list[Fragment]:
        """What still waited: the console says no more."""
        rest, self._undecided = self._undecided, b""
        return [Fragment(self._speaker or self._alone, Part.TEXT, rest)] if rest else []

    def _prefix(self, data: bytes) -> bytes | None:
        """The prefix that a line begins with, b"" for none, None while that is open."""
        for prefix in self._prefixes:
            if data.startswith(prefix):
                return prefix
        return None if any(p.startswith(data) for p in self._prefixes) else b""


class VmOutput:
    """What each VM itself wrote: prefixes gone, interrupted lines whole again.

    A line's end is the VM's own unless the next line goes on with it, so it comes with the next.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._lines = ConsoleLines(names)
        self._is_shared = len(names) > 1
        self._ends: dict[str, bytes] = {}

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """(speaker, bytes) in order of the console's next bytes."""
        return self._joined(self._lines.feed(data))

    def finish(self) -> list[tuple[str, bytes]]:
        """The rest: the console says no more."""
        found = self._joined(self._lines.finish())
        found += self._ends.items()
        self._ends = {}
        return found

    def _joined(self, fragments: Sequence[Fragment]) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        for fragment in fragments:
            speaker = fragment.speaker
            match fragment.part:
                case Part.END if self._is_shared:
                    self._ends[speaker] = self._ends.get(speaker, b"") + fragment.data
                    continue
                case Part.GO_ON:
                    # The break in the line is the hypervisor's.
                    end = self._ends.pop(speaker, b"").removesuffix(b"\n").removesuffix(b"\r")
                    data = end
                case Part.BEGIN:
                    data = self._ends.pop(speaker, b"")
                case Part.TEXT | Part.END:
                    data = self._ends.pop(speaker, b"") + fragment.data
            if data:
                found.append((speaker, data))
        return found
