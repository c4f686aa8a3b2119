# SPDX-License-Identifier: Apache-2.0
"""What came out of a run. None stands for what cannot be known there: QEMU counts nothing."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.report.own_faults import OwnFaultReport
from aether_edgecloud.emulator.telemetry.layout import HypervisorPage, VmPage


class End(Enum):
    """Why a run ended. The first four are the hypervisor's own words on its last line."""

    GUEST_OFF = "guest-off"
    GUEST_CRASH = "guest-crash"
    BOOT_FAILED = "boot-failed"
    PANIC = "panic"
    INPUT_ENDED = "input-ended"
    """All input was taken, and the guest went on waiting for more without a word."""
    STOPPED = "stopped"
    """The user left with Ctrl-A x."""
    LIMIT = "limit-reached"
    """The instructions of `--max-instructions` were spent."""
    STUCK = "stuck"
    """The machine cannot go on: every CPU waits and no event will come, or the like."""
    RESET = "reset"
    """The firmware was asked to restart the machine."""
    MACHINE_OFF = "machine-off"
    """Another EL2 binary, given by the user, switched the machine off."""
    POWER_OFF = "power-off"
    """The machine was switched off without our hypervisor's last line."""

    @property
    def exit_status(self) -> int:
        """The exit status of `aether run`: 0 for a wanted end, 2 for bad input, else 1."""
        if self in (End.GUEST_OFF, End.INPUT_ENDED, End.STOPPED, End.MACHINE_OFF):
            return 0
        return 2 if self is End.BOOT_FAILED else 1

    @property
    def words(self) -> str:
        """The end in words, for people."""
        return _WORDS[self]


_WORDS = {
    End.GUEST_OFF: "the guest switched itself off",
    End.GUEST_CRASH: "the guest crashed; its record is on the console",
    End.BOOT_FAILED: "the hypervisor refused to boot",
    End.PANIC: "the hypervisor panicked",
    End.INPUT_ENDED: "all input was taken and the guest waits for more",
    End.STOPPED: "stopped with Ctrl-A x",
    End.LIMIT: "the limit of instructions was reached",
    End.STUCK: "the machine cannot go on",
    End.RESET: "the firmware was asked to restart the machine",
    End.MACHINE_OFF: "the machine was switched off",
    End.POWER_OFF: "the machine went off without a word from the hypervisor",
}


@dataclass(frozen=True, slots=True)
class Instructions:
    """Retired instructions, by exception level."""

    el0: int
    el1: int
    el2: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.el0 + self.el1 + self.el2

    @staticmethod
    def sum(parts: "Sequence[Instructions]") -> "Instructions":
        """Of several CPUs together."""
        return Instructions(
            sum(p.el0 for p in parts), sum(p.el1 for p in parts), sum(p.el2 for p in parts)
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of a series. The middle is a member of it (the lower one)."""

    low: int
    median: int
    high: int


@dataclass(frozen=True, slots=True)
class ExitCount:
    """How often the guest left for EL2 by one `kind`, and the EL2 instructions from there to the
    ERET, each time. `spread` is None when no such exit returned."""

    kind: str
    count: int
    total: int
    spread: Spread | None

    @staticmethod
    def of(kind: str, count: int, el2_instructions: Sequence[int]) -> "ExitCount":
        """From one number per exit that returned."""
        if not el2_instructions:
            return ExitCount(kind, count, 0, None)
        spread = Spread(
            min(el2_instructions),
            statistics.median_low(el2_instructions),
            max(el2_instructions),
        )
        return ExitCount(kind, count, sum(el2_instructions), spread)


@dataclass(frozen=True, slots=True)
class VmReport:
    """What became of one VM. `state` is a word, or None when nothing was said of it; `crash` is
    why it crashed last; `counters` is its telemetry page."""

    name: str
    state: str | None = None
    crashes: int = 0
    restarts: int = 0
    crash: str | None = None
    counters: VmPage | None = None


@dataclass(frozen=True, slots=True)
class RecordingReport:
    """A file to which the run was recorded; `size` in bytes."""

    file: str
    size: int
    checkpoints: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run. `ram_size` is in bytes; hashes are SHA-256 as hex; `wall_s` is the host's time.

    `instructions` are those of each CPU. `first_entry` counts the EL2 instructions from the entry
    of the binary to the first guest's first instruction. `walks` counts translations the MMU model
    decided. `detail` adds to `end` what the console said of it. `hypervisor` is its telemetry page.
    """

    target: str
    on: str
    board: str
    ram_size: int
    binary_sha256: str
    bundle_sha256: str
    end: End
    console_bytes: int
    console_sha256: str
    wall_s: float
    mmu: str | None = None
    detail: str | None = None
    cpus: int = 1
    quantum: int | None = None
    seed: int | None = None
    instructions: tuple[Instructions, ...] | None = None
    first_entry: int | None = None
    exits: tuple[ExitCount, ...] | None = None
    walks: int | None = None
    state_sha256: str | None = None
    vms: tuple[VmReport, ...] = ()
    hypervisor: HypervisorPage | None = None
    recording: RecordingReport | None = None
    own_faults: tuple[OwnFaultReport, ...] = ()
    """Exceptions from EL2 to EL2: what the binary itself did wrong."""
    stopped_at: tuple[str, ...] = ()
    """Where each CPU stood, in words, where the machine did not go off by itself."""

    @property
    def all_instructions(self) -> Instructions | None:
        """Those of all CPUs together."""
        return None if self.instructions is None else Instructions.sum(self.instructions)
