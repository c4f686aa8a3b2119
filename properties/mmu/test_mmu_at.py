# SPDX-License-Identifier: Apache-2.0
"""AT instructions: PAR_EL1 by example, and against Unicorn's native AT."""

from dataclasses import replace

import pytest
from hypothesis import given

from aether_edgecloud.emulator.arch.mmu import (
    Fault,
    FaultKind,
    MmuRegisters,
    Translation,
    TranslationRegime,
    full_translate,
)
from aether_edgecloud.emulator.arch.mmu_at import (
    AtOperation,
    address_translate,
    encode_par,
)

from .native_walker import Aborted, native_walker
from .random_tables import Setup, setups
from .small_tables import (
    HCR_DC,
    ROOT,
    S2_ROOT,
    SCTLR_C,
    SCTLR_M,
    Words,
    el2,
    el10,
    s1,
    s1_page,
    s2_identity,
    table,
    two_stage,
)
from .test_mmu_against_unicorn import (
    as_unicorn,
    as_unicorn_regime,
    in_place,
    not_compared,
    s1_start,
)

Op = AtOperation
NS_RES1 = 1 << 9 | 1 << 11

DIFFERENCES = {
    "stage-1 attributes": "After stage 1 alone ATTR and SH are MAIR and SH as they stand (also for "
    "Device and Non-cacheable), or 0 when stage 1 is off.",
    "SCTLR.C": "SCTLR_EL1.C does not make stage 1 Non-cacheable.",
    "one Device": "Device of one stage, also nGRE and GRE, and Normal Inner Non-cacheable of the "
    "other give nGnRE.",
    "transient": "Write-Back Transient under a Write-Through stage 2 loses Transient.",
}


def at(
    registers: MmuRegisters, words: dict[int, int], op: Op, va: int = 0, el: int = 2
) -> int | Fault:
    return address_translate(registers, Words(words), op, va, current_el=el)


BOTH_REGIMES = replace(
    el10(),
    sctlr_el2=el2().sctlr_el2,
    tcr_el2=el2().tcr_el2,
    ttbr0_el2=el2().ttbr0_el2,
)


# -- examples


def test_success() -> None:
    words = s1_page(s1(0x20_8000, sh=0b11)) | s2_identity(sh=0b10)
    expected = 0xFF << 56 | 0x20_8000 | NS_RES1
    assert at(two_stage(), words, Op.S1E1R, 0xABC) == expected | 0b11 << 7
    assert at(two_stage(), words, Op.S12E1R, 0xABC) == expected | 0b10 << 7
    assert at(el2(), words, Op.S1E2R, 0xABC) == expected | 0b11 << 7


def test_stage_1_gives_the_ipa_and_both_give_the_pa() -> None:
    words = s1_page(s1(0x20_8000)) | s2_identity(2)
    words[0x5_0008] = words[0x5_0008] & ~(0xFFF << 21) | 0x1_2340_0000
    results = [at(two_stage(), words, op) for op in (Op.S1E1R, Op.S12E1R)]
    assert [r & 0x0000_FFFF_FFFF_F000 for r in results if isinstance(r, int)] == [
        0x20_8000,
        0x1_2340_8000,
    ]


@pytest.mark.parametrize(
    ("op", "refused"),
    (
        (Op.S1E1R, False),
        (Op.S1E1W, False),
        (Op.S1E0R, True),
        (Op.S1E0W, True),
        (Op.S12E1W, False),
        (Op.S12E0R, True),
        (Op.S1E2R, False),
        (Op.S1E2W, False),
    ),
)
def test_permission_of_each_operation(op: Op, refused: bool) -> None:
    """AP = 0b00: read and write at EL1 and EL2, nothing at EL0."""
    result = at(BOTH_REGIMES, s1_page(s1(0x8000, ap=0b00)), op)
    assert isinstance(result, int)
    assert result & 1 == refused
    if refused:
        assert result == 1 | 0b001111 << 1 | 1 << 11


@pytest.mark.parametrize("op", (Op.S1E1W, Op.S1E0W, Op.S12E1W, Op.S12E0W, Op.S1E2W))
def test_write_to_read_only(op: Op) -> None:
    result = at(BOTH_REGIMES, s1_page(s1(0x8000, ap=0b11)), op)
    assert result == 1 | 0b001111 << 1 | 1 << 11


def test_stage_2_fault_sets_s() -> None:
    words = s1_page(s1(0x4000_0000)) | s2_identity()
    assert at(two_stage(), words, Op.S12E1R) == 1 | 0b000101 << 1 | 1 << 9 | 1 << 11
    assert at(two_stage(), words, Op.S1E1R) == 0xFF << 56 | 0x4000_0000 | NS_RES1 | 0b11 << 7


@pytest.mark.parametrize("op", (Op.S1E1R, Op.S1E0W, Op.S12E1R, Op.S12E0R))
def test_stage_2_fault_on_the_stage_1_walk(op: Op) -> None:
    """At EL2 it is reported with PTW and S; at EL1 (S1 only) it is an exception to EL2."""
    words = s1_page(s1(0x8000)) | {S2_ROOT: 0}
    assert at(two_stage(), words, op, el=2) == 1 | 0b000101 << 1 | 1 << 8 | 1 << 9 | 1 << 11
    if op.stage1_only:
        assert at(two_stage(), words, op, el=1) == Fault(FaultKind.TRANSLATION, 1, 2, True, ROOT)


def test_external_abort_is_an_exception() -> None:
    words = {ROOT: table(1 << 40)}
    for el in (1, 2):
        assert at(el10(), words, Op.S1E1R, el=el) == Fault(FaultKind.SYNC_EXTERNAL_ON_WALK, 2, 1)


def test_stage_1_off() -> None:
    """Device-nGnRnE, Outer Shareable; with HCR_EL2.DC Normal Write-Back, Non-shareable."""
    off = MmuRegisters()
    assert at(off, {}, Op.S1E1R, 0x1234_5678) == 0x1234_5000 | NS_RES1 | 0b10 << 7
    assert at(off, {}, Op.S12E1R, 0x1234_5678) == 0x1234_5000 | NS_RES1 | 0b10 << 7
    dc = two_stage(hcr_el2=HCR_DC)
    assert at(dc, {}, Op.S1E1R, 0x1234_5678) == 0xFF << 56 | 0x1234_5000 | NS_RES1
    assert at(off, {}, Op.S1E1R, 1 << 44) == 1 | 1 << 11  # Address size fault, level 0


@pytest.mark.parametrize("attr", (0x00, 0x04, 0x44))
def test_device_and_non_cacheable_are_outer_shareable(attr: int) -> None:
    words = s1_page(s1(0x8000, sh=0b00))
    assert at(el10(mair_el1=attr), words, Op.S1E1R) == attr << 56 | 0x8000 | NS_RES1 | 0b10 << 7


def test_caches_off() -> None:
    words = s1_page(s1(0x8000))
    registers = el10(sctlr_el1=SCTLR_M)
    assert at(registers, words, Op.S1E1R) == 0x44 << 56 | 0x8000 | NS_RES1 | 0b10 << 7
    registers = el10(sctlr_el1=SCTLR_M | SCTLR_C)
    assert at(registers, words, Op.S1E1R) == 0xFF << 56 | 0x8000 | NS_RES1 | 0b11 << 7


# -- against Unicorn


def _native_fault(aborted: Aborted) -> int:
    return 1 | aborted.fsc << 1 | aborted.s1ptw << 8 | (aborted.stage == 2) << 9 | 1 << 11


def _native_par(result: Translation, regime: TranslationRegime) -> tuple[int, int]:
    """PAR_EL1 as Unicorn gives it, and the bits of it that can be compared."""
    par, compared = encode_par(result), (1 << 64) - 1
    leaf = result.stage1_leaf
    if result.stage2_leaf is None:
        attr, sh = 0, 0
        if leaf is not None:
            attr = regime.stage1.mair[leaf.descriptor >> 2 & 0b111]
            sh = leaf.descriptor >> 8 & 0b11
        par = par & ~(0xFF << 56 | 0b11 << 7) | attr << 56 | sh << 7
    elif leaf is not None:
        attr = regime.stage1.mair[leaf.descriptor >> 2 & 0b111]
        memattr = result.stage2_leaf.descriptor >> 2 & 0xF
        one_device = (attr & 0xF0 == 0) != (memattr & 0b1100 == 0)
        assert regime.stage2 is not None
        s2_inner_nc = memattr & 0b11 == 0b01 or not regime.stage2.data_cacheable
        if one_device and (s2_inner_nc if attr & 0xF0 == 0 else attr & 0xF == 0x4):
            compared &= ~(0xFF << 56)
        for shift in (0, 4):
            write_back_transient = attr >> shift & 0b1100 == 0b0100 and attr >> shift & 0b11
            if attr & 0xF0 and write_back_transient and memattr >> shift // 2 & 0b11 == 0b10:
                compared &= ~(0b1000 << 56 + shift)
    return par, compared


def _check_one(setup: Setup, op: Op, va: int, el: int) -> None:
    walker = native_walker()
    true_regime = setup.registers.regime(op.el)
    regime = as_unicorn_regime(true_regime)
    regime = replace(regime, stage1=replace(regime.stage1, data_cacheable=True))

    def walked(regime: TranslationRegime) -> Translation | Fault:
        return full_translate(
            regime,
            walker.ram,
            va,
            op.access,
            privileged=op.el != 0,
            stage1_only=op.stage1_only,
            record_walks=True,
        )

    result = walked(regime)
    if not_compared(result, regime, va):
        return
    native = walker.address_translate(op, va, el)
    if isinstance(result, Translation):
        par, compared = _native_par(result, regime)
        assert isinstance(native, int)
        assert (native ^ par) & compared == 0, (hex(native), hex(par), result)
    else:
        aborted = as_unicorn(result, s1_start(regime, va))
        assert isinstance(aborted, Aborted)
        assert native == (aborted if el == 1 and aborted.s1ptw else _native_fault(aborted))

    # Where no difference plays a part, Unicorn agrees with the model as it is.
    model = address_translate(setup.registers, walker.ram, op, va, current_el=el)
    if walked(true_regime) == result:
        if isinstance(result, Translation):
            assert isinstance(model, int) and isinstance(native, int)
            assert (native ^ model) & ~(0xFF << 56 | 0b11 << 7) == 0
        elif not result.s1ptw and result.kind is not FaultKind.SYNC_EXTERNAL_ON_WALK:
            assert native == model


def _check(setup: Setup, operations: tuple[Op, ...], el: int) -> None:
    walker = native_walker()
    try:
        in_place(walker, setup)
        for va in setup.vas:
            for op in operations:
                _check_one(setup, op, va, el)
    finally:
        walker.reset()


@given(setups())
def test_at_as_unicorn(setup: Setup) -> None:
    _check(setup, (Op.S1E1R, Op.S1E1W, Op.S1E0R, Op.S1E0W), 1)
    both = (Op.S12E1R, Op.S12E1W, Op.S12E0R, Op.S12E0W)
    _check(setup, (Op.S1E1R, Op.S1E1W, Op.S1E0R, Op.S1E0W, *both), 2)


@given(setups(el2=True))
def test_at_s1e2_as_unicorn(setup: Setup) -> None:
    _check(setup, (Op.S1E2R, Op.S1E2W), 2)
