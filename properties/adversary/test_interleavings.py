# SPDX-License-Identifier: Apache-2.0
"""Schedules of small programs at EL2: what they must find is found, what is right stays right, and
each of them is a number that replays."""

import ctypes as c
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether_edgecloud.emulator.cpu import hooks
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.interleave.explore import Explorer, Result, explore
from aether_edgecloud.emulator.interleave.interleaver import Interleaver
from aether_edgecloud.emulator.interleave.interleaving import (
    Interleaving,
    Method,
    Preemption,
    bounded_seed,
    parse,
)
from aether_edgecloud.emulator.interleave.switch_points import (
    AccessedWord,
    SwitchingCpu,
    SwitchPointsState,
)
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.each_instruction import before_each_instruction, word_at
from aether_edgecloud.properties.machine.smp import (
    CPU_ON,
    add,
    machine,
    start,
    start_all,
    wait_for,
    word,
)

LIMIT = 400_000
COUNTER, OTHER, LOCK, LOCK_2 = 256, 320, 384, 448
READY, GO, DONE = 8, 16, 24

PLAIN_ADD = f"""
    ldr x1, [x20, #{COUNTER}]
    add x1, x1, #1
    str x1, [x20, #{COUNTER}]
"""


def lock(offset: int, label: str) -> str:
    """A spin lock by exclusives."""
    return f"""
    add x10, x20, #{offset}
    mov w11, #1
    {label}: ldaxr w12, [x10]
    cbnz w12, {label}
    stxr w13, w11, [x10]
    cbnz w13, {label}
    """


def unlock(offset: int) -> str:
    return f"add x10, x20, #{offset}\n stlr wzr, [x10]\n"


def at_once(first: str, *others: str) -> tuple[str, str]:
    """What CPU 0 and the others do, when all are there; CPU 0 goes on when all have done it."""
    cpus = len(others) + 1
    begin = start_all(cpus) + wait_for(READY, len(others)) + add(GO)
    labels = "".join(f"cmp x19, #{n}\n b.eq cpu{n}\n" for n in range(1, cpus))
    bodies = "".join(f"cpu{n}: {body} b parks\n" for n, body in enumerate(others, 1))
    second = add(READY) + wait_for(GO, 1) + labels + bodies + "parks: " + add(DONE)
    return begin + first + wait_for(DONE, len(others)), second


def built(first: str, *others: str, vector: str = "b .") -> Machine:
    begin, second = at_once(first, *others)
    return machine(begin, second, len(others) + 1, MmuMode.MODEL, vector=vector)


def must_be(offset: int, value: int) -> Callable[[Machine], str | None]:
    """The scenario to SYSTEM_OFF, after which a word has a value."""

    def scenario(made: Machine) -> str | None:
        stop = made.run(made.instructions + LIMIT)
        if stop.kind is not StopKind.SYSTEM_OFF:
            return stop.kind.name
        found = word(made, offset)
        return None if found == value else f"{found} and not {value}"

    return scenario


def explored(
    made: Machine,
    scenario: Callable[[Machine], str | None],
    method: Method,
    depth: int,
    schedules: int = 2000,
    failures: int = 1,
) -> Result:
    result = explore(
        made, scenario, schedules=schedules, method=method, depth=depth, failures=failures
    )
    made.close()
    return result


# What is found.


@pytest.mark.parametrize(("method", "depth"), [(Method.PCT, 2), (Method.BOUNDED, 1)])
def test_a_lost_update_is_found(method: Method, depth: int) -> None:
    result = explored(built(PLAIN_ADD, PLAIN_ADD), must_be(COUNTER, 2), method, depth)
    assert result.first is not None and result.first.what == "1 and not 2"
    assert result.schedules < 200


def test_it_takes_a_preemption_between_the_load_and_the_store() -> None:
    """Of all schedules with one preemption, those fail in which the CPU that began is stopped
    before its store."""
    result = explored(
        built(PLAIN_ADD, PLAIN_ADD), must_be(COUNTER, 2), Method.BOUNDED, 1, failures=1000
    )
    assert result.is_complete
    assert {failure.what for failure in result.failures} == {"1 and not 2"}
    assert len(result.failures) == 2  # either CPU may be first


def test_three_cpus_lose_two_updates() -> None:
    made = built(PLAIN_ADD, PLAIN_ADD, PLAIN_ADD)
    result = explored(made, must_be(COUNTER, 3), Method.PCT, 3, failures=40, schedules=3000)
    assert {failure.what for failure in result.failures} == {"1 and not 3", "2 and not 3"}


def test_four_cpus_are_switched_too() -> None:
    made = built(PLAIN_ADD, PLAIN_ADD, PLAIN_ADD, PLAIN_ADD)
    result = explored(made, must_be(COUNTER, 4), Method.PCT, 2)
    assert result.first is not None and result.first.what == "3 and not 4"


def inversion(label: str, one: int, other: int) -> str:
    return lock(one, f"{label}_one") + lock(other, f"{label}_two") + unlock(other) + unlock(one)


@pytest.mark.parametrize("method", list(Method))
def test_locks_in_two_orders_are_found_as_a_deadlock(method: Method) -> None:
    made = built(inversion("up", LOCK, LOCK_2), inversion("down", LOCK_2, LOCK))
    result = explored(made, must_be(COUNTER, 0), method, 2)
    assert result.first is not None and result.first.what == "DEADLOCK"


def turn_on(cpu: int, label: str) -> str:
    """PSCI for one's own: on if the word is 0, and then CPU_ON; else the firmware's answer counts
    for nothing."""
    return f"""
    ldr x1, [x20, #{OTHER}]
    cbnz x1, {label}
    mov x1, #1
    str x1, [x20, #{OTHER}]
    {constant("x0", CPU_ON)}
    mov x1, #{cpu}
    adr x2, start
    mov x3, #0
    smc #0
    cbz x0, {label}
    add x1, x20, #{COUNTER}
    mov x2, #1
    str x2, [x1]
    {label}: nop
    """


def test_a_race_of_two_cpu_on_is_found() -> None:
    """Whether a CPU is off is looked at, and then it is turned on: firmware refuses the second."""
    begin = start(1) + wait_for(READY, 1) + add(GO) + turn_on(2, "k0") + wait_for(DONE, 2)
    second = f"cmp x19, #2\n b.eq third\n{add(READY)}{wait_for(GO, 1)}{turn_on(2, 'k1')}"
    second += f"third: {add(DONE)}"
    made = machine(begin, second, 3, MmuMode.MODEL)
    result = explored(made, must_be(COUNTER, 0), Method.PCT, 2)
    assert result.first is not None and result.first.what == "1 and not 0"


# What is right.

LOCKED = {
    "exclusives": (add(COUNTER), add(COUNTER)),
    "lock": (
        lock(LOCK, "a") + PLAIN_ADD + unlock(LOCK),
        lock(LOCK, "b") + PLAIN_ADD + unlock(LOCK),
    ),
    "locks in one order": (
        lock(LOCK, "a") + lock(LOCK_2, "b") + PLAIN_ADD + unlock(LOCK_2) + unlock(LOCK),
        lock(LOCK, "c") + lock(LOCK_2, "d") + PLAIN_ADD + unlock(LOCK_2) + unlock(LOCK),
    ),
}


@pytest.mark.parametrize("bodies", LOCKED.values(), ids=LOCKED)
@pytest.mark.parametrize("method", list(Method))
def test_what_is_locked_is_right_by_every_schedule(bodies: tuple[str, str], method: Method) -> None:
    depth = 3 if method is Method.PCT else 2
    result = explored(built(*bodies), must_be(COUNTER, 2), method, depth, schedules=250)
    assert result.first is None
    assert result.distinct > 100


def test_a_wait_without_wfe_lets_others_run() -> None:
    """A CPU that spins with the highest priority does not starve the one that it waits for."""
    result = explored(
        built(wait_for(OTHER, 1), add(OTHER)), must_be(OTHER, 1), Method.PCT, 2, schedules=50
    )
    assert result.first is None


# Schedules as numbers.


@pytest.fixture
def racy() -> Iterator[Explorer]:
    made = built(PLAIN_ADD + add(OTHER), PLAIN_ADD + add(OTHER))
    explorer = Explorer(made, must_be(COUNTER, 2), depth=2)
    assert explorer.learn() is None
    yield explorer
    made.close()


def test_bounded_schedules_do_not_repeat(racy: Explorer) -> None:
    result = racy.explore(racy.schedules(Method.BOUNDED), most=600, failures=600)
    assert result.is_complete
    assert result.schedules == result.distinct > 400


def test_bounded_schedules_come_by_their_number_of_preemptions(racy: Explorer) -> None:
    counts = []
    for interleaving in islice(racy.schedules(Method.BOUNDED), 400):
        racy.run(interleaving)
        counts.append(len(interleaving.preemptions()))
    assert counts == sorted(counts) and set(counts) == {0, 1, 2}


def test_a_failure_replays_in_a_machine_from_reset() -> None:
    """And a recording's state: the setup says all."""
    result = explored(built(PLAIN_ADD, PLAIN_ADD), must_be(COUNTER, 2), Method.PCT, 3)
    failure = result.first
    assert failure is not None
    setup = replace(built(PLAIN_ADD, PLAIN_ADD).setup, interleaving=failure.interleaving)
    runs = []
    for _ in range(2):
        made = Machine.of(setup)
        assert must_be(COUNTER, 2)(made) == failure.what
        runs.append(state_sha256(made))
        made.close()
    assert runs[0] == runs[1]
    kind = replace(setup, interleaving=replace(failure.interleaving, seed=0, depth=1))
    assert must_be(COUNTER, 2)(Machine.of(kind)) is None
    assert kind.digest() != setup.digest()


def test_a_failure_replays_after_other_schedules(racy: Explorer) -> None:
    found: dict[int, str | None] = {}
    for interleaving in islice(racy.schedules(Method.PCT), 60):
        found[interleaving.seed] = racy.run(interleaving)
    assert len(set(found.values())) > 1
    for seed in reversed(found):
        assert racy.run(replace(racy.plain, method=Method.PCT, seed=seed)) == found[seed]


def test_a_run_goes_on_from_a_snapshot_as_it_went() -> None:
    """A snapshot between two preemptions, with any number of them to come."""
    begin, second = at_once(PLAIN_ADD * 30, PLAIN_ADD * 30)
    made = machine(begin, second, 2, MmuMode.MODEL)
    explorer = Explorer(made, must_be(COUNTER, 60), depth=4)
    assert explorer.learn() is None
    seen = set()
    for seed in range(8):
        made.restore(explorer.snapshot)
        explorer.interleaver.follow(replace(explorer.plain, method=Method.PCT, seed=seed, depth=6))
        while not explorer.interleaver.switches:
            made.run(made.instructions + 50)
        middle = made.snapshot()
        ends = []
        for _ in range(2):
            made.restore(middle)
            assert made.run(made.instructions + LIMIT).kind is StopKind.SYSTEM_OFF
            ends.append((state_sha256(made), explorer.interleaver.switches))
        assert ends[0] == ends[1]
        seen.add(len(ends[0][1]))
    assert len(seen) > 1 and max(seen) > 3


_PROCESS = """
from aether_edgecloud.properties.adversary import test_interleavings as t
from aether_edgecloud.emulator.interleave.interleaving import Method
r = t.explored(t.built(t.PLAIN_ADD, t.PLAIN_ADD), t.must_be(t.COUNTER, 2), Method.PCT, 3,
               schedules=60, failures=100)
print(r.points, r.shared, r.distinct, [(str(f.interleaving), f.what) for f in r.failures])
"""


def test_a_schedule_is_the_same_run_in_every_process() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", _PROCESS],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1] and "and not" in told[0]


def test_a_machine_that_follows_no_schedule_runs_as_without() -> None:
    """Instruction for instruction."""
    runs = []
    for attached in (False, True):
        made = built(PLAIN_ADD, PLAIN_ADD)
        if attached:
            Interleaver(made)
        assert made.run(LIMIT).kind is StopKind.SYSTEM_OFF
        runs.append((tuple(cpu.retired for cpu in made.cpus), state_sha256(made)))
        made.close()
    assert runs[0] == runs[1]


# Text.

interleavings = st.builds(
    Interleaving,
    method=st.sampled_from(list(Method)),
    seed=st.integers(0, 1 << 200),
    depth=st.integers(1, 19),
    points=st.integers(1, 1 << 20),
    start=st.integers(0, 1 << 40),
    quantum=st.integers(1, 1 << 20),
    shared=st.sets(st.integers(0, 1 << 40).map(lambda n: 4 * n), max_size=20).map(
        lambda found: tuple(sorted(found))
    ),
)


@given(interleavings)
def test_the_text_of_a_schedule_is_read_as_it_was(interleaving: Interleaving) -> None:
    assert parse(str(interleaving)) == interleaving


@given(
    st.integers(0, 7),
    st.lists(st.builds(Preemption, st.integers(1, (1 << 29) - 1), st.integers(0, 7)), max_size=3),
)
def test_bounded_seeds_say_their_preemptions(first: int, made: list[Preemption]) -> None:
    found = Interleaving(Method.BOUNDED, bounded_seed(first, tuple(made)))
    assert found.preemptions() == tuple(made)
    assert found.first(8)[0] == first


@given(st.integers(0, 1 << 64), st.integers(1, 6), st.integers(1, 50), st.integers(1, 8))
def test_pct_has_a_priority_for_each_cpu_and_depth_less_one_changes(
    seed: int, depth: int, points: int, cpus: int
) -> None:
    found = Interleaving(Method.PCT, seed, depth, points)
    assert sorted(found.first(cpus)) == list(range(cpus))
    changes = [preemption.point for preemption in found.preemptions()]
    assert len(changes) == min(depth - 1, points)
    assert changes == sorted(set(changes)) and set(changes) <= set(range(1, points + 1))


def test_pct_gets_to_every_order_and_every_point() -> None:
    found = [Interleaving(Method.PCT, seed, 2, 10) for seed in range(500)]
    assert len({one.first(3) for one in found}) == 6
    assert {one.preemptions()[0].point for one in found} == set(range(1, 11))


@pytest.mark.parametrize(
    "text",
    ["", "dice:seed=1", "pct:seed", "pct:seed=x", "pct:speed=1", "pct:depth=0", "pct:depth=20",
     "pct:points=0", "pct:quantum=0", "pct:shared=", "pct:shared=1", "pct:shared=40.0",
     "pct:shared=40.z", "pct:seed=-1"],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)


# The hooks' twin.

SYNC = {
    *("dsb", "dmb", "tlbi", "smc", "ldar", "stlr", "ldxr", "ldaxr", "stxr", "stlxr"),
    *("ldxp", "ldaxp", "stxp", "stlxp"),
}
EVERY_KIND = """
    dmb ish
    dsb ish
    dsb nsh
    isb
    tlbi vae2is, x19
    tlbi alle1
    dc civac, x20
    ic iallu
    ldar x4, [x20]
    stlr x4, [x20]
    ldaxr x4, [x20]
    stlxr w5, x4, [x20]
    ldxr w4, [x20]
    stxr w5, w4, [x20]
    ldaxp x4, x6, [x20]
    stxp w5, x4, x6, [x20]
    ldr x4, [x20, #512]
    str x4, [x20, #512]
    stp x4, x5, [x20, #504]
    ldr x4, [sp, #-16]
    mrs x4, mpidr_el1
"""


def test_the_hooks_count_what_a_callback_at_each_instruction_sees() -> None:
    made = built(EVERY_KIND * 3 + PLAIN_ADD, EVERY_KIND * 2 + add(COUNTER) + EVERY_KIND)
    explorer = Explorer(made, must_be(READY, 1), depth=1)
    assert explorer.learn() is None
    shared = explorer.plain.shared
    disassembler = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    points = explorer.interleaver.points.state
    seen: list[int] = []
    last = {cpu: (0, -1000) for cpu in made.cpus}

    def watch(cpu: Cpu) -> None:
        def tell(pc: int) -> None:
            (found,) = disassembler.disasm(word_at(cpu, pc).to_bytes(4, "little"), pc)
            if found.mnemonic not in SYNC and pc not in shared:
                return
            before, last[cpu] = last[cpu], (pc, cpu.engine.position(pc))
            if before[1] == last[cpu][1] or not points.is_on:
                return  # it has stopped here; or it is too early
            repeats = before[0] == pc and last[cpu][1] - before[1] <= 64
            if not repeats and not points.is_alone:
                seen.append(pc)

        before_each_instruction(cpu, tell)

    for cpu in made.cpus:
        watch(cpu)
    assert explorer.run(replace(explorer.plain, seed=1)) is None
    assert explorer.interleaver.reached == len(seen) > 100


@pytest.mark.parametrize(
    ("struct", "mirror"),
    [
        ("accessed_word", AccessedWord),
        ("switch_points", SwitchPointsState),
        ("switching_cpu", SwitchingCpu),
    ],
)
def test_the_mirror_of_a_struct(struct: str, mirror: type[c.Structure]) -> None:
    header = Path(hooks.__file__).with_name("interleave.h").read_text(encoding="utf-8")
    body = re.search(rf"struct {struct} \{{(.*?)\n\}};", re.sub(r"//.*", "", header), re.DOTALL)
    assert body is not None
    sizes = {"uint64_t": 8, "uint32_t": 4}
    stated = [
        (name, 8 if pointer else sizes[kind])
        for kind, pointer, name in re.findall(r"(\w+) (\*?)(\w+);", body[1])
    ]
    assert stated == [(field[0], c.sizeof(field[1])) for field in mirror._fields_]
