# SPDX-License-Identifier: Apache-2.0
"""What `aether check` prints."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.check.finding import Finding
from aether_edgecloud.emulator.check.rules import RULES
from aether_edgecloud.emulator.check.session import Outcome
from aether_edgecloud.emulator.cli import output

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_GAP = 2


def print_outcome(outcome: Outcome, recording: Path | None, console: Console) -> None:
    """The findings as a table, then each with all that is known of it, then how the run ended."""
    if outcome.findings:
        console.print(_table(outcome.findings))
        console.print()
    for number, finding in enumerate(outcome.findings, 1):
        _print_finding(number, finding, recording, console)
    for faults in outcome.el2_faults:
        console.print(
            Text(f"CPU {faults.cpu} took {faults.count:,} exceptions from EL2 to EL2", "bold")
        )
        console.print(Text(f"   first  {faults.first}"))
        if faults.last != faults.first:
            console.print(Text(f"   last   {faults.last}"))
    _print_end(outcome, console)


def _table(findings: tuple[Finding, ...]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("", "severity", "sure", "rule"):
        table.add_column(heading, no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("first at", justify="right", no_wrap=True)
    for number, f in enumerate(findings, 1):
        level = f.rule.severity.value
        table.add_row(
            str(number),
            Text(level, style=_STYLES[level]),
            f.rule.confidence.value,
            f.rule.id,
            f"{f.count:,}",
            f.symbol or f"{f.place.pc:#x}",
            f"{f.place.position:,}",
        )
    return table


def _print_finding(number: int, f: Finding, recording: Path | None, console: Console) -> None:
    level = f.rule.severity.value
    console.print(Text(f"{number}. {f.rule.id}: ", style=_STYLES[level]).append(f.rule.words))
    lines = [f"   {f.words}"]
    where = [f"CPU {f.place.cpu}", f"PC {f.place.pc:#x}"]
    where += [text for text in (f.symbol, f.source) if text is not None]
    where.append(f"instruction {f.place.instruction:,} of the CPU")
    lines.append(f"   at     {', '.join(where)}")
    entry = f.entry
    if entry is not None and (entry.pa is not None or entry.ia is not None):
        regime = "EL2" if entry.vmid is None else f"VMID {entry.vmid}"
        parts = [regime]
        if entry.pa is not None:
            parts.append(f"entry at PA {entry.pa:#x}")
        if entry.level is not None:
            parts.append(f"level {entry.level}")
        if entry.ia is not None:
            parts.append(f"{'VA' if entry.vmid is None else 'IPA'} {entry.ia:#x}")
        words = [
            f"{name} {word:#x}" for name, word in (("old", entry.old), ("new", entry.new))
            if word is not None
        ]  # fmt: skip
        lines.append(f"   entry  {', '.join(parts + words)}")
    lines.append(f"   see    Arm ARM {f.rule.reference}")
    if recording is not None:
        lines.append(
            f"   replay aether replay {recording} --at {f.place.position} --show regs,disasm,events"
        )
    for line in lines:
        console.print(Text(line))
    console.print()


def _print_end(outcome: Outcome, console: Console) -> None:
    where = outcome.symbol or f"PC {outcome.pc:#x} at EL{outcome.el}"
    console.print(
        f"the run {outcome.end.value}: {outcome.instructions:,} instructions, "
        f"{outcome.exits:,} exits, {outcome.vcpus} vCPUs, {outcome.wall_s:.1f} s; last at {where}"
    )
    by_level = {
        level: sum(f.rule.severity.value == level for f in outcome.findings) for level in _STYLES
    }
    told = ", ".join(
        f"{count} {level}{'' if count == 1 else 's'}" for level, count in by_level.items() if count
    )
    for words in outcome.unchecked:
        console.print(Text(f"not checked: {words}", style="yellow"))
    if not outcome.end.is_complete:
        console.print(Text("not checked to its end", style="bold red"))
        _print_last_words(outcome, console)
    if told:
        console.print(Text(told, style="bold red" if outcome.has_error else "yellow"))
    elif outcome.end.is_complete:
        console.print(Text("nothing found", style="green"))
    else:
        console.print(Text("nothing found up to there", style="yellow"))


def _print_last_words(outcome: Outcome, console: Console) -> None:
    """What the console showed last, of a run that came to no good end."""
    lines = outcome.console.decode(errors="replace").splitlines()[-3:]
    for line in lines:
        if line.strip():
            console.print(Text(f"   console: {line.rstrip()}", style="dim"))


def print_rules(*, as_markdown: bool) -> None:
    """All rules, as a table for people or for a document."""
    if as_markdown:
        print("| rule | severity | sure | what | Arm ARM (DDI 0487) |")
        print("| --- | --- | --- | --- | --- |")
        for r in RULES.values():
            level, sure = r.severity.value, r.confidence.value
            print(f"| `{r.id}` | {level} | {sure} | {r.words}. {r.help} | {r.reference} |")
        return
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    for heading in ("rule", "severity", "sure", "what"):
        table.add_column(heading, no_wrap=True)
    for r in RULES.values():
        level = r.severity.value
        table.add_row(r.id, Text(level, style=_STYLES[level]), r.confidence.value, r.words)
    output.wide().print(table, crop=False, soft_wrap=True)
