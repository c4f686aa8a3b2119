# SPDX-License-Identifier: Apache-2.0
"""A checked run, from the machine at reset to its report."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from aether_edgecloud.emulator.check.checker import Checker
from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.check.names import Names
from aether_edgecloud.emulator.check.run_end import RunEnd, run_end
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.machine import Machine, Stop, StopKind
from aether_edgecloud.emulator.report import own_faults
from aether_edgecloud.emulator.report.own_faults import OwnFaultReport

DEFAULT_LIMIT = 5_000_000_000
"""Instructions after which a run is over."""
_SLICE = 5_000_000
_STILL = 4
"""Slices in which nothing changes, after which a CPU counts as looping."""
_LOOP_BYTES = 128


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a checked run was. `unchecked`: what the rules could not look at, in words.
    `el2_faults`: exceptions that EL2 took from itself, by CPU. `pc` and `symbol` say where it
    ended, on `cpu` at `el`."""

    end: RunEnd
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...]
    el2_faults: tuple[OwnFaultReport, ...]
    instructions: int
    exits: int
    vcpus: int
    console: bytes
    cpu: int
    pc: int
    el: int
    symbol: str | None
    wall_s: float

    @property
    def has_error(self) -> bool:
        """Whether a finding is an error."""
        return any(finding.rule.severity.value == "error" for finding in self.findings)

    @property
    def exit_status(self) -> int:
        """0: nothing was found; 1: an error was; 3: none, but the run did not get to its end."""
        if self.has_error:
            return 1
        return 0 if self.end.is_complete else 3


class Session:
    """Runs a machine under a checker. `advance` runs it on: `Machine.run`, or a recorder's."""

    def __init__(
        self,
        machine: Machine,
        names: Names,
        *,
        rules: frozenset[str],
        by_difference: bool = False,
        limit: int = DEFAULT_LIMIT,
        advance: Callable[[int], Stop] | None = None,
    ) -> None:
        self.machine = machine
        self.limit = limit
        self._names = names
        self._advance = advance or machine.run
        self._began = time.monotonic()
        self._stack = ExitStack()
        self.checker = Checker(machine, names=names, rules=rules, by_difference=by_difference)
        self._stack.callback(self.checker.close)
        self.stop: Stop | None = None
        """Where the last slice ended."""
        self._is_loop = False
        self._is_interrupted = False
        self._still = 0
        self._seen: object = None
        self._pcs: list[int] = []

    @property
    def findings(self) -> int:
        """How many places were found so far."""
        return self.checker.findings.count

    def run(self) -> Iterator[None]:
        """Runs to the end; gives a turn to whoever shows progress between slices."""
        while not self._is_loop and not self._is_interrupted:
            until = min(self.machine.instructions + _SLICE, self.limit)
            self.stop = stop = self._advance(until)
            if stop.kind is not StopKind.LIMIT or stop.instructions >= self.limit:
                return
            self._is_loop = self._loops(stop)
            yield

    def interrupt(self) -> None:
        """End the run soon. For a signal handler: at any time, and it does not raise."""
        self._is_interrupted = True
        self.machine.interrupt()

    def outcome(self) -> Outcome:
        """What was seen; also of a run that was interrupted."""
        machine, checker = self.machine, self.checker
        stop = self.stop or Stop(StopKind.BREAK, machine.cpu.pc, machine.cpu.current_el, 0)
        if self._is_interrupted and stop.kind is StopKind.LIMIT:
            stop = replace(stop, kind=StopKind.BREAK)
        checker.finish()
        end = run_end(
            stop,
            loops=self._is_loop,
            has_translated=checker.has_translated,
            has_entered=checker.first_entry is not None,
        )
        outcome = Outcome(
            end,
            checker.findings.found,
            checker.unchecked,
            own_faults.reports([cpu.own_faults for cpu in machine.cpus], self._names.symbol),
            machine.instructions,
            sum(_exits(cpu) for cpu in machine.cpus),
            checker.vcpus,
            bytes(machine.console.output),
            stop.cpu,
            stop.pc,
            stop.el,
            self._names.symbol(stop.pc) if stop.el == 2 else None,
            time.monotonic() - self._began,
        )
        self._stack.close()
        return outcome

    def _loops(self, stop: Stop) -> bool:
        """Whether all CPUs have been going round for some slices, with the same registers, no
        exception and no output."""
        machine = self.machine
        seen = (
            len(machine.console.output),
            tuple(int(cpu.state.exceptions) for cpu in machine.cpus),
            tuple(tuple(cpu.registers()) for cpu in machine.cpus),
        )
        near = all(abs(pc - stop.pc) < _LOOP_BYTES for pc in self._pcs)
        if seen != self._seen or not near:
            self._seen, self._still, self._pcs = seen, 0, []
        self._pcs.append(stop.pc)
        self._still += 1
        return self._still > _STILL


def _exits(cpu: Cpu) -> int:
    """Exceptions from guests to EL2."""
    return sum(count for kind, count in cpu.exits.counts.items() if kind != BOOT)
