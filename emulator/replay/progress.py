# SPDX-License-Identifier: Apache-2.0
"""How long work tells how far it is, and how it is ended early."""

from typing import Protocol


class Cancelled(Exception):
    """Raised by a `Progress` to end the work. Nothing has changed then: the position is that from
    before."""


class Progress(Protocol):
    """Told now and then, several times a second, while work goes on."""

    def at(self, done: int, total: int) -> None:
        """`done` of `total` instructions have been gone through. May raise Cancelled."""


class Silent:
    """Tells nobody."""

    def at(self, done: int, total: int) -> None:
        """Nothing."""


SILENT = Silent()
