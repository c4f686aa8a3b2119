# SPDX-License-Identifier: Apache-2.0
"""VMSAv8-64 descriptors: granules, types, fields and permissions (Arm ARM D8.3, D8.4).

48-bit descriptors only: FEAT_LPA, FEAT_LPA2 and FEAT_HPDS are not modelled.
"""

from enum import Enum, IntEnum
from functools import cache


class Access(IntEnum):
    """A kind of access; the values are bits, so that a permission set is their OR."""

    READ = 1
    WRITE = 2
    FETCH = 4


class Granule(IntEnum):
    """A translation granule; the value is log2 of its size in bytes."""

    KB4 = 12
    KB16 = 14
    KB64 = 16

    @property
    def stride(self) -> int:
        """Address bits resolved by one full table."""
        return self.value - 3

    @property
    def first_block_level(self) -> int:
        """The lowest-numbered level at which a Block descriptor exists."""
        return 1 if self is Granule.KB4 else 2

    def shift(self, level: int) -> int:
        """log2 of the bytes that one entry of a table at `level` covers."""
        return self.value + self.stride * (3 - level)

    def contiguous_entries(self, level: int) -> int:
        """How many entries share one Contiguous hint (Arm ARM ContiguousSize)."""
        if self is Granule.KB16:
            return 128 if level == 3 else 32
        return 16 if self is Granule.KB4 else 32


class DescriptorType(Enum):
    INVALID = "invalid"
    TABLE = "table"
    BLOCK = "block"
    PAGE = "page"


TABLE = 0b11
"""Descriptor[1:0] of a Table descriptor at levels 0..2."""

NO_LEAF = -1
"""The leaf encoding of a level that has none: equal to no descriptor[1:0]."""


def leaf_encoding(granule: Granule, level: int) -> int:
    """Descriptor[1:0] of a Page or Block at `level`, NO_LEAF where neither exists."""
    if level == 3:
        return 0b11
    return 0b01 if level >= granule.first_block_level else NO_LEAF


def decode_descriptor_type(descriptor: int, granule: Granule, level: int) -> DescriptorType:
    """The type of a descriptor at `level` (Arm ARM AArch64.DecodeDescriptorType).

    Reserved encodings are INVALID: 0b01 at level 3, and 0b01 at a level without blocks.
    """
    encoding = descriptor & 0b11
    if encoding == leaf_encoding(granule, level):
        return DescriptorType.PAGE if level == 3 else DescriptorType.BLOCK
    return DescriptorType.TABLE if encoding == TABLE else DescriptorType.INVALID


# Fields common to both stages.
AF = 1 << 10
CONTIGUOUS = 1 << 52
OUTPUT_ADDRESS = 0x0000_FFFF_FFFF_FFFF
# S2AP[0] of stage-2 Block and Page descriptors: readable.
S2AP0 = 1 << 6
# Fields of stage-1 Block and Page descriptors.
AP1 = 1 << 6
AP2 = 1 << 7
NG = 1 << 11
PXN = 1 << 53
UXN = 1 << 54
# Fields of stage-1 Table descriptors, inherited by everything below them.
PXN_TABLE = 1 << 59
UXN_TABLE = 1 << 60
AP_TABLE0 = 1 << 61
AP_TABLE1 = 1 << 62


def s1_permission_fields(descriptor: int, tables: int) -> int:
    """AP[2:1], UXN and PXN of a stage-1 leaf below the ORed Table descriptors `tables`.

    The result is AP[2]:AP[1]:UXN:PXN, an index for `s1_permissions`. Tables can only take away:
    APTable[1] forces read-only, APTable[0] takes EL0's access, UXNTable and PXNTable execution.
    """
    fields = (descriptor >> 6 & 0b11) << 2 | descriptor >> 53 & 0b11
    return (fields | (tables >> 62 & 1) << 3 | tables >> 59 & 0b11) & ~((tables >> 61 & 1) << 2)


@cache
def s1_permissions(wxn: bool, has_el0: bool, privileged: bool) -> tuple[int, ...]:
    """Permission sets by AP[2]:AP[1]:UXN:PXN (Arm ARM AArch64.CheckPermission).

    `has_el0`: the regime serves two Exception levels (EL1&0); else AP[1] and PXN are ignored and
    bit 54 is XN.
    """
    sets = []
    for fields in range(16):
        ap2, ap1, uxn, pxn = (bool(fields >> bit & 1) for bit in (3, 2, 1, 0))
        priv_w = not ap2
        user_r = ap1
        user_w = ap1 and not ap2
        if not has_el0:
            r, w, xn = True, priv_w, uxn or (wxn and priv_w)
        elif privileged:
            # What EL0 can write, EL1 never executes.
            r, w, xn = True, priv_w, pxn or (wxn and priv_w) or user_w
        else:
            r, w, xn = user_r, user_w, uxn or (wxn and user_w)
        sets.append(Access.READ * r | Access.WRITE * w | Access.FETCH * (not xn))
    return tuple(sets)


def s2_permission_fields(descriptor: int) -> int:
    """S2AP[1:0]:XN[1:0] of a stage-2 leaf, an index for `s2_permissions`."""
    return (descriptor >> 6 & 0b11) << 2 | descriptor >> 53 & 0b11


@cache
def s2_permissions(xnx: bool, privileged: bool) -> tuple[int, ...]:
    """Permission sets by S2AP[1:0]:XN[1:0] (Arm ARM AArch64.CheckS2Permission).

    XN[0] (bit 53) counts only with FEAT_XNX. Execution does not need read permission.
    """
    sets = []
    for fields in range(16):
        s2ap1, s2ap0, xn1, xn0 = (bool(fields >> bit & 1) for bit in (3, 2, 1, 0))
        xn = xn1
        if xnx and xn0:
            xn = privileged != xn1  # 0b01: not at EL1; 0b11: not at EL0
        sets.append(Access.READ * s2ap0 | Access.WRITE * s2ap1 | Access.FETCH * (not xn))
    return tuple(sets)
