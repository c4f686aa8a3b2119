# SPDX-License-Identifier: Apache-2.0
"""`aether top`: the counters of a running emulator, live."""

import json
import sys
import time

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.cli import output
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.report.run_report import VmReport
from aether_edgecloud.emulator.report.vm_tables import plain_table, vm_exits, vm_summary
from aether_edgecloud.emulator.telemetry import json_pages, pages, published
from aether_edgecloud.emulator.telemetry.layout import HypervisorPage
from aether_edgecloud.emulator.telemetry.pages import Telemetry
from aether_edgecloud.emulator.telemetry.published import Snapshot

_INTERVAL_S = 0.5


@click.command("top")
@click.argument("pid", metavar="[PID]", type=int, required=False)
@click.option("--once", is_flag=True, help="Show it once, without the live display.")
@click.option("--json", "as_json", is_flag=True, help="Print it once, as JSON.")
def command(pid: int | None, once: bool, as_json: bool) -> int:
    """Watch the VMs of a running `aether run` (in the emulator): what they do and what they cost.

    PID chooses among several. Ctrl-C leaves; the run goes on.
    """
    chosen = _choose(pid)
    snapshot = _read(chosen)
    if as_json:
        click.echo(json.dumps(_facts(snapshot), indent=2))
    elif once or not sys.stdout.isatty():
        output.wide().print(_screen(snapshot))
    else:
        _follow(snapshot)
    return 0


def _choose(pid: int | None) -> int:
    running = published.running()
    if pid is not None and pid not in running:
        known = f"running: {', '.join(map(str, running))}" if running else "none runs"
        raise UserError(f"no run of yours has process ID {pid}", where="top", fix=known)
    if pid is None and not running:
        fix = "start one with `aether run`; only runs in the emulator can be watched"
        raise UserError("nothing of yours runs", where="top", fix=fix)
    if pid is None and len(running) > 1:
        listed = ", ".join(f"{p} ({_target(p)})" for p in running)
        raise UserError(f"{len(running)} runs", where="top", fix=f"name one: {listed}")
    return running[0] if pid is None else pid


def _target(pid: int) -> str:
    snapshot = published.read(pid)
    return "starting" if snapshot is None else str(snapshot.facts.get("target"))


def _read(pid: int) -> Snapshot:
    snapshot = published.read(pid)
    if snapshot is None:
        raise UserError(f"run {pid} has just ended", where="top", fix="start it again")
    return snapshot


def _follow(snapshot: Snapshot) -> None:
    try:
        with Live(_screen(snapshot), auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(_INTERVAL_S)
                new = published.read(snapshot.pid)
                if new is None:
                    break
                live.update(_screen(new), refresh=True)
    except KeyboardInterrupt:
        return
    click.echo("the run has ended")


def _telemetry(snapshot: Snapshot) -> Telemetry | None:
    return None if snapshot.pages is None else pages.parse(snapshot.pages)


def _vms(telemetry: Telemetry) -> list[VmReport]:
    return [
        VmReport(
            vm.name,
            None if vm.state is None else vm.state.word,
            vm.crashes,
            vm.restarts,
            counters=vm,
        )
        for vm in telemetry.vms
    ]


def _screen(snapshot: Snapshot) -> RenderableType:
    telemetry = _telemetry(snapshot)
    parts: list[RenderableType] = [_headline(snapshot)]
    if telemetry is None:
        parts.append(Text("the hypervisor has not laid out its counters yet", style="dim"))
        return Group(*parts)
    vms = _vms(telemetry)
    parts += [Text(), _cpus(telemetry.hypervisor), Text(), vm_summary(vms)]
    return Group(*parts, Text(), vm_exits(vms))


def _headline(snapshot: Snapshot) -> Text:
    facts = snapshot.facts
    instructions, wall = _number(facts, "instructions"), _number(facts, "wall_s")
    rate = f", {instructions / wall / 1e6:.1f} M a second" if wall else ""
    return Text.assemble(
        (str(facts.get("target")), "bold"),
        f" · process {snapshot.pid} · MMU {facts.get('mmu')} · ",
        f"{instructions:,.0f} instructions in {wall:.1f} s{rate}",
    )


def _number(facts: dict[str, object], name: str) -> float:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _cpus(page: HypervisorPage) -> Table:
    table = plain_table()
    table.add_column("CPU", no_wrap=True)
    for heading in ("slots", "late", "idle", "switches", "most of window"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, cpu in enumerate(page.cpus):
        most = f"{cpu.most_ticks / page.window:.0%}" if page.window else ""
        numbers = (cpu.slots, cpu.late, cpu.idle_slots, cpu.switches)
        table.add_row(str(index), *(f"{n:,}" for n in numbers), most)
    return table


def _facts(snapshot: Snapshot) -> dict[str, object]:
    telemetry = _telemetry(snapshot)
    found: dict[str, object] = {"pid": snapshot.pid, **snapshot.facts}
    found["schedule"] = None
    found["vms"] = []
    if telemetry is not None:
        found["schedule"] = json_pages.hypervisor_page(telemetry.hypervisor)
        found["vms"] = [
            {
                "name": vm.name,
                "state": None if vm.state is None else vm.state.word,
                "crashes": vm.crashes,
                "restarts": vm.restarts,
                "telemetry": json_pages.vm_page(vm),
            }
            for vm in telemetry.vms
        ]
    return found
