# SPDX-License-Identifier: Apache-2.0
"""One CPU of a machine: its time, its next event, and whether it has anything to do."""

from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.cpu.clock import Clock
from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.cpu_state import CpuState

NEVER = 1 << 62
"""A time, in instructions, that does not come."""


class Activity(Enum):
    """What a CPU does."""

    RUNNING = "it executes instructions"
    WAITING = "it is in WFI, and nothing has woken it"
    WOKEN = "it is in WFI, and something has woken it: it goes on in the next round"
    STARTING = "it has been switched on: it starts in the next round"
    HELD = "firmware holds it until its release address is written"
    OFF = "it is switched off"


@dataclass(frozen=True, slots=True)
class CoreState:
    """What a `Core` was; the clock's part is what it has skipped, in ticks."""

    cpu: CpuState
    ticks_skipped: int
    skipped: int
    retired_before: int
    activity: Activity
    event: int
    start_at: tuple[int, int]


class Core:
    """A CPU in a machine. Times are in instructions, each CPU's own: what it has retired and what
    it has skipped while it waited."""

    def __init__(self, number: int, cpu: Cpu, clock: Clock) -> None:
        self.number = number
        self.cpu = cpu
        self.clock = clock
        self.skipped = 0
        """What of its time no instruction took."""
        self.retired_before = 0
        """What it had retired at the end of its last slice."""
        self.activity = Activity.OFF
        self.event = NEVER
        """When an output of one of its timers changes next by itself."""
        self.start_at = (0, 0)
        """PA and X0 of a CPU that is STARTING; the PA of its release address of one HELD."""

    @property
    def time(self) -> int:
        """Its time, at the start of the block that runs."""
        return int(self.cpu.state.retired) + self.skipped

    @property
    def counter(self) -> int:
        """The system counter as this CPU sees it, in ticks."""
        return self.clock.counter(self.cpu.retired)

    def skip_to(self, time: int) -> None:
        """Nothing happens until `time`."""
        ticks = -(-(time - self.time) // self.clock.instructions_per_tick)
        if ticks > 0:
            self.clock.skipped += ticks
            self.skipped = self.clock.skipped * self.clock.instructions_per_tick

    def set_lines(self, lines: Lines) -> bool:
        """Drive the interrupt inputs; whether that wakes a CPU that waits."""
        if lines == self.cpu.lines:
            return False
        self.cpu.set_lines(lines)
        if self.activity is Activity.WAITING and self.cpu.wakes():
            self.activity = Activity.WOKEN
            return True
        return False

    def save(self) -> CoreState:
        """The state."""
        return CoreState(
            self.cpu.save(),
            self.clock.skipped,
            self.skipped,
            self.retired_before,
            self.activity,
            self.event,
            self.start_at,
        )

    def restore(self, state: CoreState) -> None:
        """Become what was saved."""
        self.cpu.restore(state.cpu)
        self.clock.skipped = state.ticks_skipped
        self.skipped = state.skipped
        self.retired_before = state.retired_before
        self.activity = state.activity
        self.event = state.event
        self.start_at = state.start_at
