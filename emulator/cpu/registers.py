# SPDX-License-Identifier: Apache-2.0
"""How a register of the architecture is named to Unicorn."""

from dataclasses import dataclass

from unicorn import arm64_const as uc

__all__ = ["ELR", "ESR", "FAR", "SP_BANK", "VBAR", "CoreRegister", "SystemRegister", "X", "key"]


def key(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """op0:op1:CRn:CRm:op2 packed into 16 bits, as the C hooks index their action table."""
    return (op0 & 3) << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


@dataclass(frozen=True, slots=True)
class CoreRegister:
    """A register that Unicorn gives a number of its own."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class SystemRegister:
    """A register reached through its MRS/MSR encoding (UC_ARM64_REG_CP_REG)."""

    name: str
    op0: int
    op1: int
    crn: int
    crm: int
    op2: int

    @property
    def key(self) -> int:
        return key(self.op0, self.op1, self.crn, self.crm, self.op2)


Register = CoreRegister | SystemRegister

X = tuple(
    CoreRegister(
        f"x{n}",
        uc.UC_ARM64_REG_X0 + n if n < 29 else (uc.UC_ARM64_REG_X29, uc.UC_ARM64_REG_X30)[n - 29],
    )
    for n in range(31)
)
PC = CoreRegister("pc", uc.UC_ARM64_REG_PC)
SP = CoreRegister("sp", uc.UC_ARM64_REG_SP)
PSTATE = CoreRegister("pstate", uc.UC_ARM64_REG_PSTATE)
SP_BANK = tuple(CoreRegister(f"sp_el{n}", uc.UC_ARM64_REG_SP_EL0 + n) for n in range(4))
ELR = tuple(CoreRegister(f"elr_el{n}", uc.UC_ARM64_REG_ELR_EL0 + n) for n in range(4))
ESR = tuple(CoreRegister(f"esr_el{n}", uc.UC_ARM64_REG_ESR_EL0 + n) for n in range(4))
FAR = tuple(CoreRegister(f"far_el{n}", uc.UC_ARM64_REG_FAR_EL0 + n) for n in range(4))
VBAR = tuple(CoreRegister(f"vbar_el{n}", uc.UC_ARM64_REG_VBAR_EL0 + n) for n in range(4))
V = tuple(CoreRegister(f"q{n}", uc.UC_ARM64_REG_Q0 + n) for n in range(32))
FPCR = CoreRegister("fpcr", uc.UC_ARM64_REG_FPCR)
FPSR = CoreRegister("fpsr", uc.UC_ARM64_REG_FPSR)

SCTLR_EL1 = SystemRegister("sctlr_el1", 3, 0, 1, 0, 0)
CPACR_EL1 = SystemRegister("cpacr_el1", 3, 0, 1, 0, 2)
TTBR0_EL1 = SystemRegister("ttbr0_el1", 3, 0, 2, 0, 0)
TTBR1_EL1 = SystemRegister("ttbr1_el1", 3, 0, 2, 0, 1)
TCR_EL1 = SystemRegister("tcr_el1", 3, 0, 2, 0, 2)
SPSR_EL1 = SystemRegister("spsr_el1", 3, 0, 4, 0, 0)
PAR_EL1 = SystemRegister("par_el1", 3, 0, 7, 4, 0)
MAIR_EL1 = SystemRegister("mair_el1", 3, 0, 10, 2, 0)
CNTKCTL_EL1 = SystemRegister("cntkctl_el1", 3, 0, 14, 1, 0)
MDSCR_EL1 = SystemRegister("mdscr_el1", 2, 0, 0, 2, 2)
PMUSERENR_EL0 = SystemRegister("pmuserenr_el0", 3, 3, 9, 14, 0)
SCTLR_EL2 = SystemRegister("sctlr_el2", 3, 4, 1, 0, 0)
HCR_EL2 = SystemRegister("hcr_el2", 3, 4, 1, 1, 0)
MDCR_EL2 = SystemRegister("mdcr_el2", 3, 4, 1, 1, 1)
CPTR_EL2 = SystemRegister("cptr_el2", 3, 4, 1, 1, 2)
HSTR_EL2 = SystemRegister("hstr_el2", 3, 4, 1, 1, 3)
TTBR0_EL2 = SystemRegister("ttbr0_el2", 3, 4, 2, 0, 0)
TCR_EL2 = SystemRegister("tcr_el2", 3, 4, 2, 0, 2)
VTTBR_EL2 = SystemRegister("vttbr_el2", 3, 4, 2, 1, 0)
VMPIDR_EL2 = SystemRegister("vmpidr_el2", 3, 4, 0, 0, 5)
VTCR_EL2 = SystemRegister("vtcr_el2", 3, 4, 2, 1, 2)
SPSR_EL2 = SystemRegister("spsr_el2", 3, 4, 4, 0, 0)
HPFAR_EL2 = SystemRegister("hpfar_el2", 3, 4, 6, 0, 4)
MAIR_EL2 = SystemRegister("mair_el2", 3, 4, 10, 2, 0)
CNTHCTL_EL2 = SystemRegister("cnthctl_el2", 3, 4, 14, 1, 0)
SCR_EL3 = SystemRegister("scr_el3", 3, 6, 1, 1, 0)
TPIDR_EL0 = SystemRegister("tpidr_el0", 3, 3, 13, 0, 2)

SPSR = (None, SPSR_EL1, SPSR_EL2)
