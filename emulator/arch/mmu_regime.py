# SPDX-License-Identifier: Apache-2.0
"""Translation control: what SCTLR, TCR, TTBR, HCR, VTCR and VTTBR say, worked out once.

`MmuRegisters` is a set of register values. Everything that does not depend on the address is
derived from it on first use and kept with it, so a new register value means a new `MmuRegisters`.

Where the architecture leaves a choice (CONSTRAINED UNPREDICTABLE or IMPLEMENTATION DEFINED), it is:
- TxSZ out of range: taken as the nearest legal value (RESTnSZ, Constraint_FORCE);
- TGx reserved, or of a granule that is not implemented: taken as the 4K granule;
- IPS/PS reserved, or larger than the implemented PA size: taken as the implemented PA size;
- a stage-2 input size larger than the PA size: Translation fault (LARGEIPA, Constraint_FAULT);
- Contiguous hint larger than the input size, or inconsistent within its group: not a fault;
- instruction fetch from Device memory: as from Normal Non-cacheable, unless `device_fetch_faults`.
Not modelled, because Armv8.0 has none of it: VHE (E2H), PAN, hierarchical disables (HPD), hardware
update of AF and dirty state, 52-bit addresses, small tables (TTST), FWB, nested virtualization.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

from .mmu_attributes import MemoryAttributes, walk_attr_decode
from .mmu_descriptor import Granule, leaf_encoding, s1_permissions, s2_permissions

_MASK48 = (1 << 48) - 1

# Fields by name.
SCTLR_M = 1 << 0
SCTLR_C = 1 << 2
SCTLR_I = 1 << 12
SCTLR_WXN = 1 << 19
SCTLR_EE = 1 << 25
HCR_VM = 1 << 0
HCR_PTW = 1 << 2
HCR_DC = 1 << 12
HCR_TGE = 1 << 27
HCR_CD = 1 << 32
HCR_ID = 1 << 33
TCR_EPD0 = 1 << 7
TCR_A1 = 1 << 22
TCR_EPD1 = 1 << 23
TCR_AS = 1 << 36
TCR_TBI0 = 1 << 37
TCR_TBI1 = 1 << 38
TCR_EL2_TBI = 1 << 20

TXSZ_MIN = 16
TXSZ_MAX = 39

_TG0 = {0b00: Granule.KB4, 0b01: Granule.KB64, 0b10: Granule.KB16}
_TG1 = {0b10: Granule.KB4, 0b11: Granule.KB64, 0b01: Granule.KB16}
_PS = {0b000: 32, 0b001: 36, 0b010: 40, 0b011: 42, 0b100: 44, 0b101: 48}


def decode_ps(ps: int, pa_bits: int) -> int:
    """Output address bits of an IPS or PS field, at most the implemented `pa_bits`."""
    return min(_PS.get(ps, pa_bits), pa_bits)


class LevelGeometry(NamedTuple):
    """How one lookup level uses the input address: index = ia >> shift & index_mask."""

    level: int
    shift: int
    index_mask: int
    leaf: int


@cache
def level_geometry(granule: Granule, startlevel: int, iasize: int) -> tuple[LevelGeometry, ...]:
    """The lookup levels of a tree; the first resolves all bits up to `iasize`."""
    levels = []
    for level in range(startlevel, 4):
        shift = granule.shift(level)
        bits = iasize - shift if level == startlevel else granule.stride
        levels.append(LevelGeometry(level, shift, (1 << bits) - 1, leaf_encoding(granule, level)))
    return tuple(levels)


@dataclass(frozen=True, slots=True)
class TTWParams:
    """The control of one translation table tree (Arm ARM S1TTWParams, S2TTWParams).

    `iasize` and `oasize` are in address bits; `baseaddress` is a PA, or an IPA for stage 1 under
    stage 2. `beyond_oa` masks the address bits that must be zero. `walks_disabled` is EPD;
    `misconfigured` a stage-2 start level that does not fit.
    """

    granule: Granule
    iasize: int
    oasize: int
    startlevel: int
    baseaddress: int
    levels: tuple[LevelGeometry, ...]
    table_mask: int
    beyond_oa: int
    walk_attributes: MemoryAttributes
    tbi: bool = False
    walks_disabled: bool = False
    misconfigured: bool = False


def _params(
    granule: Granule,
    iasize: int,
    oasize: int,
    startlevel: int,
    ttbr: int,
    walk_attributes: MemoryAttributes,
    *,
    tbi: bool = False,
    walks_disabled: bool = False,
    misconfigured: bool = False,
) -> TTWParams:
    # The base is aligned to the size of the first table: 8 bytes for each of its entries.
    index_bits = max(iasize - granule.shift(startlevel), 0)
    return TTWParams(
        granule,
        iasize,
        oasize,
        startlevel,
        (ttbr & _MASK48) >> (3 + index_bits) << (3 + index_bits),
        () if misconfigured else level_geometry(granule, startlevel, iasize),
        _MASK48 & ~((1 << granule) - 1),
        _MASK48 & ~((1 << oasize) - 1),
        walk_attributes,
        tbi,
        walks_disabled,
        misconfigured,
    )


def s1_start_level(granule: Granule, iasize: int) -> int:
    """The level at which a stage-1 walk starts (Arm ARM AArch64.S1StartLevel)."""
    return 3 - (iasize - 1 - granule) // granule.stride


def s2_misconfigured(granule: Granule, startlevel: int, iasize: int, pa_bits: int) -> bool:
    """Whether SL0, T0SZ and the PA size contradict (AArch64.S2InvalidSL, AArch64.S2InconsistentSL).

    The first table must have at least two entries and at most sixteen concatenated tables.
    """
    if granule is Granule.KB4:
        invalid = startlevel < 0 or (startlevel == 0 and pa_bits <= 42)
    elif granule is Granule.KB16:
        invalid = startlevel == 0 or (startlevel == 1 and pa_bits <= 40)
    else:
        invalid = startlevel == 0 or (startlevel == 1 and pa_bits <= 42)
    if invalid or iasize > pa_bits:
        return True
    index_bits = iasize - granule.shift(startlevel)
    return not 1 <= index_bits <= granule.stride + 4


@dataclass(frozen=True, slots=True)
class Stage1:
    """Stage 1 of a regime. `high` is None where the regime has one VA range (EL2).

    Without translation (`enabled` is False) the VA is the output; `default_cacheable` is HCR_EL2.DC
    at work. Permission sets are indexed as `s1_permissions` says.
    """

    enabled: bool
    low: TTWParams
    high: TTWParams | None
    big_endian: bool
    pa_bits: int
    data_cacheable: bool
    fetch_cacheable: bool
    default_cacheable: bool
    mair: tuple[int, ...]
    privileged: tuple[int, ...]
    unprivileged: tuple[int, ...]
    device_fetch_faults: bool


@dataclass(frozen=True, slots=True)
class Stage2:
    """Stage 2 of EL1&0. `protected_walks` is HCR_EL2.PTW."""

    params: TTWParams
    big_endian: bool
    protected_walks: bool
    data_cacheable: bool
    fetch_cacheable: bool
    privileged: tuple[int, ...]
    unprivileged: tuple[int, ...]
    device_fetch_faults: bool


@dataclass(frozen=True, slots=True)
class TranslationRegime:
    """What EL2, or EL1 and EL0 together, translate with. `stage2` is None where it is off."""

    stage1: Stage1
    stage2: Stage2 | None


@dataclass(frozen=True)  # no slots: the regimes are kept in the instance
class MmuRegisters:
    """The registers that control translation, and what the implementation offers.

    The defaults of the latter are those of Cortex-A72: 44-bit PA, 4K and 64K granules, no FEAT_XNX.
    """

    sctlr_el1: int = 0
    tcr_el1: int = 0
    ttbr0_el1: int = 0
    ttbr1_el1: int = 0
    mair_el1: int = 0
    sctlr_el2: int = 0
    tcr_el2: int = 0
    ttbr0_el2: int = 0
    mair_el2: int = 0
    hcr_el2: int = 0
    vtcr_el2: int = 0
    vttbr_el2: int = 0
    pa_bits: int = 44
    granules: tuple[Granule, ...] = (Granule.KB4, Granule.KB64)
    xnx: bool = False
    device_fetch_faults: bool = False

    @property
    def asid(self) -> int:
        """The current ASID: TTBR1_EL1's when TCR_EL1.A1, 8 or 16 bits by TCR_EL1.AS."""
        ttbr = self.ttbr1_el1 if self.tcr_el1 & TCR_A1 else self.ttbr0_el1
        return ttbr >> 48 & (0xFFFF if self.tcr_el1 & TCR_AS else 0xFF)

    @property
    def vmid(self) -> int:
        """The current VMID, 8 bits (FEAT_VMID16 is not modelled)."""
        return self.vttbr_el2 >> 48 & 0xFF

    def regime(self, el: int) -> TranslationRegime:
        """The regime of an Exception level 0..2; ValueError for EL3, which is not modelled."""
        if el == 2:
            return self.el2
        if el in (0, 1):
            return self.el10
        raise ValueError(f"no translation regime is modelled for EL{el}")

    @cached_property
    def el2(self) -> TranslationRegime:
        """The EL2 regime: one VA range, one stage."""
        tcr, sctlr = self.tcr_el2, self.sctlr_el2
        low = self._s1_params(
            self._granule(_TG0, tcr >> 14 & 0b11),
            tcr & 0x3F,
            decode_ps(tcr >> 16 & 0b111, self.pa_bits),
            self.ttbr0_el2,
            _walk_attributes(tcr, bool(sctlr & SCTLR_C)),
            tbi=bool(tcr & TCR_EL2_TBI),
        )
        return TranslationRegime(self._stage1(sctlr, self.mair_el2, low), None)

    @cached_property
    def el10(self) -> TranslationRegime:
        """The EL1&0 regime: two VA ranges, and stage 2 where HCR_EL2.VM or .DC turns it on."""
        tcr, sctlr, hcr = self.tcr_el1, self.sctlr_el1, self.hcr_el2
        cacheable = bool(sctlr & SCTLR_C)
        oasize = decode_ps(tcr >> 32 & 0b111, self.pa_bits)
        low = self._s1_params(
            self._granule(_TG0, tcr >> 14 & 0b11),
            tcr & 0x3F,
            oasize,
            self.ttbr0_el1,
            _walk_attributes(tcr, cacheable),
            tbi=bool(tcr & TCR_TBI0),
            walks_disabled=bool(tcr & TCR_EPD0),
        )
        high = self._s1_params(
            self._granule(_TG1, tcr >> 30 & 0b11),
            tcr >> 16 & 0x3F,
            oasize,
            self.ttbr1_el1,
            _walk_attributes(tcr >> 16, cacheable),
            tbi=bool(tcr & TCR_TBI1),
            walks_disabled=bool(tcr & TCR_EPD1),
        )
        stage1 = self._stage1(sctlr, self.mair_el1, low, high)
        return TranslationRegime(stage1, self._stage2() if hcr & (HCR_VM | HCR_DC) else None)

    def _granule(self, encodings: dict[int, Granule], tg: int) -> Granule:
        granule = encodings.get(tg, Granule.KB4)
        return granule if granule in self.granules else Granule.KB4

    def _s1_params(
        self,
        granule: Granule,
        txsz: int,
        oasize: int,
        ttbr: int,
        walk_attributes: MemoryAttributes,
        *,
        tbi: bool,
        walks_disabled: bool = False,
    ) -> TTWParams:
        iasize = 64 - min(max(txsz, TXSZ_MIN), TXSZ_MAX)
        return _params(
            granule,
            iasize,
            oasize,
            s1_start_level(granule, iasize),
            ttbr,
            walk_attributes,
            tbi=tbi,
            walks_disabled=walks_disabled,
        )

    def _stage1(
        self, sctlr: int, mair: int, low: TTWParams, high: TTWParams | None = None
    ) -> Stage1:
        has_el0 = high is not None
        wxn = bool(sctlr & SCTLR_WXN)
        # For EL1&0, HCR_EL2.TGE and .DC each make SCTLR_EL1.M behave as 0.
        off = has_el0 and bool(self.hcr_el2 & (HCR_TGE | HCR_DC))
        return Stage1(
            enabled=bool(sctlr & SCTLR_M) and not off,
            low=low,
            high=high,
            big_endian=bool(sctlr & SCTLR_EE),
            pa_bits=self.pa_bits,
            data_cacheable=bool(sctlr & SCTLR_C),
            fetch_cacheable=bool(sctlr & SCTLR_I),
            default_cacheable=has_el0 and bool(self.hcr_el2 & HCR_DC),
            mair=tuple(mair.to_bytes(8, "little")),
            privileged=s1_permissions(wxn, has_el0, True),
            unprivileged=s1_permissions(wxn, has_el0, False),
            device_fetch_faults=self.device_fetch_faults,
        )

    def _stage2(self) -> Stage2:
        vtcr, hcr = self.vtcr_el2, self.hcr_el2
        granule = self._granule(_TG0, vtcr >> 14 & 0b11)
        iasize = 64 - min(max(vtcr & 0x3F, TXSZ_MIN), TXSZ_MAX)
        sl0 = vtcr >> 6 & 0b11
        startlevel = (2 if granule is Granule.KB4 else 3) - sl0
        data_cacheable = not hcr & HCR_CD
        return Stage2(
            params=_params(
                granule,
                iasize,
                decode_ps(vtcr >> 16 & 0b111, self.pa_bits),
                startlevel,
                self.vttbr_el2,
                _walk_attributes(vtcr, data_cacheable),
                misconfigured=s2_misconfigured(granule, startlevel, iasize, self.pa_bits),
            ),
            big_endian=bool(self.sctlr_el2 & SCTLR_EE),
            protected_walks=bool(hcr & HCR_PTW),
            data_cacheable=data_cacheable,
            fetch_cacheable=not hcr & HCR_ID,
            privileged=s2_permissions(self.xnx, True),
            unprivileged=s2_permissions(self.xnx, False),
            device_fetch_faults=self.device_fetch_faults,
        )


def _walk_attributes(tcr: int, cacheable: bool) -> MemoryAttributes:
    """SH0, ORGN0 and IRGN0, which lie alike in TCR_ELx and VTCR_EL2."""
    return walk_attr_decode(tcr >> 12 & 0b11, tcr >> 10 & 0b11, tcr >> 8 & 0b11, cacheable)
