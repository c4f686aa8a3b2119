# SPDX-License-Identifier: Apache-2.0
"""The ways in which a binary is run on a scenario, and what comes of it: the table's columns."""

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import EmulatorFault
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.qemu import command
from aether_edgecloud.properties.adversary.table_scenarios import Scenario

RAM_SIZE = 64 << 20
QUANTUM = 1_000
STEP = 250_000
STUCK_S = 20.0
"""Processor time after which a run in the emulator is given up: a storm of faults may retire
nothing. The real binary needs a small part of it."""
QEMU_STUCK_S = 30.0
OFF = StopKind.SYSTEM_OFF.value


class Way(Enum):
    """A column. The value is its title."""

    PLAIN = "plain emulation"
    QEMU = "QEMU 7.2"
    CHECKER = "checker"
    TLB = "TLB adversary"
    CACHES = "cache adversary"
    BOTH = "both adversaries"


ADVERSARIES = (Way.TLB, Way.CACHES, Way.BOTH)
RATES = ((0, 256), (1, 128))
"""Seed and rate of each run with an adversary: the worst hardware first."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: the way and, with an adversary, its seed and rate."""

    way: Way
    scenario: Scenario
    seed: int = 0
    rate: int = 0

    @property
    def plan(self) -> Plan | None:
        if self.way not in ADVERSARIES:
            return None
        return Plan(
            tlb=self.way is not Way.CACHES,
            caches=self.way is not Way.TLB,
            seed=self.seed,
            rate=self.rate,
        )

    def __str__(self) -> str:
        name = f"{self.scenario.name}"
        return f"{name}, seed {self.seed}, rate {self.rate}" if self.plan else name


@dataclass(frozen=True, slots=True)
class Outcome:
    """What whoever sits at the console can tell: each line, once, and how it ended."""

    lines: frozenset[str]
    end: str
    rule: str = ""
    """Of the checker: the rule that was broken first."""
    instructions: int = 0

    @property
    def wrong(self) -> list[str]:
        """Lines that no good binary shows: what guests say, panics, crashes of guests."""
        return sorted(line for line in self.lines if _is_wrong(line))

    def differs(self, real: "Outcome") -> str:
        """How it differs from that of the real binary; nothing: not at all."""
        if self.rule != real.rule:
            return self.rule
        new = sorted(self.lines - real.lines, key=_importance)
        if new:
            return new[0]
        if self.end != real.end:
            return self.end
        missing = sorted(real.lines - self.lines)
        return f"never said: {missing[0]}" if missing else ""


def _importance(line: str) -> tuple[int, str]:
    for number, word in enumerate(("WRONG", "panic", "crash", "boot:")):
        if word in line:
            return number, line
    return 9, line


def trials(way: Way, scenarios: tuple[Scenario, ...]) -> Iterator[Trial]:
    """The runs of a column, those that tell most first."""
    for seed, rate in RATES if way in ADVERSARIES else ((0, 0),):
        for scenario in scenarios:
            yield Trial(way, scenario, seed, rate)


def run(binary: bytes, trial: Trial) -> Outcome:
    """Each boot of the scenario, from reset to its end or until it is stuck."""
    how = _on_qemu if trial.way is Way.QEMU else _in_emulator
    bundles = trial.scenario.bundles()
    return together({name: how(binary, trial, bundle) for name, bundle in bundles.items()})


def together(boots: Mapping[str, Outcome]) -> Outcome:
    """The outcome of boots that have names; of one boot as it is."""
    if len(boots) == 1:
        return next(iter(boots.values()))
    ends = [f"{name}: {one.end}" for name, one in boots.items() if one.end != OFF]
    return Outcome(
        frozenset(f"{name}: {line}" for name, one in boots.items() for line in one.lines),
        ends[0] if ends else OFF,
        next((one.rule for one in boots.values() if one.rule), ""),
        sum(one.instructions for one in boots.values()),
    )


def _in_emulator(binary: bytes, trial: Trial, bundle: bytes) -> Outcome:
    scenario = trial.scenario
    machine = Machine(
        virt(RAM_SIZE, scenario.cpus),
        BootImage.from_bytes(binary, where="el2"),
        bundle,
        mmu=MmuMode.MODEL,
        source=Bytes(b""),
        quantum=QUANTUM,
        adversary=trial.plan,
    )
    try:
        monitor = Monitor(machine) if trial.way is Way.CHECKER else None
        end, instructions = _drive(machine, scenario.most)
        violation = None if monitor is None else monitor.violation
        return Outcome(
            console_lines(bytes(machine.console.output)),
            end,
            "" if violation is None else violation.rule.name.lower().replace("_", "-"),
            instructions,
        )
    finally:
        machine.close()


def _is_wrong(text: str) -> bool:
    """Whether there is something that the real binary never shows."""
    return any(word in text for word in ("WRONG", " panic", ": crash"))


def _drive(machine: Machine, most: int) -> tuple[str, int]:
    began = time.process_time()
    done = 0
    while True:
        try:
            stop = machine.run(until=done + STEP)
        except EmulatorFault as fault:
            return f"the emulator cannot go on: {fault}", done
        done = stop.instructions
        if stop.kind is not StopKind.LIMIT:
            return stop.kind.value, done
        if _is_wrong(bytes(machine.console.output).decode("latin-1")):
            return "something is wrong", done
        if done >= most or time.process_time() - began > STUCK_S:
            return "it does not end", done


def _on_qemu(binary: bytes, trial: Trial, bundle: bytes) -> Outcome:
    cpus = trial.scenario.cpus
    with tempfile.TemporaryDirectory(prefix="aether-table-") as name:
        kernel, initrd = Path(name, "el2.bin"), Path(name, "bundle")
        kernel.write_bytes(binary)
        initrd.write_bytes(bundle or bytes(1))
        arguments = command.arguments("virt", RAM_SIZE, cpus, kernel, initrd, icount=cpus == 1)
        with (
            (Path(name) / "errors").open("wb") as errors,
            subprocess.Popen(
                [command.find_program(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as process,
        ):
            try:
                console, is_over = _read(process)
            finally:
                process.kill()
    end = OFF if is_over else "it does not end"
    return Outcome(console_lines(console), end)


def _read(process: "subprocess.Popen[bytes]") -> tuple[bytes, bool]:
    """What QEMU's console shows, until it ends, or enough is seen, or it is stuck."""
    assert process.stdout is not None
    console = b""
    until = time.monotonic() + QEMU_STUCK_S
    while not _is_wrong(console.decode("latin-1")):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not data:
            return console, bool(ready)
        console += data
    return console, False


def console_lines(console: bytes) -> frozenset[str]:
    """Lines of VMs that others broke into are put together again."""
    found: list[str] = []
    last: dict[str, int] = {}
    for line in console.decode("latin-1").replace("\r", "").split("\n"):
        who, mark, rest = line.partition("] ")
        if mark and who.endswith("+") and who[:-1] in last:
            found[last[who[:-1]]] += rest
        elif line:
            last[who] = len(found)
            found.append(line)
    return frozenset(found)
