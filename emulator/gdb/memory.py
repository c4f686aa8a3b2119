# SPDX-License-Identifier: Apache-2.0
"""Memory as a debugger asks for it: by VA of a regime, by IPA, by PA. Only RAM can be read: a read
of a device may change it."""

from collections.abc import Callable
from enum import Enum

from aether_edgecloud.emulator.arch import mmu
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.translation import PhysicalMemory
from aether_edgecloud.emulator.gdb.requests import TargetError

_PAGE = 4096
_REGISTERS = (
    reg.SCTLR_EL1, reg.TCR_EL1, reg.TTBR0_EL1, reg.TTBR1_EL1, reg.MAIR_EL1,
    reg.SCTLR_EL2, reg.TCR_EL2, reg.TTBR0_EL2, reg.MAIR_EL2,
    reg.HCR_EL2, reg.VTCR_EL2, reg.VTTBR_EL2,
)  # fmt: skip
# The fields of MmuRegisters that are registers come first, in this order.
_mmu_registers: Callable[..., mmu.MmuRegisters] = mmu.MmuRegisters


class View(Enum):
    """What an address is taken for."""

    CURRENT = "VA of the CPU's current translation regime"
    EL2 = "VA of EL2"
    GUEST = "VA of EL1 and EL0, through both stages"
    IPA = "IPA, through stage 2"
    PA = "PA"


def translate(cpu: Cpu, memory: PhysicalMemory, view: View, address: int) -> int:
    """The PA of an address; it holds to the end of the 4 KiB page. A debugger reads what the CPU
    may only execute, too. TargetError where nothing is mapped."""
    if view is View.PA:
        return address
    values = cpu.engine.batch(_REGISTERS).read()
    registers = _mmu_registers(*values)
    if view is View.IPA:
        return _through_stage2(registers, memory, address)
    el = cpu.current_el if view is View.CURRENT else 2 if view is View.EL2 else 1
    el = max(el, 1)  # what EL0 may not see its kernel may
    found = mmu.translate(registers, memory, address, el, mmu.Access.READ)
    if isinstance(found, mmu.Fault):
        found = mmu.translate(registers, memory, address, el, mmu.Access.FETCH)
    if isinstance(found, mmu.Fault):
        raise _unmapped(f"{address:#x}", found)
    return found.pa


def _unmapped(address: str, fault: mmu.Fault) -> TargetError:
    kind = fault.kind.name.lower().replace("_", " ")
    return TargetError(
        f"{address} is not mapped: stage {fault.stage} {kind} fault, level {fault.level}"
    )


def _through_stage2(registers: mmu.MmuRegisters, memory: PhysicalMemory, ipa: int) -> int:
    stage2 = registers.el10.stage2
    if stage2 is None:
        return ipa
    found = mmu.s2_translate(stage2, memory, ipa)
    if isinstance(found, mmu.Fault):
        raise _unmapped(f"IPA {ipa:#x}", found)
    return found.address


def read(cpu: Cpu, memory: PhysicalMemory, view: View, address: int, size: int) -> bytes:
    """As much as can be read from `address` on, up to `size` bytes. TargetError for none."""
    found = bytearray()
    while len(found) < size:
        at = address + len(found) & (1 << 64) - 1
        part = min(size - len(found), _PAGE - at % _PAGE)
        try:
            pa = translate(cpu, memory, view, at)
            found += memory.read(pa, part)
        except (TargetError, ValueError) as e:
            if found:
                break
            if isinstance(e, TargetError):
                raise
            raise TargetError(f"PA {pa:#x} is no RAM") from None
    return bytes(found)
