# SPDX-License-Identifier: Apache-2.0
"""Hand-made tables for examples: a memory of words, and the descriptors that fill it."""

from typing import Any

from aether_edgecloud.emulator.arch.mmu import MmuRegisters

AF = 1 << 10
SCTLR_M, SCTLR_C, SCTLR_I, SCTLR_WXN, SCTLR_EE = 1 << 0, 1 << 2, 1 << 12, 1 << 19, 1 << 25
HCR_VM, HCR_PTW, HCR_DC, HCR_TGE, HCR_CD, HCR_ID = 1, 1 << 2, 1 << 12, 1 << 27, 1 << 32, 1 << 33
PS_44 = 0b100
TG1_4K = 0b10
NORMAL_WB = 0xFF

# Where the examples keep their tables. With stage 2 on, stage-1 tables are at IPA == PA.
ROOT, L2, L3 = 0x1_0000, 0x2_0000, 0x3_0000
S2_ROOT, S2_L2, S2_L3 = 0x4_0000, 0x5_0000, 0x6_0000


class Words:
    """Memory that holds the given words and zeros, up to `size`; beyond it reads abort."""

    def __init__(self, words: dict[int, int], size: int = 1 << 32) -> None:
        self._words = words
        self._size = size

    def read64(self, pa: int) -> int | None:
        assert pa % 8 == 0
        return self._words.get(pa, 0) if pa < self._size else None


def table(address: int, **fields: int) -> int:
    """A Table descriptor. Fields: ap_table, uxn_table, pxn_table."""
    return (
        address
        | 0b11
        | fields.get("pxn_table", 0) << 59
        | fields.get("uxn_table", 0) << 60
        | fields.get("ap_table", 0) << 61
    )


def s1(address: int, level: int = 3, *, af: int = 1, **fields: int) -> int:
    """A stage-1 Page or Block. Fields: attr_index, ap (AP[2:1]), sh, ng, pxn, uxn, contiguous."""
    return (
        address
        | (0b11 if level == 3 else 0b01)
        | fields.get("attr_index", 0) << 2
        | fields.get("ap", 0) << 6
        | fields.get("sh", 0b11) << 8
        | af << 10
        | fields.get("ng", 0) << 11
        | fields.get("contiguous", 0) << 52
        | fields.get("pxn", 0) << 53
        | fields.get("uxn", 0) << 54
    )


def s2(address: int, level: int = 3, *, af: int = 1, **fields: int) -> int:
    """A stage-2 Page or Block. Fields: memattr, s2ap, sh, contiguous, xn (XN[1:0])."""
    return (
        address
        | (0b11 if level == 3 else 0b01)
        | fields.get("memattr", 0b1111) << 2
        | fields.get("s2ap", 0b11) << 6
        | fields.get("sh", 0b11) << 8
        | af << 10
        | fields.get("contiguous", 0) << 52
        | fields.get("xn", 0) << 53
    )


def el10(**registers: Any) -> MmuRegisters:
    """EL1&0 with 39-bit ranges, 4K, both starting at level 1 at ROOT; MAIR byte 0 Normal."""
    values: dict[str, Any] = {
        "sctlr_el1": SCTLR_M | SCTLR_C | SCTLR_I,
        "tcr_el1": 25 | 25 << 16 | TG1_4K << 30 | PS_44 << 32,
        "ttbr0_el1": ROOT,
        "ttbr1_el1": ROOT,
        "mair_el1": NORMAL_WB,
    }
    return MmuRegisters(**(values | registers))


def two_stage(**registers: Any) -> MmuRegisters:
    """As `el10` under a stage 2 with 39-bit IPAs that starts at level 1 at S2_ROOT."""
    values: dict[str, Any] = {
        "hcr_el2": HCR_VM,
        "vtcr_el2": 25 | 1 << 6 | PS_44 << 16,
        "vttbr_el2": S2_ROOT,
    }
    return el10(**(values | registers))


def el2(**registers: Any) -> MmuRegisters:
    """EL2 with a 39-bit range, 4K, starting at level 1 at ROOT."""
    values: dict[str, Any] = {
        "sctlr_el2": SCTLR_M | SCTLR_C | SCTLR_I,
        "tcr_el2": 25 | PS_44 << 16,
        "ttbr0_el2": ROOT,
        "mair_el2": NORMAL_WB,
    }
    return MmuRegisters(**(values | registers))


def s1_page(leaf: int, **tables: int) -> dict[int, int]:
    """Tables that map VA page 0 of a 39-bit range by `leaf`."""
    return {ROOT: table(L2, **tables), L2: table(L3), L3: leaf}


def s2_identity(level: int = 1, **fields: int) -> dict[int, int]:
    """Stage 2 that maps the first GiB, or less of it by smaller leaves, to itself."""
    if level == 1:
        return {S2_ROOT: s2(0, 1, **fields)}
    if level == 2:
        return {S2_ROOT: table(S2_L2)} | {
            S2_L2 + 8 * i: s2(i << 21, 2, **fields) for i in range(512)
        }
    return {S2_ROOT: table(S2_L2), S2_L2: table(S2_L3)} | {
        S2_L3 + 8 * i: s2(i << 12, 3, **fields) for i in range(512)
    }
