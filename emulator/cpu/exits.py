# SPDX-License-Identifier: Apache-2.0
"""What the stays at EL2 cost, in instructions, by the kind of exception that led there."""

from dataclasses import dataclass, field

from aether_edgecloud.emulator.arch.esr import ExceptionClass
from aether_edgecloud.emulator.arch.exceptions import Vector

_KINDS = {
    ExceptionClass.UNKNOWN: "undefined",
    ExceptionClass.WFX: "wfx",
    ExceptionClass.FP_ACCESS: "fp",
    ExceptionClass.ILLEGAL_STATE: "illegal-state",
    ExceptionClass.SVC: "svc",
    ExceptionClass.HVC: "hvc",
    ExceptionClass.SMC: "smc",
    ExceptionClass.SYSREG: "sysreg",
    ExceptionClass.INSTRUCTION_ABORT_LOWER: "instruction-abort",
    ExceptionClass.INSTRUCTION_ABORT_SAME: "instruction-abort",
    ExceptionClass.PC_ALIGNMENT: "pc-alignment",
    ExceptionClass.DATA_ABORT_LOWER: "data-abort",
    ExceptionClass.DATA_ABORT_SAME: "data-abort",
    ExceptionClass.SP_ALIGNMENT: "sp-alignment",
    ExceptionClass.BRK: "brk",
}


BOOT = "boot"
"""The stay at EL2 from reset to the first guest instruction."""


def exit_kind(ec: int) -> str:
    """Name of an exception class in the run report; `ec-0xNN` for one without a name."""
    known = ec in ExceptionClass._value2member_map_ and ExceptionClass(ec) in _KINDS
    return _KINDS[ExceptionClass(ec)] if known else f"ec-{ec:#04x}"


_INTERRUPTS = ("irq", "fiq", "serror", "virq", "vfiq", "vserror")
_FIRST_INTERRUPT = 64


def kind_name(kind: int) -> str:
    """Name of a kind of exception as the hooks number them: an exception class or an interrupt."""
    if kind >= _FIRST_INTERRUPT:
        return _INTERRUPTS[kind - _FIRST_INTERRUPT]
    return exit_kind(kind)


def is_interrupt(kind: int) -> bool:
    """Whether that is an interrupt, and not an exception class."""
    return kind >= _FIRST_INTERRUPT


def interrupt_kind(vector: Vector, *, virtual: bool) -> int:
    """The number of an interrupt of this kind."""
    return _FIRST_INTERRUPT + (vector >> 7) - 1 + (3 if virtual else 0)


@dataclass(frozen=True, slots=True)
class ExitState:
    """What an `ExitStatistics` held."""

    counts: dict[str, int]
    lengths: dict[str, dict[int, int]]
    open: str | None


@dataclass(slots=True)
class ExitStatistics:
    """Collects the length of every stay at EL2, exactly, as a histogram per kind."""

    counts: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, dict[int, int]] = field(default_factory=dict)
    _open: str | None = None

    def begin(self, kind: str) -> None:
        """An exception of `kind` was taken to EL2 from below."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self._open = kind

    def finish(self, instructions: int) -> None:
        """The stay opened last ended with an ERET below EL2."""
        if self._open is None:
            return
        histogram = self.lengths.setdefault(self._open, {})
        histogram[instructions] = histogram.get(instructions, 0) + 1
        self._open = None

    def lengths_of(self, kind: str) -> list[int]:
        """The length of each finished stay of `kind`, shortest first."""
        histogram = self.lengths.get(kind, {})
        return [length for length in sorted(histogram) for _ in range(histogram[length])]

    def save(self) -> ExitState:
        """The state."""
        lengths = {kind: dict(histogram) for kind, histogram in self.lengths.items()}
        return ExitState(dict(self.counts), lengths, self._open)

    def restore(self, state: ExitState) -> None:
        """Become what was saved."""
        self.counts = dict(state.counts)
        self.lengths = {kind: dict(histogram) for kind, histogram in state.lengths.items()}
        self._open = state.open
