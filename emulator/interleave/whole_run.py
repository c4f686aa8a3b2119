# SPDX-License-Identifier: Apache-2.0
"""A whole run of a bundle as a scenario: from where all its CPUs run guests, to its end."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.interleave.explore import Explorer
from aether_edgecloud.emulator.interleave.interleaving import QUANTUM
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol
from aether_edgecloud.emulator.report.request import RunRequest
from aether_edgecloud.emulator.report.run_report import End

_STEP = 10_000
"""Instructions between two looks at which CPUs run guests."""
MOST_INSTRUCTIONS = 50_000_000
_LONGER = 4
"""Times the instructions of the run without preemption after which a run counts as endless."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: in words, and each line of the console with how often it was said."""

    what: str
    is_good: bool
    said: Counter[bytes]


class WholeRun:
    """Runs of `request` that differ in how the CPUs take their turns, from where they all run
    guests or from instruction `start` on.

    A run fails that violates the page-table protocol (`checked`), deadlocks, or ends otherwise than
    the one without preemption; and, if `same_console`, that says other lines, in whatever order.
    UserError if only one CPU runs guests, ever or before the limit of instructions.
    """

    def __init__(
        self,
        request: RunRequest,
        *,
        depth: int,
        quantum: int = QUANTUM,
        start: int | None = None,
        checked: bool = True,
        same_console: bool = False,
    ) -> None:
        self._request = request
        self._same_console = same_console
        self._plain: Ended | None = None
        self._limit = request.max_instructions or MOST_INSTRUCTIONS
        self._most = 0
        self._poll: Callable[[], None] = lambda: None
        if start is None:
            start = self._all_up()
        self.machine = build_machine(request)
        self._monitor = Monitor(self.machine) if checked else None
        stop = self.machine.run(start)
        if stop.kind is not StopKind.LIMIT:
            raise UserError(
                f"the run has ended before instruction {start:,}: {stop.kind.value}",
                where="--from",
                fix="start earlier",
            )
        # One more than have retired: then a machine from reset begins at the same moment.
        begin = self.machine.instructions + 1
        self.explorer = Explorer(self.machine, self._run, depth=depth, quantum=quantum, start=begin)

    def on_poll(self, poll: Callable[[], None]) -> None:
        """Called now and then; what it raises ends a run."""
        self._poll = poll

    def _all_up(self) -> int:
        """The last moment, more or less, before all CPUs that ever run guests have begun to."""
        machine = build_machine(self._request)
        found = before = 0
        running: set[int] = set()
        stop = machine.run(_STEP)
        while True:
            now = {n for n, cpu in enumerate(machine.cpus) if sum(cpu.instructions_by_el()[:2])}
            if now != running:
                running, found = now, before
            before = machine.instructions
            if stop.kind is not StopKind.LIMIT or before >= self._limit:
                break
            stop = machine.run(before + _STEP)
        machine.close()
        if len(running) < 2 and len(machine.cpus) > 1 and stop.kind is StopKind.LIMIT:
            raise UserError(
                f"no two CPUs run guests before the limit of {self._limit:,} instructions",
                where=self._request.target,
                fix="give --max-instructions more, or describe several VMs in FILE.toml",
            )
        if len(running) < 2:
            raise UserError(
                "only one CPU runs guests: there is nothing to interleave",
                where=self._request.target,
                fix="say --cpus 2, or describe several VMs in FILE.toml",
            )
        return found

    def _run(self, machine: Machine) -> str | None:
        began = machine.instructions
        most = self._limit if self._plain is None else began + self._most
        stop = machine.run(min(began + _STEP, most))
        while stop.kind is StopKind.LIMIT and stop.instructions < most:
            self._poll()
            stop = machine.run(min(machine.instructions + 50 * _STEP, most))
        if self._monitor is not None:
            self._monitor.check()
        ended = self._ended(stop)
        if self._plain is None:
            # Whatever the first run did is what they all must do.
            self._plain = ended
            self._most = _LONGER * (machine.instructions - began) + 50 * _STEP
            return None if ended.is_good or stop.kind is StopKind.LIMIT else ended.what
        if ended.what != self._plain.what:
            return f"{ended.what}; without preemption: {self._plain.what}"
        if self._same_console and ended.said != self._plain.said:
            return f"the console says: {_difference(self._plain.said, ended.said)}"
        return None

    def _ended(self, stop: Stop) -> Ended:
        protocol = ConsoleProtocol(self._request.vms)
        output = bytes(self.machine.console.output)
        protocol.feed(output)
        protocol.finish()
        end = None
        if stop.kind is StopKind.SYSTEM_OFF:
            end = protocol.end or self._request.silent_end
        what = stop.kind.value if end is None else end.value
        if end is End.GUEST_CRASH and protocol.crash is not None:
            what += f": {protocol.crash}"
        is_good = end is not None and end.exit_status == 0
        return Ended(what, is_good, Counter(output.splitlines()))


def _difference(before: Counter[bytes], after: Counter[bytes]) -> str:
    """The first line that only one of the runs has."""
    for sign, lines in (("+", after - before), ("-", before - after)):
        if lines:
            return f"{sign} {min(lines).decode('utf-8', 'replace')!r}"
    return "nothing else"
