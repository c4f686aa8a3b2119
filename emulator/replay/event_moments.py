# SPDX-License-Identifier: Apache-2.0
"""At which moment of the run an event is.

What leads to another EL (EXCEPTION, INTERRUPT, HYPERCALL, ERET, VM_SWITCH) is at the first moment
after it: the CPU stands before the first instruction on the other side. What an instruction does
(SYSREG_WRITE, TLBI, DSB, TABLE_WRITE) is at the moment before that instruction. MMIO, CONSOLE and
DEVICE_WRITE are where the block of code they are in begins; a MARK is where its position begins.

Events have positions. Attempts follow from their order: a position has as many before the one that
retires as it has exceptions of instructions that were tried.
"""

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.recording.events import EventKind, Events
from aether_edgecloud.emulator.replay.moments import MOST_ATTEMPTS, Moment

_CLASS_SHIFT = 8
# Exception classes of `EventKind.EXCEPTION` that are no attempt: SVC retires, and the others are
# found before there is an instruction.
_UNTRIED = np.array(
    [
        ExceptionClass.SVC,
        ExceptionClass.ILLEGAL_STATE,
        ExceptionClass.PC_ALIGNMENT,
        ExceptionClass.INSTRUCTION_ABORT_LOWER,
        ExceptionClass.INSTRUCTION_ABORT_SAME,
    ],
    np.uint64,
)

Keys = npt.NDArray[np.uint64]
"""Moments as numbers in their order."""


def key(moment: Moment) -> int:
    """A moment as such a number."""
    return moment.position * MOST_ATTEMPTS + min(max(moment.attempt, 0), MOST_ATTEMPTS - 1)


def moment(number: int) -> Moment:
    """Its moment."""
    return Moment(*divmod(number, MOST_ATTEMPTS))


def keys(events: Events) -> Keys:
    """Of every event of a recording, one each; they rise but for marks."""
    tried = events.kind == EventKind.EXCEPTION
    tried &= ~np.isin(events.c >> np.uint64(_CLASS_SHIFT), _UNTRIED)
    count = np.concatenate(([0], np.cumsum(tried)))
    first = np.searchsorted(events.position, events.position)
    attempt = count[1:] - count[first]
    attempt[events.kind == EventKind.MARK] = 0
    return _keys(events.position, attempt)


def keys_on_demand(found: Events, events: Events, numbers: Keys) -> Keys:
    """The same of events that were found on demand: instructions that retired. `events` are those
    of the recording, with their `numbers`."""
    low = np.searchsorted(events.position, found.position)
    high = np.searchsorted(events.position, found.position, side="right")
    attempt = np.zeros(len(found), np.int64)
    for row in np.flatnonzero(high > low).tolist():
        attempt[row] = int(numbers[low[row] : high[row]].max()) % MOST_ATTEMPTS
    return _keys(found.position, attempt)


def _keys(position: Keys, attempt: npt.NDArray[np.int64]) -> Keys:
    most = np.minimum(attempt, MOST_ATTEMPTS - 1).astype(np.uint64)
    return position * np.uint64(MOST_ATTEMPTS) + most
