# SPDX-License-Identifier: Apache-2.0
"""The events that a monitor sees, and how the instructions behind them are encoded."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from aether_edgecloud.emulator.cpu import registers as reg

_CRN_TLBI = 8
_CRN_CACHE = 7


class EventKind(Enum):
    """What an event is."""

    STORE = "store"
    """To a word of a live table: `address`, `value`, `old`."""
    DSB = "dsb"
    ISB = "isb"
    TLBI = "tlbi"
    MSR = "msr"
    MAINTENANCE = "maintenance"
    """DC, IC or AT: `name` is its encoding, `value` its operand."""
    CODE = "code"
    """EL2 executes from the page at `address` for the first time."""
    TABLE = "table"
    """The page at `address` has become a live table: before the event that made it one. `value` is
    its level; `words` are its words that are not zero, by index."""
    ENTRY = "entry"
    """An exception to EL2 from below; `value` is its kind."""
    ERET = "eret"
    """EL2 has been left; `value` is the EL."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of `cpu` at `pc` (VA at EL2), when it had retired `instruction` instructions.

    `name` is the register or the operation: "vttbr_el2", "ipas2e1is", "ishst".
    """

    kind: EventKind
    cpu: int
    pc: int
    instruction: int
    name: str = ""
    address: int = 0
    value: int = 0
    old: int = 0
    words: tuple[tuple[int, int], ...] = ()


REGISTERS = {
    register.key: register.name
    for register in (
        reg.SCTLR_EL2,
        reg.HCR_EL2,
        reg.TTBR0_EL2,
        reg.TCR_EL2,
        reg.VTTBR_EL2,
        reg.VTCR_EL2,
        reg.MAIR_EL2,
    )
}
"""By key: what controls translation at EL2 and stage 2."""


class Extent(Enum):
    """What a TLBI names."""

    ALL = "everything"
    VMID = "the current VMID"
    ASID = "an ASID of the current VMID"
    ADDRESS = "an address of the current VMID, or of EL2"


@dataclass(frozen=True, slots=True)
class Tlbi:
    """A TLBI, without the address."""

    name: str
    extent: Extent
    el2: bool
    """Of EL2's own regime; otherwise of EL1&0."""
    stage1: bool
    stage2: bool
    shareable: bool
    """Broadcast to the Inner or the Outer Shareable domain."""
    last_level: bool = False
    """Only entries of the last level: a block or page, no table."""
    ranged: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """The input addresses that a TLBI by address names, and the level if it gives one."""

    first: int
    size: int
    level: int | None = None


@dataclass(frozen=True, slots=True)
class Dsb:
    """A DSB: what it waits for, and how far it reaches."""

    name: str
    stores: bool
    """It makes stores before it visible to walkers."""
    all_accesses: bool
    """It completes TLB maintenance before it."""
    shareable: bool
    """Inner Shareable at least; otherwise this CPU alone."""


@dataclass(frozen=True, slots=True)
class Isb:
    """An ISB."""


_SCOPE_EL1 = {1: "os", 3: "is", 7: ""}
_SCOPE_RANGE = {2: "is", 5: "os", 6: ""}
_EL1 = {0: "vmalle1", 1: "vae1", 2: "aside1", 3: "vaae1", 5: "vale1", 7: "vaale1"}
_EL2 = {0: "alle2", 1: "vae2", 4: "alle1", 5: "vale2", 6: "vmalls12e1"}
_EXTENT = {"vmalle1": Extent.VMID, "vmalls12e1": Extent.VMID, "aside1": Extent.ASID}
# op2 of the operations by IPA: CRm 0 is the Inner Shareable ones, CRm 4 the others.
_IPA_IS = {1: "ipas2e1is", 2: "ripas2e1is", 5: "ipas2le1is", 6: "ripas2le1is"}
_IPA = {
    0: "ipas2e1os",
    1: "ipas2e1",
    2: "ripas2e1",
    3: "ripas2e1os",
    4: "ipas2le1os",
    5: "ipas2le1",
    6: "ripas2le1",
    7: "ripas2le1os",
}


@lru_cache(maxsize=256)
def decode_tlbi(key: int) -> Tlbi | None:
    """The TLBI of this encoding (`registers.key`); None for what is no TLBI below EL3."""
    op0, op1, crn = key >> 14 & 3, key >> 11 & 7, key >> 7 & 15
    crm, op2 = key >> 3 & 15, key & 7
    if op0 != 1 or crn != _CRN_TLBI:
        return None
    if op1 == 4 and crm in (0, 4):
        name = (_IPA if crm else _IPA_IS).get(op2)
        if name is None:
            return None
        return Tlbi(
            name,
            Extent.ADDRESS,
            el2=False,
            stage1=False,
            stage2=True,
            shareable=name.endswith("s"),
            last_level="s2le1" in name,
            ranged=name.startswith("r"),
        )
    names = {0: _EL1, 4: _EL2}.get(op1, {})
    ranged = crm in _SCOPE_RANGE
    scope = _SCOPE_RANGE.get(crm) if ranged else _SCOPE_EL1.get(crm)
    base = names.get(op2)
    if scope is None or base is None or (ranged and not base.startswith("va")):
        return None
    return Tlbi(
        f"{'r' if ranged else ''}{base}{scope}",
        _EXTENT.get(base, Extent.ALL if base.startswith("all") else Extent.ADDRESS),
        el2=base.endswith("e2"),
        stage1=True,
        stage2=base in ("alle1", "vmalls12e1"),
        shareable=bool(scope),
        last_level=base.startswith(("vale", "vaale")),
        ranged=ranged,
    )


def span_of(tlbi: Tlbi, value: int) -> Span:
    """What the operand of a TLBI by address names. 4 KiB granule."""
    if tlbi.ranged:
        count, scale = (value >> 39 & 0x1F) + 1, value >> 44 & 3
        level = value >> 37 & 3
        return Span((value & (1 << 37) - 1) << 12, count << (5 * scale + 1 + 12), level or None)
    # TTL: a granule (1 is 4 KiB) and a level; without FEAT_TTL it is 0, as 0 means any level.
    level = value >> 44 & 3
    has_level = value >> 46 & 3 == 1
    first = (value & (1 << (36 if tlbi.stage2 else 44)) - 1) << 12
    return Span(first, 1 << 12, level if has_level and level else None)


def is_maintenance(key: int) -> bool:
    """Whether the encoding is DC, IC or AT."""
    return key >> 14 & 3 == 1 and key >> 7 & 15 == _CRN_CACHE


_DOMAINS = ("osh", "nsh", "ish", "")


@lru_cache(maxsize=64)
def decode_barrier(word: int) -> Dsb | Isb | None:
    """The DSB or ISB that an instruction is; None for others."""
    if word & 0xFFFF_F0FF == 0xD503_30DF:
        return Isb()
    if word & 0xFFFF_F0FF != 0xD503_309F:
        return None
    domain, accesses = word >> 10 & 3, word >> 8 & 3
    if accesses == 0:
        return None  # SSBB, PSSBB
    suffix = {1: "ld", 2: "st", 3: ""}[accesses]
    name = _DOMAINS[domain] + suffix if domain != 3 else {"": "sy"}.get(suffix, suffix)
    return Dsb(name, accesses >= 2, accesses == 3, domain != 1)
