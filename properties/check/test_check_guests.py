# SPDX-License-Identifier: Apache-2.0
"""What guests find when EL2 enters them: registers of other VMs, controls, vectors, stacks."""

import pytest

from aether_edgecloud.properties.check import programs as c
from aether_edgecloud.properties.machine.bare import LOAD, constant
from aether_edgecloud.properties.monitor import el2_programs as p

SECRET = constant("x9", c.SECRET)
FPEN = "mov x10, #0x300000\nmsr cpacr_el1, x10\nisb\n"
LEAKS = {
    "x5": f"{SECRET}\nmov x5, x9\nmov x9, #0",
    "x19": f"{SECRET}\nmov x19, x9\nmov x9, #0",
    "x30": f"{SECRET}\nmov x30, x9\nmov x9, #0",
    "tpidr_el1": f"{SECRET}\nmsr tpidr_el1, x9\nmov x9, #0",
    "tpidr_el0": f"{SECRET}\nmsr tpidr_el0, x9\nmov x9, #0",
    "sp_el0": f"{SECRET}\nmsr sp_el0, x9\nmov x9, #0",
    "ttbr0_el1": f"{SECRET}\nmsr ttbr0_el1, x9\nmov x9, #0",
    "v7": f"{SECRET}\n{FPEN}fmov d7, x9\nmov x9, #0",
    "v31": f"{SECRET}\n{FPEN}fmov d31, x9\nmov x9, #0",
}
TFP = "mov x1, #0x400\nmsr cptr_el2, x1\nisb\n"


@pytest.mark.parametrize("name", LEAKS)
def test_a_register_of_another_vm(name: str) -> None:
    steps = [c.enter(1, c.VM1), c.enter(2, c.VM2, keep=[name]), c.OFF]
    (found,) = c.run(steps, vm1=LEAKS[name])
    assert found.rule.id == "register-leak"
    assert found.words.lower().startswith(f"{name} of vmid 2 is {c.SECRET:#x}, which vmid 1")
    assert found.entry is not None and found.entry.vmid == 2 and found.value == c.SECRET
    assert found.count == 1


@pytest.mark.parametrize("name", LEAKS)
def test_none_where_registers_are_switched(name: str) -> None:
    steps = [c.enter(1, c.VM1), c.enter(2, c.VM2), c.OFF]
    assert not c.run(steps, vm1=LEAKS[name])


def test_vectors_that_the_guest_cannot_see() -> None:
    """As when they are switched at their first use."""
    lazy = c.enter(2, c.VM2, keep=[f"v{n}" for n in range(32)], prepare=TFP)
    back = c.enter(1, p.GUEST, prepare="msr cptr_el2, xzr\nisb\n")
    assert not c.run([c.enter(1, c.VM1), lazy, back], vm1=LEAKS["v7"])


def test_a_value_of_its_own_comes_back() -> None:
    """EL2 hands each VM what it had, though the other has the same."""
    keep = [f"x{n}" for n in range(2, 31)]
    steps = [c.enter(1, c.VM1), c.enter(2, c.VM2), c.enter(1, p.GUEST, keep=keep)]
    assert not c.run(steps, vm1=LEAKS["x19"], vm2=LEAKS["x19"])


def test_an_answer_to_a_hypercall() -> None:
    """VM 2 gets in X3 what VM 1 has put there, as the answer to its own HVC."""
    vm1 = f"{SECRET}\nmov x3, x9\nmov x9, #0"
    answer = c.enter(2, c.VM2 + 4, keep=["x3"], prepare=constant("x3", c.SECRET))
    steps = [c.enter(2, c.VM2), c.enter(1, c.VM1), answer, c.OFF]
    assert not c.run(steps, vm1=vm1, vm2="hvc #0")
    pushed = c.enter(2, c.VM2 + 4, keep=["x21"], prepare=constant("x21", c.SECRET))
    vm1 = f"{SECRET}\nmov x21, x9\nmov x9, #0"
    (found,) = c.run([*steps[:2], pushed, c.OFF], vm1=vm1, vm2="hvc #0")
    assert found.rule.id == "register-leak"


def test_a_small_number_is_nobodys() -> None:
    steps = [c.enter(1, c.VM1), c.enter(2, c.VM2, keep=["x19"]), c.OFF]
    assert not c.run(steps, vm1="mov x19, #0x1234")


@pytest.mark.parametrize("register", ["hstr_el2", "mdcr_el2", "cnthctl_el2"])
def test_a_control_carried_over(register: str) -> None:
    other = f"mov x1, #2\nmsr {register}, x1\nisb\n"
    own = f"msr {register}, xzr\nisb\n"
    there = [c.enter(2, c.VM2), c.enter(1, c.VM1, prepare=other)]
    (found,) = c.run([*there, c.enter(2, c.VM2), c.enter(1, p.GUEST, prepare=other)])
    assert found.rule.id == "control-carried-over"
    assert found.words.startswith(f"{register.upper()} of VMID 2 is 0x2, as it was for VMID 1")
    last = c.enter(1, p.GUEST, prepare=other)
    assert not c.run([*there, c.enter(2, c.VM2, prepare=own), last])
    # The same value, written on purpose.
    assert not c.run([*there, c.enter(2, c.VM2, prepare=other), last])


@pytest.mark.parametrize("register", c.CONTROLS)
def test_a_register_not_set_since_reset(register: str) -> None:
    (found,) = c.run([c.OFF], c.setup(without=register))
    assert found.rule.id == "reset-unknown"
    assert found.words.endswith(f"never written since reset: {register.upper()}")


def test_all_set() -> None:
    assert not c.run([c.OFF])


def test_no_vectors() -> None:
    (found,) = c.run([c.OFF], c.setup(without="vbar_el2"))
    assert found.rule.id == "bad-vectors"
    assert "VBAR_EL2 of CPU 0 has not been written" in found.words


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        (constant("x1", 0x1000_0000), "maps no memory"),
        (constant("x1", p.GUEST + 0x8000), "which a guest can reach"),
    ],
)
def test_vectors_in_the_wrong_place(vectors: str, words: str) -> None:
    (found,) = c.run([c.OFF], c.setup(vectors=vectors))
    assert found.rule.id == "bad-vectors" and words in found.words


def test_vectors_that_cannot_be_executed() -> None:
    begin = c.setup(start=p.STAGE2_ON + p.EL2_MMU_ON, vectors=constant("x1", p.VA))
    found = c.run([c.OFF], begin)
    assert [f.words for f in found if f.rule.id == "bad-vectors"] == [
        f"VBAR_EL2 is {p.VA:#x}, where EL2 cannot execute"
    ]


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (c.STACK + 8, "no multiple of 16"),
        (0x1000_0000, "maps no memory below it"),
        (p.GUEST + 0x9000, "which a guest can reach"),
    ],
)
def test_a_stack_that_is_none(stack: int, words: str) -> None:
    found = c.run([c.enter(1, c.VM1), c.OFF], c.setup(stack=stack))
    assert [f.rule.id for f in found] == ["bad-stack"]
    assert words in found[0].words


def test_a_place_is_the_eret() -> None:
    (found,) = c.run([c.OFF], c.setup(without="hstr_el2"))
    image = c.program([c.OFF], c.setup(without="hstr_el2"))
    at = found.place.pc - LOAD
    assert image[at : at + 4] == 0xD69F03E0.to_bytes(4, "little")
    assert found.place.position == found.place.instruction > 0
