# SPDX-License-Identifier: Apache-2.0
"""Several CPUs on the bare machine: how they start, take turns, see each other, and sleep."""

from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator.cpu.engine import HookProvider, MmuMode
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.hooks_twin import PythonHooks
from aether_edgecloud.properties.machine.smp import (
    AFFINITY_INFO,
    CPU_OFF,
    add,
    finish,
    machine,
    start,
    start_all,
    wait_for,
    word,
)

TURNS = [(1, 0), (7, 0), (100, 3), (1000, 0), (8000, 0), (8000, 11)]
each_turns = pytest.mark.parametrize(("quantum", "seed"), TURNS)
each_mode = pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)


COUNT = 300


def counting(label: str) -> str:
    """COUNT increments of the first word, then one of the second."""
    return f"""
    mov x6, #{COUNT}
    {label}: {add()}
    subs x6, x6, #1
    b.ne {label}
    {add(8)}
    """


SECOND = counting("second_counts")
FIRST_OF_3 = start_all(3) + counting("first_counts") + wait_for(8, 3)
FIRST = start_all(4) + counting("first_counts") + wait_for(8, 4)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two runs must have in common."""

    retired: tuple[int, ...]
    by_el: tuple[tuple[int, int, int], ...]
    state: str


def outcome(made: Machine) -> Outcome:
    return Outcome(
        tuple(cpu.retired for cpu in made.cpus),
        tuple(cpu.instructions_by_el() for cpu in made.cpus),
        state_sha256(made),
    )


@each_turns
def test_no_increment_by_exclusives_is_lost(quantum: int, seed: int) -> None:
    made = finish(machine(FIRST, SECOND, 4, quantum=quantum, seed=seed))
    assert word(made, 0) == 4 * COUNT
    assert all(cpu.retired > 5 * COUNT for cpu in made.cpus)


@each_turns
def test_a_run_repeats_in_both_modes(quantum: int, seed: int) -> None:
    runs = [
        outcome(finish(machine(FIRST, SECOND, 4, mmu, quantum=quantum, seed=seed)))
        for mmu in (MmuMode.NATIVE, MmuMode.NATIVE, MmuMode.MODEL)
    ]
    assert runs[0] == runs[1] == runs[2]


def test_quantum_and_seed_matter() -> None:
    runs = {
        outcome(finish(machine(FIRST, SECOND, 4, quantum=quantum, seed=seed))).retired
        for quantum, seed in TURNS
    }
    assert len(runs) == len(TURNS)


@pytest.mark.parametrize("step", [1, 37, 1000])
def test_slicing_does_not_show(step: int) -> None:
    """Stopping at any instruction count and going on changes nothing."""
    whole = outcome(finish(machine(FIRST_OF_3, SECOND, 3, quantum=50, seed=5)))
    sliced = machine(FIRST_OF_3, SECOND, 3, quantum=50, seed=5)
    while (stop := sliced.run(sliced.instructions + step)).kind is StopKind.LIMIT:
        assert stop.instructions == sliced.instructions
    assert stop.kind is StopKind.SYSTEM_OFF
    assert outcome(sliced) == whole


def test_python_hooks_give_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> Machine:
        return machine(FIRST + "wfe", SECOND + "wfe", 4, quantum=100, seed=3)

    in_c = outcome(finish(build()))
    module = "aether_edgecloud.emulator.machine.machine.HookLibrary"
    twin: HookProvider = PythonHooks()
    monkeypatch.setattr(module, lambda _path: twin)
    assert outcome(finish(build())) == in_c


@each_mode
def test_what_a_started_cpu_finds(mmu: MmuMode) -> None:
    second = """
        add x1, x20, x19, lsl #5
        mrs x2, mpidr_el1
        mrs x3, currentel
        mrs x4, sctlr_el2
        stp x27, x2, [x1]
        stp x3, x4, [x1, #16]
        mrs x5, daif
        str x5, [x20, #1024]
    """ + add(2048)
    made = finish(machine(start_all(4) + wait_for(2048, 3), second, 4, mmu))
    for cpu in (1, 2, 3):
        context, mpidr, el, sctlr = (word(made, 32 * cpu + 8 * i) for i in range(4))
        assert (context, mpidr, el >> 2 & 3) == (cpu << 8, 1 << 31 | cpu, 2)
        assert sctlr & 0x1005 == 0  # MMU and caches off
    assert word(made, 1024) == 0x3C0


def test_el1_sees_the_mpidr_that_el2_gives_it() -> None:
    second = f"""
        mov x1, #0x80000000
        msr hcr_el2, x1
        mov x1, #0x77
        msr vmpidr_el2, x1
        adr x1, below
        msr elr_el2, x1
        mov x1, #0x3c5
        msr spsr_el2, x1
        eret
        below: mrs x2, mpidr_el1
        str x2, [x20]
        {add(8)}
    """
    made = finish(machine(start(1) + wait_for(8, 1), second, 2))
    assert word(made, 0) == 0x77


def test_a_cpu_goes_off_and_is_started_again() -> None:
    """Off by its own CPU_OFF, as AFFINITY_INFO tells; then anew as from reset."""
    second = f"""
        mrs x2, vbar_el2
        {add()}
        mrs x3, tpidr_el2
        mrs x4, s3_4_c14_c2_1
        orr x3, x3, x4
        str x3, [x20, #16]
        mov x3, #99
        msr tpidr_el2, x3
        msr s3_4_c14_c2_1, x3
        {constant("x0", CPU_OFF)}
        smc #0
    """
    until_off = f"""
        {{label}}: {constant("x0", AFFINITY_INFO)}
        mov x1, #1
        mov x2, #0
        smc #0
        cmp x0, #1
        b.ne {{label}}
    """
    first = start(1, 5) + until_off.format(label="a") + start(1, 6) + until_off.format(label="b")
    made = finish(machine(first, second, 2))
    assert word(made, 0) == 2
    assert word(made, 16) == 0
    assert made.cpus[1].registers()[27] == 6


def test_a_cpu_that_runs_is_on() -> None:
    """CPU_ON answers ALREADY_ON, AFFINITY_INFO ON."""
    ask = f"mov x11, x0\n {constant('x0', AFFINITY_INFO)}\n mov x1, #1\n mov x2, #0\n smc #0\n"
    first = start(1) + wait_for(0, 1) + start(1) + ask + "mov x12, x0"
    x = finish(machine(first, add(), 2)).cpu.registers()
    assert (x[11], x[12]) == (-4 % (1 << 64), 0)


def test_all_off_is_a_deadlock() -> None:
    off = f"{constant('x0', CPU_OFF)}\n smc #0\n"
    made = machine(start(1) + off, off, 2)
    assert made.run(100_000).kind is StopKind.DEADLOCK


def test_all_asleep_is_a_deadlock() -> None:
    made = machine(start(1) + "wfi", "wfi", 2)
    assert made.run(100_000).kind is StopKind.DEADLOCK


GIC_ON = "\n".join(
    [
        constant("x2", 0x0801_0000),
        "mov w3, #0xff\n str w3, [x2, #4]\n mov w3, #1\n str w3, [x2]",
        constant("x2", 0x0800_0000),
        "str w3, [x2]\n movz w3, #0x0400, lsl #16\n orr w3, w3, #1\n str w3, [x2, #0x100]",
    ]
)
SEND_SGI_0 = f"{constant('x2', 0x0800_0F00)}\n mov w3, #0x20000\n str w3, [x2]"  # to CPU 1
ACKNOWLEDGE = f"{constant('x2', 0x0801_000C)}\n ldr w5, [x2]\n str w5, [x2, #4]"


@each_turns
@each_mode
def test_an_sgi_wakes_a_sleeping_cpu(mmu: MmuMode, quantum: int, seed: int) -> None:
    second = f"""
        {GIC_ON}
        {add()}
        mrs x8, cntpct_el0
        wfi
        mrs x6, cntpct_el0
        {ACKNOWLEDGE}
        str x8, [x20, #40]
        str x5, [x20, #16]
        str x6, [x20, #24]
        {add(8)}
    """
    first = f"""
        {GIC_ON}
        {start(1)}
        {wait_for(0, 1)}
        mrs x7, cntpct_el0
        {SEND_SGI_0}
        {wait_for(8, 1)}
        str x7, [x20, #32]
    """
    made = finish(machine(first, second, 2, mmu, quantum=quantum, seed=seed))
    assert word(made, 16) == 0  # SGI 0 from CPU 0
    assert abs(word(made, 24) - word(made, 32)) <= quantum + 100
    assert word(made, 24) > word(made, 40)  # time never goes back


def test_counters_stay_within_a_quantum() -> None:
    """Each CPU publishes its counter, CPU 0 reads the others': never a quantum apart."""
    publish = "again: mrs x2, cntpct_el0\n str x2, [x20, x19, lsl #3]\n b again"
    first = (
        start_all(4)
        + """
        mov x9, #0
        mov x6, #3000
        begin: ldr x2, [x20, #24]
        cbz x2, begin
        look: mrs x1, cntpct_el0
        mov x7, #8
        each: ldr x2, [x20, x7]
        subs x3, x1, x2
        cneg x3, x3, mi
        cmp x3, x9
        csel x9, x3, x9, hi
        add x7, x7, #8
        cmp x7, #32
        b.ne each
        subs x6, x6, #1
        b.ne look
        str x9, [x20, #64]
    """
    )
    for quantum, seed in ((500, 0), (500, 9)):
        made = finish(machine(first, publish, 4, quantum=quantum, seed=seed))
        assert quantum // 2 < word(made, 64) <= quantum + 50


def test_wfi_is_left_at_each_cpus_own_timer() -> None:
    """Nobody runs: time jumps from event to event, each CPU to its own."""
    second = f"""
        {GIC_ON}
        add x2, x19, #1
        mov x3, #50000
        mul x3, x3, x2
        mrs x8, cntpct_el0
        msr cnthp_tval_el2, x3
        mov x3, #1
        msr cnthp_ctl_el2, x3
        wfi
        mrs x9, cntpct_el0
        msr cnthp_ctl_el2, xzr
        sub x9, x9, x8
        str x9, [x20, x19, lsl #3]
        {add(64)}
    """.replace("cnthp_tval_el2", "s3_4_c14_c2_0").replace("cnthp_ctl_el2", "s3_4_c14_c2_1")
    made = machine(start_all(4) + "idle: wfi\n b idle", second, 4)
    assert made.run(1_000_000).kind is StopKind.DEADLOCK
    for cpu in (1, 2, 3):
        assert 50_000 * (cpu + 1) <= word(made, 8 * cpu) < 50_000 * (cpu + 1) + 20
    assert made.instructions < 5_000


def test_wfe_gives_the_rest_of_the_slice_away() -> None:
    spin = "turn: {wfe}\n add x5, x5, #1\n ldr x4, [x20]\n cbz x4, turn\n"
    first = start(1) + "mov x6, #0x40000\n work: subs x6, x6, #1\n b.ne work\n" + add()
    turns = []
    for wfe in ("nop", "wfe", "sevl\n wfe"):
        made = machine(first + wait_for(8, 1), spin.format(wfe=wfe) + add(8), 2, quantum=8000)
        turns.append(finish(made).cpus[1].registers()[5])
    busy, waiting, after_sevl = turns
    assert busy > 100_000
    assert waiting < 100
    assert after_sevl > 50_000


def test_an_interrupt_ends_a_wfe() -> None:
    """The timer interrupts in the middle of the slice that the WFE gives away."""
    second = f"""
        {GIC_ON}
        mov x3, #16
        msr hcr_el2, x3
        mov x3, #2000
        mrs x8, cntpct_el0
        msr s3_4_c14_c2_0, x3
        mov x3, #1
        msr s3_4_c14_c2_1, x3
        msr daifclr, #2
        rest: wfe
        b rest
    """
    vector = "mrs x9, cntpct_el0\n sub x9, x9, x8\n str x9, [x20]\n wfi\n b .-4"
    made = machine(start(1) + "busy: ldr x4, [x20]\n cbz x4, busy", second, 2, vector=vector)
    assert 2000 <= word(finish(made), 0) < 2020


def test_an_interrupt_that_is_due_when_a_wfe_comes() -> None:
    """The timer expires in the block that the WFE ends: nothing is waited for."""
    second = f"""
        {GIC_ON}
        mov x3, #16
        msr hcr_el2, x3
        mov x3, #120
        mrs x8, cntpct_el0
        msr s3_4_c14_c2_0, x3
        mov x3, #1
        msr s3_4_c14_c2_1, x3
        msr daifclr, #2
        {"nop;" * 200}
        wfe
        rest: b rest
    """
    vector = "mrs x9, cntpct_el0\n sub x9, x9, x8\n str x9, [x20]\n wfi\n b .-4"
    made = machine(start(1) + "busy: ldr x4, [x20]\n cbz x4, busy", second, 2, vector=vector)
    assert 120 <= word(finish(made), 0) < 220


def test_alone_a_wfe_lasts_to_the_end_of_the_round() -> None:
    """As if others were there: it does not matter whether one of them has anything to do."""
    first = "mrs x8, cntpct_el0\n" + "wfe\n nop\n" * 10 + "mrs x9, cntpct_el0"
    made = finish(machine(first, "", 2, quantum=1000))
    x = made.cpu.registers()
    assert 9_000 < x[9] - x[8] <= 10_000 + 10
    assert made.cpu.retired < 200


def test_aba_between_load_and_store_exclusive_is_seen() -> None:
    """The value is back when the store exclusive comes, and other CPUs have stored meanwhile."""
    first = f"""
        {start(1)}
        {wait_for(8, 1)}
        ldxr x2, [x20]
        mov x6, #30000
        hold: subs x6, x6, #1
        b.ne hold
        stxr w3, x2, [x20]
        str x3, [x20, #16]
    """
    second = f"{add(8)}\n aba: mov x2, #1\n str x2, [x20]\n str xzr, [x20]\n b aba"
    assert word(finish(machine(first, second, 2)), 16) == 1


def test_alone_a_store_exclusive_succeeds_however_late() -> None:
    first = """
        ldxr x2, [x20]
        mov x6, #30000
        hold: subs x6, x6, #1
        b.ne hold
        stxr w3, x2, [x20]
        str x3, [x20, #16]
    """
    assert word(finish(machine(first, "wfi", 2)), 16) == 0
