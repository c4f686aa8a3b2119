# SPDX-License-Identifier: Apache-2.0
"""Several CPUs: stacks that two of them have, entries that another CPU uses, several vCPUs."""

import functools

import pytest

from aether_edgecloud.emulator.check.checker import Checker
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import StopKind
from aether_edgecloud.properties.check import programs as c
from aether_edgecloud.properties.check.test_check_tables import put
from aether_edgecloud.properties.machine import smp
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.monitor import el2_programs as p
from aether_edgecloud.properties.monitor import test_monitor_on_the_hypervisor as hypervisor

LIMIT = 1_550_000
"""The guests are entered after 1.4 million instructions."""


@functools.cache
def without(name: str) -> hypervisor.Outcome:
    """The run that nobody watches."""
    return hypervisor.outcome(hypervisor.MACHINES[name](), LIMIT)


@pytest.mark.parametrize("by_difference", [False, True])
@pytest.mark.parametrize("name", ["two CPUs", pytest.param("two VMs", marks=pytest.mark.nightly)])
def test_our_own_with_neighbours(name: str, by_difference: bool) -> None:
    """VMs that attack and crash: nothing is found, and nothing shows in the run."""
    made = hypervisor.MACHINES[name]()
    checker = Checker(made, by_difference=by_difference)
    made.run(LIMIT)
    checker.finish()
    assert [f.rule.id for f in checker.findings.found] == ["writable-tables"]
    assert checker.vcpus >= 2
    assert hypervisor.outcome(made, LIMIT) == without(name)


@pytest.mark.nightly
def test_watching_ends() -> None:
    made = hypervisor.MACHINES["two CPUs"]()
    checker = Checker(made)
    made.run(1_450_000)
    checker.close()
    assert hypervisor.outcome(made, LIMIT) == without("two CPUs")


# Two CPUs of a hypervisor with one stack for both, or one for each.

STACKS = {"one for each": 12, "one for both": 0}


def both(shift: str) -> str:
    """Each CPU enters the guest's endless HVC; CPU 1 begins first."""
    enter = f"""
    {p.STAGE2_ON}
    {constant("x1", 0x4060_0000)}
    {shift}
    mov sp, x1
    adr x1, exits
    msr vbar_el2, x1
    """
    for name in c.CONTROLS:
        enter += f"{constant('x1', 0x30D0_0800 if name == 'sctlr_el1' else 0)}\nmsr {name}, x1\n"
    enter += f"""
    msr vmpidr_el2, x19
    {p.msr("elr_el2", c.VM1)}
    {p.msr("spsr_el2", 0x3C5)}
    isb
    eret
.balign 2048
exits:
    """
    for number in range(16):
        enter += "b count\n.balign 128\n" if number >= 8 else "b .\n.balign 128\n"
    return (
        enter
        + f"""
count:
    add x21, x21, #1
    cmp x21, #400
    b.lo again
    cbz x19, finish
    b park
finish:
    {smp.OFF}
again:
    {p.msr("elr_el2", c.VM1)}
    eret
    """
    )


@pytest.mark.parametrize("name", STACKS)
def test_stacks_of_two_cpus(name: str) -> None:
    shift = "add x1, x1, x19, lsl #13" if STACKS[name] else ""
    text = both(shift)
    made = smp.machine(f"{smp.start(1)} b second", text, 2, MmuMode.MODEL)
    p.load(made)
    made.write_pa(c.VM1, c.guest("mov x0, #0\nmov x1, #0"))
    checker = Checker(made)
    assert made.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
    found = {f.rule.id for f in checker.findings.found}
    assert found == (set() if STACKS[name] else {"shared-stack"})


@pytest.mark.parametrize("is_apart", [True, False])
def test_stacks_at_one_va_of_two_address_spaces(is_apart: bool) -> None:
    """EL2's tables of CPU 1 are its own, and may have other memory where the stack is."""
    own = p.EL2_MMU_ON.replace(
        p.msr("ttbr0_el2", p.EL2_ROOT),
        f"{constant('x1', p.EL2_ROOT)}\n{constant('x2', p.SPARE2)}\ncmp x19, #0\n"
        "csel x1, x1, x2, eq\nmsr ttbr0_el2, x1\n",
    )
    text = own + both("")
    made = smp.machine(f"{smp.start(1)} b second", text, 2, MmuMode.MODEL)
    p.load(made)
    made.write_pa(c.VM1, c.guest("mov x0, #0\nmov x1, #0"))
    put(made, p.entry(p.SPARE2, 0), p.EL2_BLOCK)
    put(made, p.entry(p.SPARE2, 1), p.SPARE | p.TABLE)
    for number in range(32):
        put(made, p.entry(p.SPARE, number), 0x4000_0000 + (number << 21) | p.EXECUTABLE)
    if is_apart:
        put(made, p.entry(p.SPARE, 2), 0x4240_0000 | p.EXECUTABLE)
    checker = Checker(made)
    assert made.run(smp.LIMIT).kind is StopKind.SYSTEM_OFF
    found = {f.rule.id for f in checker.findings.found}
    assert ("shared-stack" in found) == (not is_apart)
