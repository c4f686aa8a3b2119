# SPDX-License-Identifier: Apache-2.0
"""What EL2 did wrong itself: the synchronous exceptions that it took from EL2 to EL2."""

from dataclasses import dataclass

from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu.synchronous import DFSC_EXTERNAL_ABORT, SyncException

_CALLS = (ExceptionClass.SVC, ExceptionClass.HVC)
_ABORTS = (ExceptionClass.DATA_ABORT_SAME, ExceptionClass.INSTRUCTION_ABORT_SAME)
_FSC = 0x3F
_PAR_PA = 0xF_FFFF_FFFF_F000
_OFFSET = 0xFFF


@dataclass(frozen=True, slots=True)
class OwnFault:
    """One of them, at the VA `pc`, by the instruction `word` (None: it could not be fetched).
    `retired` counts what this CPU had executed. `far` is a VA, `pa` where it translates to; None
    where the exception has no address, and where nothing refused it at a PA.
    """

    retired: int
    pc: int
    esr: int
    word: int | None
    far: int | None
    pa: int | None


@dataclass(slots=True)
class OwnFaults:
    """Those of one CPU since it was made: how many, the first and the last of them."""

    count: int = 0
    first: OwnFault | None = None
    last: OwnFault | None = None

    def note(
        self, retired: int, exception: SyncException, word: int | None, mapped: int | mmu.Fault
    ) -> None:
        """One is about to be taken; `mapped` is what AT S1E2R of its address would leave in
        PAR_EL1."""
        ec, far, pa = exception.ec, exception.far, None
        if ec in _CALLS:
            return
        is_external = ec in _ABORTS and exception.esr & _FSC == DFSC_EXTERNAL_ABORT
        if far is not None and is_external and isinstance(mapped, int) and not mapped & 1:
            pa = mapped & _PAR_PA | far & _OFFSET
        self.count += 1
        self.last = OwnFault(retired, exception.elr, exception.esr, word, far, pa)
        self.first = self.first or self.last
