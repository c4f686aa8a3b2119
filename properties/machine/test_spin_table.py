# SPDX-License-Identifier: Apache-2.0
"""A board whose CPUs wait in a spin table."""

import pytest

from aether_edgecloud.emulator.boards.virt import virt_spin_table
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.properties.machine.bare import RAM_SIZE, assemble, constant
from aether_edgecloud.properties.machine.smp import OFF, SHARED

BOARD = virt_spin_table(RAM_SIZE, 3)
assert BOARD.spin_table is not None
RELEASE_1 = BOARD.spin_table.release_address(1)

PROGRAM = f"""
    mrs x0, mpidr_el1
    {constant("x20", SHARED)}
    {constant("x1", RELEASE_1)}
    adr x2, entry
    {{work}}
    {{release}}
    dsb sy
    sev
    {{wait}}
    {OFF}
entry: {constant("x20", SHARED)}
    mrs x5, mpidr_el1
    mrs x6, currentel
    mrs x7, cntpct_el0
    stp x5, x6, [x20, #16]
    str x0, [x20, #32]
    mov x5, #1
    dmb ish
    str x5, [x20]
    park: wfi
    b park
"""
WAIT = "wait: ldr x4, [x20]\n cbz x4, wait"
WORK = "mov x6, #0x20000\n work: subs x6, x6, #1\n b.ne work"


def machine(mmu: MmuMode, release: str, wait: str, quantum: int = 1000) -> Machine:
    image = assemble(PROGRAM.format(work=WORK, release=release, wait=wait))
    return Machine(BOARD, BootImage(image, len(image)), mmu=mmu, quantum=quantum)


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
def test_a_cpu_starts_where_its_release_address_says(mmu: MmuMode) -> None:
    made = machine(mmu, "str x2, [x1]", WAIT)
    assert made.run(10_000_000).kind is StopKind.SYSTEM_OFF
    mpidr, el = (made.memory.read64(SHARED + 16 + 8 * i) for i in range(2))
    assert mpidr == 1 << 31 | 1
    assert el is not None
    assert el >> 2 & 3 == 2
    assert made.memory.read64(SHARED + 32) == 0
    assert 0 < made.cpus[1].retired < 100
    assert made.cpus[2].retired == 0


def test_released_within_a_quantum_however_busy() -> None:
    made = machine(MmuMode.NATIVE, "str x2, [x1]\n mrs x9, cntpct_el0", WAIT)
    assert made.run(10_000_000).kind is StopKind.SYSTEM_OFF
    released = made.cpus[0].registers()[9]
    assert made.cpus[1].registers()[7] - released <= 1000


def test_when_all_others_sleep_those_held_sleep_for_ever() -> None:
    made = machine(MmuMode.NATIVE, "", "wfi")
    assert made.run(10_000_000).kind is StopKind.DEADLOCK
