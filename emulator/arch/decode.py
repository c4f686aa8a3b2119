# SPDX-License-Identifier: Apache-2.0
"""A64 decode as far as exceptions need it (Arm ARM, "A64 instruction set encoding").

`decode` names what a trapped or watched instruction was: memory access, system register access,
exception generation, hints, barriers, exception return. Everything else is `Other`, unallocated
encodings among it. Memory accesses are decoded in decode_memory.
"""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TypeAlias

from aether_edgecloud.emulator.arch.decode_memory import (
    Extend,
    IndexMode,
    LoadStore,
    MemoryKind,
    decode_memory,
    effective_address,
    writeback_value,
)
from aether_edgecloud.emulator.arch.decode_memory import (
    iss_for_data_abort as _load_store_iss,
)


@dataclass(frozen=True, slots=True)
class SysRegAccess:
    """MRS or MSR (register). rt 31 is XZR."""

    op0: int
    op1: int
    crn: int
    crm: int
    op2: int
    rt: int
    is_read: bool


@dataclass(frozen=True, slots=True)
class SysInstruction:
    """SYS or SYSL (is_read): DC, IC, AT, TLBI and the reserved ones. op0 is 1."""

    op1: int
    crn: int
    crm: int
    op2: int
    rt: int
    is_read: bool

    @property
    def is_dc_zva(self) -> bool:
        """DC ZVA: stores zeros, so it aborts as a store does and is no cache maintenance."""
        return (self.op1, self.crn, self.crm, self.op2) == (3, 7, 4, 1)

    @property
    def is_tlbi(self) -> bool:
        """A TLB invalidation."""
        return self.crn == 8

    @property
    def is_at(self) -> bool:
        """An address translation, whose result goes to PAR_EL1."""
        return self.crn == 7 and self.crm in (8, 9) and self.op1 in (0, 4, 6)

    @property
    def is_cache_by_va(self) -> bool:
        """Cache maintenance by virtual address: translates Xt, and may abort (CM = 1)."""
        key = (self.op1, self.crn, self.crm, self.op2)
        return key in _CACHE_BY_VA

    @property
    def is_ic(self) -> bool:
        """An instruction cache invalidation."""
        return self.crn == 7 and self.crm in (1, 5)


# DC IVAC, CVAC, CVAU, CVAP, CIVAC; IC IVAU.
_CACHE_BY_VA = frozenset(
    {(0, 7, 6, 1), (3, 7, 10, 1), (3, 7, 11, 1), (3, 7, 12, 1), (3, 7, 14, 1), (3, 7, 5, 1)}
)


@dataclass(frozen=True, slots=True)
class Svc:
    """SVC #imm."""

    imm: int


@dataclass(frozen=True, slots=True)
class Hvc:
    """HVC #imm."""

    imm: int


@dataclass(frozen=True, slots=True)
class Smc:
    """SMC #imm."""

    imm: int


@dataclass(frozen=True, slots=True)
class Brk:
    """BRK #imm."""

    imm: int


@dataclass(frozen=True, slots=True)
class Hlt:
    """HLT #imm: UNDEFINED unless halting debug is enabled, which it never is here."""

    imm: int


@dataclass(frozen=True, slots=True)
class Dcps:
    """DCPS1, DCPS2, DCPS3: UNDEFINED outside Debug state."""

    el: int
    imm: int


class WfxKind(Enum):
    """The two waits."""

    WFI = "wfi"
    WFE = "wfe"


@dataclass(frozen=True, slots=True)
class Wfx:
    """WFI or WFE."""

    kind: WfxKind


@dataclass(frozen=True, slots=True)
class Hint:
    """Any other hint by its 7-bit number CRm:op2: NOP 0, YIELD 1, SEV 4, SEVL 5."""

    number: int


@dataclass(frozen=True, slots=True)
class Eret:
    """ERET."""


class BarrierKind(Enum):
    """Barriers, and CLREX which is encoded among them."""

    CLREX = 2
    DSB = 4
    DMB = 5
    ISB = 6
    SB = 7


@dataclass(frozen=True, slots=True)
class Barrier:
    """A barrier; `option` is CRm (SY = 15, ISH = 11, ISHST = 10, ...)."""

    kind: BarrierKind
    option: int


class PStateField(Enum):
    """PSTATE fields that MSR (immediate) writes; values are (op1, op2)."""

    SP_SEL = (0, 5)
    DAIF_SET = (3, 6)
    DAIF_CLR = (3, 7)
    PAN = (0, 4)
    UAO = (0, 3)
    DIT = (3, 2)
    SSBS = (3, 1)
    TCO = (3, 4)


_PSTATE_FIELDS = {field.value: field for field in PStateField}


@dataclass(frozen=True, slots=True)
class MsrImmediate:
    """MSR <field>, #imm."""

    field: PStateField
    imm: int


@dataclass(frozen=True, slots=True)
class FpSimd:
    """SIMD, floating-point or cryptographic data processing. Not told from unallocated encodings
    of that group; for those UNDEFINED takes precedence over the CPACR and CPTR traps."""


@dataclass(frozen=True, slots=True)
class Other:
    """Anything that raises no exception of interest here, or an unallocated encoding."""


Instruction: TypeAlias = (
    LoadStore
    | SysRegAccess
    | SysInstruction
    | Svc
    | Hvc
    | Smc
    | Brk
    | Hlt
    | Dcps
    | Wfx
    | Hint
    | Eret
    | Barrier
    | MsrImmediate
    | FpSimd
    | Other
)

_ERET = 0xD69F03E0
_OTHER = Other()
_FP_SIMD = FpSimd()


@lru_cache(maxsize=8192)
def decode(word: int) -> Instruction:
    """Decode the 32-bit A64 instruction `word`. Raises ValueError if it is not 32 bits."""
    if not 0 <= word < 1 << 32:
        raise ValueError(f"{word:#x} is not a 32-bit instruction")
    if word & 0x0A00_0000 == 0x0800_0000:
        return decode_memory(word) or _OTHER
    if word & 0x0E00_0000 == 0x0E00_0000:
        return _FP_SIMD
    if word & 0xFF00_0000 == 0xD400_0000:
        return _exception_generation(word)
    if word & 0xFFC0_0000 == 0xD500_0000:
        return _system(word)
    if word == _ERET:
        return Eret()
    return _OTHER


def _exception_generation(word: int) -> Instruction:
    opc, imm, op2, ll = (word >> 21) & 7, (word >> 5) & 0xFFFF, (word >> 2) & 7, word & 3
    if op2:
        return _OTHER
    match opc, ll:
        case 0, 1:
            return Svc(imm)
        case 0, 2:
            return Hvc(imm)
        case 0, 3:
            return Smc(imm)
        case 1, 0:
            return Brk(imm)
        case 2, 0:
            return Hlt(imm)
        case 5, (1 | 2 | 3):
            return Dcps(ll, imm)
    return _OTHER


def _system(word: int) -> Instruction:
    is_read = bool((word >> 21) & 1)
    op0, op1, crn = (word >> 19) & 3, (word >> 16) & 7, (word >> 12) & 0xF
    crm, op2, rt = (word >> 8) & 0xF, (word >> 5) & 7, word & 0x1F
    if op0 >= 2:
        return SysRegAccess(op0, op1, crn, crm, op2, rt, is_read)
    if op0 == 1:
        return SysInstruction(op1, crn, crm, op2, rt, is_read)
    if is_read or rt != 31:
        return _OTHER
    if crn == 2 and op1 == 3:
        number = crm << 3 | op2
        if number in (2, 3):
            return Wfx(WfxKind.WFE if number == 2 else WfxKind.WFI)
        return Hint(number)
    if crn == 3 and op1 == 3:
        if op2 == BarrierKind.SB.value and crm:
            return _OTHER
        return Barrier(BarrierKind(op2), crm) if op2 in (2, 4, 5, 6, 7) else _OTHER
    if crn == 4 and (op1, op2) in _PSTATE_FIELDS:
        return MsrImmediate(_PSTATE_FIELDS[op1, op2], crm)
    return _OTHER


def iss_for_data_abort(instruction: Instruction) -> int:
    """ISV, SAS, SSE, SRT, SF and AR that a stage 2 data abort on `instruction` reports; 0 for
    those with ISV = 0. See decode_memory.iss_for_data_abort."""
    return _load_store_iss(instruction) if isinstance(instruction, LoadStore) else 0


__all__ = [
    "Barrier",
    "BarrierKind",
    "Brk",
    "Dcps",
    "Eret",
    "Extend",
    "FpSimd",
    "Hint",
    "Hlt",
    "Hvc",
    "IndexMode",
    "Instruction",
    "LoadStore",
    "MemoryKind",
    "MsrImmediate",
    "Other",
    "PStateField",
    "Smc",
    "Svc",
    "SysInstruction",
    "SysRegAccess",
    "Wfx",
    "WfxKind",
    "decode",
    "effective_address",
    "iss_for_data_abort",
    "writeback_value",
]
