# SPDX-License-Identifier: Apache-2.0
"""Where a machine is known not to do what the Arm ARM says, each with the reason.

What such a machine does instead is accepted there too, beside the right thing, so that a version
that has become right still passes. Nothing here excuses the hypervisor.
"""

from dataclasses import dataclass, replace
from enum import Enum

from aether_edgecloud.properties.stubs.expect import (
    SYNCHRONOUS_EXTERNAL,
    Bits,
    Expect,
    Level,
    data_abort,
    raises,
    reads,
    runs,
    undefined,
)
from aether_edgecloud.properties.stubs.expected_aborts import translation


class Platform(Enum):
    """What a stub runs on."""

    QEMU = "qemu"
    MODEL = "model"
    NATIVE = "native"
    BARE = "bare"
    """QEMU without the hypervisor, at EL1."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """Why, and what the probes of which stub see there."""

    reason: str
    stub: str
    probes: dict[str, Expect]


def _all(names: str, expect: Expect) -> dict[str, Expect]:
    return dict.fromkeys(names.split(), expect)


_NO_TIDCP = "HCR_EL2.TIDCP is not implemented (before QEMU 8.0)"
_NO_SP_CHECK = "SP alignment is never checked (SCTLR_EL1.SA, SA0)"
_NO_DEVICE_ALIGNMENT = "accesses to Device memory are not checked for alignment (before QEMU 9.0)"
_NO_MAINTENANCE_FAULTS = "cache maintenance by VA never faults"
_PAR_SHAREABILITY = "PAR_EL1.SH is the descriptor's field, not 0b10, for these memory types"

_SH = 3 << 7
_NS = 1 << 9


def _par(pa: int, attributes: int = 0x44 << 56) -> Expect:
    return runs(Bits(attributes | 1 << 11 | pa, ~(_SH | _NS)))


_QEMU = (
    Deviation(
        "these debug registers do not exist",
        "traps",
        _all("mrs-dbgprcr_el1 mrs-dbgauthstatus_el1 mrs-dbgclaimset_el1", undefined()),
    ),
    Deviation(
        _NO_TIDCP,
        "traps",
        _all("mrs-cpuactlr_el1 mrs-cpuectlr_el1 mrs-cpumerrsr_el1", reads())
        | _all("mrs-l2ctlr_el1 mrs-l2ectlr_el1", reads())
        | _all("msr-cpuactlr_el1 msr-cpuectlr_el1 msr-l2ctlr_el1", runs()),
    ),
    Deviation(
        _NO_SP_CHECK,
        "traps",
        {
            "sp-alignment": reads(Level.EL1T),
            "sp-alignment-store": runs(level=Level.EL1T),
            "el0-sp-alignment": reads(Level.EL0),
        },
    ),
    Deviation("WFE is a NOP", "traps", {"el0-closed-wfe": runs(level=Level.EL0)}),
    Deviation(
        "the syndrome of MSR DAIFSet and DAIFClr has Op1 and Op2 exchanged",
        "traps",
        {
            "el0-closed-daifset": raises(0x18, 0x793E6, level=Level.EL0),
            "el0-closed-daifclr": raises(0x18, 0x7D3FE, level=Level.EL0),
        },
    ),
    Deviation(
        "CNTPCT_EL0 at EL0 is trapped by CNTHCTL_EL2.EL1PCEN, the bit of the timer",
        "traps",
        {"el0-open-mrs-cntpct_el0": undefined(level=Level.EL0)},
    ),
    Deviation(_NO_DEVICE_ALIGNMENT, "traps", {"dc-zva": runs()}),
    Deviation(
        _NO_DEVICE_ALIGNMENT,
        "aborts",
        {"device-unaligned-read": reads(), "device-unaligned-write": runs()},
    ),
    Deviation(_NO_DEVICE_ALIGNMENT, "stage1", {"device-unaligned": reads()}),
    Deviation(_NO_DEVICE_ALIGNMENT, "mmio", {"unaligned": reads()}),
    Deviation(_NO_MAINTENANCE_FAULTS, "stage1", {"clean-level-3": runs()}),
    Deviation(_PAR_SHAREABILITY, "traps", _all("at-s1e1r at-s1e0w", _par(0x4030_0000, 0))),
    Deviation(_PAR_SHAREABILITY, "aborts", {"translate": _par(0x0B00_0000, 0)}),
    Deviation(
        _PAR_SHAREABILITY,
        "stage1",
        {
            "at-good": _par(0x4091_1000),
            "at-good-block": _par(0x4092_3000),
            "at-unowned": _par(0x0B00_0000),
            "at-el0-good": _par(0x4090_0000),
        },
    ),
    Deviation(
        "the reserved block encoding at level 0 is walked as a block (before QEMU 8.0)",
        "stage1",
        {"read-level-0-block": data_abort(SYNCHRONOUS_EXTERNAL)},
    ),
)

# The same CPU model with nobody above it, and a real PL011 and PSCI of QEMU's.
_BARE = (
    *_QEMU,
    Deviation("flash lies at address 0", "stage1", {"read-level-0-block": reads()}),
)

_NO_ALIGNMENT = "alignment is never checked, neither by SCTLR_EL1.A nor for Device memory"

_EMULATOR = (
    Deviation(_NO_ALIGNMENT, "traps", {"dc-zva": runs()}),
    Deviation(
        _NO_ALIGNMENT,
        "aborts",
        {
            "device-unaligned-read": reads(),
            "device-unaligned-write": runs(),
            "checked-unaligned-read": reads(),
            "checked-unaligned-write": runs(),
            "checked-unaligned-unowned": data_abort(SYNCHRONOUS_EXTERNAL),
            "el0-checked-unaligned": reads(Level.EL0),
        },
    ),
    Deviation(
        _NO_ALIGNMENT,
        "stage1",
        {
            "device-unaligned": reads(),
            "checked-unaligned": runs(),
            "checked-unaligned-level-3": data_abort(translation(3)),
        },
    ),
    Deviation(_NO_ALIGNMENT, "mmio", {"unaligned": reads(), "checked-unaligned": reads()}),
    Deviation(_NO_MAINTENANCE_FAULTS, "stage1", {"clean-level-3": runs()}),
    Deviation(
        "there is no event register: a WFE that is trapped always traps",
        "traps",
        {"el0-closed-wfe": raises(0x01, 0x1E0_0001, level=Level.EL0)},
    ),
)

KNOWN = {
    Platform.QEMU: _QEMU,
    Platform.BARE: _BARE,
    Platform.MODEL: _EMULATOR,
    Platform.NATIVE: _EMULATOR,
}


def accepted(platform: Platform, stub: str, probe: str, expect: Expect) -> tuple[Expect, ...]:
    """What may be seen on `platform`: `expect`, and what is known to happen there instead."""
    found = [expect]
    for deviation in KNOWN[platform]:
        if deviation.stub == stub and probe in deviation.probes:
            found.append(replace(deviation.probes[probe], before=expect.before))
    return tuple(found)
