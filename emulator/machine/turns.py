# SPDX-License-Identifier: Apache-2.0
"""How the CPUs of a machine take turns.

One CPU runs at a time, for a slice (`Schedule`). What it does to another CPU (an SGI, an SPI, the
broadcast of a TLBI, CPU_ON) that CPU sees when its own next slice starts; a CPU that waits sees it
at the start of the next round. While a single CPU has anything to do, its slice goes on until an
event of another CPU, or until it wakes one: what it executes does not depend on that.

An interleaving (`Interleaver`) names switch points inside EL2 at which a slice ends early. It also
orders the CPUs of a round. A CPU that has given its turn away makes up for it in the next rounds.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from aether_edgecloud.emulator.machine.core import NEVER, Activity, Core
from aether_edgecloud.emulator.machine.schedule import Schedule
from aether_edgecloud.emulator.machine.snapshot import ScheduleState
from aether_edgecloud.emulator.machine.stop import StopKind

_BUSY_SOON = frozenset({Activity.WOKEN, Activity.STARTING})


class AtSwitch(Enum):
    """What becomes of a CPU that has stopped before a switch point."""

    PREEMPT = "the others go first"
    WAIT = "it spins: it waits for the others, as in WFE"
    DEADLOCK = "all that run spin, and have for long"


class Interleaver(Protocol):
    """Chooses where slices end inside EL2, and who is first then."""

    @property
    def is_on(self) -> bool:
        """Whether it has begun."""

    def begins(self, retired: int) -> int | None:
        """Asked between two rounds, when all CPUs together have retired so many instructions: the
        quantum from now on, if it begins now."""

    def order(self) -> tuple[int, ...]:
        """The CPUs by priority, highest first."""

    def slice_begins(self, *, alone: bool) -> None:
        """`alone`: nobody else has anything to do."""

    def at_switch(self, core: Core, /) -> AtSwitch:
        """The CPU that runs has stopped before a switch point."""


class Turns(ABC):
    """Whose slice it is, how long it lasts, and whose is next. Times are in instructions."""

    def __init__(self, cores: Sequence[Core], schedule: Schedule) -> None:
        self._cores = tuple(cores)
        self._schedule = schedule
        self._round = 0  # the next to begin
        self._turns: list[Core] = []  # still to come in the round that runs, last first
        self._running: Core | None = None  # whose slice it is
        self._limit = NEVER  # where that slice ends
        self._is_alone = False  # nobody else has anything to do until then
        self._retired = 0  # by all, up to the slice that runs
        self._others_retired = 0
        self._last = 0  # the number of the CPU that ran last
        self._interleaver: Interleaver | None = None

    def interleave(self, interleaver: Interleaver) -> None:
        """From now on it says where slices end and who is first."""
        self._interleaver = interleaver

    # What a machine does meanwhile.

    @abstractmethod
    def _wire(self, core: Core) -> None:
        """Let the devices' outputs reach the CPUs, and find out when the next of them changes by
        itself."""

    @abstractmethod
    def _start(self, core: Core, time: int) -> None:
        """Switch a CPU on at `time`."""

    @abstractmethod
    def _look_at_release(self, core: Core, time: int) -> None:
        """Switch a CPU on that is HELD, if its release address says so."""

    @abstractmethod
    def _wait_for_input(self) -> bool:
        """Nothing will happen by itself: False if no input will come either."""

    @abstractmethod
    def _rest(self, time: int) -> None:
        """No CPU has anything to do until `time`."""

    def save_schedule(self) -> dict[str, object]:
        """Whose turn it is, and what each CPU's time is."""
        return {
            "round": self._round,
            "turns": [core.number for core in self._turns],
            "running": None if self._running is None else self._running.number,
            "cpus": [
                [core.activity.name, core.clock.skipped, core.event, *core.start_at]
                for core in self._cores
            ],
        }

    def _save_turns(self) -> ScheduleState:
        return ScheduleState(
            self._round,
            tuple(core.number for core in self._turns),
            None if self._running is None else self._running.number,
            self._limit,
            self._is_alone,
            self._retired,
            self._others_retired,
            self._last,
            self._schedule,
        )

    def _restore_turns(self, state: ScheduleState) -> None:
        self._round = state.round
        self._turns = [self._cores[number] for number in state.turns]
        self._running = None if state.running is None else self._cores[state.running]
        self._limit = state.limit
        self._is_alone = state.is_alone
        self._retired = state.retired
        self._others_retired = state.others_retired
        self._last = state.last
        self._schedule = state.schedule

    # One CPU's slice.

    def _begin_slice(self, core: Core, limit: int, *, alone: bool) -> None:
        self._running, self._limit, self._is_alone = core, limit, alone
        self._last = core.number
        if self._interleaver is not None:
            self._interleaver.slice_begins(alone=alone)
        self._others_retired = self._retired - core.retired_before
        core.cpu.state.others_retired = self._others_retired
        core.cpu.begin_slice()
        if core.time >= core.event:
            self._wire(core)

    def _end_slice(self, core: Core) -> None:
        """Others run now: what they store must fail a store exclusive of this CPU."""
        core.cpu.end_slice()
        core.retired_before = core.cpu.retired
        self._retired = self._others_retired + core.retired_before
        self._running = None

    def _peek(self, core: Core, before: int | None, of: int | None) -> int | None:
        """The instruction to stop before, by the count of the CPU that runs."""
        if before is None or of is None:
            return None if before is None else before - self._others_retired
        return before if of == core.number else None

    def _set_deadline(self, core: Core, bound: int) -> None:
        """The CPU runs to the end of its slice, to its next event, or until it has retired `bound`
        instructions."""
        deadline = min(self._limit, core.event, bound + core.skipped)
        core.cpu.set_deadline(
            None if deadline >= NEVER else deadline - core.skipped,
            ends_slice=deadline == self._limit,
        )

    def _wait(self, core: Core) -> None:
        """WFI: the CPU's time jumps to its next event in its slice; without one it waits."""
        self._wire(core)
        while not core.cpu.wakes():
            if core.event >= self._limit:
                self._leave(core, Activity.WAITING)
                return
            if self._is_alone:
                self._rest(core.event)
            core.skip_to(core.event)
            self._wire(core)

    def _leave(self, core: Core, activity: Activity) -> None:
        """The CPU that runs has nothing to do any more."""
        core.activity = activity
        if self._is_alone:
            # Whatever wakes it now comes from outside or in a later round.
            self._round = self._schedule.round_of(core.time, core.number) + 1
        self._end_slice(core)

    def _storm(self, core: Core) -> StopKind | None:
        """A guest's exceptions without end take time all the same, until an interrupt ends them."""
        end = min(core.event, self._limit)
        if core.cpu.current_el == 2 or end >= NEVER:
            return StopKind.LOCKUP
        core.skip_to(end)
        if end == self._limit:
            self._end_slice(core)
        else:
            self._wire(core)
        return None

    def _yield(self, core: Core) -> None:
        """WFE: the CPU waits for the others until the end of the round, or for its own event."""
        end = self._limit
        if self._is_alone:
            number = self._schedule.round_of(core.time, core.number)
            end = min(end, self._schedule.limit(number, core.number))
        if core.event < end:
            core.skip_to(core.event)
            self._wire(core)
            return
        core.skip_to(end)
        if end == self._limit:
            self._end_slice(core)

    def _switch(self, core: Core) -> StopKind | None:
        """The CPU that runs has stopped before a switch point."""
        assert self._interleaver is not None
        match self._interleaver.at_switch(core):
            case AtSwitch.PREEMPT:
                # What is left of its slice, and of the others' in this round, comes in the next.
                self._end_slice(core)
                self._turns = []
            case AtSwitch.WAIT:
                self._yield(core)
            case AtSwitch.DEADLOCK:
                return StopKind.DEADLOCK
        return None

    def _share(self, core: Core) -> None:
        """The CPU that runs has given another something to do: from the next round on, both run."""
        if not self._is_alone or len(self._cores) == 1:
            return
        number = self._schedule.round_of(core.time, core.number)
        self._limit = self._schedule.limit(number, core.number)
        self._round = number + 1
        self._is_alone = False
        if self._interleaver is not None:
            self._interleaver.slice_begins(alone=False)
        core.cpu.shorten_deadline(self._limit - core.skipped)

    # Whose slice is next.

    def _take_turn(self, core: Core) -> None:
        limit = self._schedule.limit(self._round - 1, core.number)
        if core.activity is Activity.WAITING:
            while core.event < limit and core.activity is Activity.WAITING:
                core.skip_to(core.event)
                self._wire(core)
            if core.activity is Activity.WAITING:
                return
            core.activity = Activity.RUNNING
        if core.activity is Activity.RUNNING and core.time < limit:
            self._begin_slice(core, limit, alone=False)

    def _begin_round(self) -> bool:
        """False if no CPU will ever have anything to do."""
        if self._interleaver is not None:
            quantum = self._interleaver.begins(self._retired)
            if quantum is not None:
                self._schedule = Schedule(quantum, 0, len(self._cores))
                self._round = self._schedule.round_at(max(core.time for core in self._cores)) + 1
        start = self._schedule.start(self._round)
        busy = []
        for core in self._cores:
            match core.activity:
                case Activity.WOKEN:
                    core.activity = Activity.RUNNING
                    core.skip_to(start)
                case Activity.STARTING:
                    self._start(core, start)
                case Activity.HELD:
                    self._look_at_release(core, start)
            if core.activity is Activity.RUNNING:
                busy.append(core)
        event = min(
            (core.event for core in self._cores if core.activity is Activity.WAITING),
            default=NEVER,
        )
        activities = {core.activity for core in self._cores}
        soon = bool(activities & _BUSY_SOON)  # a CPU that has started may have woken another
        if not busy and not soon:
            if event >= NEVER:
                return self._wait_for_input()
            self._rest(event)
            self._round = max(self._round, self._schedule.round_at(event))
        elif len(busy) == 1 and not soon and Activity.HELD not in activities:
            horizon = self._schedule.round_at(event)
            if horizon > self._round:
                self._round = horizon
                limit = NEVER if event >= NEVER else self._schedule.start(horizon)
                self._begin_slice(busy[0], limit, alone=True)
                return True
        order = self._schedule.order(self._round)
        if self._interleaver is not None and self._interleaver.is_on:
            order = self._interleaver.order()
        self._turns = [self._cores[number] for number in reversed(order)]
        self._round += 1
        return True
