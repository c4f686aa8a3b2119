# SPDX-License-Identifier: Apache-2.0
"""Syndromes, by the bit numbers of the Arm ARM, and their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.arch.decode import decode, iss_for_data_abort
from aether_edgecloud.emulator.arch.esr import (
    EC_WORDS,
    ExceptionClass,
    abort_class,
    describe,
    exception_class,
    fault_words,
    iss,
    iss_data_abort,
    iss_fp,
    iss_instruction_abort,
    iss_sysreg,
    iss_wfx,
    syndrome,
    sysreg_iss_fields,
)

LDR_W3 = 0xB9400023  # ldr w3, [x1]
STR_X5 = 0xF9000025  # str x5, [x1]


def test_syndrome() -> None:
    assert syndrome(ExceptionClass.HVC, 7) == 0x5A000007
    assert syndrome(ExceptionClass.UNKNOWN) == 0x02000000
    assert syndrome(ExceptionClass.BRK, 0xF000) == 0xF200F000
    assert syndrome(ExceptionClass.WFX, iss_wfx(is_wfe=False)) == 0x07E00000
    assert syndrome(ExceptionClass.WFX, iss_wfx(is_wfe=True)) == 0x07E00001
    assert syndrome(ExceptionClass.FP_ACCESS, iss_fp()) == 0x1FE00000
    assert exception_class(0x5A000007) == ExceptionClass.HVC
    assert iss(0x5A000007) == 7


def test_stage_2_data_abort_of_a_load_and_a_store() -> None:
    load = iss_data_abort(0b000111, is_write=False, instruction=iss_for_data_abort(decode(LDR_W3)))
    assert syndrome(ExceptionClass.DATA_ABORT_LOWER, load) == 0x93830007
    store = iss_data_abort(0b001111, is_write=True, instruction=iss_for_data_abort(decode(STR_X5)))
    assert syndrome(ExceptionClass.DATA_ABORT_LOWER, store) == 0x93C5804F


def test_data_abort_bits() -> None:
    syndrome_bits = iss_for_data_abort(decode(STR_X5))
    assert iss_data_abort(4, is_write=True, s1ptw=True, instruction=syndrome_bits) == 0xC4
    assert iss_data_abort(4, is_write=False, cache_maintenance=True) == 0x144
    assert iss_data_abort(16, is_write=False, external=True) == 0x210
    assert iss_data_abort(16, is_write=False, far_not_valid=True) == 0x410


def test_instruction_abort_bits() -> None:
    assert iss_instruction_abort(0b000110) == 6
    assert iss_instruction_abort(0b000101, s1ptw=True) == 0x85
    assert iss_instruction_abort(16, external=True, far_not_valid=True) == 0x610


@pytest.mark.parametrize(
    ("fetch", "source", "target", "expected"),
    [(True, 0, 1, 0x20), (True, 1, 1, 0x21), (False, 1, 2, 0x24), (False, 2, 2, 0x25)],
)
def test_abort_class(fetch: bool, source: int, target: int, expected: int) -> None:
    assert abort_class(is_fetch=fetch, from_el=source, target_el=target) == expected


@given(
    st.integers(0, 3),
    st.integers(0, 7),
    st.integers(0, 15),
    st.integers(0, 15),
    st.integers(0, 7),
    st.integers(0, 31),
    st.booleans(),
)
def test_sysreg_iss_is_invertible(
    op0: int, op1: int, crn: int, crm: int, op2: int, rt: int, read: bool
) -> None:
    value = iss_sysreg(op0, op1, crn, crm, op2, rt, is_read=read)
    assert value < 1 << 22
    assert sysreg_iss_fields(value) == (op0, op1, crn, crm, op2, rt, read)


@pytest.mark.parametrize(
    ("esr", "words"),
    [
        (0x93830007, "data abort from a lower EL: translation fault, level 3, on a read, "
                     "32-bit W3"),
        (0x93C5804F, "data abort from a lower EL: permission fault, level 3, on a write, "
                     "64-bit X5"),
        (0x92000146, "data abort from a lower EL: translation fault, level 2, "
                     "by cache maintenance or AT"),
        (0x920000C5, "data abort from a lower EL: translation fault, level 1, on a write, "
                     "during a stage 1 walk"),
        (0x82000085, "instruction abort from a lower EL: translation fault, level 1, "
                     "during a stage 1 walk"),
        (0x96000021, "data abort from the same EL: alignment fault, on a read"),
        (0x96000210, "data abort from the same EL: synchronous external abort, on a read, EA"),
        (0x5A000007, "HVC: #0x7"),
        (0x07E00001, "trapped WFI or WFE: WFE"),
        (0x02000000, "unknown reason (undefined instruction)"),
        (0x3A000000, "illegal execution state"),
        (0x6232F8A1, "trapped MSR, MRS or system instruction: read CNTPCT_EL0 to x5"),
        (0x6230103E | 31 << 5, "trapped MSR, MRS or system instruction: "
                               "write S3_0_C4_C15_0 from xzr"),
        (0x6212DC08, "trapped MSR, MRS or system instruction: DC ZVA, x0"),
        (0xFC000000, "reserved class 0x3f"),
    ],
)  # fmt: skip
def test_description(esr: int, words: str) -> None:
    assert describe(esr) == words


@given(st.integers(0, 2**32 - 1))
def test_every_syndrome_has_a_description(esr: int) -> None:
    assert describe(esr)


def test_every_class_has_words() -> None:
    assert set(EC_WORDS) == set(ExceptionClass)


@pytest.mark.parametrize(
    ("fsc", "words"),
    [
        (0b000000, "address size fault, level 0"),
        (0b001011, "access flag fault, level 3"),
        (0b010110, "synchronous external abort on a table walk, level 2"),
        (0b110000, "TLB conflict abort"),
        (0b111111, "reserved fault status 0x3f"),
    ],
)
def test_fault_words(fsc: int, words: str) -> None:
    assert fault_words(fsc) == words
