# SPDX-License-Identifier: Apache-2.0
"""The exceptions that the C run loop takes (`run.c`), against the same taken in Python.

A program does one thing under a stage 2 with holes; the whole machine must end the same, whoever
took the exception.
"""

import pytest

from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.cpu.hooks import HookLibrary
from aether_edgecloud.emulator.machine import BootImage, Machine
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.emulator.toolchain import shared_library
from aether_edgecloud.properties.machine.bare import (
    LIMIT,
    RAM_SIZE,
    Taken,
    constant,
    hcr,
    program,
    result,
)
from aether_edgecloud.properties.machine.hooks_twin import PythonRun
from aether_edgecloud.properties.machine.test_translations_kept import (
    BLOCK,
    L1,
    L2,
    L3,
    OLD,
    PAGE,
    STAGE1,
    STAGE1_ON,
    STAGE2_ON,
    TABLE,
    WINDOW,
    stage2_of_pages,
    table,
)

READ_ONLY = 1 << 7  # AP[2]
HOLE = 0x4400_0000  # an IPA that stage 2 does not map

# Where X1 points to, by what is wrong there: pages of the window, each with what follows it.
PLACES = {
    "not mapped at stage 1": WINDOW + 0x8000,
    "read-only at stage 1": WINDOW + 0x2000,
    "not mapped at stage 2": WINDOW + 0x4000,
    "table not mapped at stage 2": WINDOW + 0x20_0000,
    "fine": WINDOW,
}
MEMORY = {
    **STAGE1,
    L1: table({1: 0x4000_0000 | BLOCK, 2: L2 | TABLE}),
    L2: table({0: L3 | TABLE, 1: HOLE | TABLE}),
    L3: table(
        {
            **{i: (OLD + (i << 12)) | PAGE for i in (0, 1)},
            **{i: (OLD + (i << 12)) | PAGE | READ_ONLY for i in (2, 3)},
            **{i: (HOLE + (i << 12)) | PAGE for i in (4, 5)},
        }
    ),
    **stage2_of_pages(),
}

ACCESSES = (
    *("ldr x2, [x1]", "ldr w2, [x1, #8]", "ldrh w30, [x1, #2]", "ldrsb x3, [x1, #1]"),
    *("ldrsb w3, [x1]", "ldrsh x4, [x1]", "ldrsw x5, [x1]", "ldur x2, [x1, #3]", "ldr xzr, [x1]"),
    *("str x2, [x1]", "strb wzr, [x1, #4095]", "stur w2, [x1, #-1]", "stur x2, [x1, #-4]"),
    *("ldr x2, [x1, x6]", "ldr x2, [x1, x6, lsl #3]", "strh w2, [x1, w7, sxtw #1]"),
    *("str x2, [x1, w7, uxtw]", "ldr x2, [x1], #8", "str w2, [x1, #-8]!", "ldr x2, [x1, #-256]!"),
    *("ldp x2, x3, [x1]", "stp w2, w3, [x1, #-8]", "ldp x2, x3, [x1], #16", "ldpsw x2, x3, [x1]"),
    *("stp x2, x3, [x1, #-8]", "ldnp x2, x3, [x1]", "ldr q0, [x1]", "stp d0, d1, [x1]"),
    *("ldtr x2, [x1]", "sttrb w2, [x1]", "ldar x2, [x1]", "stxr w3, x2, [x1]", "dc zva, x1"),
    *("prfm pldl1keep, [x1]", "br x1", "mov sp, x1\n ldr x2, [sp, #16]", "dc civac, x1"),
)
CALLS = (
    "svc #0",
    "svc #0xffff",
    "hvc #0",
    "hvc #0x1234",
    "smc #1",
    "brk #7",
    "wfi",
    "mrs x2, s3_0_c15_c0_0",
)


LIBRARY = shared_library("hooks")


def end(image: bytes, mmu: MmuMode, hooks: HookLibrary) -> tuple[Taken | None, object, int]:
    machine = Machine(virt(RAM_SIZE), BootImage(image, len(image)), mmu=mmu, hooks=hooks)
    for pa, data in MEMORY.items():
        offset = pa - machine.board.ram_base
        machine.memory.bytes[offset : offset + len(data)] = data
    stop = machine.run(LIMIT)
    cpu = machine.cpu
    seen = (
        stop,
        state_sha256(machine),
        cpu.exception_counts,
        cpu.exits.lengths,
        cpu.timelines,
        cpu.instructions_by_el(),
    )
    taken = result(machine)
    in_c = int(cpu.state.exceptions_in_c)
    machine.close()
    return taken, seen, in_c


def compare(body: str, mmu: MmuMode, *, el: int = 1, setup: str = STAGE2_ON + STAGE1_ON) -> int:
    """How many of the exceptions were taken in C."""
    image = program(body, el=el, setup=setup)
    in_c = end(image, mmu, HookLibrary(LIBRARY))
    in_python = end(image, mmu, PythonRun(LIBRARY))
    assert in_c[:2] == in_python[:2], body
    assert in_python[2] == 0
    return in_c[2]


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
@pytest.mark.parametrize(
    "place",
    [
        "fine",
        "not mapped at stage 1",
        "not mapped at stage 2",
        pytest.param("read-only at stage 1", marks=pytest.mark.nightly),
        pytest.param("table not mapped at stage 2", marks=pytest.mark.nightly),
    ],
)
def test_accesses(mmu: MmuMode, place: str) -> None:
    start = f"{constant('x1', PLACES[place])}\n mov x6, #8\n mov w7, #-4\n "
    taken = sum(compare(start + access, mmu) for access in ACCESSES)
    assert taken >= (len(ACCESSES) // 2 if "not mapped" in place else 2)


@pytest.mark.parametrize("mmu", list(MmuMode), ids=lambda m: m.value)
@pytest.mark.parametrize("el", [0, 1, 2])
@pytest.mark.parametrize("control", [0, 1 << 27, 1 << 13 | 1 << 19], ids=["", "TGE", "TWI-TSC"])
def test_calls(mmu: MmuMode, el: int, control: int) -> None:
    taken = sum(compare(call, mmu, el=el, setup=hcr(control)) for call in CALLS)
    assert taken > 0 or (el, control) == (1, 1 << 27)  # EL1 cannot be entered with TGE
