# SPDX-License-Identifier: Apache-2.0
"""Moving a replay as a debugger asks for it: steps of one thread, on or back to the next point.

gdb expects an AArch64 target to report a watchpoint before the access, and itself takes one step
to see what became of it. Backwards it reports one after the access, for the same step.
"""

from contextlib import suppress

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.gdb.points import Points
from aether_edgecloud.emulator.gdb.requests import Interrupted, Motion, Resume, Stop, Why
from aether_edgecloud.emulator.replay import AnyOf, Cancelled, Direction, Execute, Hit, Replay
from aether_edgecloud.emulator.replay.progress import Progress

_BEYOND = 1 << 62
"""A position that no run has."""
_LOOK_EVERY = 64
"""Steps of a range between two looks at what gdb sends."""


class Watched(Progress):
    """Progress of a search, ended when gdb sends an interrupt."""

    def __init__(self, interrupted: Interrupted) -> None:
        self._interrupted = interrupted
        self.done = 0

    def at(self, done: int, total: int) -> None:
        self.done = max(self.done, done)
        if self._interrupted():
            raise Cancelled


def go_to_end(replay: Replay, progress: Progress | None = None) -> None:
    """Where the run ends, which for one that is not recorded has to be found out."""
    if not replay.is_complete:
        with suppress(UserError):
            replay.goto(_BEYOND, progress=progress)
    replay.goto(replay.end, progress=progress)


class Mover:
    """Moves a replay among points. Threads count from 1, CPUs from 0."""

    def __init__(self, replay: Replay, points: Points) -> None:
        self._replay = replay
        self._points = points

    def resume(self, what: Resume, interrupted: Interrupted) -> Stop:
        """Go as `what` says; where and why it stopped."""
        match what.motion:
            case Motion.STEP | Motion.STEP_RANGE:
                return self._step(what, interrupted)
            case Motion.STEP_BACK:
                return self._step_back(what.thread)
            case Motion.FORWARD:
                return self._forward(interrupted)
            case Motion.BACK:
                return self._back(interrupted)

    def _step(self, what: Resume, interrupted: Interrupted) -> Stop:
        """Others may run before the thread has its turn, and meet a point first."""
        replay, cpu = self._replay, what.thread - 1
        start, attempt = replay.position, replay.attempt
        why = Why.STEPPED
        count = 0
        while why is Why.STEPPED:
            if not replay.step(1, cpu=cpu):
                why = Why.END
            if what.motion is Motion.STEP or not self._is_inside(what):
                break
            if any(self._is_at(point, cpu) for point in self._points.breakpoints):
                why = Why.SOFTWARE
            count += 1
            if count % _LOOK_EVERY == 0 and interrupted():
                why = Why.INTERRUPTED
        met = self._between(start, attempt, cpu)
        if met is not None:
            return self._at_hit(met)
        return Stop(what.thread, why, notice=_notice(why))

    def _is_inside(self, what: Resume) -> bool:
        pc = self._replay.machine.cpus[what.thread - 1].pc
        return what.start <= pc < what.end

    def _is_at(self, point: Execute, cpu: int) -> bool:
        found = self._replay.machine.cpus[cpu]
        return found.pc == point.va and point.el in (None, found.current_el)

    def _between(self, start: int, attempt: int, stepping: int) -> Hit | None:
        """The first point that was passed on the way from `start` to here, unless it is the
        stepping thread's own breakpoint at the start: from that one it was sent on."""
        replay, points = self._replay, self._points
        last = replay.position - 1
        others_ran = last > start
        wanted = points.condition if others_ran else AnyOf(points.watchpoints)
        if last < start or not wanted.conditions:
            return None
        for hit in replay.find_all(wanted, start, last):
            is_execute = isinstance(hit.condition, Execute)
            if hit.position == start and (hit.attempt < attempt or is_execute):
                continue
            if not (is_execute and hit.cpu == stepping and hit.position == last):
                return hit
        return None

    def _step_back(self, thread: int) -> Stop:
        if self._replay.step(-1, cpu=thread - 1):
            return Stop(thread, Why.STEPPED)
        return Stop(thread, Why.BEGIN)

    def _forward(self, interrupted: Interrupted) -> Stop:
        replay, points = self._replay, self._points
        here = self._watched_here()
        if here is not None:
            return self._at_hit(here)
        start, progress = replay.position, Watched(interrupted)
        try:
            progress.at(0, 0)
            if points.condition.conditions:
                hit = replay.find(points.condition, Direction.FORWARD, progress)
                if hit is not None:
                    return self._at_hit(hit)
            go_to_end(replay, progress)
        except Cancelled:
            return self._cancelled(min(start + progress.done, replay.end))
        return Stop(self.current, Why.END, notice=_notice(Why.END))

    def _watched_here(self) -> Hit | None:
        """A search begins behind the instruction that is next; its own access counts too."""
        replay = self._replay
        wanted = AnyOf(self._points.watchpoints)
        if not wanted.conditions:
            return None
        found = replay.find_all(wanted, replay.position, replay.position)
        return next((hit for hit in found if hit.attempt == replay.attempt), None)

    def _back(self, interrupted: Interrupted) -> Stop:
        replay, points = self._replay, self._points
        start, progress = replay.position, Watched(interrupted)
        try:
            progress.at(0, 0)
            hit = None
            if points.condition.conditions:
                hit = replay.find(points.condition, Direction.BACK, progress)
            if hit is None:
                replay.goto(0, progress=progress)
                return Stop(self.current, Why.BEGIN)
        except Cancelled:
            return self._cancelled(max(start - progress.done, 0))
        if not isinstance(hit.condition, Execute):
            replay.step(1, cpu=hit.cpu)
        why, address = points.met(hit)
        return Stop(hit.cpu + 1, why, address)

    def _at_hit(self, hit: Hit) -> Stop:
        replay = self._replay
        if (replay.position, replay.attempt) != (hit.position, hit.attempt):
            replay.goto(hit.position, attempt=hit.attempt)
        why, address = self._points.met(hit)
        return Stop(hit.cpu + 1, why, address)

    def _cancelled(self, position: int) -> Stop:
        """Ctrl-C stops where the search has come to."""
        self._replay.goto(position)
        return Stop(self.current, Why.INTERRUPTED)

    @property
    def current(self) -> int:
        """The thread whose instruction is next."""
        return self._replay.cpu + 1


def _notice(why: Why) -> str:
    return "the run ends here" if why is Why.END else ""
