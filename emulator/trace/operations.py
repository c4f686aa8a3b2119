# SPDX-License-Identifier: Apache-2.0
"""What an A64 instruction may write, and where it accesses memory, from its encoding alone.

A register that is named but keeps its value does no harm; one that is left out would make a trace
wrong. What is UNDEFINED never retires. FPSR is not among the registers that are told.
"""

from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache

from aether_edgecloud.emulator.arch import decode as a64

SP = 31
PSTATE = 32
V = 33
"""V0, its low 64 bits; the high ones follow, then V1."""
MEMORY = 97
REGISTERS = 98
NO_REGISTER = 255
PC = 32
"""As a base."""


class Op(IntFlag):
    """TRACE_OP_*."""

    PSTATE = 1
    STORE = 2
    LINE = 4
    UNPRIVILEGED = 8
    ERET = 16


@dataclass(frozen=True, slots=True)
class Operation:
    """`struct trace_op`, without its numbers."""

    x: int = 0
    v: int = 0
    flags: int = 0
    offset: int = 0
    base: int = NO_REGISTER
    index: int = NO_REGISTER
    extend: int = 0
    shift: int = 0
    size: int = 0
    words: int = 0
    status: int = NO_REGISTER


_LINE = 64
_NONE = Operation()


@lru_cache(maxsize=1 << 16)
def operation(word: int) -> Operation:
    """The operation of the 32-bit instruction `word`."""
    match (word >> 25) & 15:
        case 8 | 9:
            return _immediate(word)
        case 10 | 11:
            return _system(word)
        case 5 | 13:
            return _register(word)
        case 7 | 15:
            return _simd(word)
        case 4 | 6 | 12 | 14:
            return _memory(word)
    return _NONE


def _x(number: int) -> int:
    """XZR is none."""
    return 0 if number == 31 else 1 << number


def _result(word: int, *, flags: bool, sp: bool = False) -> Operation:
    rd = word & 31
    x = 1 << rd if sp and rd == SP else _x(rd)
    return Operation(x=x, flags=Op.PSTATE if flags else 0)


def _immediate(word: int) -> Operation:
    match (word >> 23) & 7:
        case 2 | 3:  # ADD, SUB
            flags = bool(word >> 29 & 1)
            return _result(word, flags=flags, sp=not flags)
        case 4:  # AND, ORR, EOR, ANDS
            flags = word >> 29 & 3 == 3
            return _result(word, flags=flags, sp=not flags)
    return _result(word, flags=False)


def _register(word: int) -> Operation:
    group = (word >> 24) & 31
    if group == 0b01010:
        return _result(word, flags=word >> 29 & 3 == 3)
    if group == 0b01011:
        flags, extended = bool(word >> 29 & 1), bool(word >> 21 & 1)
        return _result(word, flags=flags, sp=extended and not flags)
    match (word >> 21) & 0xFF:
        case 0b1101_0000:
            if word >> 10 & 63:
                return Operation(flags=Op.PSTATE)  # RMIF, SETF
            return _result(word, flags=bool(word >> 29 & 1))
        case 0b1101_0010:
            return Operation(flags=Op.PSTATE)  # CCMP, CCMN
    return _result(word, flags=False)


def _system(word: int) -> Operation:
    is_register = word & 0xFE00_0000 == 0xD600_0000
    if word >> 26 == 0x25 or (is_register and word >> 21 & 7 == 1):
        return Operation(x=1 << 30)  # BL, BLR
    match a64.decode(word):
        case a64.Eret():
            return Operation(x=1 << SP, flags=Op.PSTATE | Op.ERET)
        case a64.Smc():
            return Operation(x=0xF)  # what firmware answers
        case a64.MsrImmediate():
            return Operation(x=1 << SP, flags=Op.PSTATE)
        case a64.SysRegAccess() as access if access.is_read:
            return Operation(x=_x(access.rt))
        case a64.SysRegAccess(op0=3, crn=4, crm=2):  # SPSel, PAN, UAO, NZCV, DAIF
            return Operation(x=1 << SP, flags=Op.PSTATE)
        case a64.SysInstruction() as system if system.is_read:
            return Operation(x=_x(system.rt))
        case a64.SysInstruction(is_dc_zva=True, rt=rt) if rt != 31:
            return Operation(flags=Op.STORE | Op.LINE, base=rt, size=_LINE)
    return _NONE


def _simd(word: int) -> Operation:
    rd = word & 31
    scalar_fp = word >> 24 & 0x5F == 0x1E
    if scalar_fp and not word >> 21 & 1:
        to_x = word >> 16 & 7 in (0, 1)  # to fixed-point
        return Operation(x=_x(rd)) if to_x else Operation(v=1 << rd)
    if scalar_fp and word >> 10 & 63 == 0:
        to_x = word >> 16 & 7 in (0, 1, 4, 5, 6)
        # FJCVTZS, where it exists, writes the flags too.
        return Operation(x=_x(rd), flags=Op.PSTATE) if to_x else Operation(v=1 << rd)
    if scalar_fp and (word >> 10 & 3 == 1 or word >> 10 & 15 == 8):
        return Operation(flags=Op.PSTATE)  # FCCMP, FCMP
    if word & 0xBFE0_8400 == 0x0E00_0400 and word >> 11 & 15 in (5, 7):
        return Operation(x=_x(rd))  # SMOV, UMOV
    return Operation(v=1 << rd)


def _structure_registers(word: int) -> int:
    """Of LD1-LD4 and ST1-ST4."""
    if word >> 24 & 1:
        return (word >> 13 & 1) * 2 + (word >> 21 & 1) + 1
    return {0: 4, 2: 4, 4: 3, 6: 3, 7: 1, 8: 2, 10: 2}.get(word >> 12 & 15, 1)


def _memory(word: int) -> Operation:
    ls = a64.decode(word)
    if not isinstance(ls, a64.LoadStore) or ls.kind is a64.MemoryKind.PREFETCH:
        return _NONE
    x = v = words = 0
    size = ls.access_bytes
    is_structure = ls.simd and ls.rt2 is None and word >> 24 & 0x3E == 0x0C
    targets = [ls.rt] if ls.rt2 is None else [ls.rt, ls.rt2]
    if is_structure:
        targets = [(ls.rt + n) % 32 for n in range(_structure_registers(word))]
        words = -(-size // 8)
    if ls.is_load:
        if ls.kind is a64.MemoryKind.ATOMIC:
            words = -(-size // 8)
            targets = [ls.rt, ls.rs or 0] if ls.rt2 is None else [ls.rs or 0, (ls.rs or 0) + 1]
        elif not ls.simd and 31 in targets:
            words = -(-size // 8)
        for target in targets:
            if ls.simd:
                v |= 1 << target
            else:
                x |= _x(target)
    if ls.writeback and ls.rn is not None:
        x |= 1 << ls.rn
    status = NO_REGISTER
    if ls.exclusive and not ls.is_load and ls.rs is not None:
        x |= _x(ls.rs)
        status = NO_REGISTER if ls.rs == 31 else ls.rs
    is_post = ls.index is a64.IndexMode.POST
    index = NO_REGISTER if ls.rm is None or ls.rm == 31 or is_post else ls.rm
    flags = Op.STORE if ls.is_store else Op(0)
    return Operation(
        x=x,
        v=v,
        flags=flags | (Op.UNPRIVILEGED if ls.unprivileged else 0),
        offset=0 if is_post else ls.offset,
        base=PC if ls.rn is None else ls.rn,
        index=index,
        extend=ls.extend.value,
        shift=ls.shift,
        size=size,
        words=words,
        status=status,
    )
