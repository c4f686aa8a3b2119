# SPDX-License-Identifier: Apache-2.0
"""How a checked run ended."""

from enum import Enum

from aether_edgecloud.emulator.machine import Stop, StopKind


class RunEnd(Enum):
    """How far a run came. Those up to LIMIT are as good as any; the others tell of a binary that
    could not be checked to its end."""

    OFF = "switched the machine off"
    RESET = "asked for a restart of the machine"
    INPUT = "waits for input, and there is none"
    LIMIT = "reached the limit of instructions"
    INTERRUPTED = "was interrupted"
    NO_TRANSLATION = "never switched EL2's MMU on"
    NO_GUEST = "never entered a guest"
    DEADLOCK = "came to a stop: every CPU waits, and no event will ever come"
    LOCKUP = "came to a stop: exceptions follow one another, and no instruction retires"
    LOOP = "came to a stop: it loops, and nothing changes any more"
    AARCH32 = "went to AArch32 state, which the emulator does not have"

    @property
    def is_complete(self) -> bool:
        """Whether it got as far as it was to."""
        return self in (RunEnd.OFF, RunEnd.RESET, RunEnd.INPUT, RunEnd.LIMIT)


_KINDS = {
    StopKind.SYSTEM_OFF: RunEnd.OFF,
    StopKind.SYSTEM_RESET: RunEnd.RESET,
    StopKind.INPUT_ENDED: RunEnd.INPUT,
    StopKind.LIMIT: RunEnd.LIMIT,
    StopKind.BREAK: RunEnd.INTERRUPTED,
    StopKind.DEADLOCK: RunEnd.DEADLOCK,
    StopKind.LOCKUP: RunEnd.LOCKUP,
    StopKind.AARCH32: RunEnd.AARCH32,
}


def run_end(stop: Stop, *, loops: bool, has_translated: bool, has_entered: bool) -> RunEnd:
    """The end of a run, from what the machine and the checkers say."""
    end = RunEnd.LOOP if loops else _KINDS[stop.kind]
    if end.is_complete and not has_translated and not has_entered:
        return RunEnd.NO_TRANSLATION
    if end.is_complete and not has_entered:
        return RunEnd.NO_GUEST
    return end
