# SPDX-License-Identifier: Apache-2.0
"""Why and where a machine came to a stop."""

from dataclasses import dataclass
from enum import Enum


class StopKind(Enum):
    """Why a machine came to a stop, in words."""

    SYSTEM_OFF = "firmware switched the machine off"
    SYSTEM_RESET = "firmware was asked to restart the machine"
    LIMIT = "the limit of instructions was reached"
    BREAK = "it was asked to stop"
    DEADLOCK = "every CPU waits, and no event will ever come"
    AARCH32 = "an ERET went to AArch32 state, which the emulator does not have"
    LOCKUP = "exceptions follow one another, and no instruction retires"
    INPUT_ENDED = "the guest polls for input, and there will be none"


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a machine stopped: `pc` is a VA at `el` of `cpu`, the one that ran last;
    `instructions` is the total retired."""

    kind: StopKind
    pc: int
    el: int
    instructions: int
    cpu: int = 0
