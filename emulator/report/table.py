# SPDX-License-Identifier: Apache-2.0
"""A run report as a table for people."""

from typing import IO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.report.run_report import (
    ExitCount,
    Instructions,
    RecordingReport,
    RunReport,
)
from aether_edgecloud.emulator.report.vm_tables import plain_table, vm_exits, vm_summary

_WIDTH = 80
_UNLIMITED = 1000
_BAR_WIDTH = 18
_LEVELS = (("EL0", "green"), ("EL1", "cyan"), ("EL2", "magenta"))


def print_report(report: RunReport, file: IO[str], width: int | None = None) -> None:
    """Prints the report. `width` is that of the line across, the terminal's when None; the rest is
    as wide as it is: a hash stays whole in any terminal."""
    across = width or Console(file=file).width
    console = Console(file=file, width=_UNLIMITED)
    color = {0: "green", 1: "red"}.get(report.end.exit_status, "yellow")
    parts: list[RenderableType] = [_headline(report, color, across), _facts(report)]
    if report.instructions is not None:
        parts += [Text(), _levels(report.instructions)]
    if report.exits:
        parts += [Text(), _exits(report.exits)]
    if report.vms:
        parts += [Text(), vm_summary(report.vms)]
    if any(vm.counters is not None and vm.counters.vcpus for vm in report.vms):
        parts += [Text(), vm_exits(report.vms)]
    for part in [*parts, Text("─" * min(across, _WIDTH), style=color)]:
        console.print(part)


def _headline(report: RunReport, color: str, width: int) -> Text:
    """The target on the left and the end on the right of a line across."""
    left, right = f"── {report.target} ", f" {report.end.value} ──"
    gap = max(1, min(width, _WIDTH) - len(left) - len(right))
    return Text.assemble((f"\n{left}{'─' * gap}", color), (right, f"bold {color}"))


def _facts(report: RunReport) -> Table:
    facts = Table.grid(padding=(0, 1, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(no_wrap=True, overflow="ignore")
    machine = f"{report.on} · board {report.board}, {size.show(report.ram_size)}"
    machine += f", {report.cpus} CPU{'s' if report.cpus > 1 else ''}"
    if report.mmu is not None:
        machine += f" · MMU {report.mmu}"
    facts.add_row("ran on", Text(machine))
    facts.add_row("end", Text(report.end.words))
    if report.detail is not None:
        facts.add_row("", Text(report.detail))
    for place in report.stopped_at:
        facts.add_row("", Text(place))
    for faults in report.own_faults:
        facts.add_row("EL2 faults", Text(f"CPU {faults.cpu}: {faults.last}"))
        if faults.count > 1:
            facts.add_row("", Text(f"the last of {faults.count:,}; the first: {faults.first}"))
    facts.add_row("binary sha256", Text(report.binary_sha256, style="bold"))
    facts.add_row("console", Text(f"{report.console_bytes:,} bytes"))
    facts.add_row("console sha256", Text(report.console_sha256))
    if report.state_sha256 is not None:
        facts.add_row("state sha256", Text(report.state_sha256))
    if report.first_entry is not None:
        facts.add_row("to the guest", Text(f"{report.first_entry:,} EL2 instructions from entry"))
    if report.walks is not None:
        facts.add_row("translations", Text(f"{report.walks:,} decided by the MMU model"))
    facts.add_row("wall time", Text(_wall(report)))
    if report.recording is not None:
        facts.add_row("recording", Text(_recording(report.recording)))
    return facts


def _recording(recording: RecordingReport) -> str:
    return (
        f"{recording.file}: {recording.size / (1 << 20):.1f} MiB, "
        f"{recording.checkpoints:,} checkpoints; see it with aether replay {recording.file}"
    )


def _wall(report: RunReport) -> str:
    count = report.all_instructions
    if count is None or report.wall_s <= 0:
        return f"{report.wall_s:.2f} s"
    rate = count.total / report.wall_s
    unit, scale = ("M", 1e6) if rate >= 1e6 else ("k", 1e3)
    return f"{report.wall_s:.2f} s, {rate / scale:.2f} {unit} instructions a second"


def _levels(cpus: tuple[Instructions, ...]) -> Table:
    count = Instructions.sum(cpus)
    table = plain_table()
    table.add_column("instructions", no_wrap=True)
    table.add_column("", justify="right")
    table.add_column("", justify="right")
    table.add_column("", width=_BAR_WIDTH)
    table.add_row("total", f"{count.total:,}", "", "")
    for (level, color), number in zip(_LEVELS, (count.el0, count.el1, count.el2), strict=True):
        share = _share(number, count.total)
        table.add_row(level, f"{number:,}", _percent(share), _bar(share, color))
    if len(cpus) > 1:
        for index, cpu in enumerate(cpus):
            share = _share(cpu.total, count.total)
            table.add_row(f"CPU {index}", f"{cpu.total:,}", _percent(share), _bar(share, "blue"))
    return table


def _exits(exits: tuple[ExitCount, ...]) -> Table:
    table = plain_table()
    table.add_column("exits to EL2", no_wrap=True)
    for heading in ("count", "min", "median", "max", "of exits"):
        table.add_column(heading, justify="right")
    table.add_column("", width=_BAR_WIDTH)
    whole = sum(e.total for e in exits)
    for item in sorted(exits, key=lambda e: (-e.total, -e.count, e.kind)):
        spread = item.spread
        numbers = ("", "", "")
        if spread is not None:
            numbers = (f"{spread.low:,}", f"{spread.median:,}", f"{spread.high:,}")
        share = _share(item.total, whole)
        bar = _bar(share, "magenta")
        table.add_row(Text(item.kind), f"{item.count:,}", *numbers, _percent(share), bar)
    return table


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(share: float) -> str:
    return "" if share == 0 else f"{share:.1%}"


def _bar(share: float, color: str) -> Text:
    """A bar in eighths of a character; anything above nothing shows."""
    eighths = round(share * _BAR_WIDTH * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return Text("█" * full + " ▏▎▍▌▋▊▉"[rest].strip(), style=color)
