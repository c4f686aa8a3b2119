# SPDX-License-Identifier: Apache-2.0
"""Layouts of the registers people look at, as Cortex-A72 has them (Arm ARM, "AArch64 System
Register Descriptions")."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aether_edgecloud.emulator.arch.esr import EC_WORDS, ExceptionClass, fault_words


@dataclass(frozen=True, slots=True)
class Field:
    """Bits [hi:lo]; `words` gives meanings by value, `words_of` computes one."""

    name: str
    hi: int
    lo: int
    words: Mapping[int, str] | None = None
    words_of: Callable[[int], str] | None = None

    def meaning(self, value: int) -> str:
        """The field's value in words, empty where there is nothing to say."""
        if self.words_of is not None:
            return self.words_of(value)
        return self.words.get(value, "") if self.words is not None else ""


def _flag(name: str, bit: int, when_set: str = "", when_clear: str = "") -> Field:
    words = {n: text for n, text in ((1, when_set), (0, when_clear)) if text}
    return Field(name, bit, bit, MappingProxyType(words))


def _choice(name: str, hi: int, lo: int, *words: str) -> Field:
    return Field(name, hi, lo, MappingProxyType(dict(enumerate(words))))


def _number(name: str, hi: int, lo: int, words_of: Callable[[int], str]) -> Field:
    return Field(name, hi, lo, words_of=words_of)


_CACHEABILITY = (
    "Non-cacheable",
    "Write-Back Read-Allocate Write-Allocate",
    "Write-Through Read-Allocate no Write-Allocate",
    "Write-Back Read-Allocate no Write-Allocate",
)
_SHAREABILITY = ("Non-shareable", "reserved", "Outer Shareable", "Inner Shareable")
_TG0 = ("4 KiB", "64 KiB", "16 KiB", "reserved")
_TG1 = ("reserved", "16 KiB", "4 KiB", "64 KiB")
_PHYSICAL_SIZE = ("32 bits", "36 bits", "40 bits", "42 bits", "44 bits", "48 bits")


def _input_size(tsz: int) -> str:
    return f"{64 - tsz}-bit input"


def _hex(value: int) -> str:
    return f"{value:#x}"


def _table_base(lo: int) -> Callable[[int], str]:
    return lambda value: f"table at {value << lo:#x}"


def _memory_attribute(attribute: int) -> str:
    """MAIR_ELx.Attr<n>."""
    outer, inner = attribute >> 4, attribute & 0xF
    if outer == 0:
        devices = {0: "nGnRnE", 4: "nGnRE", 8: "nGRE", 12: "GRE"}
        return f"Device-{devices[inner]}" if inner in devices else "UNPREDICTABLE"
    if inner == 0:
        return "UNPREDICTABLE"

    def cacheability(bits: int) -> str:
        if bits == 0b0100:
            return "Non-cacheable"
        kind = "Write-Back" if bits & 4 else "Write-Through"
        hints = {0: "no allocate", 1: "Write-Allocate", 2: "Read-Allocate"}
        transient = "" if bits & 8 else " transient"
        return f"{kind}{transient} {hints.get(bits & 3, 'Read-Allocate Write-Allocate')}"

    if outer == inner:
        return f"Normal {cacheability(outer)}"
    return f"Normal outer {cacheability(outer)}, inner {cacheability(inner)}"


_HCR_EL2 = (
    _flag("TEA", 37, "external aborts to EL2"),
    _flag("TERR", 36, "error record registers trapped"),
    _flag("ID", 33, "stage 2 instruction accesses Non-cacheable"),
    _flag("CD", 32, "stage 2 data accesses Non-cacheable"),
    _flag("RW", 31, "EL1 is AArch64", "EL1 is AArch32"),
    _flag("TRVM", 30, "reads of virtual memory controls trapped"),
    _flag("HCD", 29, "HVC disabled"),
    _flag("TDZ", 28, "DC ZVA trapped"),
    _flag("TGE", 27, "EL0's exceptions to EL2"),
    _flag("TVM", 26, "writes of virtual memory controls trapped"),
    _flag("TTLB", 25, "TLBI trapped"),
    _flag("TPU", 24, "cache maintenance to unification trapped"),
    _flag("TPC", 23, "cache maintenance to coherency trapped"),
    _flag("TSW", 22, "cache maintenance by set/way trapped"),
    _flag("TACR", 21, "ACTLR_EL1 trapped"),
    _flag("TIDCP", 20, "IMPLEMENTATION DEFINED registers trapped"),
    _flag("TSC", 19, "SMC trapped"),
    _flag("TID3", 18, "ID group 3 trapped"),
    _flag("TID2", 17, "ID group 2 trapped"),
    _flag("TID1", 16, "ID group 1 trapped"),
    _flag("TID0", 15, "ID group 0 trapped"),
    _flag("TWE", 14, "WFE trapped"),
    _flag("TWI", 13, "WFI trapped"),
    _flag("DC", 12, "stage 1 off acts as Write-Back"),
    _choice("BSU", 11, 10, "", "barriers at least Inner Shareable",
            "barriers at least Outer Shareable", "barriers Full system"),
    _flag("FB", 9, "TLB and cache maintenance broadcast"),
    _flag("VSE", 8, "virtual SError pending"),
    _flag("VI", 7, "virtual IRQ pending"),
    _flag("VF", 6, "virtual FIQ pending"),
    _flag("AMO", 5, "SError to EL2"),
    _flag("IMO", 4, "IRQ to EL2"),
    _flag("FMO", 3, "FIQ to EL2"),
    _flag("PTW", 2, "stage 1 walks of Device memory fault"),
    _flag("SWIO", 1, "set/way invalidate also cleans"),
    _flag("VM", 0, "stage 2 on", "stage 2 off"),
)  # fmt: skip

_SCTLR_COMMON = (
    _flag("EE", 25, "big-endian data", "little-endian data"),
    _flag("WXN", 19, "writable is never executable"),
    _flag("I", 12, "instruction cacheable"),
    _flag("SA", 3, "SP alignment checked"),
    _flag("C", 2, "data cacheable"),
    _flag("A", 1, "alignment checked"),
    _flag("M", 0, "MMU on", "MMU off"),
)
_SCTLR_EL2 = (
    *_SCTLR_COMMON,
    _choice("RES1", 29, 28),
    _choice("RES1", 23, 22),
    _flag("RES1", 18),
    _flag("RES1", 16),
    _flag("RES1", 11),
    _choice("RES1", 5, 4),
)
_SCTLR_EL1 = (
    *_SCTLR_COMMON,
    _choice("RES1", 29, 28),
    _flag("UCI", 26, "EL0 cache maintenance allowed", "EL0 cache maintenance trapped"),
    _flag("E0E", 24, "EL0 data big-endian"),
    _choice("RES1", 23, 22),
    _flag("RES1", 20),
    _flag("nTWE", 18, "EL0 WFE not trapped", "EL0 WFE trapped"),
    _flag("nTWI", 16, "EL0 WFI not trapped", "EL0 WFI trapped"),
    _flag("UCT", 15, "EL0 reads CTR_EL0", "EL0 CTR_EL0 trapped"),
    _flag("DZE", 14, "EL0 DC ZVA allowed", "EL0 DC ZVA trapped"),
    _flag("RES1", 11),
    _flag("UMA", 9, "EL0 may change DAIF", "EL0 DAIF trapped"),
    _flag("SED", 8, "AArch32 EL0 SETEND disabled"),
    _flag("ITD", 7, "AArch32 EL0 IT restricted"),
    _flag("CP15BEN", 5, "AArch32 EL0 CP15 barriers enabled"),
    _flag("SA0", 4, "EL0 SP alignment checked"),
)

_TCR_EL1 = (
    _flag("TBI1", 38, "top byte ignored, TTBR1"),
    _flag("TBI0", 37, "top byte ignored, TTBR0"),
    _flag("AS", 36, "16-bit ASID", "8-bit ASID"),
    _choice("IPS", 34, 32, *_PHYSICAL_SIZE),
    _choice("TG1", 31, 30, *_TG1),
    _choice("SH1", 29, 28, *_SHAREABILITY),
    _choice("ORGN1", 27, 26, *_CACHEABILITY),
    _choice("IRGN1", 25, 24, *_CACHEABILITY),
    _flag("EPD1", 23, "no walks by TTBR1"),
    _flag("A1", 22, "ASID from TTBR1", "ASID from TTBR0"),
    _number("T1SZ", 21, 16, _input_size),
    _choice("TG0", 15, 14, *_TG0),
    _choice("SH0", 13, 12, *_SHAREABILITY),
    _choice("ORGN0", 11, 10, *_CACHEABILITY),
    _choice("IRGN0", 9, 8, *_CACHEABILITY),
    _flag("EPD0", 7, "no walks by TTBR0"),
    _number("T0SZ", 5, 0, _input_size),
)
_TCR_EL2 = (
    _flag("RES1", 31),
    _flag("RES1", 23),
    _flag("TBI", 20, "top byte ignored"),
    _choice("PS", 18, 16, *_PHYSICAL_SIZE),
    _choice("TG0", 15, 14, *_TG0),
    _choice("SH0", 13, 12, *_SHAREABILITY),
    _choice("ORGN0", 11, 10, *_CACHEABILITY),
    _choice("IRGN0", 9, 8, *_CACHEABILITY),
    _number("T0SZ", 5, 0, _input_size),
)
_VTCR_EL2 = (
    _flag("RES1", 31),
    _choice("PS", 18, 16, *_PHYSICAL_SIZE),
    _choice("TG0", 15, 14, *_TG0),
    _choice("SH0", 13, 12, *_SHAREABILITY),
    _choice("ORGN0", 11, 10, *_CACHEABILITY),
    _choice("IRGN0", 9, 8, *_CACHEABILITY),
    _choice("SL0", 7, 6, "start at level 2 with 4 KiB, 3 with 16 and 64 KiB",
            "start at level 1 with 4 KiB, 2 with 16 and 64 KiB",
            "start at level 0 with 4 KiB, 1 with 16 and 64 KiB", "reserved"),
    _number("T0SZ", 5, 0, _input_size),
)  # fmt: skip
_TTBR_EL1 = (Field("ASID", 63, 48), _number("BADDR", 47, 0, _table_base(0)))

_MODES = {
    0b0000: "EL0t",
    0b0100: "EL1t",
    0b0101: "EL1h",
    0b1000: "EL2t",
    0b1001: "EL2h",
    0b1100: "EL3t",
    0b1101: "EL3h",
}
_SPSR = (
    Field("N", 31, 31),
    Field("Z", 30, 30),
    Field("C", 29, 29),
    Field("V", 28, 28),
    _flag("SS", 21, "software step"),
    _flag("IL", 20, "illegal execution state"),
    _flag("D", 9, "debug exceptions masked"),
    _flag("A", 8, "SError masked"),
    _flag("I", 7, "IRQ masked"),
    _flag("F", 6, "FIQ masked"),
    _flag("nRW", 4, "AArch32", "AArch64"),
    _number("M", 3, 0, lambda value: _MODES.get(value, "reserved in AArch64")),
)

_TIMER_CTL = (
    _flag("ISTATUS", 2, "condition met"),
    _flag("IMASK", 1, "interrupt masked"),
    _flag("ENABLE", 0, "enabled", "disabled"),
)
_EVENT_STREAM = (
    Field("EVNTI", 7, 4),
    _flag("EVNTDIR", 3),
    _flag("EVNTEN", 2, "event stream on"),
)
_MAIR = tuple(_number(f"Attr{n}", 8 * n + 7, 8 * n, _memory_attribute) for n in range(8))

REGISTERS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        "HCR_EL2": _HCR_EL2,
        "SCTLR_EL1": _SCTLR_EL1,
        "SCTLR_EL2": _SCTLR_EL2,
        "TCR_EL1": _TCR_EL1,
        "TCR_EL2": _TCR_EL2,
        "VTCR_EL2": _VTCR_EL2,
        "VTTBR_EL2": (Field("VMID", 55, 48), _number("BADDR", 47, 0, _table_base(0))),
        "TTBR0_EL1": _TTBR_EL1,
        "TTBR1_EL1": _TTBR_EL1,
        "TTBR0_EL2": (_number("BADDR", 47, 0, _table_base(0)),),
        "SPSR_EL1": _SPSR,
        "SPSR_EL2": _SPSR,
        "CPTR_EL2": (
            _flag("TCPAC", 31, "CPACR_EL1 trapped"),
            _flag("TTA", 20, "trace registers trapped"),
            _choice("RES1", 13, 12),
            _flag("TFP", 10, "SIMD and floating point trapped"),
            _choice("RES1", 9, 0),
        ),
        "CPACR_EL1": (
            _flag("TTA", 28, "trace registers trapped"),
            _choice(
                "FPEN",
                21,
                20,
                "SIMD and floating point trapped at EL0 and EL1",
                "SIMD and floating point trapped at EL0",
                "SIMD and floating point trapped at EL0 and EL1",
                "not trapped",
            ),
        ),
        "MDCR_EL2": (
            _flag("TDRA", 11, "debug ROM address registers trapped"),
            _flag("TDOSA", 10, "OS lock and powerdown registers trapped"),
            _flag("TDA", 9, "debug registers trapped"),
            _flag("TDE", 8, "debug exceptions to EL2"),
            _flag("HPME", 7, "EL2's event counters on"),
            _flag("TPM", 6, "performance monitors trapped"),
            _flag("TPMCR", 5, "PMCR_EL0 trapped"),
            _number("HPMN", 4, 0, lambda value: f"EL1 has {value} event counters"),
        ),
        "CNTHCTL_EL2": (
            *_EVENT_STREAM,
            _flag("EL1PCEN", 1, "physical timer not trapped", "physical timer trapped"),
            _flag("EL1PCTEN", 0, "physical counter not trapped", "physical counter trapped"),
        ),
        "CNTKCTL_EL1": (
            _flag("EL0PTEN", 9, "EL0 has the physical timer"),
            _flag("EL0VTEN", 8, "EL0 has the virtual timer"),
            *_EVENT_STREAM,
            _flag("EL0VCTEN", 1, "EL0 reads the virtual counter"),
            _flag("EL0PCTEN", 0, "EL0 reads the physical counter"),
        ),
        "HPFAR_EL2": (_number("FIPA", 39, 4, lambda value: f"IPA page {value << 12:#x}"),),
        "MAIR_EL1": _MAIR,
        "MAIR_EL2": _MAIR,
        "CNTP_CTL_EL0": _TIMER_CTL,
        "CNTV_CTL_EL0": _TIMER_CTL,
        "CNTHP_CTL_EL2": _TIMER_CTL,
        "PAR_EL1": (
            _number("ATTR", 63, 56, _memory_attribute),
            _number("PA", 47, 12, lambda value: f"PA page {value << 12:#x}"),
            _flag("RES1", 11),
            _flag("NS", 9),
            _choice("SH", 8, 7, *_SHAREABILITY),
            _flag("F", 0, "translation failed", "translation succeeded"),
        ),
        "PAR_EL1 fault": (
            _flag("RES1", 11),
            _flag("S", 9, "stage 2", "stage 1"),
            _flag("PTW", 8, "stage 2 fault on a stage 1 walk"),
            _number("FST", 6, 1, fault_words),
            _flag("F", 0, "translation failed", "translation succeeded"),
        ),
    }
)

ESR_TOP = (
    _number("EC", 31, 26, lambda value: EC_WORDS.get(value, "reserved")),
    _flag("IL", 25, "32-bit instruction", "16-bit instruction"),
)
_ISS_DATA_ABORT = (
    _flag("ISV", 24, "syndrome valid"),
    _choice("SAS", 23, 22, "8 bits", "16 bits", "32 bits", "64 bits"),
    _flag("SSE", 21, "sign-extended"),
    Field("SRT", 20, 16),
    _flag("SF", 15, "64-bit register"),
    _flag("AR", 14, "acquire/release"),
    _flag("FnV", 10, "FAR not valid"),
    _flag("EA", 9),
    _flag("CM", 8, "cache maintenance or AT"),
    _flag("S1PTW", 7, "on a stage 1 walk"),
    _flag("WnR", 6, "write", "read"),
    _number("DFSC", 5, 0, fault_words),
)
_ISS_INSTRUCTION_ABORT = (
    _flag("FnV", 10, "FAR not valid"),
    _flag("EA", 9),
    _flag("S1PTW", 7, "on a stage 1 walk"),
    _number("IFSC", 5, 0, fault_words),
)
_ISS_IMMEDIATE = (_number("imm16", 15, 0, _hex),)
_ISS_COND = (_flag("CV", 24, "condition valid"), Field("COND", 23, 20))
_ISS_SYSREG = (
    Field("Op0", 21, 20),
    Field("Op2", 19, 17),
    Field("Op1", 16, 14),
    Field("CRn", 13, 10),
    Field("Rt", 9, 5),
    Field("CRm", 4, 1),
    _flag("Direction", 0, "read", "write"),
)
ISS: Mapping[int, tuple[Field, ...]] = MappingProxyType(
    {
        ExceptionClass.WFX: (*_ISS_COND, _choice("TI", 1, 0, "WFI", "WFE", "WFIT", "WFET")),
        ExceptionClass.FP_ACCESS: _ISS_COND,
        ExceptionClass.SVC: _ISS_IMMEDIATE,
        ExceptionClass.HVC: _ISS_IMMEDIATE,
        ExceptionClass.SMC: _ISS_IMMEDIATE,
        ExceptionClass.BRK: _ISS_IMMEDIATE,
        ExceptionClass.SYSREG: _ISS_SYSREG,
        ExceptionClass.INSTRUCTION_ABORT_LOWER: _ISS_INSTRUCTION_ABORT,
        ExceptionClass.INSTRUCTION_ABORT_SAME: _ISS_INSTRUCTION_ABORT,
        ExceptionClass.DATA_ABORT_LOWER: _ISS_DATA_ABORT,
        ExceptionClass.DATA_ABORT_SAME: _ISS_DATA_ABORT,
        ExceptionClass.SERROR: (_flag("IDS", 24, "IMPLEMENTATION DEFINED syndrome"),
                                Field("ISS", 23, 0)),
    }
)  # fmt: skip
