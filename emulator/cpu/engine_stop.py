# SPDX-License-Identifier: Apache-2.0
"""Why and where an engine stopped, in Unicorn's words."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from unicorn import unicorn_const

from aether_edgecloud.emulator.cpu.hooks import StopReason


class Fill(IntEnum):
    """Kind of access that missed in the TLB (`uc_mem_type`)."""

    READ = unicorn_const.UC_MEM_READ
    WRITE = unicorn_const.UC_MEM_WRITE
    FETCH = unicorn_const.UC_MEM_FETCH


class ExceptionNumber(IntEnum):
    """Unicorn's number of a synchronous exception. PC is past the instruction for SVC, HVC and SMC,
    on it otherwise."""

    UNDEFINED = 1
    SVC = 2
    PREFETCH_ABORT = 3
    DATA_ABORT = 4
    BREAKPOINT = 7
    HVC = 11
    HYP_TRAP = 12
    SMC = 13


class EngineEnd(Enum):
    """What ended a call of `Engine.run`."""

    STOPPED = "stopped"  # a hook did, see `reason`
    WAIT = "wait"  # WFI; PC is past it
    ABORT = "abort"  # an access that no translation or no memory answers; see `fill`


@dataclass(frozen=True, slots=True)
class EngineStop:
    """Why the engine stopped, and where.

    `pc` is a VA. `fill` tells of the access of an ABORT.
    `physical` is set when translation succeeded and nothing answered at that PA.
    """

    end: EngineEnd
    reason: StopReason
    pc: int
    exception: int = 0
    fill: Fill = Fill.READ
    physical: int | None = None
