# SPDX-License-Identifier: Apache-2.0
"""One pseudo-terminal for each VM, for programs such as screen, picocom or cat."""

import os
import tty
from collections.abc import Mapping, Sequence

_CHUNK = 4096
_BACKLOG = 1 << 16
"""Bytes kept for a terminal that nobody reads; older ones are dropped."""


class VmTerminals:
    """Terminals by the VMs' names; `close` removes them. A run never waits for their readers."""

    def __init__(self, names: Sequence[str]) -> None:
        self._backlogs = {name: bytearray() for name in names}
        self._ours: dict[str, int] = {}
        self._theirs: dict[str, int] = {}
        for name in names:
            # Theirs stays open here too: without any user, reading ours would be an error.
            self._ours[name], self._theirs[name] = os.openpty()
            # As it comes up, it would echo what the VM writes as if somebody had typed it.
            tty.setraw(self._theirs[name])
            os.set_blocking(self._ours[name], False)

    @property
    def paths(self) -> Mapping[str, str]:
        """What to open, by the VMs' names."""
        return {name: os.ttyname(end) for name, end in self._theirs.items()}

    @property
    def sources(self) -> Mapping[int, str]:
        """Descriptors to wait on for what users type, and whose they are."""
        return {end: name for name, end in self._ours.items()}

    def write(self, name: str, data: bytes) -> None:
        """The VM's next output."""
        backlog = self._backlogs[name]
        backlog += data
        self.flush()
        del backlog[: max(0, len(backlog) - _BACKLOG)]

    def flush(self) -> None:
        """As much of the output that waits as the terminals take now."""
        for name, backlog in self._backlogs.items():
            while backlog:
                try:
                    sent = os.write(self._ours[name], backlog[:_CHUNK])
                except BlockingIOError:
                    break
                del backlog[:sent]

    def read(self, source: int) -> bytes:
        """What was typed at one of the sources; b"" for nothing."""
        try:
            return os.read(source, _CHUNK)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Closes the terminals; their users see the end of the line."""
        self.flush()
        for end in (*self._ours.values(), *self._theirs.values()):
            os.close(end)
        self._ours, self._theirs, self._backlogs = {}, {}, {}
