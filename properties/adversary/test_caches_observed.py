# SPDX-License-Identifier: Apache-2.0
"""Whoever is told of stores to a page is told of those that go past the caches too, and they reach
memory alone."""

import pytest

from aether_edgecloud.emulator.cpu.observation import Observation, Observed
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.emulator.monitor.poison import POISON
from aether_edgecloud.properties.adversary.cached_programs import PAGE, TWICE, machine

# Line 0 is dirty, and memory in use.
_SPLIT = "str x3, [x1]\n str x3, [x1, #64]\n dsb sy\n ldr x20, [x2]\n"
_READ = "ldr x21, [x2]\n ldr x22, [x2, #64]\n"
_SEEN = "ldr x23, [x1, #64]\n"


def _run(text: str) -> tuple[list[tuple[int, int, int]], list[int]]:
    """The stores to PAGE, (offset, old, new), and the registers in the end."""
    of = machine(TWICE + _SPLIT + text)
    stores = []

    def listen(_cpu: int, kind: int, a: int, old: int, new: int) -> None:
        if kind == Observed.STORE:
            stores.append((a - PAGE, old, new))

    observation = Observation(of.cpus, of.memory, listen)
    observation.watch((PAGE - of.board.ram_base) // 4096)
    observation.flush()
    assert of.run(400_000).kind is StopKind.SYSTEM_OFF
    registers = of.cpu.registers()
    observation.close()
    of.close()
    assert stores[:2] == [(0, POISON, 1), (64, POISON, 1)]
    return stores[2:], registers


@pytest.mark.parametrize("store", ["str x4, [x2]", "stp x4, xzr, [x2]", "stlr x4, [x2]"])
def test_a_store_past_the_cache(store: str) -> None:
    stores, x = _run(f"mov x4, #0x33\n {store}\n ldr x24, [x2]\n dsb sy\n" + _READ + _SEEN)
    expected = [(0, POISON, 0x33), (8, POISON, 0)]
    assert stores == expected[: 2 if "stp" in store else 1]
    assert (x[20], x[24], x[21], x[22]) == (POISON, 0x33, 0x33, POISON)
    assert x[23] == 1  # the cache has what it had


def test_a_store_of_a_byte_past_the_cache() -> None:
    stores, x = _run("mov x4, #0x33\n strb w4, [x2, #65]\n" + _READ)
    changed = POISON & ~0xFF00 | 0x3300
    assert stores == [(64, POISON, changed)]
    assert (x[21], x[22]) == (POISON, changed)


def test_zeroing_by_line_past_the_cache() -> None:
    stores, x = _run("add x5, x2, #64\n dc zva, x5\n" + _READ + _SEEN)
    assert stores == [(64 + 8 * i, POISON, 0) for i in range(8)]
    assert (x[21], x[22], x[23]) == (POISON, 0, 1)
