# SPDX-License-Identifier: Apache-2.0
"""Address translation of VMSAv8-64 (Arm ARM D8), from VA to PA, for EL2 and for EL1&0.

`translate` is the way in. The functions below it follow the pseudocode of the same names:
AArch64.FullTranslate, AArch64.S1Translate, AArch64.S1DisabledOutput, AArch64.S1Walk,
AArch64.S2Translate, AArch64.S2Walk. The model is pure: it remembers nothing, so it sees exactly the
tables that `memory` shows; stale translations and walk caches belong to whoever supplies a
`Walker`.

Alignment of data accesses is not checked here (the result says what is Device memory).
"""

from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple, Protocol

from .mmu_attributes import (
    MemoryAttributes,
    MemoryType,
    Shareability,
    resultant_attributes,
    s1_attr_is_device,
    s2_attr_is_device,
)
from .mmu_descriptor import (
    AF,
    AP_TABLE0,
    AP_TABLE1,
    CONTIGUOUS,
    NG,
    OUTPUT_ADDRESS,
    PXN_TABLE,
    S2AP0,
    TABLE,
    UXN_TABLE,
    Access,
    Granule,
    s1_permission_fields,
    s2_permission_fields,
)
from .mmu_faults import Fault, FaultKind, WalkStep, encode_ldfsc
from .mmu_regime import MmuRegisters, Stage1, Stage2, TranslationRegime, TTWParams

__all__ = [
    "Access",
    "Cached",
    "Fault",
    "FaultKind",
    "Granule",
    "Leaf",
    "MmuRegisters",
    "PhysicalMemory",
    "Translation",
    "TranslationRegime",
    "Walk",
    "WalkStep",
    "Walker",
    "encode_ldfsc",
    "full_translate",
    "translate",
]

_HIERARCHICAL = AP_TABLE0 | AP_TABLE1 | PXN_TABLE | UXN_TABLE
_ALL_ACCESSES = Access.READ | Access.WRITE | Access.FETCH
_UNTRANSLATED_SIZE = 4096

# MAIR encodings of the attributes that stage 1 gives when it does not translate.
_DEVICE_NGNRNE = 0x00
_NORMAL_NC = 0x44
_NORMAL_WT_RA = 0xAA
_NORMAL_WB_RWA = 0xFF


class PhysicalMemory(Protocol):
    """What the walker reads descriptors from."""

    def read64(self, pa: int) -> int | None:
        """The little-endian doubleword at `pa` (8-byte aligned); None is an external abort."""


class Walk(IntEnum):
    """Which tables a walk reads."""

    EL2 = 0
    EL1 = 1
    """Stage 1 of EL1&0; the addresses of its tables are IPAs where stage 2 is on."""
    STAGE2 = 2
    STAGE2_OF_WALK = 3
    """Stage 2, for the address of a descriptor of EL1&0."""


class Cached(NamedTuple):
    """A descriptor that a TLB or walk cache has of `level`, as memory holds it: the walk goes on
    from there. `tables`: see `Leaf`."""

    level: int
    descriptor: int
    tables: int = 0


class Walker(Protocol):
    """What stands between walks and memory: TLBs, walk caches, caches of data."""

    def cached(self, walk: Walk, params: TTWParams, ia: int, /) -> Cached | None:
        """Where to begin the walk of an input address (VA without its tag, or IPA); None: at the
        first level."""

    def read(self, walk: Walk, params: TTWParams, level: int, ia: int, pa: int, /) -> int | None:
        """The descriptor of `level` at `pa`, little-endian, as the walker sees it; None is an
        external abort. `params.walk_attributes` are the attributes of the access."""


Read64 = Callable[[int], int | None]
KeptLeaves = dict[int, "Leaf"]
"""Stage-2 leaves by page number of the IPA, each for that page's first byte: what a TLB holds of
stage 2. The caller empties it when maintenance says so."""


class Leaf(NamedTuple):
    """The Block or Page descriptor that ended the walk of one stage.

    `address` is the translated address itself (an IPA after stage 1 under stage 2), `size` how many
    bytes the descriptor maps, `tables` the hierarchical bits [62:59] of the tables above, ORed.
    """

    address: int
    level: int
    size: int
    descriptor: int
    tables: int = 0

    @property
    def contiguous(self) -> bool:
        return bool(self.descriptor & CONTIGUOUS)


class Translation(NamedTuple):
    """A permitted access: where it goes and what else is permitted there.

    `ipa` is the output of stage 1 (equal to `pa` without stage 2). `page_size` is the size in bytes
    of the aligned region around the VA that the same descriptors translate. `permissions` is an OR
    of Access, for the Exception level (and privilege) asked for; it covers all access kinds, so one
    translation fills a TLB entry. `attributes` are those of the access kind asked for: fetches and
    data differ when SCTLR_ELx.C and .I do, or when stage 1 is off. The leaves are None for a stage
    that did not translate.
    """

    pa: int
    ipa: int
    page_size: int
    permissions: int
    attributes: MemoryAttributes
    stage1_leaf: Leaf | None
    stage2_leaf: Leaf | None
    walks: tuple[WalkStep, ...] = ()

    @property
    def readable(self) -> bool:
        return bool(self.permissions & Access.READ)

    @property
    def writable(self) -> bool:
        return bool(self.permissions & Access.WRITE)

    @property
    def executable(self) -> bool:
        return bool(self.permissions & Access.FETCH)

    @property
    def memory_type(self) -> MemoryType:
        return self.attributes.memory_type

    @property
    def shareability(self) -> Shareability:
        return self.attributes.shareability

    @property
    def not_global(self) -> bool:
        """The nG bit of stage 1: the translation belongs to the current ASID."""
        return self.stage1_leaf is not None and bool(self.stage1_leaf.descriptor & NG)


def translate(
    registers: MmuRegisters,
    memory: PhysicalMemory,
    va: int,
    el: int,
    access: Access,
    *,
    privileged: bool = True,
    record_walks: bool = False,
    kept: KeptLeaves | None = None,
    walker: Walker | None = None,
) -> Translation | Fault:
    """Translate a 64-bit VA for an access from Exception level `el` (0..2).

    `privileged=False` is for LDTR and STTR at EL1, which EL0's permissions govern; it is implied at
    EL0 and has no effect at EL2. With `record_walks` the result lists every descriptor read. With
    `kept`, stage 2 is looked up there first, and what it says is put there. A `walker` reads the
    descriptors instead of `memory`.
    """
    return full_translate(
        registers.regime(el),
        memory,
        va,
        access,
        privileged=privileged and el != 0,
        record_walks=record_walks,
        kept=kept,
        walker=walker,
    )


def full_translate(
    regime: TranslationRegime,
    memory: PhysicalMemory,
    va: int,
    access: Access,
    *,
    privileged: bool = True,
    stage1_only: bool = False,
    record_walks: bool = False,
    kept: KeptLeaves | None = None,
    walker: Walker | None = None,
) -> Translation | Fault:
    """Both stages of `regime` (Arm ARM AArch64.FullTranslate).

    With `stage1_only` (AT S1E1R and the like) the IPA is the result; the stage-1 walk itself still
    goes through stage 2.
    """
    walks: list[WalkStep] | None = [] if record_walks else None
    result = _full_translate(
        regime, memory, va, access, privileged, stage1_only, walks, kept, walker
    )
    if not walks:
        return result
    if isinstance(result, Fault):
        return replace(result, walks=tuple(walks))
    return result._replace(walks=tuple(walks))


def _full_translate(
    regime: TranslationRegime,
    memory: PhysicalMemory,
    va: int,
    access: Access,
    privileged: bool,
    stage1_only: bool,
    walks: list[WalkStep] | None,
    kept: KeptLeaves | None,
    walker: Walker | None,
) -> Translation | Fault:
    stage1, stage2 = regime.stage1, regime.stage2
    fetch = access is Access.FETCH

    s1_leaf: Leaf | None = None
    s1_cacheable = True
    if stage1.enabled:
        leaf = s1_walk(stage1, stage2, memory, va, walks, kept, walker)
        if isinstance(leaf, Fault):
            return leaf
        s1_leaf = leaf
        descriptor = leaf.descriptor
        if not descriptor & AF:
            return Fault(FaultKind.ACCESS_FLAG, leaf.level, 1)
        mair_attr, sh = stage1.mair[descriptor >> 2 & 0b111], descriptor >> 8 & 0b11
        s1_cacheable = stage1.fetch_cacheable if fetch else stage1.data_cacheable
        sets = stage1.privileged if privileged else stage1.unprivileged
        permissions = sets[s1_permission_fields(descriptor, leaf.tables)]
        if stage1.device_fetch_faults and s1_attr_is_device(mair_attr):
            permissions &= ~Access.FETCH
        if not permissions & access:
            return Fault(FaultKind.PERMISSION, leaf.level, 1)
        ipa, size = leaf.address, leaf.size
    else:
        output = s1_disabled_output(stage1, va, fetch)
        if isinstance(output, Fault):
            return output
        ipa, mair_attr, sh = output
        permissions, size = _ALL_ACCESSES, _UNTRANSLATED_SIZE

    if stage2 is None or stage1_only:
        attributes = resultant_attributes(mair_attr, sh, s1_cacheable, None, 0, True, fetch)
        return Translation(ipa, ipa, size, permissions, attributes, s1_leaf, None)

    s2_leaf = s2_translate(stage2, memory, ipa, walks, kept=kept, walker=walker)
    if isinstance(s2_leaf, Fault):
        return s2_leaf
    descriptor = s2_leaf.descriptor
    sets = stage2.privileged if privileged else stage2.unprivileged
    s2_permissions = sets[s2_permission_fields(descriptor)]
    if stage2.device_fetch_faults and s2_attr_is_device(descriptor >> 2 & 0xF):
        s2_permissions &= ~Access.FETCH
    if not s2_permissions & access:
        return Fault(FaultKind.PERMISSION, s2_leaf.level, 2, False, ipa)
    attributes = resultant_attributes(
        mair_attr,
        sh,
        s1_cacheable,
        descriptor >> 2 & 0xF,
        descriptor >> 8 & 0b11,
        stage2.fetch_cacheable if fetch else stage2.data_cacheable,
        fetch,
    )
    if s1_leaf is None or s2_leaf.size < size:
        size = s2_leaf.size
    return Translation(
        s2_leaf.address, ipa, size, permissions & s2_permissions, attributes, s1_leaf, s2_leaf
    )


def s1_disabled_output(stage1: Stage1, va: int, fetch: bool) -> tuple[int, int, int] | Fault:
    """The address, MAIR attribute and SH of a VA that stage 1 does not translate.

    Arm ARM AArch64.S1DisabledOutput: the VA must fit in the PA size, tag byte aside.
    """
    params = stage1.high if stage1.high is not None and va >> 55 & 1 else stage1.low
    if params.tbi:
        va &= (1 << 56) - 1
    if va >> stage1.pa_bits:
        return Fault(FaultKind.ADDRESS_SIZE, 0, 1)
    if stage1.default_cacheable:
        return va, _NORMAL_WB_RWA, Shareability.NON_SHAREABLE.value
    if not fetch:
        return va, _DEVICE_NGNRNE, Shareability.OUTER_SHAREABLE.value
    attr = _NORMAL_WT_RA if stage1.fetch_cacheable else _NORMAL_NC
    return va, attr, Shareability.OUTER_SHAREABLE.value


def s1_walk(
    stage1: Stage1,
    stage2: Stage2 | None,
    memory: PhysicalMemory,
    va: int,
    walks: list[WalkStep] | None = None,
    kept: KeptLeaves | None = None,
    walker: Walker | None = None,
) -> Leaf | Fault:
    """Walk the stage-1 tables to a leaf; its AF and permissions are not checked yet.

    Arm ARM AArch64.S1Walk. With `stage2`, every descriptor address is an IPA to be translated.
    """
    # Bit 55 selects the range, also when bits 63:56 are a tag.
    upper = stage1.high is not None and va >> 55 & 1
    params = stage1.high if stage1.high is not None and upper else stage1.low
    if params.tbi:
        va &= (1 << 56) - 1
    # AArch64.VAIsOutOfRange: all bits above the input size equal those of the range.
    beyond = va >> params.iasize
    canonical = (1 << (56 if params.tbi else 64) - params.iasize) - 1 if upper else 0
    if beyond != canonical or params.walks_disabled:
        return Fault(FaultKind.TRANSLATION, 0, 1)
    if params.baseaddress & params.beyond_oa:
        return Fault(FaultKind.ADDRESS_SIZE, 0, 1)

    read64 = memory.read64
    tables = 0
    baseaddress = params.baseaddress
    walk = Walk.EL2 if stage1.high is None else Walk.EL1
    cached = None if walker is None else walker.cached(walk, params, va)
    for level, shift, index_mask, leaf_encoding in params.levels:
        if cached is not None and level < cached.level:
            continue
        address = baseaddress + ((va >> shift & index_mask) << 3)
        if cached is not None and level == cached.level:
            address = pa = 0
            tables = cached.tables
        elif stage2 is None:
            pa = address
        elif (
            kept is not None
            and (known := kept.get(address >> 12)) is not None
            and _walk_permitted(stage2, known.descriptor)
        ):
            pa = known.address | address & 0xFFF
        else:
            s2_leaf = s2_translate(
                stage2, memory, address, walks, s1ptw=True, kept=kept, walker=walker
            )
            if isinstance(s2_leaf, Fault):
                return s2_leaf
            pa = s2_leaf.address
        descriptor: int | None
        if walker is None:
            descriptor = read64(pa)
        elif cached is not None and level == cached.level:
            descriptor = cached.descriptor
        else:
            descriptor = walker.read(walk, params, level, va, pa)
        if stage1.big_endian and descriptor is not None:
            descriptor = _byte_swapped(descriptor)
        if walks is not None:
            walks.append(WalkStep(1, level, va, address, pa, descriptor))
        if descriptor is None:
            return Fault(FaultKind.SYNC_EXTERNAL_ON_WALK, level, 1)
        encoding = descriptor & 0b11
        if encoding == leaf_encoding:
            offset_mask = (1 << shift) - 1
            base = descriptor & OUTPUT_ADDRESS & ~offset_mask
            if base & params.beyond_oa:
                return Fault(FaultKind.ADDRESS_SIZE, level, 1)
            return Leaf(base | va & offset_mask, level, 1 << shift, descriptor, tables)
        if encoding != TABLE:
            return Fault(FaultKind.TRANSLATION, level, 1)
        tables |= descriptor & _HIERARCHICAL
        baseaddress = descriptor & params.table_mask
        if baseaddress & params.beyond_oa:
            return Fault(FaultKind.ADDRESS_SIZE, level, 1)
    raise AssertionError("level 3 has no Table descriptor")


def s2_translate(
    stage2: Stage2,
    memory: PhysicalMemory,
    ipa: int,
    walks: list[WalkStep] | None = None,
    *,
    s1ptw: bool = False,
    kept: KeptLeaves | None = None,
    walker: Walker | None = None,
) -> Leaf | Fault:
    """Stage 2 of an IPA, down to the Access flag; the permissions of the access are the caller's.

    Arm ARM AArch64.S2Translate and AArch64.S2Walk. With `s1ptw` the access is a descriptor read of
    stage 1, whose permission (read, and not from Device memory under HCR_EL2.PTW) is checked here.
    """
    if kept is not None:
        known = kept.get(ipa >> 12)
        if known is not None and (not s1ptw or _walk_permitted(stage2, known.descriptor)):
            return known._replace(address=known.address | ipa & 0xFFF)
    params = stage2.params
    # AArch64.S2InvalidSL, AArch64.S2InconsistentSL, AArch64.IPAIsOutOfRange.
    if params.misconfigured or ipa >> params.iasize:
        return Fault(FaultKind.TRANSLATION, 0, 2, s1ptw, ipa)
    if params.baseaddress & params.beyond_oa:
        return Fault(FaultKind.ADDRESS_SIZE, 0, 2, s1ptw, ipa)

    read64 = memory.read64
    baseaddress = params.baseaddress
    walk = Walk.STAGE2_OF_WALK if s1ptw else Walk.STAGE2
    cached = None if walker is None else walker.cached(walk, params, ipa)
    for level, shift, index_mask, leaf_encoding in params.levels:
        if cached is not None and level < cached.level:
            continue
        pa = baseaddress + ((ipa >> shift & index_mask) << 3)
        descriptor: int | None
        if walker is None:
            descriptor = read64(pa)
        elif cached is not None and level == cached.level:
            pa, descriptor = 0, cached.descriptor
        else:
            descriptor = walker.read(walk, params, level, ipa, pa)
        if stage2.big_endian and descriptor is not None:
            descriptor = _byte_swapped(descriptor)
        if walks is not None:
            walks.append(WalkStep(2, level, ipa, pa, pa, descriptor))
        if descriptor is None:
            return Fault(FaultKind.SYNC_EXTERNAL_ON_WALK, level, 2, s1ptw, ipa)
        encoding = descriptor & 0b11
        if encoding == leaf_encoding:
            offset_mask = (1 << shift) - 1
            base = descriptor & OUTPUT_ADDRESS & ~offset_mask
            if base & params.beyond_oa:
                return Fault(FaultKind.ADDRESS_SIZE, level, 2, s1ptw, ipa)
            if not descriptor & AF:
                return Fault(FaultKind.ACCESS_FLAG, level, 2, s1ptw, ipa)
            if s1ptw and not _walk_permitted(stage2, descriptor):
                return Fault(FaultKind.PERMISSION, level, 2, True, ipa)
            if kept is not None:
                page = base | ipa & offset_mask & ~0xFFF
                kept[ipa >> 12] = Leaf(page, level, 1 << shift, descriptor)
            return Leaf(base | ipa & offset_mask, level, 1 << shift, descriptor)
        if encoding != TABLE:
            return Fault(FaultKind.TRANSLATION, level, 2, s1ptw, ipa)
        baseaddress = descriptor & params.table_mask
        if baseaddress & params.beyond_oa:
            return Fault(FaultKind.ADDRESS_SIZE, level, 2, s1ptw, ipa)
    raise AssertionError("level 3 has no Table descriptor")


def _walk_permitted(stage2: Stage2, descriptor: int) -> bool:
    """Whether stage 2 lets stage 1 read a descriptor: it needs S2AP[0], and under HCR_EL2.PTW
    Normal memory."""
    if not descriptor & S2AP0:
        return False
    return not (stage2.protected_walks and s2_attr_is_device(descriptor >> 2 & 0xF))


def _byte_swapped(descriptor: int) -> int:
    """A descriptor of a big-endian table (SCTLR_ELx.EE), read little-endian."""
    return int.from_bytes(descriptor.to_bytes(8, "little"), "big")
