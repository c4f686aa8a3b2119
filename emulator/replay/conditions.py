# SPDX-License-Identifier: Apache-2.0
"""What can be searched for in a run.

Where a condition names a CPU it is by number, a VM by its VMID (0: EL2 while no VM's registers are
loaded); None is any. Accesses to memory are found whoever makes them: EL2, or a guest through any
address; those of translation table walks are not.
"""

from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.recording.events import EventKind
from aether_edgecloud.emulator.replay.moments import Moment


class Direction(Enum):
    """Which way."""

    FORWARD = 1
    BACK = -1


@dataclass(frozen=True, slots=True)
class Execute:
    """The instruction at `va` is about to execute, also if it then takes an exception instead."""

    va: int
    cpu: int | None = None
    vmid: int | None = None
    el: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """An instruction is about to load or store any of `size` bytes from PA `pa` on."""

    pa: int
    size: int = 1
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """The same, stores only. DC ZVA is one too."""

    pa: int
    size: int = 1
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """The same, loads only."""

    pa: int
    size: int = 1
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class TableEntryWrite:
    """An instruction is about to store to the translation table entry at PA `pa`, 8 bytes."""

    pa: int


@dataclass(frozen=True, slots=True)
class RegisterWrite:
    """A register's value is about to change: X0 to X30, SP, or a system register by its
    architectural name, by an instruction that names it; for X and SP a write of the same value
    counts too. `cpu` None: the CPU of the cursor."""

    name: str
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class EventOf:
    """An event of one of these kinds."""

    kinds: frozenset[EventKind]
    vm: int | None = None
    cpu: int | None = None


@dataclass(frozen=True, slots=True)
class StepOver:
    """The next instruction of the same CPU; a call (BL, BLR), SVC, HVC, SMC or exception is gone
    over until it has come back."""


@dataclass(frozen=True, slots=True)
class StepOut:
    """The instruction after the one that called this function, at the caller's stack depth; of an
    exception handler, the one it returns to. Backwards: the call itself."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The first of several."""

    conditions: "tuple[Condition, ...]"


Condition = (
    Execute
    | Access
    | Write
    | Read
    | TableEntryWrite
    | RegisterWrite
    | EventOf
    | StepOver
    | StepOut
    | AnyOf
)


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a search ended, and what was found there in a few words. `attempt` as in
    `Replay.attempt`; `condition` is the one of an AnyOf that was met."""

    position: int
    words: str
    cpu: int = 0
    attempt: int = 0
    condition: Condition | None = None

    @property
    def moment(self) -> Moment:
        """Where it ended."""
        return Moment(self.position, self.attempt)
