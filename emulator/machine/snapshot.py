# SPDX-License-Identifier: Apache-2.0
"""A machine at one moment, to go back to.

After `restore` a run goes on as it went on from there, instruction for instruction. A snapshot fits
the machine it was taken of, and any that was built with the same arguments; taking one changes
nothing. Translated code stays across a restore, where RAM has not changed under it: a program
that leaves out instruction cache maintenance may find newer or older code than it found before.
With Unicorn's own walker that goes for TLB maintenance too.
"""

from dataclasses import dataclass
from typing import Protocol

from aether_edgecloud.emulator.devices.device import State
from aether_edgecloud.emulator.machine.console import ConsoleState
from aether_edgecloud.emulator.machine.core import CoreState
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.schedule import Schedule


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """Whose turn it is. CPUs by number."""

    round: int
    turns: tuple[int, ...]
    running: int | None
    limit: int
    is_alone: bool
    retired: int
    others_retired: int
    last: int
    schedule: Schedule


class Attachment(Protocol):
    """Something that watches a machine and goes back in time with it."""

    def save(self) -> object:
        """The state, never changed afterwards."""

    def restore(self, state: object) -> None:
        """Become what was saved."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A machine's whole state. `machine` tells machines apart that were not built alike."""

    machine: str
    instructions: int
    ram: Pages
    cores: tuple[CoreState, ...]
    schedule: ScheduleState
    devices: State
    console: ConsoleState
    attachments: tuple[object, ...]
