# SPDX-License-Identifier: Apache-2.0
"""PSTATE and its saved form SPSR_ELx, AArch64 state only (Arm ARM, SPSR_EL1/SPSR_EL2)."""

from dataclasses import dataclass

SPSR_N = 1 << 31
SPSR_Z = 1 << 30
SPSR_C = 1 << 29
SPSR_V = 1 << 28
SPSR_PAN = 1 << 22
SPSR_SS = 1 << 21
SPSR_IL = 1 << 20
SPSR_D = 1 << 9
SPSR_A = 1 << 8
SPSR_I = 1 << 7
SPSR_F = 1 << 6
SPSR_NRW = 1 << 4

DAIF_ALL = 0xF


@dataclass(frozen=True, slots=True)
class PState:
    """Process state of a PE in AArch64 state.

    `nzcv` is N:Z:C:V and `daif` is D:A:I:F, four bits each, first letter highest.
    `pan` is always False on a CPU without FEAT_PAN (Cortex-A72 has none).
    """

    nzcv: int = 0
    daif: int = DAIF_ALL
    el: int = 1
    sp_sel: int = 1
    il: bool = False
    ss: bool = False
    pan: bool = False

    @staticmethod
    def from_spsr(spsr: int) -> "PState":
        """Read the fields of `spsr` (M[4] must be 0). Whether a return to it is legal is
        exceptions.exception_return's question, not this one's.

        Raises ValueError for an AArch32 SPSR.
        """
        if spsr & SPSR_NRW:
            raise ValueError(f"SPSR {spsr:#x} describes AArch32 state")
        return PState(
            nzcv=(spsr >> 28) & 0xF,
            daif=(spsr >> 6) & 0xF,
            el=(spsr >> 2) & 3,
            sp_sel=spsr & 1,
            il=bool(spsr & SPSR_IL),
            ss=bool(spsr & SPSR_SS),
            pan=bool(spsr & SPSR_PAN),
        )

    def to_spsr(self) -> int:
        """The value an exception entry saves in SPSR_ELx."""
        return (
            self.nzcv << 28
            | (SPSR_PAN if self.pan else 0)
            | (SPSR_SS if self.ss else 0)
            | (SPSR_IL if self.il else 0)
            | self.daif << 6
            | self.el << 2
            | self.sp_sel
        )

    @property
    def d(self) -> bool:
        """Debug exceptions masked."""
        return bool(self.daif & 8)

    @property
    def a(self) -> bool:
        """SError masked."""
        return bool(self.daif & 4)

    @property
    def i(self) -> bool:
        """IRQ masked."""
        return bool(self.daif & 2)

    @property
    def f(self) -> bool:
        """FIQ masked."""
        return bool(self.daif & 1)

    def __str__(self) -> str:
        flags = "".join(
            letter if self.nzcv & bit else letter.lower()
            for letter, bit in zip("NZCV", (8, 4, 2, 1), strict=True)
        )
        masks = "".join(
            letter if self.daif & bit else letter.lower()
            for letter, bit in zip("DAIF", (8, 4, 2, 1), strict=True)
        )
        extra = (" IL" if self.il else "") + (" SS" if self.ss else "")
        extra += " PAN" if self.pan else ""
        return f"EL{self.el}{'h' if self.sp_sel else 't'} {flags} {masks}{extra}"
