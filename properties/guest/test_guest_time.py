# SPDX-License-Identifier: Apache-2.0
"""The virtual timer of a VM that shares its CPU: never early, at the latest in its next slot, once
each time it is armed."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.bundle.description import (
    DtbChoice,
    ImageBytes,
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.manifest import DeviceKind, Memory
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.guest_stubs import catalogue

from . import gicv2
from .program import (
    GICC,
    GICD,
    Operation,
    Step,
    Wait,
    bundle,
    finish,
    in_emulator,
    results,
    vm,
    write,
)

FREQUENCY_MHZ = 62.5
FRAME_US, WINDOW_US, OTHER_US = 2000, 64, 800
SLOTS = (("script", 700), ("other", OTHER_US), ("script", 500))
"""From the third slot to the first the VM goes on, but for the window."""
BOUND = 2000
"""Ticks from the timer's condition, or the entry of the slot, to the guest's next look."""
CYCLES = 80
"""Their results fit into a VM's console ring."""
TIMER = 27


def ticks(us: int) -> int:
    return int(us * FREQUENCY_MHZ)


def other_vm() -> VmDescription:
    """It has its interrupts masked and never stops."""
    stub = catalogue.find("hostile")
    image = toolchain.artefact("stub:hostile").flat.read_bytes()
    return VmDescription(
        name="other",
        memory=(Memory(stub.memory_base, stub.memory_size),),
        images=(ImageBytes("hostile", image, stub.entry),),
        devices=(DeviceKind.VPL011, DeviceKind.VGICV2),
        dtb=DtbChoice.NONE,
    )


@dataclass(frozen=True, slots=True)
class Cycle:
    """What the stub has seen of one armed timer."""

    wait: Wait
    due: int
    now: int
    iar: int
    iar_after: int
    slept: int

    @property
    def late(self) -> int:
        return self.now - self.due


def cycles(seed: int, mmu: MmuMode = MmuMode.NATIVE) -> list[Cycle]:
    draw = random.Random(seed)
    waits = [draw.choice(list(Wait)) for _ in range(CYCLES)]
    steps = [
        write(0, GICD + gicv2.GICD_CTLR, 1),
        write(0, GICD + gicv2.ISENABLER, 1 << TIMER),
        write(0, GICC + gicv2.GICC_CTLR, 1),
        write(0, GICC + gicv2.PMR, 0xFF),
    ]
    for wait in waits:
        length = draw.choice((0, 1, 1000, draw.randrange(ticks(FRAME_US)), draw.randrange(20_000)))
        steps.append(Step(Operation.CYCLE, 0, (length, wait)))
    slots = tuple(SlotDescription(name, 0, length) for name, length in SLOTS)
    schedule = ScheduleDescription(FRAME_US, WINDOW_US, (slots,))
    initrd = bundle([vm([*steps, *finish()]), other_vm()], schedule)
    text = in_emulator(initrd, cpus=1, mmu=mmu, end="[aether] vm script: off")
    got = results(text, "script")
    assert len(got) == 5 * CYCLES
    return [Cycle(wait, *got[5 * i : 5 * i + 5]) for i, wait in enumerate(waits)]


def check(seen: list[Cycle]) -> None:
    for cycle in seen:
        assert cycle.late >= 0, f"early: {cycle}"
        assert cycle.iar == TIMER and cycle.iar_after == gicv2.SPURIOUS, cycle
        assert cycle.late <= ticks(OTHER_US) + ticks(WINDOW_US) + BOUND, f"missed: {cycle}"
    # What is later than a window came due in the other's slot, and is there as soon as that is
    # over: at one place of the frame.
    held_back = [cycle for cycle in seen if cycle.late > ticks(WINDOW_US) + BOUND]
    assert 0 < len(held_back) < len(seen)
    first = held_back[0].now
    half = ticks(FRAME_US) // 2
    places = [(cycle.now - first + half) % ticks(FRAME_US) for cycle in held_back]
    assert max(places) - min(places) <= BOUND


@settings(max_examples=3)
@given(st.integers(0, 2**32 - 1))
def test_the_timer_beside_another_vm(seed: int) -> None:
    check(cycles(seed))


def test_both_mmus_see_the_same_time() -> None:
    native = cycles(1)
    check(native)
    assert cycles(1, MmuMode.MODEL) == native


@pytest.mark.nightly
@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1))
def test_the_timer_for_long(seed: int) -> None:
    check(cycles(seed))
