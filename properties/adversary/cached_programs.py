# SPDX-License-Identifier: Apache-2.0
"""Small programs that use RAM with the MMU off and on, for a machine whose caches are modelled.

Each begins at EL2 with the MMU off and ends by switching the machine off, if it comes that far.
"""

import itertools
from dataclasses import dataclass

from aether_edgecloud.emulator.adversary.caches import CacheAdversary, UninitialisedRead
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.machine import BootImage, Machine, Stop, StopKind
from aether_edgecloud.properties.machine.bare import RAM_SIZE, assemble, constant

TABLE = 0x4080_0000
PAGE = 0x4090_0000
CODE = 0x40A0_0000
BSS, BSS_SIZE = 0x4020_4000, 0x8000
"""Inside the BSS of an image that has so much of it."""
_LIMIT = 400_000
BLOCK = 0x4000_0000 | 1 << 10 | 3 << 8 | 1  # AF, inner shareable, MAIR 0

OFF = "movz x0, #0x8400, lsl #16\n movk x0, #8\n smc #0\n b .\n"

# EL2's table: RAM is Normal Write-Back, all accesses permitted.
WRITE_TABLE = f"""
    {constant("x1", TABLE)}
    {constant("x2", BLOCK)}
    str x2, [x1, #8]
    dsb sy
"""

MMU_ON = f"""
    mov x1, #0xff
    msr mair_el2, x1
    {constant("x1", 0x8081_3519)}
    msr tcr_el2, x1
    {constant("x1", TABLE)}
    msr ttbr0_el2, x1
    tlbi alle2
    ic iallu
    dsb sy
    isb
    {constant("x1", 0x30C5_1835)}
    msr sctlr_el2, x1
    isb
"""


ALIAS = 1 << 30
"""In `TWICE`, RAM is there twice: Write-Back, and Non-cacheable this much above."""
# X1 is the one address of PAGE, X2 the other; X3 is 1.
TWICE = f"""
    {constant("x1", TABLE + 16)}
    {constant("x2", BLOCK | 1 << 2)}
    str x2, [x1]
    {WRITE_TABLE}
    {constant("x1", TABLE)}
    dc ivac, x1
    dsb sy
    {MMU_ON.replace("mov x1, #0xff", "mov x1, #0x44ff")}
    {constant("x1", PAGE)}
    {constant("x2", PAGE + ALIAS)}
    mov x3, #1
"""

_labels = itertools.count()


def maintain(operation: str, start: int, size: int) -> str:
    """`dc operation` on each line of [start, start + size), VAs."""
    label = f"l{next(_labels)}"
    return f"""
    {constant("x11", start)}
    {constant("x12", start + size)}
{label}:
    dc {operation}, x11
    add x11, x11, #64
    cmp x11, x12
    b.lo {label}
    dsb sy
"""


def sweep(operation: str, levels: tuple[int, ...] = (0, 1)) -> str:
    """`dc operation` on each set and way of these levels, 0 for L1, of a Cortex-A72."""
    text = ""
    for level in levels:
        sets, way_bits = ((256, 1), (1024, 4))[level]
        label = f"l{next(_labels)}"
        text += f"""
    mov x11, #0
    mov x15, #{level * 2}
{label}_set:
    mov x12, #0
{label}_way:
    orr x13, x15, x11, lsl #6
    orr x13, x13, x12, lsl #{32 - way_bits}
    dc {operation}, x13
    add x12, x12, #1
    cmp x12, #{1 << way_bits}
    b.lo {label}_way
    add x11, x11, #1
    cmp x11, #{sets}
    b.lo {label}_set
"""
    return text + "    dsb sy\n"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, its X0-X30 then, and what of RAM EL2 read that nobody had written."""

    stop: Stop
    x: list[int]
    uninitialised: list[UninitialisedRead]

    @property
    def finished(self) -> bool:
        return self.stop.kind is StopKind.SYSTEM_OFF


def machine(
    text: str,
    *,
    rate: int = 256,
    seed: int = 1,
    caches: bool = True,
    invalidated: bool = False,
    bss: int = 0,
) -> Machine:
    """A machine with a program, at reset; `bss`: how much more memory than its bytes it has."""
    image = assemble(text + OFF)
    plan = Plan(caches=caches, invalidated=invalidated, seed=seed, rate=rate) if caches else None
    return Machine(virt(RAM_SIZE), BootImage(image, len(image) + bss), adversary=plan)


def adversary_of(of: Machine) -> CacheAdversary:
    (found,) = (a for a in of.attachments if isinstance(a, CacheAdversary))
    return found


def run(
    text: str,
    *,
    rate: int = 256,
    seed: int = 1,
    caches: bool = True,
    invalidated: bool = False,
    bss: int = 0,
) -> Outcome:
    """Run a program to its end."""
    of = machine(text, rate=rate, seed=seed, caches=caches, invalidated=invalidated, bss=bss)
    stop = of.run(_LIMIT)
    reads = list(adversary_of(of).uninitialised) if caches else []
    outcome = Outcome(stop, of.cpu.registers(), reads)
    of.close()
    return outcome
