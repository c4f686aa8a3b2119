# SPDX-License-Identifier: Apache-2.0
"""Small programs for several CPUs at EL2 on the bare machine.

CPU 0 runs `first`; what it starts runs at `second` with its number in X19 and the address of the
shared page in X20, as CPU 0 does too. The shared page starts at zero. Each CPU has a stack.
"""

import itertools

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.console import InputSource
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.properties.machine.bare import RAM_SIZE, assemble, constant

SHARED = 0x4030_0000
CPU_ON, CPU_OFF, AFFINITY_INFO = 0xC400_0003, 0x8400_0002, 0xC400_0004
OFF = f"{constant('x0', 0x8400_0008)}\n smc #0\n b .\n"
LIMIT = 20_000_000

_labels = itertools.count()

_PROGRAM = """
    bl prepare
    {first}
    {off}
prepare:
    mrs x19, mpidr_el1
    and x19, x19, #0xff
    {shared}
    {stacks}
    add x1, x1, x19, lsl #12
    mov sp, x1
    adr x1, vectors
    msr vbar_el2, x1
    ret
start:
    mov x27, x0
    bl prepare
    b second
.balign 2048
vectors:
    {vectors}
.balign 2048
second:
    {second}
    b park
park:
    wfi
    b park
"""


def add(offset: int = 0) -> str:
    """Add 1 to a word of the shared page, by a load and a store exclusive."""
    label = f"add{next(_labels)}"
    return f"""
    add x1, x20, #{offset}
    {label}: ldxr x2, [x1]
    add x2, x2, #1
    stxr w3, x2, [x1]
    cbnz w3, {label}
    """


def wait_for(offset: int, value: int) -> str:
    """Spin until a word of the shared page has that value."""
    label = f"wait{next(_labels)}"
    return f"""
    {label}: ldr x4, [x20, #{offset}]
    cmp x4, #{value}
    b.ne {label}
    dmb ish
    """


def start(cpu: int, context: int = 0) -> str:
    """CPU_ON of a CPU at `second`, with `context` in X27."""
    return f"""
    {constant("x0", CPU_ON)}
    mov x1, #{cpu}
    adr x2, start
    {constant("x3", context)}
    smc #0
    """


def start_all(cpus: int) -> str:
    """CPU_ON of all others."""
    return "".join(start(cpu, cpu << 8) for cpu in range(1, cpus))


def machine(
    first: str,
    second: str,
    cpus: int,
    mmu: MmuMode = MmuMode.NATIVE,
    *,
    vector: str = "b .",
    quantum: int = QUANTUM,
    seed: int = 0,
    source: InputSource | None = None,
    memory: dict[int, bytes] | None = None,
) -> Machine:
    """A machine at reset. `vector` is what stands at each of the 16 vectors of EL2."""
    text = _PROGRAM.format(
        first=first,
        second=second,
        off=OFF,
        shared=constant("x20", SHARED),
        stacks=constant("x1", SHARED + 0x10_0000),
        vectors="\n".join(f"{vector}\n .balign 128" for _ in range(16)),
    )
    image = assemble(text)
    made = Machine(
        virt(RAM_SIZE, cpus),
        BootImage(image, len(image)),
        mmu=mmu,
        quantum=quantum,
        seed=seed,
        source=source,
    )
    for pa, data in (memory or {}).items():
        offset = pa - made.board.ram_base
        made.memory.bytes[offset : offset + len(data)] = data
    return made


def word(made: Machine, offset: int) -> int:
    """A 64-bit word of the shared page."""
    value = made.memory.read64(SHARED + offset)
    assert value is not None
    return value


def finish(made: Machine) -> Machine:
    """Run to SYSTEM_OFF."""
    stop = made.run(LIMIT)
    assert stop.kind is StopKind.SYSTEM_OFF, stop
    return made
