# SPDX-License-Identifier: Apache-2.0
"""When input has ended, for guests that look for it in different ways; and when a user is waited
for."""

import re

import pytest

from aether_edgecloud.emulator.machine import StopKind, console
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.properties.machine.bare import constant
from aether_edgecloud.properties.machine.smp import machine, start

HZ = 62_500_000
LOOK_BY_THE_CLOCK = f"""
    {constant("x10", 0x0900_0000)}
    {constant("x2", 0x0801_0000)}
    mov w3, #0xff
    str w3, [x2, #4]
    mov w3, #1
    str w3, [x2]
    {constant("x2", 0x0800_0000)}
    str w3, [x2]
    movz w3, #0x0400, lsl #16
    str w3, [x2, #0x100]
    movz w4, #{HZ // 100 & 0xFFFF}
    movk w4, #{HZ // 100 >> 16}, lsl #16
    mov x5, #1
    look: msr s3_4_c14_c2_0, x4
    msr s3_4_c14_c2_1, x5
    wfi
    ldr w6, [x10, #0x18]
    tbnz w6, #4, {{empty}}
    ldr w7, [x10]
    str w7, [x10]
    b look
    nothing: {{work}}
    b look
"""


def by_the_clock(work: str = "nop") -> str:
    """A program that looks at the UART every 10 ms, echoes, and does `work` when there is none."""
    return LOOK_BY_THE_CLOCK.format(empty="nothing", work=work)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests are short."""
    monkeypatch.setattr(console, "SECONDS_BEFORE_END", 3)


def test_input_is_given_to_a_program_that_sleeps_in_between() -> None:
    made = machine(by_the_clock(), "wfi", 2, source=Bytes(b"hello"))
    stop = made.run(50_000_000)
    assert stop.kind is StopKind.INPUT_ENDED
    assert bytes(made.console.output) == b"hello"
    assert 3 * HZ <= made.counter < 5 * HZ
    again = machine(by_the_clock(), "wfi", 2, source=Bytes(b"hello"))
    assert again.run(50_000_000) == stop


def test_a_program_that_computes_meanwhile_is_left_alone() -> None:
    work = "movz x8, #0x7000\n busy: subs x8, x8, #1\n b.ne busy"
    made = machine(by_the_clock(work), "wfi", 1)
    assert made.run(40_000_000).kind is StopKind.LIMIT
    assert made.counter > 6 * HZ


def test_one_that_polls_without_a_pause_ends_soon() -> None:
    poll = f"{constant('x10', 0x0900_0000)}\n poll: ldr w6, [x10, #0x18]\n b poll"
    made = machine(poll, "wfi", 1)
    stop = made.run(1_000_000)
    assert stop.kind is StopKind.INPUT_ENDED
    assert stop.instructions < 40_000


class Typist(Bytes):
    """A user who types slowly, and for whom the machine paces itself."""

    def __init__(self, typed: bytes) -> None:
        super().__init__(typed)
        self.rested = 0.0
        self.refused = 0

    def take_byte(self) -> int | None:
        if self.refused % 5 < 4:
            self.refused += 1
            return None
        self.refused += 1
        return super().take_byte()

    def pace(self, seconds: float) -> None:
        self.rested += seconds


TICK = by_the_clock().replace("ldr w6, [x10, #0x18]", "mov w6, #16")


@pytest.mark.parametrize("others", ["none", "asleep", "with a timer"])
def test_time_in_which_all_wait_for_a_user_is_rested(others: str) -> None:
    """From the 16th empty poll on, and as long as there may be input: 10 ms for each poll."""
    source = Typist(b"0123456789")
    first, second = by_the_clock(), "wfi"
    if others == "with a timer":
        first = start(1) + first
        second = re.sub(r"\b(look|nothing)\b", r"\1_too", TICK)
    made = machine(first, second, 1 if others == "none" else 2, source=source)
    assert made.run(50_000_000).kind is StopKind.INPUT_ENDED
    assert bytes(made.console.output) == b"0123456789"
    assert source.refused == 50
    assert source.rested == pytest.approx(40 / 100, rel=0.02)
