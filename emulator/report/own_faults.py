# SPDX-License-Identifier: Apache-2.0
"""In words: what an EL2 binary did that raised an exception at EL2, and where CPUs stopped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import capstone

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import esr
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.cpu.own_faults import OwnFault, OwnFaults

Names = Callable[[int], str | None]
"""The name of a VA, if it has one."""

_A64 = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)


@dataclass(frozen=True, slots=True)
class OwnFaultReport:
    """The EL2 faults of one CPU: how many, the first and the last of them in words."""

    cpu: int
    count: int
    first: str
    last: str


def reports(cpus: Sequence[OwnFaults], names: Names) -> tuple[OwnFaultReport, ...]:
    """Those of each CPU that has any."""
    return tuple(
        OwnFaultReport(number, faults.count, words(faults.first, names), words(faults.last, names))
        for number, faults in enumerate(cpus)
        if faults.first is not None and faults.last is not None
    )


def words(fault: OwnFault, names: Names) -> str:
    """What happened, and at which instruction."""
    name = names(fault.pc)
    at = f"{fault.pc:#x}" + (f" <{name}>" if name else "")
    return f"{_what(fault)}; PC {at}, after {fault.retired:,} instructions"


def _what(fault: OwnFault) -> str:
    ec = esr.exception_class(fault.esr)
    if ec == ExceptionClass.UNKNOWN and fault.word is not None:
        return _undefined(fault.word)
    if fault.pa is not None and fault.far is not None:
        where = f"PA {fault.pa:#x}"
        if fault.far != fault.pa:
            where += f" (VA {fault.far:#x})"
        return f"{_access(fault)} {where}, where the board has neither RAM nor a device"
    address = "" if fault.far is None else f", address {fault.far:#x}"
    return esr.describe(fault.esr) + address


def _access(fault: OwnFault) -> str:
    if esr.exception_class(fault.esr) == ExceptionClass.INSTRUCTION_ABORT_SAME:
        return "fetch from"
    return "write to" if fault.esr & esr.ISS_WNR else "read of"


def _undefined(word: int) -> str:
    lines = _A64.disasm(word.to_bytes(4, "little"), 0)
    text = "".join(f"{line.mnemonic} {line.op_str}" for line in lines)
    shown = f"`{text.strip()}`" if text else f"instruction {word:#010x}"
    match a64.decode(word):
        case a64.SysRegAccess() as access:
            numbers = (access.op0, access.op1, access.crn, access.crm, access.op2)
            what = "S{}_{}_C{}_C{}_{}".format(*numbers)
            return f"{shown}: system register {what} is not on this CPU at EL2"
        case a64.SysInstruction() as operation:
            numbers = (1, operation.op1, operation.crn, operation.crm, operation.op2)
            what = "S{}_{}_C{}_C{}_{}".format(*numbers)
            return f"{shown}: system instruction {what} is not on this CPU at EL2"
    return f"{shown} is UNDEFINED on this CPU at EL2"
