# SPDX-License-Identifier: Apache-2.0
"""Permissions, from the tables of Arm ARM D8.4 (stage 1 AP/UXN/PXN/WXN, stage 2 S2AP/XN)."""

from dataclasses import replace
from itertools import product

import pytest

from aether_edgecloud.emulator.arch.mmu import (
    Access,
    Fault,
    FaultKind,
    MmuRegisters,
    Translation,
    translate,
)

from .small_tables import (
    SCTLR_C,
    SCTLR_I,
    SCTLR_M,
    SCTLR_WXN,
    Words,
    el2,
    el10,
    s1,
    s1_page,
    s2_identity,
    two_stage,
)

LETTERS = {Access.READ: "r", Access.WRITE: "w", Access.FETCH: "x"}
ON = SCTLR_M | SCTLR_C | SCTLR_I


def permissions(
    registers: MmuRegisters, words: dict[int, int], el: int, privileged: bool = True
) -> str:
    """What may be done at VA 0, as "r-x"; found by trying each access kind.

    That the set in each result says the same is checked on the way.
    """
    text = ""
    results = []
    for access, letter in LETTERS.items():
        result = translate(registers, Words(words), 0, el, access, privileged=privileged)
        if isinstance(result, Fault):
            assert result.kind is FaultKind.PERMISSION
        else:
            results.append(result)
        text += letter if isinstance(result, Translation) else "-"
    for r in results:
        assert text == "".join(
            letter if allowed else "-"
            for letter, allowed in zip("rwx", (r.readable, r.writable, r.executable), strict=True)
        )
    return text


# (AP[2:1], UXN, PXN): (EL1, EL0), with WXN = 0.
EL10_WXN0 = {
    (0b00, 0, 0): ("rwx", "--x"),
    (0b00, 0, 1): ("rw-", "--x"),
    (0b00, 1, 0): ("rwx", "---"),
    (0b00, 1, 1): ("rw-", "---"),
    (0b01, 0, 0): ("rw-", "rwx"),  # writable at EL0: never executable at EL1
    (0b01, 0, 1): ("rw-", "rwx"),
    (0b01, 1, 0): ("rw-", "rw-"),
    (0b01, 1, 1): ("rw-", "rw-"),
    (0b10, 0, 0): ("r-x", "--x"),
    (0b10, 0, 1): ("r--", "--x"),
    (0b10, 1, 0): ("r-x", "---"),
    (0b10, 1, 1): ("r--", "---"),
    (0b11, 0, 0): ("r-x", "r-x"),
    (0b11, 0, 1): ("r--", "r-x"),
    (0b11, 1, 0): ("r-x", "r--"),
    (0b11, 1, 1): ("r--", "r--"),
}
# With WXN = 1, what an Exception level can write it cannot execute.
EL10_WXN1 = {
    (0b00, 0, 0): ("rw-", "--x"),
    (0b00, 0, 1): ("rw-", "--x"),
    (0b00, 1, 0): ("rw-", "---"),
    (0b00, 1, 1): ("rw-", "---"),
    (0b01, 0, 0): ("rw-", "rw-"),
    (0b01, 0, 1): ("rw-", "rw-"),
    (0b01, 1, 0): ("rw-", "rw-"),
    (0b01, 1, 1): ("rw-", "rw-"),
    (0b10, 0, 0): ("r-x", "--x"),
    (0b10, 0, 1): ("r--", "--x"),
    (0b10, 1, 0): ("r-x", "---"),
    (0b10, 1, 1): ("r--", "---"),
    (0b11, 0, 0): ("r-x", "r-x"),
    (0b11, 0, 1): ("r--", "r-x"),
    (0b11, 1, 0): ("r-x", "r--"),
    (0b11, 1, 1): ("r--", "r--"),
}
# (AP[2], XN, WXN): EL2, where AP[1] is RES1 and PXN is RES0.
EL2 = {
    (0, 0, 0): "rwx",
    (0, 0, 1): "rw-",
    (0, 1, 0): "rw-",
    (0, 1, 1): "rw-",
    (1, 0, 0): "r-x",
    (1, 0, 1): "r-x",
    (1, 1, 0): "r--",
    (1, 1, 1): "r--",
}
S2AP = {0b00: "--", 0b01: "r-", 0b10: "-w", 0b11: "rw"}
# XN[1:0] with FEAT_XNX: executable at (EL1, EL0).
XNX = {0b00: ("x", "x"), 0b01: ("-", "x"), 0b10: ("-", "-"), 0b11: ("x", "-")}


@pytest.mark.parametrize("wxn", (0, 1))
@pytest.mark.parametrize(("ap", "uxn", "pxn"), EL10_WXN0)
def test_el1_and_el0(ap: int, uxn: int, pxn: int, wxn: int) -> None:
    registers = el10(sctlr_el1=ON | SCTLR_WXN * wxn)
    words = s1_page(s1(0x8000, ap=ap, uxn=uxn, pxn=pxn))
    expected = (EL10_WXN1 if wxn else EL10_WXN0)[ap, uxn, pxn]
    assert (permissions(registers, words, 1), permissions(registers, words, 0)) == expected


def test_unprivileged_access_from_el1_is_as_from_el0() -> None:
    for (ap, uxn, pxn), (_, el0) in EL10_WXN0.items():
        words = s1_page(s1(0x8000, ap=ap, uxn=uxn, pxn=pxn))
        assert permissions(el10(), words, 1, privileged=False)[:2] == el0[:2]


@pytest.mark.parametrize(("ap2", "xn", "wxn"), EL2)
def test_el2(ap2: int, xn: int, wxn: int) -> None:
    registers = el2(sctlr_el2=ON | SCTLR_WXN * wxn)
    for ap1, pxn in product((0, 1), repeat=2):
        words = s1_page(s1(0x8000, ap=ap2 << 1 | ap1, uxn=xn, pxn=pxn))
        assert permissions(registers, words, 2) == EL2[ap2, xn, wxn]


@pytest.mark.parametrize("where", (0x1_0000, 0x2_0000))
def test_tables_take_permissions_away(where: int) -> None:
    """APTable, UXNTable and PXNTable at any level act as the leaf's own fields would."""
    for ap_table, uxn_table, pxn_table in product(range(4), (0, 1), (0, 1)):
        for ap, uxn, pxn in EL10_WXN0:
            words = s1_page(s1(0x8000, ap=ap, uxn=uxn, pxn=pxn))
            words[where] |= pxn_table << 59 | uxn_table << 60 | ap_table << 61
            # APTable[1]: read-only; APTable[0]: no EL0 access.
            effective_ap = (ap | ap_table & 0b10) & ~(ap_table & 0b01)
            expected = EL10_WXN0[effective_ap, uxn | uxn_table, pxn | pxn_table]
            found = (permissions(el10(), words, 1), permissions(el10(), words, 0))
            assert found == expected, (ap_table, uxn_table, pxn_table, ap, uxn, pxn)


def test_tables_take_permissions_away_at_el2() -> None:
    """At EL2 APTable[0] and PXNTable are RES0."""
    for ap_table, uxn_table, pxn_table in product(range(4), (0, 1), (0, 1)):
        words = s1_page(s1(0x8000, ap=0b01), ap_table=ap_table, uxn_table=uxn_table)
        words[0x1_0000] |= pxn_table << 59
        assert permissions(el2(), words, 2) == EL2[ap_table >> 1, uxn_table, 0]


@pytest.mark.parametrize("xnx", (False, True))
@pytest.mark.parametrize("s2ap", S2AP)
@pytest.mark.parametrize("xn", XNX)
def test_stage_2(s2ap: int, xn: int, xnx: bool) -> None:
    """Stage 1 off: stage 2 alone decides. Without FEAT_XNX only XN[1] counts."""
    registers = replace(two_stage(sctlr_el1=0), xnx=xnx)
    words = s2_identity(s2ap=s2ap, xn=xn)
    el1, el0 = XNX[xn] if xnx else XNX[xn & 0b10]
    assert permissions(registers, words, 1) == S2AP[s2ap] + el1
    assert permissions(registers, words, 0) == S2AP[s2ap] + el0


def test_both_stages_must_permit() -> None:
    for (ap, uxn, pxn), by_el in EL10_WXN0.items():
        for s2ap, xn in product(S2AP, (0b00, 0b10)):
            words = s1_page(s1(0x20_0000, ap=ap, uxn=uxn, pxn=pxn)) | s2_identity(2)
            words |= {0x5_0008: s2_identity(2, s2ap=s2ap, xn=xn)[0x5_0008]}
            for stage1, el in zip(by_el, (1, 0), strict=True):
                stage2 = S2AP[s2ap] + XNX[xn][0]
                both = zip(stage1, stage2, strict=True)
                expected = "".join(a if a == b else "-" for a, b in both)
                assert permissions(two_stage(), words, el) == expected


def test_which_stage_refuses() -> None:
    """Stage 1 is checked first; its refusal never reaches stage 2."""
    words = s1_page(s1(0x20_0000, ap=0b10)) | s2_identity(2)
    words[0x5_0008] = 0
    result = translate(two_stage(), Words(words), 0, 1, Access.WRITE)
    assert result == Fault(FaultKind.PERMISSION, 3, 1)
    result = translate(two_stage(), Words(words), 0x123, 1, Access.READ)
    assert result == Fault(FaultKind.TRANSLATION, 2, 2, False, 0x20_0123)
