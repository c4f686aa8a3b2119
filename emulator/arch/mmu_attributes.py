# SPDX-License-Identifier: Apache-2.0
"""Memory types: decoding of MAIR and of stage-2 MemAttr, and how the stages combine.

Arm ARM D8 "Memory region attributes"; pseudocode S1AttrDecode, S2AttrDecode, WalkAttrDecode,
CombineS1S2Desc, EncodePARAttrs. Not modelled: FEAT_S2FWB, FEAT_MTE, HCR_EL2.MIOCNCE.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache


class MemoryType(Enum):
    NORMAL = "Normal"
    DEVICE = "Device"


class DeviceType(Enum):
    """The value is the two-bit encoding; a smaller one is the stricter type."""

    NGNRNE = 0b00
    NGNRE = 0b01
    NGRE = 0b10
    GRE = 0b11

    def __str__(self) -> str:
        return ("nGnRnE", "nGnRE", "nGRE", "GRE")[self.value]


class Cacheability(Enum):
    """The value is the stage-2 encoding; a smaller one is the stricter."""

    NON_CACHEABLE = 0b01
    WRITE_THROUGH = 0b10
    WRITE_BACK = 0b11


class Shareability(Enum):
    """The value is the SH encoding of descriptors and of PAR_EL1."""

    NON_SHAREABLE = 0b00
    OUTER_SHAREABLE = 0b10
    INNER_SHAREABLE = 0b11


@dataclass(frozen=True, slots=True)
class MemAttrHints:
    """Cacheability of one cache domain. The hints are False for Non-cacheable."""

    attrs: Cacheability
    read_allocate: bool = False
    write_allocate: bool = False
    transient: bool = False

    def __str__(self) -> str:
        if self.attrs is Cacheability.NON_CACHEABLE:
            return "NC"
        name = "WT" if self.attrs is Cacheability.WRITE_THROUGH else "WB"
        hints = "R" * self.read_allocate + "W" * self.write_allocate
        return name + (f"-{hints}A" if hints else "") + ("-transient" if self.transient else "")


NON_CACHEABLE = MemAttrHints(Cacheability.NON_CACHEABLE)


@dataclass(frozen=True, slots=True)
class MemoryAttributes:
    """The attributes of a location. `device` is None for Normal memory."""

    device: DeviceType | None
    inner: MemAttrHints
    outer: MemAttrHints
    shareability: Shareability

    @property
    def memory_type(self) -> MemoryType:
        return MemoryType.NORMAL if self.device is None else MemoryType.DEVICE

    @property
    def cacheable(self) -> bool:
        """Whether some cache may hold the location."""
        return self.device is None and (self.inner, self.outer) != (NON_CACHEABLE, NON_CACHEABLE)

    @property
    def par_attr(self) -> int:
        """PAR_EL1.ATTR, in the encoding of a MAIR byte (Arm ARM EncodePARAttrs)."""
        if self.device is not None:
            return self.device.value << 2
        return _mair_nibble(self.outer) << 4 | _mair_nibble(self.inner)

    def __str__(self) -> str:
        if self.device is not None:
            return f"Device-{self.device}"
        share = {"NON_SHAREABLE": "NSH", "OUTER_SHAREABLE": "OSH", "INNER_SHAREABLE": "ISH"}
        where = str(self.inner)
        if self.inner != self.outer:
            where = f"inner {self.inner} outer {self.outer}"
        return f"Normal {where} {share[self.shareability.name]}"


def _mair_nibble(hints: MemAttrHints) -> int:
    if hints.attrs is Cacheability.NON_CACHEABLE:
        return 0b0100
    persistent, write_back = not hints.transient, hints.attrs is Cacheability.WRITE_BACK
    return persistent << 3 | write_back << 2 | hints.read_allocate << 1 | hints.write_allocate


def device_memory(device: DeviceType) -> MemoryAttributes:
    """Device memory is always Outer Shareable (Arm ARM MemAttrDefaults)."""
    return MemoryAttributes(device, NON_CACHEABLE, NON_CACHEABLE, Shareability.OUTER_SHAREABLE)


def normal_memory(
    inner: MemAttrHints, outer: MemAttrHints, shareability: Shareability
) -> MemoryAttributes:
    """Normal memory; where nothing caches it, it is Outer Shareable (Arm ARM MemAttrDefaults)."""
    if inner.attrs is outer.attrs is Cacheability.NON_CACHEABLE:
        shareability = Shareability.OUTER_SHAREABLE
    return MemoryAttributes(None, inner, outer, shareability)


NORMAL_NON_CACHEABLE = normal_memory(NON_CACHEABLE, NON_CACHEABLE, Shareability.OUTER_SHAREABLE)


def decode_shareability(sh: int) -> Shareability:
    """SH[1:0]; the reserved 0b01 is taken as Non-shareable."""
    return Shareability.NON_SHAREABLE if sh == 0b01 else Shareability(sh)


def long_convert_attrs_hints(nibble: int, cacheable: bool) -> MemAttrHints:
    """One nibble of a MAIR byte for Normal memory (Arm ARM LongConvertAttrsHints).

    `cacheable` is False where SCTLR_ELx.C or .I forces Non-cacheable.
    """
    if not cacheable or nibble == 0b0100:
        return NON_CACHEABLE
    attrs = Cacheability.WRITE_BACK if nibble & 0b0100 else Cacheability.WRITE_THROUGH
    return MemAttrHints(attrs, bool(nibble & 0b10), bool(nibble & 0b01), not nibble & 0b1000)


def s1_attr_is_device(attr: int) -> bool:
    """Whether a byte of MAIR_ELx is Device memory; reserved encodings are taken as such."""
    return not (attr & 0xF0 and attr & 0x0F)


@cache
def s1_attr_decode(attr: int, sh: int, cacheable: bool) -> MemoryAttributes:
    """A byte of MAIR_ELx and the SH field of a stage-1 descriptor (Arm ARM S1AttrDecode).

    The encodings that Armv8.0 reserves (Unpredictable_RESMAIR) are taken as Device-nGnRnE.
    """
    outer, inner = attr >> 4, attr & 0xF
    if outer == 0:
        return device_memory(DeviceType(inner >> 2) if inner & 0b11 == 0 else DeviceType.NGNRNE)
    if s1_attr_is_device(attr):
        return device_memory(DeviceType.NGNRNE)
    return normal_memory(
        long_convert_attrs_hints(inner, cacheable),
        long_convert_attrs_hints(outer, cacheable),
        decode_shareability(sh),
    )


def s2_attr_is_device(attr: int) -> bool:
    """Whether a stage-2 MemAttr is Device memory; reserved encodings are taken as such."""
    return not (attr & 0b1100 and attr & 0b0011)


def s2_convert_attrs_hints(attr: int, cacheable: bool) -> MemAttrHints:
    """Two bits of a stage-2 MemAttr for Normal memory (Arm ARM S2ConvertAttrsHints)."""
    if not cacheable or attr == 0b01:
        return NON_CACHEABLE
    return MemAttrHints(Cacheability(attr), read_allocate=True, write_allocate=True)


@cache
def s2_attr_decode(attr: int, sh: int, cacheable: bool) -> MemoryAttributes:
    """MemAttr[3:0] and SH of a stage-2 descriptor (Arm ARM S2AttrDecode).

    `cacheable` is False where HCR_EL2.CD or .ID forces Non-cacheable. The reserved encodings (inner
    0b00 with outer not 0b00) are taken as Device-nGnRnE.
    """
    outer, inner = attr >> 2, attr & 0b11
    if outer == 0b00:
        return device_memory(DeviceType(inner))
    if s2_attr_is_device(attr):
        return device_memory(DeviceType.NGNRNE)
    return normal_memory(
        s2_convert_attrs_hints(inner, cacheable),
        s2_convert_attrs_hints(outer, cacheable),
        decode_shareability(sh),
    )


@cache
def walk_attr_decode(sh: int, orgn: int, irgn: int, cacheable: bool) -> MemoryAttributes:
    """Attributes of table walks, from SH, ORGN and IRGN of a TCR (Arm ARM WalkAttrDecode)."""

    def short_convert(rgn: int) -> MemAttrHints:
        if not cacheable or rgn == 0b00:
            return NON_CACHEABLE
        attrs = Cacheability.WRITE_THROUGH if rgn == 0b10 else Cacheability.WRITE_BACK
        return MemAttrHints(attrs, read_allocate=True, write_allocate=rgn == 0b01)

    return normal_memory(short_convert(irgn), short_convert(orgn), decode_shareability(sh))


def combine_s1s2_attr_hints(s1: MemAttrHints, s2: MemAttrHints) -> MemAttrHints:
    """The stricter cacheability, with the hints of stage 1 (Arm ARM CombineS1S2AttrHints)."""
    attrs = min(s1.attrs, s2.attrs, key=lambda c: c.value)
    if attrs is Cacheability.NON_CACHEABLE:
        return NON_CACHEABLE
    return MemAttrHints(attrs, s1.read_allocate, s1.write_allocate, s1.transient)


def combine_s1s2(s1: MemoryAttributes, s2: MemoryAttributes) -> MemoryAttributes:
    """The attributes of a location translated by both stages (Arm ARM CombineS1S2Desc)."""
    if s1.device is not None or s2.device is not None:
        devices = [s.device for s in (s1, s2) if s.device is not None]
        return device_memory(min(devices, key=lambda d: d.value))
    either = {s1.shareability, s2.shareability}
    shareability = Shareability.NON_SHAREABLE
    if Shareability.OUTER_SHAREABLE in either:
        shareability = Shareability.OUTER_SHAREABLE
    elif Shareability.INNER_SHAREABLE in either:
        shareability = Shareability.INNER_SHAREABLE
    return normal_memory(
        combine_s1s2_attr_hints(s1.inner, s2.inner),
        combine_s1s2_attr_hints(s1.outer, s2.outer),
        shareability,
    )


def instruction_device(attributes: MemoryAttributes) -> MemoryAttributes:
    """What a permitted instruction fetch sees (Arm ARM AArch64.InstructionDevice).

    Of the two behaviours the architecture allows for a fetch from Device memory this is the one
    that does not fault: the fetch is made as from Normal Non-cacheable memory.
    """
    return attributes if attributes.device is None else NORMAL_NON_CACHEABLE


@cache
def resultant_attributes(
    s1_attr: int,
    s1_sh: int,
    s1_cacheable: bool,
    s2_attr: int | None,
    s2_sh: int,
    s2_cacheable: bool,
    fetch: bool,
) -> MemoryAttributes:
    """The attributes of an access from the fields of its leaf descriptors.

    `s1_attr` is a MAIR byte, `s2_attr` a stage-2 MemAttr or None without stage 2. Kept in a cache
    of small integers, because it is asked at every TLB fill.
    """
    s1 = s1_attr_decode(s1_attr, s1_sh, s1_cacheable)
    if fetch:
        s1 = instruction_device(s1)
    if s2_attr is None:
        return s1
    s2 = s2_attr_decode(s2_attr, s2_sh, s2_cacheable)
    if fetch:
        s2 = instruction_device(s2)
    return combine_s1s2(s1, s2)
