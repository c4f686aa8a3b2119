# SPDX-License-Identifier: Apache-2.0
"""What a stay at EL2 is about, from what the architecture says of its beginning."""

from collections.abc import Iterator
from dataclasses import dataclass

from aether_edgecloud.emulator.arch import esr as syndromes
from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.arch.sysregs import by_encoding, sysop_by_encoding
from aether_edgecloud.emulator.boards.board import Board, DeviceKind
from aether_edgecloud.emulator.cpu.exits import BOOT, kind_name
from aether_edgecloud.emulator.firmware.psci import Function
from aether_edgecloud.emulator.profile.buffers import (
    KIND_ATTACHED,
    KIND_BOOT,
    KIND_MASK,
    MMIO,
    WRITE,
    Rows,
)

ATTACHED = "before-profile"
"""The rest of a stay that had begun before the profile."""
IS_INSIDE = " at EL2"
"""How the class of an exception ends that was taken at EL2 itself."""

_SMC64 = 1 << 30
_PAGE = 0xFFF
_WFX = ("wfi", "wfe", "wfit", "wfet")
_FAULTS_WITH_IPA = (0x04, 0x08, 0x0C)  # translation, access flag, permission; the level left out
_FSC, _FSC_CLASS = 0x3F, 0x3C
_DEVICES = {
    DeviceKind.GICV2_DISTRIBUTOR: "GIC distributor",
    DeviceKind.GICV2_CPU_INTERFACE: "GIC CPU interface",
    DeviceKind.GICV2_HYPERVISOR_INTERFACE: "GIC hypervisor interface",
    DeviceKind.GICV2_VIRTUAL_CPU_INTERFACE: "GIC virtual CPU interface",
    DeviceKind.PL011: "UART",
    DeviceKind.PL031: "RTC",
}

# Xen's, public in its headers (xen/include/public/arch-arm.h, xen.h): the number is in X16.
_XEN_TAG = 0xEA1
_XEN_CALLS = {
    7: "platform_op", 12: "memory_op", 13: "multicall", 17: "xen_version", 18: "console_io",
    20: "grant_table_op", 24: "vcpu_op", 26: "mmuext_op", 27: "xsm_op", 29: "sched_op",
    31: "xenoprof_op", 32: "event_channel_op", 33: "physdev_op", 34: "hvm_op", 35: "sysctl",
    36: "domctl", 39: "argo_op", 41: "dm_op", 42: "hypfs_op",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Begin:
    """How a stay began: its tag (`buffers`), and what ESR_EL2, FAR_EL2, HPFAR_EL2, X0 and X16 held.
    `is_inside`: at EL2."""

    tag: int
    esr: int
    far: int
    hpfar: int
    x0: int
    x16: int
    is_inside: bool


def begins_of(stays: Rows) -> Iterator[Begin]:
    """Of each row (`buffers.STAY`)."""
    names = ["tag", "esr", "far", "hpfar", "x0", "x16", "depth"]
    for tag, esr, far, hpfar, x0, x16, depth in stays[names].tolist():
        yield Begin(tag, esr, far, hpfar, x0, x16, depth > 0)


@dataclass(frozen=True, slots=True)
class Detail:
    """What exactly: the device and the address, the register, the call. Empty where there is no
    more to tell than the class; `item` where the group says it all."""

    group: str
    item: str


_NOTHING = Detail("", "")


def class_name(tag: int, *, is_inside: bool) -> str:
    """The class of stays with this tag."""
    kind = tag & KIND_MASK
    if kind == KIND_BOOT:
        return BOOT
    if kind == KIND_ATTACHED:
        return ATTACHED
    name = kind_name(kind)
    if kind in (ExceptionClass.DATA_ABORT_LOWER, ExceptionClass.SYSREG):
        name = "mmio" if tag & MMIO else name
        name += "-write" if tag & WRITE else "-read"
    return name + IS_INSIDE if is_inside else name


def detail(begin: Begin, board: Board) -> Detail:
    """More of one that an exception from below began."""
    iss = syndromes.iss(begin.esr)
    kind = begin.tag & KIND_MASK
    if begin.is_inside:
        return _NOTHING
    match kind:
        case ExceptionClass.WFX:
            return Detail(_WFX[iss & 3], "")
        case ExceptionClass.SVC | ExceptionClass.BRK:
            return Detail(f"#{iss & 0xFFFF:#x}", "")
        case ExceptionClass.HVC | ExceptionClass.SMC:
            return Detail(_call(iss & 0xFFFF, begin.x0, begin.x16), "")
        case ExceptionClass.SYSREG:
            return Detail(_register(iss), "")
        case ExceptionClass.DATA_ABORT_LOWER | ExceptionClass.INSTRUCTION_ABORT_LOWER:
            return _place(begin, iss, board)
    return _NOTHING


def _call(immediate: int, x0: int, x16: int) -> str:
    """The SMC Calling Convention has 0 as its immediate, and the function in W0."""
    if immediate == _XEN_TAG:
        return f"Xen {_XEN_CALLS.get(x16, f'call {x16:#x}')}"
    if immediate:
        return f"#{immediate:#x}"
    for function, suffix in ((x0, ""), (x0 & ~_SMC64, " (64)")):
        if function in Function._value2member_map_:
            return Function(function).name + suffix
    return f"x0={x0:#x}" if x0 < 1 << 32 else "x0 of more than 32 bits"


def _register(iss: int) -> str:
    op0, op1, crn, crm, op2, _, _ = syndromes.sysreg_iss_fields(iss)
    if op0 == 1:
        named = sysop_by_encoding(op1, crn, crm, op2)
        return named.name if named else f"SYS #{op1}, C{crn}, C{crm}, #{op2}"
    register = by_encoding(op0, op1, crn, crm, op2)
    return register.name if register else f"S{op0}_{op1}_C{crn}_C{crm}_{op2}"


def _place(begin: Begin, iss: int, board: Board) -> Detail:
    if iss & _FSC & _FSC_CLASS not in _FAULTS_WITH_IPA:
        return Detail(syndromes.fault_words(iss & _FSC), "")
    page = (begin.hpfar & 0xFF_FFFF_FFF0) << 8
    if iss & syndromes.ISS_S1PTW:
        return Detail("table walk", f"{page:#x}")
    if page in board.ram:
        return Detail("RAM", f"{page:#x}")
    for device in board.devices:
        if device.base <= page < device.base + device.size:
            return Detail(_DEVICES[device.kind], f"{page | begin.far & _PAGE:#x}")
    return Detail(f"page {page:#x}", f"{page | begin.far & _PAGE:#x}")
