# SPDX-License-Identifier: Apache-2.0
"""Taking an exception: what `arch.exceptions` says, written into an engine."""

from dataclasses import dataclass

from aether_edgecloud.emulator.arch.exceptions import Vector, enter
from aether_edgecloud.emulator.arch.pstate import PState
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import Engine


@dataclass(frozen=True, slots=True)
class Entered:
    """An exception that was taken: the EL it came from, SP, ESR (0 if it has none) and ELR now, and
    the PC, a VA, of the vector."""

    from_el: int
    sp: int
    esr: int
    elr: int
    pc: int


class ExceptionEntry:
    """AArch64.TakeException for one engine, to EL1 and EL2."""

    def __init__(self, engine: Engine) -> None:
        self._before = engine.batch(
            [reg.PSTATE, reg.SP, *reg.SP_BANK[:3], *reg.VBAR[1:3], *reg.ESR[1:3], *reg.FAR[1:3]]
        )
        self._entry = {
            el: engine.batch(
                [
                    *reg.SP_BANK[:3],
                    reg.ESR[el],
                    reg.FAR[el],
                    reg.ELR[el],
                    reg.PSTATE,
                    reg.SP,
                    # Last: a system-register write makes Unicorn see the new PSTATE.
                    spsr,
                ]
            )
            for el, spsr in ((1, reg.SPSR_EL1), (2, reg.SPSR_EL2))
        }
        self._hpfar = engine.batch([reg.HPFAR_EL2])

    def enter(
        self,
        vector: Vector,
        target_el: int,
        return_to: int,
        *,
        esr: int | None = None,
        far: int | None = None,
        hpfar: int | None = None,
    ) -> Entered:
        """Take one. `return_to`: preferred return address; None: the exception does not write that
        register. SP is banked by hand, since Unicorn does so only on its own entries."""
        values = self._before.read()
        spsr, sp, bank = values[0], values[1], values[2:5]
        vbar, old_esr, old_far = values[5:7], values[7:9], values[9:11]
        pstate = PState.from_spsr(spsr)
        entry = enter(vector, target_el, pstate, return_to, vbar[target_el - 1], esr, far, hpfar)
        bank[pstate.el if pstate.sp_sel else 0] = sp
        self._entry[target_el].write(
            [
                *bank,
                old_esr[target_el - 1] if entry.esr is None else entry.esr,
                old_far[target_el - 1] if entry.far is None else entry.far,
                entry.elr,
                entry.pstate.to_spsr(),
                bank[target_el],
                entry.spsr,
            ]
        )
        if entry.hpfar is not None:
            self._hpfar.write([entry.hpfar])
        return Entered(pstate.el, bank[target_el], entry.esr or 0, entry.elr, entry.pc)
