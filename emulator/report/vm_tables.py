# SPDX-License-Identifier: Apache-2.0
"""Tables of what the VMs did, for the report and for `aether top`."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.report.run_report import VmReport
from aether_edgecloud.emulator.telemetry import layout
from aether_edgecloud.emulator.telemetry.layout import VcpuCounters

_STATE_COLORS = {"running": "green", "down": "dim"}


def plain_table() -> Table:
    """A table without lines."""
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def vm_summary(vms: Sequence[VmReport]) -> Table:
    """A line for each VM: how it stands, and what it cost."""
    table = plain_table()
    table.add_column("VM", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for heading in ("vCPUs", "crashes", "restarts", "slots", "late", "EL2 ticks", "injected"):
        table.add_column(heading, justify="right", no_wrap=True)
    for vm in vms:
        state = vm.state or "not started"
        numbers = [f"{vm.crashes:,}", f"{vm.restarts:,}"]
        vcpus, counters = "", ["", "", "", ""]
        if vm.counters is not None:
            sums = layout.total(vm.counters.vcpus)
            vcpus = str(len(vm.counters.vcpus))
            counters = [f"{n:,}" for n in (sums.slots, sums.late, sums.el2_ticks, sums.injected)]
        color = "red" if vm.crashes else _STATE_COLORS.get(state, "yellow")
        table.add_row(Text(vm.name), Text(state, style=color), vcpus, *numbers, *counters)
    return table


def vm_exits(vms: Sequence[VmReport]) -> Table:
    """A column for each VM with telemetry: why its vCPUs came to EL2."""
    counted = [vm for vm in vms if vm.counters is not None]
    sums = [layout.total(vm.counters.vcpus) for vm in counted if vm.counters is not None]
    table = plain_table()
    table.add_column("exits by cause", no_wrap=True)
    for vm in counted:
        table.add_column(Text(vm.name), justify="right", no_wrap=True)
    for index, kind in enumerate(layout.EXITS):
        if any(s.exits[index] for s in sums):
            table.add_row(kind, *(_count(s, index) for s in sums))
    return table


def _count(sums: VcpuCounters, index: int) -> str:
    return f"{sums.exits[index]:,}" if sums.exits[index] else ""
