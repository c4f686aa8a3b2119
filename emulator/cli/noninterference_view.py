# SPDX-License-Identifier: Apache-2.0
"""The outcome of a comparison of two runs, for the eye and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.noninterference.compare import MARK
from aether_edgecloud.emulator.noninterference.crossings import TIME
from aether_edgecloud.emulator.noninterference.pair import Options
from aether_edgecloud.emulator.noninterference.result import (
    Comparison,
    Difference,
    Place,
    Verdict,
    VmResult,
)
from aether_edgecloud.emulator.noninterference.secret import Secret, SecretKind
from aether_edgecloud.emulator.report.request import RunRequest

FORMAT = "aether-noninterference"
VERSION = 1
_MOST_VALUES = 12
_MOST_PAGES = 3
_STYLES = {
    Verdict.EQUAL: "green",
    Verdict.DIFFERENT: "bold red",
    Verdict.VOID: "yellow",
    Verdict.NOT_RUN: "yellow",
}


def print_outcome(
    results: Sequence[Comparison], wanted: Options, files: tuple[Path, Path] | None
) -> None:
    """The last pair of runs, which is the one that differs if one does."""
    console = output.wide()
    last = results[-1]
    kinds = ", ".join(sorted(kind.value for kind in last.a.kinds))
    console.print(
        f"secret of {escape(last.secret_vm)}: {kinds}; {last.planted:,} bytes planted, pairs of "
        f"runs: {len(results)}"
    )
    if not wanted.is_timed:
        console.print("time was not compared: counters, timers, interrupts", style="yellow")
    if not wanted.has_memory:
        console.print("memory was not compared", style="yellow")
    shows = any(result.secret_shows for result in results)
    if last.holds and not shows and last.a.kinds != {SecretKind.RESIDUE}:
        console.print(
            "the secret has changed nothing in how its own VM ran: little was tried", style="yellow"
        )
    console.print(_table(last))
    for name, end in zip("ab", last.ends, strict=True):
        why = end.why
        console.print(
            f"run {name}: {end.instructions:,} instructions, to tick {end.counter:,}: {why}"
        )
    if last.difference is not None:
        _print_difference(last.difference, console)
    if files is not None:
        for file, place in zip(files, _places(last.difference), strict=True):
            mark = "" if last.difference is None else f" --at mark:{MARK}"
            where = "" if place is None else f"   # {place.position}"
            console.print(
                f"  aether replay {file}{mark} --show regs,events{where}",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip


def _table(found: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("VM")
    table.add_column("verdict")
    table.add_column("entries and exits", justify="right")
    table.add_column("looks at memory", justify="right")
    table.add_column("digest")
    for vm in found.vms:
        verdict = f"[{_STYLES[vm.verdict]}]{vm.verdict.value}[/]"
        table.add_row(
            escape(vm.name),
            verdict,
            f"{vm.crossings:,}" if vm.crossings else "",
            f"{vm.memory_looks:,}" if vm.memory_looks else "",
            vm.digest or escape(_why(vm)),
        )
    return table


def _why(vm: VmResult) -> str:
    return ", which ".join(str(channel) for channel in vm.channels)


def _print_difference(found: Difference, console: Console) -> None:
    console.print(
        f"{found.vm}, vCPU {found.vcpu}: {found.what} {found.number} on CPU {found.cpu}; "
        f"before it, the same in both: {found.before}",
        style="bold red", markup=False,
    )  # fmt: skip
    for name, place in zip("ab", _places(found), strict=True):
        if place is not None:
            console.print(f"  {name}: position {place.position}, tick {place.counter}")
    if found.why:
        console.print(f"  {found.why}", markup=False)
    for value in found.values[:_MOST_VALUES]:
        one, other = (f"{v}" if value.name == TIME else f"{v:#x}" for v in (value.a, value.b))
        console.print(f"  {value.name:<16} a {one}  b {other}", markup=False)
    more = len(found.values) - _MOST_VALUES
    if more > 0:
        console.print(f"  and {more} more")
    if found.pages:
        console.print(f"  memory: {found.pages} pages differ")
    for page in found.memory[:_MOST_PAGES]:
        console.print(f"  IPA {page.ipa + page.offset:#x}", markup=False)
        console.print(f"    a {page.a.hex(' ', 4)}\n    b {page.b.hex(' ', 4)}", markup=False)


def _places(found: Difference | None) -> tuple[Place | None, Place | None]:
    return (None, None) if found is None else (found.a, found.b)


def render(
    request: RunRequest,
    results: Sequence[Comparison],
    wanted: Options,
    files: tuple[Path, Path] | None,
) -> str:
    """All pairs, as JSON: numbers are decimal, bytes hexadecimal."""
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "target": request.target,
        "binary_sha256": request.binary_sha256,
        "bundle_sha256": request.bundle_sha256,
        "ticks": wanted.ticks,
        "time_compared": wanted.is_timed,
        "memory_compared": wanted.has_memory,
        "holds": all(result.holds for result in results),
        "recordings": None if files is None else [str(file) for file in files],
        "pairs": [_pair(result) for result in results],
    }
    return json.dumps(facts, indent=2) + "\n"


def _pair(found: Comparison) -> dict[str, object]:
    return {
        "secret": {"vm": found.secret_vm, "planted": found.planted, "shows": found.secret_shows},
        "a": _secret(found.a) | asdict(found.ends[0]),
        "b": _secret(found.b) | asdict(found.ends[1]),
        "vms": [
            {
                "name": vm.name,
                "vmid": vm.vmid,
                "verdict": vm.verdict.value,
                "crossings": vm.crossings,
                "digest": vm.digest or None,
                "memory_looks": vm.memory_looks,
                "channels": [str(channel) for channel in vm.channels],
            }
            for vm in found.vms
        ],
        "difference": None if found.difference is None else _difference(found.difference),
    }


def _secret(secret: Secret) -> dict[str, object]:
    return {"seed": secret.seed, "kinds": sorted(kind.value for kind in secret.kinds)}


def _difference(found: Difference) -> dict[str, object]:
    facts = asdict(found)
    facts["memory"] = [
        {"ipa": page.ipa, "offset": page.offset, "a": page.a.hex(), "b": page.b.hex()}
        for page in found.memory
    ]
    return facts
