# SPDX-License-Identifier: Apache-2.0
"""PSCI as several vCPUs call it, and a VM that comes back from SYSTEM_RESET."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu.engine import MmuMode

from . import gicv2
from .accesses import Writer
from .program import (
    CPU_ON,
    ENTRY,
    GICC,
    GICD,
    SYSTEM_RESET,
    Operation,
    Step,
    bundle,
    call,
    finish,
    in_emulator,
    leave,
    on_qemu,
    read,
    results,
    vm,
)
from .psci import AFFINITY_INFO, ALREADY_ON, IMPLEMENTED, IS_OFF, ON_PENDING, SMC64, Calls

LENGTH = 150
SEEDS = st.integers(0, 2**32 - 1)
PLACES = ((0,), (0, 1), (0, 0), (0, 1, 2, 3), (1, 0, 1, 0), (0, 1, 1))
"""The pCPU of each vCPU."""


def check(seed: int, cpus: tuple[int, ...], mmu: MmuMode = MmuMode.NATIVE) -> str:
    calls = Calls(seed, len(cpus), LENGTH)
    initrd = bundle([vm(calls.steps, cpus=cpus)])
    text = in_emulator(initrd, cpus=max(cpus) + 1, seed=seed % 8, mmu=mmu)
    found = calls.differences(results(text))
    assert not found, "\n".join([f"seed {seed}, {cpus}", *found[:4]])
    return text


@settings(max_examples=8)
@given(SEEDS, st.sampled_from(PLACES))
def test_random_calls(seed: int, cpus: tuple[int, ...]) -> None:
    check(seed, cpus)


@pytest.mark.nightly
@settings(max_examples=100)
@given(SEEDS, st.sampled_from(PLACES))
def test_many_random_calls(seed: int, cpus: tuple[int, ...]) -> None:
    check(seed, cpus)


def test_both_mmus_answer_the_same() -> None:
    assert check(3, (0, 1, 2), MmuMode.MODEL) == check(3, (0, 1, 2), MmuMode.NATIVE)


@pytest.mark.usefixtures("qemu")
def test_random_calls_on_qemu(tmp_path: Path) -> None:
    calls = Calls(4, 1, LENGTH)
    initrd = bundle([vm(calls.steps)])
    assert not calls.differences(results(on_qemu(initrd, tmp_path, cpus=1)))


def test_features_of_every_function() -> None:
    """Those, and no others, of the ranges of PSCI; and of SMCCC_VERSION."""
    asked = [0x8400_0000 | wide | i for wide in (0, SMC64) for i in range(0x40)] + [0x8000_0000]
    steps = [call(0, 0x8400_000A, function) for function in asked]
    got = results(in_emulator(bundle([vm([*steps, *finish()])]), cpus=1))[::4]
    assert {f for f, x0 in zip(asked, got, strict=True) if x0 == 0} == IMPLEMENTED
    assert {x0 & 0xFFFF_FFFF for x0 in got} == {0, 0xFFFF_FFFF}


@pytest.mark.parametrize("cpus", [(0, 1), (0, 0)], ids=str)
def test_cpu_on_twice(cpus: tuple[int, ...]) -> None:
    """The second call comes before or after the vCPU has run; the context is the first call's."""
    steps = [call(0, CPU_ON, 1, 0, context, how=ENTRY) for context in (5, 6)]
    steps += [Step(Operation.CONTEXT, 1), call(0, CPU_ON, 1, 0, 7, how=ENTRY)]
    steps += [Step(Operation.CONTEXT, 1), *finish()]
    got = results(in_emulator(bundle([vm(steps, cpus=cpus)]), cpus=max(cpus) + 1))
    answers = [got[i] - (1 << 64) if got[i] >> 63 else got[i] for i in (0, 4, 11)]
    assert answers[0] == 0 and answers[1] in (ALREADY_ON, ON_PENDING)
    assert answers[2] == ALREADY_ON
    assert got[8:11] == got[15:18] == [5, 1, 1 << 31 | 1]


# SYSTEM_RESET

REGISTERS = (
    *(GICD + offset for offset in (0, 0x100, 0x104, 0x108, 0x200, 0x204, 0x208, 0x300, 0x304)),
    *(GICD + offset for offset in range(gicv2.IPRIORITYR, gicv2.IPRIORITYR + 96, 4)),
    *(GICD + offset for offset in range(gicv2.ITARGETSR, gicv2.ITARGETSR + 96, 4)),
    *(GICD + offset for offset in range(gicv2.ICFGR, gicv2.ICFGR + 24, 4)),
    *(GICD + offset for offset in range(gicv2.SPENDSGIR, gicv2.SPENDSGIR + 16, 4)),
    *(GICC + offset for offset in (gicv2.GICC_CTLR, gicv2.PMR, gicv2.RPR, gicv2.HPPIR)),
)


def fresh_values(cpus: int) -> list[int]:
    gic = gicv2.Gicv2(cpus)
    values = [gic.read(0, address - GICD, 4).value for address in REGISTERS if address < GICC]
    return values + [gic.read_interface(0, address - GICC) for address in REGISTERS[len(values) :]]


@pytest.mark.parametrize("mmu", list(MmuMode))
@pytest.mark.parametrize("caller", [0, 2])
def test_reset_brings_back_vcpu_0_alone_and_a_clean_gic(caller: int, mmu: MmuMode) -> None:
    """Looked at in each life; in between come accesses to the GIC from all vCPUs."""
    others = (1, 2)
    look = [call(0, AFFINITY_INFO | SMC64, other, 0) for other in others]
    look += [Step(Operation.CONTEXT, 0)]
    look += [read(0, address) for address in REGISTERS]
    writer = Writer(caller + 5, 3, range(60))
    steps = [*look, Step(Operation.PRINT, 0), *writer.steps[:-2]]
    steps += [leave(caller, SYSTEM_RESET)]
    again = "vm script: reset"
    initrd = bundle([vm(steps, cpus=(0, 1, 2))])
    text = in_emulator(initrd, cpus=3, mmu=mmu, end=again, times=3)
    lives = re.split(rf"\[aether\] {again}\n", text)[:3]
    assert len(lives) == 3
    for life in lives:
        got = results(life)
        assert [got[0], got[4]] == [IS_OFF, IS_OFF]
        assert got[8:11] == [0, 0, 1 << 31]
        assert got[11:] == fresh_values(3)
