# SPDX-License-Identifier: Apache-2.0
"""What the control registers mean for the hot paths, worked out once for each of their values."""

from dataclasses import dataclass
from functools import lru_cache

from aether_edgecloud.emulator.arch import decode as a64
from aether_edgecloud.emulator.arch import traps
from aether_edgecloud.emulator.arch.exceptions import (
    HCR_VF,
    HCR_VI,
    INTERRUPT_PRIORITY,
    Vector,
    route_interrupt,
    route_virtual,
)
from aether_edgecloud.emulator.arch.pstate import DAIF_ALL, PState
from aether_edgecloud.emulator.cpu.hooks import HookState
from aether_edgecloud.emulator.cpu.synchronous import SCTLR_SA, SCTLR_SA0
from aether_edgecloud.emulator.cpu.system_registers import SystemRegisterModels

_DC_ZVA = a64.SysInstruction(op1=3, crn=7, crm=4, op2=1, rt=0, is_read=False)
_MASK_OF = {Vector.IRQ: 0x80, Vector.FIQ: 0x40, Vector.SERROR: 0x100}
_LEVELS = (0, 1, 2)
HCR_FB = 1 << 9
_LEVEL_FIELDS = (
    "sp_checked",
    "fp_trapped",
    "wfe_trapped",
    "pct_trapped",
    "cntpct_allowed",
    "cntvct_allowed",
    "zva_allowed",
)


@dataclass(frozen=True, slots=True)
class Lines:
    """Levels of the physical interrupt inputs, and the virtual ones of a GIC virtual interface."""

    irq: bool = False
    fiq: bool = False
    serror: bool = False
    virq: bool = False
    vfiq: bool = False

    def pending_at(self, hcr_el2: int) -> int:
        """HCR_EL2 with VI and VF set where the GIC signals a virtual interrupt."""
        return hcr_el2 | (HCR_VI if self.virq else 0) | (HCR_VF if self.vfiq else 0)


@dataclass(frozen=True, slots=True)
class _TakeTable:
    """By EL 0-2: taken whatever DAIF says, and the DAIF bits that hold the others back."""

    always: tuple[int, int, int]
    unmasked: tuple[int, int, int]
    any_line: bool
    candidates: tuple[int, ...]
    """What may be taken, first to last, six for each EL, as `CANDIDATE_*` in hooks.h say."""


@lru_cache(maxsize=256)
def _take_table(lines: Lines, hcr_el2: int) -> _TakeTable:
    always, unmasked = [0, 0, 0], [0, 0, 0]
    hcr_el2 = lines.pending_at(hcr_el2)
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
        tuple(c for el in range(3) for c in _candidates(level, hcr_el2, el)),
    )


def _candidates(level: dict[Vector, bool], hcr_el2: int, el: int) -> list[int]:
    """What `next_interrupt` looks at from `el`, in its order: taken where DAIF lets it."""
    opened, closed = PState(el=el, daif=0), PState(el=el, daif=DAIF_ALL)
    found = []
    for kind in INTERRUPT_PRIORITY:
        target = route_interrupt(kind, opened, hcr_el2) if level[kind] else None
        if target is not None:
            is_masked = route_interrupt(kind, closed, hcr_el2) is None
            found.append(_candidate(kind, target, is_masked, is_virtual=False))
    for kind in INTERRUPT_PRIORITY:
        target = route_virtual(kind, opened, hcr_el2)
        if target is not None:
            found.append(_candidate(kind, target, is_masked=True, is_virtual=True))
    return found + [0] * (6 - len(found))


def _candidate(kind: Vector, target: int, is_masked: bool, *, is_virtual: bool) -> int:
    mask = _MASK_OF[kind] if is_masked else 0
    return 1 | mask | target << 12 | ((kind >> 7) - 1) << 16 | is_virtual << 20


def apply_lines(state: HookState, lines: Lines, hcr_el2: int) -> None:
    """Tell the hooks which interrupts can be taken at which level."""
    table = _take_table(lines, hcr_el2)
    state.take_always[:3] = table.always
    state.take_unmasked[:3] = table.unmasked
    state.lines = table.any_line
    state.candidates[:] = table.candidates


def apply_controls(
    state: HookState,
    controls: traps.TrapControls,
    sctlr: tuple[int, int],
) -> None:
    """Tell the hooks what to look for and what they may do by themselves; `sctlr` is that of EL1&0
    and that of EL2."""
    for name, bits in _level_bits(controls, sctlr):
        setattr(state, name, bits)
    state.hcr_el2 = controls.hcr_el2
    state.broadcast_forced = controls.hcr_el2 & HCR_FB != 0


@lru_cache(maxsize=1024)
def _level_bits(
    controls: traps.TrapControls, sctlr: tuple[int, int]
) -> tuple[tuple[str, int], ...]:
    """Fields of the hooks' state in which bit n stands for ELn."""
    allowed = traps.Allowed
    bits = dict.fromkeys(_LEVEL_FIELDS, 0)
    for el in _LEVELS:
        bit = 1 << el
        if sctlr[el == 2] & (SCTLR_SA if el else SCTLR_SA0):
            bits["sp_checked"] |= bit
        if not isinstance(traps.check_fp(el, controls), allowed):
            bits["fp_trapped"] |= bit
        if not isinstance(traps.check_wfx(a64.WfxKind.WFE, el, controls), allowed):
            bits["wfe_trapped"] |= bit
        physical, virtual = SystemRegisterModels.counters_allowed(el, controls)
        bits["cntpct_allowed"] |= bit if physical else 0
        bits["pct_trapped"] |= bit if el == 0 and not physical else 0
        bits["cntvct_allowed"] |= bit if virtual else 0
        if isinstance(traps.check_sys_instruction(_DC_ZVA, el, controls), allowed):
            bits["zva_allowed"] |= bit
    return tuple(bits.items())
