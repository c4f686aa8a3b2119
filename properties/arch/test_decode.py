# SPDX-License-Identifier: Apache-2.0
"""Decode of everything but loads and stores, against an assembler."""

import random
import re

import pytest
from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs
from keystone import KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN, Ks

from aether_edgecloud.emulator.arch.decode import (
    Barrier,
    BarrierKind,
    Brk,
    Dcps,
    Eret,
    FpSimd,
    Hint,
    Hlt,
    Hvc,
    Instruction,
    LoadStore,
    MsrImmediate,
    Other,
    PStateField,
    Smc,
    Svc,
    SysInstruction,
    SysRegAccess,
    Wfx,
    WfxKind,
    decode,
    iss_for_data_abort,
)

KS = Ks(KS_ARCH_ARM64, KS_MODE_LITTLE_ENDIAN)
CS = Cs(CS_ARCH_ARM64, CS_MODE_ARM)


def assemble(text: str) -> int:
    """One instruction at address 0."""
    encoding, _ = KS.asm(text)
    return int.from_bytes(bytes(encoding), "little")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("svc #0", Svc(0)),
        ("svc #0xffff", Svc(0xFFFF)),
        ("hvc #0x1234", Hvc(0x1234)),
        ("smc #1", Smc(1)),
        ("brk #0xf000", Brk(0xF000)),
        ("hlt #2", Hlt(2)),
        ("dcps1 #3", Dcps(1, 3)),
        ("dcps3", Dcps(3, 0)),
        ("wfi", Wfx(WfxKind.WFI)),
        ("wfe", Wfx(WfxKind.WFE)),
        ("nop", Hint(0)),
        ("yield", Hint(1)),
        ("sev", Hint(4)),
        ("sevl", Hint(5)),
        ("hint #127", Hint(127)),
        ("eret", Eret()),
        ("dsb sy", Barrier(BarrierKind.DSB, 15)),
        ("dsb ishst", Barrier(BarrierKind.DSB, 10)),
        ("dmb ish", Barrier(BarrierKind.DMB, 11)),
        ("isb", Barrier(BarrierKind.ISB, 15)),
        ("clrex", Barrier(BarrierKind.CLREX, 15)),
        ("msr daifset, #2", MsrImmediate(PStateField.DAIF_SET, 2)),
        ("msr daifclr, #15", MsrImmediate(PStateField.DAIF_CLR, 15)),
        ("msr spsel, #1", MsrImmediate(PStateField.SP_SEL, 1)),
        ("mrs x3, sctlr_el1", SysRegAccess(3, 0, 1, 0, 0, 3, True)),
        ("msr vttbr_el2, xzr", SysRegAccess(3, 4, 2, 1, 0, 31, False)),
        ("mrs x1, mdscr_el1", SysRegAccess(2, 0, 0, 2, 2, 1, True)),
        ("msr s3_1_c15_c2_1, x9", SysRegAccess(3, 1, 15, 2, 1, 9, False)),
        ("dc zva, x7", SysInstruction(3, 7, 4, 1, 7, False)),
        ("ic iallu", SysInstruction(0, 7, 5, 0, 31, False)),
        ("tlbi ipas2e1is, x2", SysInstruction(4, 8, 0, 1, 2, False)),
        ("at s12e1r, x2", SysInstruction(4, 7, 8, 4, 2, False)),
        ("sysl x2, #1, c11, c0, #3", SysInstruction(1, 11, 0, 3, 2, True)),
        ("fadd d0, d1, d2", FpSimd()),
        ("fmov x0, d1", FpSimd()),
        ("add v0.4s, v1.4s, v2.4s", FpSimd()),
        ("add x0, x1, x2", Other()),
        ("movz x0, #1", Other()),
        ("b #8", Other()),
        ("ret", Other()),
        ("br x3", Other()),
    ],
)
def test_decodes(text: str, expected: Instruction) -> None:
    assert decode(assemble(text)) == expected


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (0x00000000, "UDF"),
        (0xD4000000, "SVC with LL = 0"),
        (0xD4000005, "SVC with op2 = 1"),
        (0xD4200001, "BRK with LL = 1"),
        (0xD69F0BFF, "ERETAA, later than Armv8.0"),
        (0xD6BF03E0, "DRPS"),
        (0xD503305E, "CLREX with Rt = 30"),
        (0xD503201E, "hint with Rt = 30"),
        (0xD500401F, "CFINV, later than Armv8.0"),
        (0x04200000, "SVE"),
    ],
)
def test_other(word: int, why: str) -> None:
    assert decode(word) == Other(), why


@pytest.mark.parametrize("word", [-1, 1 << 32])
def test_refuses_what_is_no_instruction(word: int) -> None:
    with pytest.raises(ValueError, match="32-bit instruction"):
        decode(word)


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("dc zva, x0", {"is_dc_zva"}),
        ("dc civac, x0", {"is_cache_by_va"}),
        ("dc cvau, x0", {"is_cache_by_va"}),
        ("dc ivac, x0", {"is_cache_by_va"}),
        ("ic ivau, x0", {"is_cache_by_va", "is_ic"}),
        ("ic ialluis", {"is_ic"}),
        ("dc isw, x0", set()),
        ("tlbi alle2", {"is_tlbi"}),
        ("at s1e0w, x0", {"is_at"}),
        ("at s12e0w, x0", {"is_at"}),
    ],
)
def test_kinds_of_system_instructions(text: str, properties: set[str]) -> None:
    instruction = decode(assemble(text))
    names = ("is_dc_zva", "is_cache_by_va", "is_ic", "is_tlbi", "is_at")
    assert {name for name in names if getattr(instruction, name)} == properties


def test_no_syndrome_for_what_is_no_load_or_store() -> None:
    assert iss_for_data_abort(decode(assemble("dc zva, x0"))) == 0
    assert iss_for_data_abort(decode(assemble("fadd d0, d1, d2"))) == 0


GENERIC = re.compile(r"s(\d)_(\d)_c(\d+)_c(\d+)_(\d)")


def test_random_system_words_agree_with_capstone() -> None:
    generator = random.Random(1)
    checked = 0
    for _ in range(20_000):
        word = 0xD500_0000 | generator.getrandbits(22)
        lines = list(CS.disasm_lite(word.to_bytes(4, "little"), 0))
        instruction = decode(word)
        if not lines:
            assert isinstance(instruction, Other | Barrier), f"{word:#x} {instruction}"
            continue
        _, _, mnemonic, operands = lines[0]
        match = GENERIC.search(operands)
        if mnemonic in ("mrs", "msr") and match and isinstance(instruction, SysRegAccess):
            numbers = tuple(int(number) for number in match.groups())
            assert numbers == (
                instruction.op0,
                instruction.op1,
                instruction.crn,
                instruction.crm,
                instruction.op2,
            )
            assert instruction.is_read == (mnemonic == "mrs")
            register = operands.split(", ")[0 if mnemonic == "mrs" else 1]
            assert register == ("xzr" if instruction.rt == 31 else f"x{instruction.rt}")
            checked += 1
    assert checked > 5000


def test_random_words_of_the_rest_are_other() -> None:
    """Data processing and branches: nothing there may pass for something that traps."""
    generator = random.Random(2)
    for _ in range(20_000):
        word = generator.getrandbits(32)
        instruction = decode(word)
        lines = list(CS.disasm_lite(word.to_bytes(4, "little"), 0))
        if lines and lines[0][2] in ("svc", "hvc", "smc", "brk", "hlt", "eret", "wfi", "wfe"):
            assert not isinstance(instruction, Other)
        elif isinstance(instruction, FpSimd):
            assert word & 0x0E00_0000 == 0x0E00_0000
        elif not isinstance(instruction, LoadStore):
            assert instruction == Other() or word >> 24 in (0xD4, 0xD5, 0xD6)
