# SPDX-License-Identifier: Apache-2.0
"""Time is retired instructions: the system counter as a function of the instruction count."""

from dataclasses import dataclass


@dataclass(slots=True)
class Clock:
    """The system counter.

    One tick passes every `instructions_per_tick` retired instructions; while all CPUs wait, time is
    `skip`ped to the next event, so the counter runs ahead of the instructions.
    """

    instructions_per_tick: int
    skipped: int = 0  # ticks

    def counter(self, instructions: int) -> int:
        """The counter, in ticks, when `instructions` have retired."""
        return self.skipped + instructions // self.instructions_per_tick

    def instructions_at(self, counter: int) -> int:
        """The least instruction count at which the counter has reached `counter` ticks."""
        return max(0, (counter - self.skipped) * self.instructions_per_tick)

    def skip_to(self, counter: int, instructions: int) -> None:
        """Let the counter read `counter` now; it never goes back."""
        self.skipped += max(0, counter - self.counter(instructions))
