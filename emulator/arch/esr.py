# SPDX-License-Identifier: Apache-2.0
"""ESR_ELx: exception classes, syndrome encoders and a description in words
(Arm ARM, ESR_EL1 and ESR_EL2 and their ISS encodings)."""

from enum import IntEnum

from aether_edgecloud.emulator.arch.sysregs import by_encoding, sysop_by_encoding

ESR_EC_SHIFT = 26
ESR_IL = 1 << 25
ESR_ISS_MASK = (1 << 25) - 1

ISS_ISV = 1 << 24
ISS_SSE = 1 << 21
ISS_SF = 1 << 15
ISS_AR = 1 << 14
ISS_FNV = 1 << 10
ISS_EA = 1 << 9
ISS_CM = 1 << 8
ISS_S1PTW = 1 << 7
ISS_WNR = 1 << 6

# CV = 1, COND = 0b1110: what an A64 instruction reports in the trap classes that have a condition.
ISS_A64_CONDITION = 1 << 24 | 0xE << 20


class ExceptionClass(IntEnum):
    """ESR_ELx.EC."""

    UNKNOWN = 0x00
    WFX = 0x01
    MCR_CP15 = 0x03
    MCRR_CP15 = 0x04
    MCR_CP14 = 0x05
    LDC_CP14 = 0x06
    FP_ACCESS = 0x07
    VMRS = 0x08
    PAUTH = 0x09
    LD64B = 0x0A
    MRRC_CP14 = 0x0C
    BRANCH_TARGET = 0x0D
    ILLEGAL_STATE = 0x0E
    SVC_AARCH32 = 0x11
    HVC_AARCH32 = 0x12
    SMC_AARCH32 = 0x13
    SVC = 0x15
    HVC = 0x16
    SMC = 0x17
    SYSREG = 0x18
    SVE = 0x19
    ERET = 0x1A
    PAC_FAIL = 0x1C
    IMPLEMENTATION_DEFINED_EL3 = 0x1F
    INSTRUCTION_ABORT_LOWER = 0x20
    INSTRUCTION_ABORT_SAME = 0x21
    PC_ALIGNMENT = 0x22
    DATA_ABORT_LOWER = 0x24
    DATA_ABORT_SAME = 0x25
    SP_ALIGNMENT = 0x26
    FP_EXCEPTION_AARCH32 = 0x28
    FP_EXCEPTION = 0x2C
    SERROR = 0x2F
    BREAKPOINT_LOWER = 0x30
    BREAKPOINT_SAME = 0x31
    STEP_LOWER = 0x32
    STEP_SAME = 0x33
    WATCHPOINT_LOWER = 0x34
    WATCHPOINT_SAME = 0x35
    BKPT_AARCH32 = 0x38
    VECTOR_CATCH_AARCH32 = 0x3A
    BRK = 0x3C


EC_WORDS: dict[int, str] = {
    ExceptionClass.UNKNOWN: "unknown reason (undefined instruction)",
    ExceptionClass.WFX: "trapped WFI or WFE",
    ExceptionClass.MCR_CP15: "trapped MCR or MRC, coproc 0b1111",
    ExceptionClass.MCRR_CP15: "trapped MCRR or MRRC, coproc 0b1111",
    ExceptionClass.MCR_CP14: "trapped MCR or MRC, coproc 0b1110",
    ExceptionClass.LDC_CP14: "trapped LDC or STC",
    ExceptionClass.FP_ACCESS: "trapped access to SIMD or floating point",
    ExceptionClass.VMRS: "trapped VMRS",
    ExceptionClass.PAUTH: "trapped pointer authentication instruction",
    ExceptionClass.LD64B: "trapped LD64B, ST64B, ST64BV or ST64BV0",
    ExceptionClass.MRRC_CP14: "trapped MRRC, coproc 0b1110",
    ExceptionClass.BRANCH_TARGET: "branch target exception",
    ExceptionClass.ILLEGAL_STATE: "illegal execution state",
    ExceptionClass.SVC_AARCH32: "SVC in AArch32 state",
    ExceptionClass.HVC_AARCH32: "HVC in AArch32 state",
    ExceptionClass.SMC_AARCH32: "SMC in AArch32 state",
    ExceptionClass.SVC: "SVC",
    ExceptionClass.HVC: "HVC",
    ExceptionClass.SMC: "SMC",
    ExceptionClass.SYSREG: "trapped MSR, MRS or system instruction",
    ExceptionClass.SVE: "trapped access to SVE",
    ExceptionClass.ERET: "trapped ERET",
    ExceptionClass.PAC_FAIL: "pointer authentication failure",
    ExceptionClass.IMPLEMENTATION_DEFINED_EL3: "IMPLEMENTATION DEFINED exception to EL3",
    ExceptionClass.INSTRUCTION_ABORT_LOWER: "instruction abort from a lower EL",
    ExceptionClass.INSTRUCTION_ABORT_SAME: "instruction abort from the same EL",
    ExceptionClass.PC_ALIGNMENT: "PC alignment fault",
    ExceptionClass.DATA_ABORT_LOWER: "data abort from a lower EL",
    ExceptionClass.DATA_ABORT_SAME: "data abort from the same EL",
    ExceptionClass.SP_ALIGNMENT: "SP alignment fault",
    ExceptionClass.FP_EXCEPTION_AARCH32: "floating-point exception in AArch32 state",
    ExceptionClass.FP_EXCEPTION: "floating-point exception",
    ExceptionClass.SERROR: "SError",
    ExceptionClass.BREAKPOINT_LOWER: "breakpoint from a lower EL",
    ExceptionClass.BREAKPOINT_SAME: "breakpoint from the same EL",
    ExceptionClass.STEP_LOWER: "software step from a lower EL",
    ExceptionClass.STEP_SAME: "software step from the same EL",
    ExceptionClass.WATCHPOINT_LOWER: "watchpoint from a lower EL",
    ExceptionClass.WATCHPOINT_SAME: "watchpoint from the same EL",
    ExceptionClass.BKPT_AARCH32: "BKPT in AArch32 state",
    ExceptionClass.VECTOR_CATCH_AARCH32: "vector catch in AArch32 state",
    ExceptionClass.BRK: "BRK",
}

_FSC_LEVELLED: dict[int, str] = {
    0b000000: "address size fault",
    0b000100: "translation fault",
    0b001000: "access flag fault",
    0b001100: "permission fault",
    0b010100: "synchronous external abort on a table walk",
    0b011100: "synchronous parity or ECC error on a table walk",
}
_FSC_SINGLE: dict[int, str] = {
    0b010000: "synchronous external abort",
    0b011000: "synchronous parity or ECC error",
    0b100001: "alignment fault",
    0b110000: "TLB conflict abort",
    0b110001: "unsupported atomic hardware update",
    0b110100: "IMPLEMENTATION DEFINED fault (lockdown)",
    0b110101: "IMPLEMENTATION DEFINED fault (unsupported exclusive or atomic)",
}


def fault_words(fsc: int) -> str:
    """IFSC or DFSC in words."""
    if fsc in _FSC_SINGLE:
        return _FSC_SINGLE[fsc]
    if fsc & 0b111100 in _FSC_LEVELLED:
        return f"{_FSC_LEVELLED[fsc & 0b111100]}, level {fsc & 3}"
    return f"reserved fault status {fsc:#04x}"


def syndrome(ec: ExceptionClass, iss: int = 0, il: bool = True) -> int:
    """ESR_ELx. IL is 1 for every exception from A64 code."""
    return ec << ESR_EC_SHIFT | (ESR_IL if il else 0) | iss & ESR_ISS_MASK


def exception_class(esr: int) -> int:
    """ESR_ELx.EC; an int, as reserved values occur in hostile input."""
    return (esr >> ESR_EC_SHIFT) & 0x3F


def iss(esr: int) -> int:
    """ESR_ELx.ISS."""
    return esr & ESR_ISS_MASK


def iss_sysreg(op0: int, op1: int, crn: int, crm: int, op2: int, rt: int, *, is_read: bool) -> int:
    """ISS of a trapped MSR, MRS or system instruction (EC 0x18). Bit 0 is Direction: 1 = read."""
    return (
        op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | (1 if is_read else 0)
    )


def iss_data_abort(
    dfsc: int,
    *,
    is_write: bool,
    instruction: int = 0,
    s1ptw: bool = False,
    cache_maintenance: bool = False,
    external: bool = False,
    far_not_valid: bool = False,
) -> int:
    """ISS of a data abort. `instruction` is decode.iss_for_data_abort() for a stage 2 abort that
    reports one; it is dropped when s1ptw is set, as a fault on a stage 1 walk has ISV = 0.

    Cache maintenance and AT instructions report CM = 1 and WnR = 1, DC ZVA CM = 0 and WnR = 1
    ("ISS encoding for an exception from a Data Abort").
    """
    return (
        (0 if s1ptw or cache_maintenance else instruction)
        | (ISS_FNV if far_not_valid else 0)
        | (ISS_EA if external else 0)
        | (ISS_CM if cache_maintenance else 0)
        | (ISS_S1PTW if s1ptw else 0)
        | (ISS_WNR if is_write or cache_maintenance else 0)
        | dfsc
    )


def iss_instruction_abort(
    ifsc: int, *, s1ptw: bool = False, external: bool = False, far_not_valid: bool = False
) -> int:
    """ISS of an instruction abort."""
    return (
        (ISS_FNV if far_not_valid else 0)
        | (ISS_EA if external else 0)
        | (ISS_S1PTW if s1ptw else 0)
        | ifsc
    )


def iss_wfx(*, is_wfe: bool) -> int:
    """ISS of a trapped WFI or WFE (TI: 0 WFI, 1 WFE)."""
    return ISS_A64_CONDITION | (1 if is_wfe else 0)


def iss_fp() -> int:
    """ISS of a trapped SIMD or floating-point access."""
    return ISS_A64_CONDITION


def abort_class(*, is_fetch: bool, from_el: int, target_el: int) -> ExceptionClass:
    """EC of an abort raised at from_el and taken to target_el."""
    if is_fetch:
        if target_el > from_el:
            return ExceptionClass.INSTRUCTION_ABORT_LOWER
        return ExceptionClass.INSTRUCTION_ABORT_SAME
    if target_el > from_el:
        return ExceptionClass.DATA_ABORT_LOWER
    return ExceptionClass.DATA_ABORT_SAME


def sysreg_iss_fields(value: int) -> tuple[int, int, int, int, int, int, bool]:
    """(op0, op1, CRn, CRm, op2, Rt, is_read) of an EC 0x18 ISS: the inverse of iss_sysreg."""
    return (
        (value >> 20) & 3,
        (value >> 14) & 7,
        (value >> 10) & 0xF,
        (value >> 1) & 0xF,
        (value >> 17) & 7,
        (value >> 5) & 0x1F,
        bool(value & 1),
    )


def _describe_data_abort(value: int) -> str:
    words = [fault_words(value & 0x3F)]
    if value & ISS_CM:
        words.append("by cache maintenance or AT")
    else:
        words.append("on a write" if value & ISS_WNR else "on a read")
    if value & ISS_S1PTW:
        words.append("during a stage 1 walk")
    if value & ISS_ISV:
        size = 8 << ((value >> 22) & 3)
        words.append(
            f"{size}-bit{' sign-extended' if value & ISS_SSE else ''}"
            f" {'X' if value & ISS_SF else 'W'}{(value >> 16) & 0x1F}"
            f"{' acquire/release' if value & ISS_AR else ''}"
        )
    if value & ISS_EA:
        words.append("EA")
    if value & ISS_FNV:
        words.append("FAR not valid")
    return ", ".join(words)


def describe(esr: int) -> str:
    """ESR_ELx in words, for people: class first, then what its ISS says."""
    ec = exception_class(esr)
    value = iss(esr)
    name = EC_WORDS.get(ec, f"reserved class {ec:#04x}")
    detail = ""
    match ec:
        case ExceptionClass.WFX:
            detail = ("WFI", "WFE", "WFIT", "WFET")[value & 3]
        case (
            ExceptionClass.SVC
            | ExceptionClass.HVC
            | ExceptionClass.SMC
            | ExceptionClass.BRK
            | ExceptionClass.SVC_AARCH32
            | ExceptionClass.HVC_AARCH32
        ):
            detail = f"#{value & 0xFFFF:#x}"
        case ExceptionClass.SYSREG:
            op0, op1, crn, crm, op2, rt, is_read = sysreg_iss_fields(value)
            named = (
                sysop_by_encoding(op1, crn, crm, op2)
                if op0 == 1
                else by_encoding(op0, op1, crn, crm, op2)
            )
            target = named.name if named else f"S{op0}_{op1}_C{crn}_C{crm}_{op2}"
            name_of_rt = "xzr" if rt == 31 else f"x{rt}"
            if op0 == 1 and not is_read:
                detail = f"{target}, {name_of_rt}"
            else:
                verb, direction = ("read", "to") if is_read else ("write", "from")
                detail = f"{verb} {target} {direction} {name_of_rt}"
        case ExceptionClass.DATA_ABORT_LOWER | ExceptionClass.DATA_ABORT_SAME:
            detail = _describe_data_abort(value)
        case ExceptionClass.INSTRUCTION_ABORT_LOWER | ExceptionClass.INSTRUCTION_ABORT_SAME:
            detail = fault_words(value & 0x3F)
            if value & ISS_S1PTW:
                detail += ", during a stage 1 walk"
        case ExceptionClass.SERROR:
            detail = f"ISS {value:#x}"
        case _:
            detail = f"ISS {value:#x}" if value else ""
    return f"{name}: {detail}" if detail else name
