# SPDX-License-Identifier: Apache-2.0
"""Caches that do not agree with memory, and more than one CPU."""

import pytest

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.interleave.interleaver import Interleaver
from aether_edgecloud.emulator.interleave.interleaving import Interleaving
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.properties.adversary.cached_programs import (
    CODE,
    MMU_ON,
    PAGE,
    TABLE,
    WRITE_TABLE,
    adversary_of,
    maintain,
)
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant

LINE_1 = CODE + 64
UNTOUCHED = PAGE + 0x10000
RET = 0xD65F_03C0


def _machine(first: str, second: str, rate: int) -> Machine:
    of = smp.machine(first, second, 2, MmuMode.MODEL, quantum=97)
    Plan(caches=True, seed=1, rate=rate).attach(of)
    return of


def _returns(at: int, value: int) -> str:
    """Code that returns a number in X0."""
    code = RET << 32 | 0xD280_0000 | value << 5
    return f"{constant('x1', at)}\n{constant('x2', code)}\n str x2, [x1]\n"


def _maintained(at: int) -> str:
    return f"{constant('x1', at)}\n dc cvau, x1\n dsb ish\n ic ivau, x1\n dsb ish\n isb\n"


def _call(at: int) -> str:
    return f"{constant('x9', at)}\n blr x9\n"


@pytest.mark.parametrize("rate", [0, 128, 256])
def test_invalidated_instructions_of_the_other_cpu(rate: int) -> None:
    """It has fetched the page, though not the line, since that was rewritten."""
    first = (
        WRITE_TABLE
        + maintain("civac", TABLE, 64)
        + MMU_ON
        + "str xzr, [x20]\n str xzr, [x20, #8]\n"
        + _returns(CODE, 0)
        + _returns(LINE_1, 1)
        + _maintained(CODE)
        + _maintained(LINE_1)
        + smp.start(1)
        + smp.wait_for(8, 1)
        + _returns(LINE_1, 2)
        + smp.add(0)
        + smp.wait_for(8, 2)
        + _maintained(LINE_1)
        + smp.add(0)
        + smp.wait_for(8, 3)
    )
    second = (
        MMU_ON
        + _call(CODE)
        + smp.add(8)
        + smp.wait_for(0, 1)
        + _call(CODE)
        + smp.add(8)
        + smp.wait_for(0, 2)
        + "isb\n"
        + _call(LINE_1)
        + "mov x25, x0\n"
        + smp.add(8)
    )
    of = _machine(first, second, rate)
    assert of.run(300_000).kind is StopKind.SYSTEM_OFF
    assert of.cpus[1].engine.read(reg.X[25]) == 2
    of.close()


# A line of PAGE is dirty when the MMU is off again; UNTOUCHED is stored to, and never read.
_DIRTY = f"{constant('x9', PAGE)}\n str x9, [x9, #64]\n dsb sy\n"
_MMU_OFF = f"{constant('x1', 0x30C5_1830)}\n msr sctlr_el2, x1\n isb\n"


def _learnt(rate: int | None) -> tuple[tuple[int, ...], Machine]:
    """The plain loads and stores that are seen to reach words of several CPUs."""
    store = f"{constant('x9', UNTOUCHED)}\n str x9, [x9]\n"
    shared = f"{constant('x9', PAGE)}\n ldr x10, [x9]\n str x10, [x9]\n"
    begin = WRITE_TABLE + maintain("civac", TABLE, 64) + MMU_ON + _DIRTY + _MMU_OFF
    begin += "str xzr, [x20]\n str xzr, [x20, #8]\n"
    first = begin + smp.start(1) + smp.wait_for(8, 1) + shared
    second = store + shared + smp.add(8)
    of = smp.machine(first, second, 2, MmuMode.MODEL)
    if rate is not None:
        Plan(caches=True, seed=1, rate=rate).attach(of)
    interleaver = Interleaver(of)
    interleaver.follow(Interleaving(), learning=True)
    assert of.run(300_000).kind is StopKind.SYSTEM_OFF
    return interleaver.learnt(), of


def test_shared_words_are_learnt_whichever_side_they_are_on() -> None:
    """To look where an access goes is no access."""
    expected, plain = _learnt(None)
    plain.close()
    found, of = _learnt(256)
    assert len(expected) > 2
    assert found == expected
    assert UNTOUCHED not in {read.pa for read in adversary_of(of).uninitialised}
    of.close()
