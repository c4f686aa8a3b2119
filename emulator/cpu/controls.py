# SPDX-License-Identifier: Apache-2.0
"""What the control registers mean for the hot paths, worked out once for each of their values."""

from dataclasses import dataclass
from functools import lru_cache

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import traps
from aether_edgecloud.emulator.arch.exceptions import Vector, route_interrupt, route_virtual
from aether_edgecloud.emulator.arch.pstate import DAIF_ALL, PState
from aether_edgecloud.emulator.cpu.hooks import HookState
from aether_edgecloud.emulator.cpu.synchronous import SCTLR_SA, SCTLR_SA0
from aether_edgecloud.emulator.cpu.system_registers import SystemRegisterModels

_DC_ZVA = a64.SysInstruction(op1=3, crn=7, crm=4, op2=1, rt=0, is_read=False)
_MASK_OF = {Vector.IRQ: 0x80, Vector.FIQ: 0x40, Vector.SERROR: 0x100}
_LEVELS = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Lines:
    """Levels of the physical interrupt inputs, and the virtual ones of a GIC virtual interface."""

    irq: bool = False
    fiq: bool = False
    serror: bool = False


@dataclass(frozen=True, slots=True)
class _TakeTable:
    """By EL 0-2: taken whatever DAIF says, and the DAIF bits that hold the others back."""

    always: tuple[int, int, int]
    unmasked: tuple[int, int, int]
    any_line: bool


@lru_cache(maxsize=256)
def _take_table(lines: Lines, hcr_el2: int) -> _TakeTable:
    always, unmasked = [0, 0, 0], [0, 0, 0]
    level = {Vector.IRQ: lines.irq, Vector.FIQ: lines.fiq, Vector.SERROR: lines.serror}
    for el in range(3):
        opened, closed = PState(el=el, daif=0), PState(el=el, daif=DAIF_ALL)
        for kind, on in level.items():
            if on and route_interrupt(kind, closed, hcr_el2) is not None:
                always[el] = 1
            if (on and route_interrupt(kind, opened, hcr_el2) is not None) or (
                route_virtual(kind, opened, hcr_el2) is not None
            ):
                unmasked[el] |= _MASK_OF[kind]
    return _TakeTable(
        (always[0], always[1], always[2]),
        (unmasked[0], unmasked[1], unmasked[2]),
        any(always) or any(unmasked),
    )


def apply_lines(state: HookState, lines: Lines, hcr_el2: int) -> None:
    """Tell the hooks which interrupts can be taken at which level."""
    table = _take_table(lines, hcr_el2)
    state.take_always[:3] = table.always
    state.take_unmasked[:3] = table.unmasked
    state.lines = table.any_line


def apply_controls(
    state: HookState,
    controls: traps.TrapControls,
    sctlr: tuple[int, int],
    models: SystemRegisterModels,
) -> None:
    """Tell the hooks what to look for and what they may do by themselves; `sctlr` is that of EL1&0
    and that of EL2."""
    allowed = traps.Allowed
    state.sp_checked = state.fp_trapped = state.wfe_trapped = state.pct_trapped = 0
    state.cntpct_allowed = state.cntvct_allowed = state.zva_allowed = 0
    for el in _LEVELS:
        bit = 1 << el
        if sctlr[el == 2] & (SCTLR_SA if el else SCTLR_SA0):
            state.sp_checked |= bit
        if not isinstance(traps.check_fp(el, controls), allowed):
            state.fp_trapped |= bit
        if not isinstance(traps.check_wfx(a64.WfxKind.WFE, el, controls), allowed):
            state.wfe_trapped |= bit
        physical, virtual = models.counters_allowed(el, controls)
        state.cntpct_allowed |= bit if physical else 0
        state.pct_trapped |= bit if el == 0 and not physical else 0
        state.cntvct_allowed |= bit if virtual else 0
        if isinstance(traps.check_sys_instruction(_DC_ZVA, el, controls), allowed):
            state.zva_allowed |= bit
