# SPDX-License-Identifier: Apache-2.0
"""Small hypervisors with two VMs, that do everything right unless a test leaves something out.

A program is a list of steps. A step is text that runs at EL2 and ends in an ERET to a guest; the
guest's next exit leads to the next step. VM 1 runs what a test gives it at IPA GUEST + 0x1000, VM 2
at GUEST + 0x2000; at GUEST is the code that switches the machine off.
"""

from collections.abc import Sequence

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.check.checker import ALL_RULES, Checker
from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.properties.machine.bare import LOAD, RAM_SIZE, assemble, constant
from aether_edgecloud.properties.monitor import el2_programs as p

VM1, VM2 = p.GUEST + 0x1000, p.GUEST + 0x2000
STACK = 0x4060_0000
"""The top of EL2's stack."""
SECRET = 0x5EC2_E71D_EA5E
CONTROLS = (
    "cptr_el2", "mdcr_el2", "hstr_el2", "cnthctl_el2", "cntvoff_el2", "vpidr_el2", "vmpidr_el2",
    "sctlr_el1",
)  # fmt: skip
"""Written by `setup`, besides those of stage 2."""
_SYSTEM = (
    "tpidr_el1", "tpidr_el0", "sp_el1", "sp_el0", "ttbr0_el1", "elr_el1", "vbar_el1", "far_el1",
    "cpacr_el1",
)  # fmt: skip
HCR = p.HCR
FP_ON = "mov x1, #0x300000\nmsr cpacr_el1, x1\n"


def setup(
    *, without: str = "", vectors: str = "adr x1, vectors", stack: int = STACK, start: str = ""
) -> str:
    """The start of a program: vectors, stack and every control, but for one."""
    lines = [start or p.STAGE2_ON]
    if without != "vbar_el2":
        lines += [vectors, "msr vbar_el2, x1"]
    lines += [constant("x1", stack), "mov sp, x1"]
    values = {"sctlr_el1": 0x30D0_0800, "vmpidr_el2": 1 << 31}
    for name in CONTROLS:
        if name != without:
            lines += [constant("x1", values.get(name, 0)), f"msr {name}, x1"]
    return "\n".join(lines) + "\nisb\n"


def enter(vm: int, at: int, *, keep: Sequence[str] = (), prepare: str = "") -> str:
    """A step: the VM's stage 2, its registers zero but for those to keep, and the ERET."""
    root = p.ROOT if vm == 1 else p.ROOT2
    lines = [p.msr("vttbr_el2", p.vttbr(root, vm)), "isb", prepare]
    lines += [p.msr("elr_el2", at), p.msr("spsr_el2", 0x3C5)]
    lines += [f"msr {name}, xzr" for name in _SYSTEM if name not in keep]
    lines += [f"movi v{n}.2d, #0" for n in range(32) if f"v{n}" not in keep]
    lines += [f"mov x{n}, #0" for n in range(2, 31) if f"x{n}" not in keep]
    lines += ["mov x1, #0", "mov x0, #0", "eret"]
    return "\n".join(lines)


def program(steps: Sequence[str], begin: str | None = None) -> bytes:
    """The image: `begin`, then the steps, each one exit later than the one before."""
    text = [setup() if begin is None else begin]
    for number, step in enumerate(steps):
        text.append(f"step{number}:\nadr x1, step{number + 1}\nmsr tpidr_el2, x1\n{step}")
    text.append(f"step{len(steps)}: b .\n.balign 2048\nvectors:")
    for number in range(16):
        text.append("mrs x1, tpidr_el2\nbr x1\n" if number >= 8 else "b .\n")
        text.append(".balign 128\n")
    return assemble("\n".join(text))


def guest(text: str) -> bytes:
    """A guest's code."""
    return assemble(text + "\nhvc #0\nb .\n")[64:]


def machine(image: bytes, vm1: str = "", vm2: str = "") -> Machine:
    """About to run it."""
    made = Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=MmuMode.MODEL)
    p.load(made)
    made.write_pa(VM1, guest(vm1))
    made.write_pa(VM2, guest(vm2))
    return made


def findings(
    made: Machine, *, by_difference: bool = False, limit: int = p.LIMIT
) -> tuple[Finding, ...]:
    """Runs it to its end, and says what was found, notes left out."""
    checker = Checker(made, rules=ALL_RULES, by_difference=by_difference)
    stop = made.run(limit)
    assert stop.kind is StopKind.SYSTEM_OFF, stop
    checker.finish()
    found = checker.findings.found
    checker.close()
    return tuple(f for f in found if f.rule.severity.value != "note")


def run(
    steps: Sequence[str], begin: str | None = None, vm1: str = "", vm2: str = ""
) -> tuple[Finding, ...]:
    """The same of a program."""
    return findings(machine(program(steps, begin), vm1, vm2))


OFF = enter(1, p.GUEST)
"""The last step."""
__all__ = ["LOAD", "constant"]
