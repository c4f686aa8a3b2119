# SPDX-License-Identifier: Apache-2.0
"""Whatever a guest executes, the hypervisor does not panic, and the other VM does not notice."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.telemetry.layout import EXITS, total
from aether_edgecloud.guest_stubs import ffa
from aether_edgecloud.guest_stubs.random_programs import (
    DATA,
    GICD,
    AtEl0,
    End,
    Jump,
    Loop,
    Mmu,
    Patch,
    Program,
    Step,
    Text,
    Vectors,
    With,
    Word,
    msr,
    sysreg,
)
from aether_edgecloud.properties.random_guests import instructions
from aether_edgecloud.properties.random_guests.beside import (
    ENDS_ONCE,
    LAYOUTS,
    ONE,
    PARTITION,
    TWO,
    TWO_IN_PARTITION,
    TWO_ON_ONE,
    Layout,
    bench,
)
from aether_edgecloud.properties.random_guests.laws import assert_unharmed

EXAMPLES = settings().max_examples // 5

LENT, MAILBOX = 5, 6
"""States of a frame."""
UNMAPPED_VECTORS = Program(((Mmu(tcr=Mmu().tcr & ~0x3F | 0x18),),))
"""Its walks begin at a level where its tables have nothing: no vector can be fetched."""


def test_a_program_without_vectors() -> None:
    machine = bench(ONE)
    assert_unharmed(machine.run(UNMAPPED_VECTORS), machine.quiet)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{len(layout.cpus)}-vcpus")
@settings(max_examples=EXAMPLES // len(LAYOUTS))
@given(st.data())
def test_any_program(layout: Layout, data: st.DataObject) -> None:
    program = data.draw(instructions.programs(len(layout.cpus)), label="program")
    machine = bench(layout)
    assert_unharmed(machine.run(program), machine.quiet)


PARTITION_CASES = st.sampled_from((PARTITION, TWO_IN_PARTITION)).flatmap(
    lambda layout: st.tuples(
        st.just(layout),
        instructions.programs(len(layout.cpus), instructions.partition_steps),
    )
)


@settings(max_examples=EXAMPLES // 2)
@given(PARTITION_CASES)
def test_any_program_of_a_partition(case: tuple[Layout, Program]) -> None:
    """What it gives away is its own, and the neighbour, its peer, never asks for it."""
    layout, program = case
    machine = bench(layout)
    assert_unharmed(machine.run(program), machine.quiet)


def test_a_partition_gives_memory_away_and_takes_it_back() -> None:
    """So the calls among the programs above are no empty ones."""
    one = ffa.Range(DATA, 1)
    share = ffa.MemoryTransaction(
        instructions.SELF, (ffa.EndpointAccess(instructions.PEER, 2),), (one,)
    ).pack()
    steps = (
        instructions.MAP_MAILBOX,
        instructions.send(ffa.FfaFunction.MEM_LEND, share),
        instructions.RECLAIM_LAST,
    )
    machine = bench(PARTITION)
    states = []
    for count in range(4):
        assert_unharmed(machine.run(Program((steps[:count],), end=End.SLEEP)), machine.quiet)
        states.append(sorted(machine.given_away().values()))
    assert states == [[], [MAILBOX] * 2, [LENT, *[MAILBOX] * 2], [MAILBOX] * 2]


TIMER = With(
    ((1, GICD), (2, 1), (3, 0xFFFF_FFFF), (4, 0x0801_0000), (5, 0xFF)),
    Text(
        "str w2, [x1]; str w3, [x1, #0x100]; str w5, [x4, #4]; str w2, [x4];"
        " msr cntv_cval_el0, xzr; msr cntv_ctl_el0, x2; msr daifclr, #2"
    ),
)
PRINT = With(((1, 0x0900_0000), (2, 0x2A)), Text("str w2, [x1]"))
NOWHERE = With(((1, 0x2000_0000),), Text("ldr x2, [x1]"))
UNTRANSLATED = Word(msr(sysreg(3, 0, 12, 12, 5), 2))
"""MSR of ICC_SRE_EL1, which the CPU does not have."""
WAYS_OUT: dict[str, Step] = {
    "hvc": Text("hvc #0"),
    "smc": Text("smc #0"),
    "sysreg": Text("mrs x2, id_aa64pfr0_el1"),
    "instruction-abort": Jump(0x2000_0000),
    "data-abort-mmio-gicd": With(((1, GICD),), Text("ldr w2, [x1]")),
    "data-abort-mmio-uart": PRINT,
    "data-abort-other": NOWHERE,
    "irq-timer": TIMER,
}


@pytest.mark.parametrize("kind", WAYS_OUT)
@pytest.mark.parametrize("at_el0", [False, True], ids=["EL1", "EL0"])
def test_each_way_out_is_taken(kind: str, at_el0: bool) -> None:
    """What the programs are made of does what it is meant to: many times, or never at EL0 where the
    architecture says so."""
    step = WAYS_OUT[kind]
    if at_el0 and kind == "irq-timer":
        steps: tuple[Step, ...] = (step, AtEl0((Loop((Text("nop"),), 300),)))
    else:
        steps = (AtEl0((step,)) if at_el0 else step,)
    machine = bench(ONE)
    outcome = machine.run(Program((steps,)))
    assert_unharmed(outcome, machine.quiet)
    counts = total(outcome.random_counters.vcpus).exits
    undefined = at_el0 and kind in ("hvc", "smc", "sysreg")
    assert (counts[EXITS.index(kind)] > 5) != undefined, dict(zip(EXITS, counts, strict=True))


@pytest.mark.parametrize(
    ("vectors", "end"),
    [*((kind, End.OFF) for kind in Vectors), *((Vectors.SKIP, end) for end in End)],
)
def test_every_kind_of_vectors_and_end(vectors: Vectors, end: End) -> None:
    machine = bench(ENDS_ONCE)
    steps = (Word(0), NOWHERE, Text("svc #1"))
    assert_unharmed(machine.run(Program((steps,), vectors, end)), machine.quiet)


@settings(max_examples=EXAMPLES // 5)
@given(st.sampled_from((ONE, TWO_ON_ONE, TWO)), st.data())
def test_a_run_is_a_function_of_the_program(layout: Layout, data: st.DataObject) -> None:
    """After another program, and from a snapshot, it is the same run to the last bit."""
    number = len(layout.cpus)
    program = data.draw(instructions.programs(number, instructions.orderly_steps), label="program")
    other = data.draw(instructions.programs(number), label="other")
    machine = bench(layout)
    first = machine.run(program)
    state = machine.state()
    machine.run(other)
    again = machine.run(program)
    assert (machine.state(), replace(again, stop=first.stop)) == (state, first)


@settings(max_examples=EXAMPLES // 5)
@given(st.sampled_from((ONE, TWO)), st.data())
def test_both_ways_to_translate_run_alike(layout: Layout, data: st.DataObject) -> None:
    """For programs without what docs/not-modelled.md names."""
    number = len(layout.cpus)
    program = data.draw(instructions.programs(number, instructions.orderly_steps), label="program")
    model, native = bench(layout), bench(replace(layout, mmu=MmuMode.NATIVE))
    expected, found = model.run(program), native.run(program)
    assert_unharmed(expected, model.quiet)
    assert replace(found, violation=None) == expected
    assert native.state() == model.state()


def test_what_a_program_stores_over_itself_is_executed() -> None:
    """With the maintenance that the architecture asks for."""
    call = Patch(0xD400_0002)
    machine = bench(ONE)
    outcome = machine.run(Program(((Text("mov x0, #0"), call),)))
    assert_unharmed(outcome, machine.quiet)
    assert total(outcome.random_counters.vcpus).exits[EXITS.index("hvc")] > 5


def test_the_laws_see_what_they_are_to_see() -> None:
    """A byte of the hypervisor, one of the neighbour's memory, or one of nobody's that changes is
    noticed."""
    machine = bench(ONE)
    program = Program(((Text("nop"),),))
    for place in (machine.text, DATA - 0x4000_0000 + 0x4180_0000, 0x4100_0000):
        outcome = machine.run(program, spoil=place)
        with pytest.raises(AssertionError):
            assert_unharmed(outcome, machine.quiet)
    assert_unharmed(machine.run(program), machine.quiet)
