# SPDX-License-Identifier: Apache-2.0
"""The AT instructions and PAR_EL1 (Arm ARM C5 "AT", pseudocode AArch64.AT, AArch64.EncodePAR)."""

from enum import Enum

from .mmu import Fault, MmuRegisters, PhysicalMemory, Translation, Walker, full_translate
from .mmu_descriptor import Access
from .mmu_faults import FaultKind

PAR_F = 1 << 0
PAR_PTW = 1 << 8
PAR_S = 1 << 9
PAR_NS = 1 << 9
PAR_RES1 = 1 << 11


class AtOperation(Enum):
    """The AT instructions of Armv8.0 below EL3; the value is (op1, op2), with CRn 7 and CRm 8."""

    S1E1R = (0, 0)
    S1E1W = (0, 1)
    S1E0R = (0, 2)
    S1E0W = (0, 3)
    S1E2R = (4, 0)
    S1E2W = (4, 1)
    S12E1R = (4, 4)
    S12E1W = (4, 5)
    S12E0R = (4, 6)
    S12E0W = (4, 7)

    @property
    def access(self) -> Access:
        return Access.WRITE if self.value[1] & 1 else Access.READ

    @property
    def el(self) -> int:
        """The Exception level whose translation is asked for."""
        if self in (AtOperation.S1E2R, AtOperation.S1E2W):
            return 2
        return 0 if self.value[1] & 2 else 1

    @property
    def stage1_only(self) -> bool:
        return not self.value[1] & 4


def address_translate(
    registers: MmuRegisters,
    memory: PhysicalMemory,
    operation: AtOperation,
    va: int,
    *,
    current_el: int,
    walker: Walker | None = None,
) -> int | Fault:
    """The value an AT instruction executed at `current_el` writes to PAR_EL1.

    A Fault instead means that PAR_EL1 is not written and the instruction takes a Data Abort: after
    an external abort on a walk, and to EL2 (with S1PTW, CM and HPFAR_EL2) when stage 2 refuses the
    stage-1 walk of an AT S1E0 or S1E1 executed at EL1.
    """
    result = full_translate(
        registers.regime(operation.el),
        memory,
        va,
        operation.access,
        privileged=operation.el != 0,
        stage1_only=operation.stage1_only,
        walker=walker,
    )
    if isinstance(result, Translation):
        return encode_par(result)
    if result.kind is FaultKind.SYNC_EXTERNAL_ON_WALK or (result.s1ptw and current_el == 1):
        return result
    return encode_par_fault(result)


def encode_par(translation: Translation) -> int:
    """PAR_EL1 with F = 0. NS is 1, as the Non-secure state is the only one modelled."""
    attributes = translation.attributes
    return (
        attributes.par_attr << 56
        | translation.pa & 0x0000_FFFF_FFFF_F000
        | PAR_RES1
        | PAR_NS
        | attributes.shareability.value << 7
    )


def encode_par_fault(fault: Fault) -> int:
    """PAR_EL1 with F = 1: FST, PTW (the fault was on a stage-1 walk), S (it was of stage 2)."""
    par = PAR_F | fault.fsc << 1 | PAR_RES1
    if fault.s1ptw:
        par |= PAR_PTW
    if fault.stage == 2:
        par |= PAR_S
    return par
