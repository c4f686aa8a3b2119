# SPDX-License-Identifier: Apache-2.0
"""The MMU model and Unicorn's native walker agree on every access, but for a known list.

Unicorn's walker is that of QEMU 5.0. Where it is known to differ from the Arm ARM the model follows
the Arm ARM, and `DIFFERENCES` says how; `as_unicorn` applies just these to a prediction.
"""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.arch.mmu import (
    Access,
    Fault,
    FaultKind,
    MmuRegisters,
    Translation,
    TranslationRegime,
    encode_ldfsc,
    full_translate,
    translate,
)
from aether_edgecloud.emulator.arch.mmu_descriptor import NO_LEAF
from aether_edgecloud.emulator.arch.mmu_regime import TTWParams

from .native_walker import (
    CODE,
    RAM_BASE,
    RAM_SIZE,
    TABLES_SIZE,
    Aborted,
    NativeWalker,
    Reached,
    native_walker,
)
from .random_tables import Setup, setups

DIFFERENCES = {
    "address size": "Output addresses are not compared with IPS or PS: no Address size fault on a walk.",
    "no block": "A block is accepted at levels that have none (0b01 at level 0, and 1 with 16K, 64K).",
    "s1ptw": "A fault of stage 2 on a stage-1 walk is reported as Translation fault of the level of "
    "stage 1, whatever it was.",
    "external abort": "An external abort on a walk is reported as Translation fault.",
    "block address": "Bits of a Block's output address below its size (RES0) are not ignored but ORed "
    "into the result; such walks are not compared.",
}


def _as_unicorn_params(params: TTWParams) -> TTWParams:
    levels = tuple(
        level._replace(leaf=0b01) if level.leaf == NO_LEAF else level for level in params.levels
    )
    return replace(params, beyond_oa=0, levels=levels)


def as_unicorn_regime(regime: TranslationRegime) -> TranslationRegime:
    """The differences "address size" and "no block"."""
    stage1, stage2 = regime.stage1, regime.stage2
    high = None if stage1.high is None else _as_unicorn_params(stage1.high)
    return TranslationRegime(
        replace(stage1, low=_as_unicorn_params(stage1.low), high=high),
        None if stage2 is None else replace(stage2, params=_as_unicorn_params(stage2.params)),
    )


def as_unicorn(result: Translation | Fault, start_level: int) -> Reached | Aborted:
    """A result of the model as Unicorn reports it, with "s1ptw" and "external abort"."""
    if isinstance(result, Translation):
        return Reached(result.pa)
    kind, level = result.kind, result.level
    if result.s1ptw:
        kind = FaultKind.TRANSLATION
        level = start_level + sum(step.stage == 1 for step in result.walks)
    if kind is FaultKind.SYNC_EXTERNAL_ON_WALK:
        kind = FaultKind.TRANSLATION
    ipa_page = None if result.ipa is None else result.ipa & ~0xFFF
    return Aborted(encode_ldfsc(kind, level), result.stage, result.s1ptw, ipa_page)


def _has_block_address_bits(result: Translation | Fault, regime: TranslationRegime, va: int) -> bool:
    """Whether a walk met a Block with bits set below its size ("block address")."""
    for step in result.walks:
        params = _s1_params(regime, va) if step.stage == 1 else regime.stage2 and regime.stage2.params
        assert params is not None
        if step.descriptor is not None and step.level < 3 and step.descriptor & 0b11 == 0b01:
            low = (1 << params.granule.shift(step.level)) - (1 << params.granule)
            if step.descriptor & low & 0x0000_FFFF_FFFF_FFFF:
                return True
    return False


def _s1_params(regime: TranslationRegime, va: int) -> TTWParams:
    high = regime.stage1.high
    return high if high is not None and va >> 55 & 1 else regime.stage1.low


def predicted(
    registers: MmuRegisters, walker: NativeWalker, va: int, el: int, access: Access, privileged: bool
) -> Reached | Aborted | None:
    """What Unicorn should do; None where it cannot be told."""
    regime = as_unicorn_regime(registers.regime(el))
    result = full_translate(
        regime,
        walker.ram,
        va,
        access,
        privileged=privileged and el != 0,
        record_walks=True,
    )
    if _has_block_address_bits(result, regime, va):
        return None
    expected = as_unicorn(result, _s1_params(regime, va).startlevel)
    if isinstance(expected, Reached) and access is Access.FETCH:
        in_markers = RAM_BASE + TABLES_SIZE <= expected.pa < CODE
        if not in_markers and expected.pa in range(RAM_BASE, RAM_BASE + RAM_SIZE):
            return None  # tables, or the instructions of the test
    return expected


def check_access(
    walker: NativeWalker,
    registers: MmuRegisters,
    va: int,
    el: int,
    access: Access,
    privileged: bool = True,
) -> Translation | Fault:
    expected = predicted(registers, walker, va, el, access, privileged)
    model = translate(registers, walker.ram, va, el, access, privileged=privileged)
    if expected is not None:
        native = walker.access(va, el, access, privileged=privileged)
        assert native == expected, (model, native, expected)
    return model


def check_setup(walker: NativeWalker, setup: Setup, els: tuple[int, ...]) -> list[Translation | Fault]:
    seen = []
    try:
        for pa, word in setup.words.items():
            walker.write64(pa, word)
        walker.load(setup.registers)
        for va in setup.vas:
            for el in els:
                for access in Access:
                    seen.append(check_access(walker, setup.registers, va, el, access))
                if el == 1:
                    for access in (Access.READ, Access.WRITE):
                        seen.append(
                            check_access(walker, setup.registers, va, el, access, privileged=False)
                        )
    finally:
        walker.reset()
    return seen


@given(setups())
def test_el1_and_el0_translate_as_unicorn_does(setup: Setup) -> None:
    check_setup(native_walker(), setup, (0, 1))


@given(setups(el2=True))
def test_el2_translates_as_unicorn_does(setup: Setup) -> None:
    check_setup(native_walker(), setup, (2,))
