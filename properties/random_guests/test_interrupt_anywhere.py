# SPDX-License-Identifier: Apache-2.0
"""A timer interrupt at each instruction of the hypervisor's way through an exit, and of the guest's
around it: the guest sees the same results, and the interrupt once."""

import struct
from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator.telemetry.layout import EXITS, total
from aether_edgecloud.guest_stubs.random_programs import (
    DATA,
    GICD,
    End,
    Jump,
    Loop,
    Program,
    Step,
    Text,
    With,
    Words,
    assemble,
)
from aether_edgecloud.properties.random_guests.beside import ONE, PARTITION, Layout, bench
from aether_edgecloud.properties.random_guests.instructions import INTERRUPTS_ON
from aether_edgecloud.properties.random_guests.laws import assert_unharmed

PART = 130
"""Of the ticks from arming the timer to its interrupt that are tried: as many as one run has time
for."""
RESULTS = DATA + 0x1000


@dataclass(frozen=True, slots=True)
class Until(Step):
    """Until the vectors have turned the timer off, which they do when it has fired."""

    def words(self) -> Words:
        back = 0xB5000000 | (-1 & 0x7FFFF) << 5 | 4
        return (*assemble("mrs x4, cntv_ctl_el0"), back)


def _arm(first: int) -> Step:
    return Text(
        f"mrs x3, cntvct_el0; add x3, x3, x27; add x3, x3, #{first}; msr cntv_cval_el0, x3;"
        " mov x4, #1; msr cntv_ctl_el0, x4"
    )


KEEP = Text("stp x0, x1, [x26], #16; stp x2, x5, [x26], #16")


def _call(function: int, argument: int = 0) -> Step:
    return With(((0, function), (1, argument), (2, 0), (5, 7)), Text("hvc #0"))


WAYS: dict[str, tuple[Layout, Step]] = {
    "SMCCC_VERSION": (ONE, _call(0x8000_0000)),
    "AFFINITY_INFO": (ONE, _call(0xC400_0004)),
    "no function": (ONE, _call(0xBADC_0DE0)),
    "FFA_ID_GET": (PARTITION, _call(0x8400_0069)),
    "FFA_FEATURES": (PARTITION, _call(0x8400_0064, 1)),
    "GICD_TYPER": (ONE, With(((0, GICD), (1, 1), (2, 0)), Text("ldr w2, [x0, #4]"))),
    "GICD_IPRIORITYR": (
        ONE,
        With(((0, GICD), (1, 0xA0), (2, 0)), Text("strb w1, [x0, #0x420]; ldr w2, [x0, #0x420]")),
    ),
    "UARTFR": (ONE, With(((0, 0x0900_0000), (1, 1), (2, 0)), Text("ldr w2, [x0, #0x18]"))),
    "nobody's address": (ONE, With(((0, 0x2000_0000), (1, 1), (2, 9)), Text("ldr x2, [x0]"))),
    "a fetch from there": (ONE, With(((0, 0), (1, 1), (2, 9)), Jump(0x2000_0000))),
    "an ID register": (ONE, With(((0, 0), (1, 1)), Text("mrs x2, id_aa64mmfr0_el1"))),
}


@pytest.mark.parametrize("first", [0, PART])
@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_at_each_instruction(way: str, first: int) -> None:
    where, step = WAYS[way]
    start = With(((26, RESULTS), (5, 7)), Text("nop"))
    sweep = Loop((_arm(first), step, Text("msr daifclr, #2"), KEEP, Until()), PART)
    machine = bench(where)
    outcome = machine.run(Program(((INTERRUPTS_ON, start, sweep),), end=End.SLEEP))
    assert_unharmed(outcome, machine.quiet)
    results = machine.guest_memory(RESULTS, 32 * (PART + 1))
    seen = [struct.unpack_from("<4Q", results, 32 * i) for i in range(PART + 1)]
    assert seen == [seen[0]] * PART + [(0, 0, 0, 0)]
    fired = total(outcome.random_counters.vcpus).exits[EXITS.index("irq-timer")]
    assert fired == PART
