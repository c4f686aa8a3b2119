# SPDX-License-Identifier: Apache-2.0
"""What became of the VMs: from their telemetry where there is one, else from the console."""

from collections.abc import Sequence

from aether_edgecloud.emulator.report.console_protocol import ConsoleProtocol, VmStory
from aether_edgecloud.emulator.report.run_report import VmReport
from aether_edgecloud.emulator.telemetry.layout import VmState
from aether_edgecloud.emulator.telemetry.pages import Telemetry


def vm_reports(
    names: Sequence[str], protocol: ConsoleProtocol, telemetry: Telemetry | None
) -> tuple[VmReport, ...]:
    """One for each of the VMs `names`, in this order."""
    pages = {} if telemetry is None else {page.name: page for page in telemetry.vms}
    found: list[VmReport] = []
    for name in names:
        story = protocol.vms.get(name, VmStory())
        page = pages.get(name)
        if page is None:
            state = None
            if name in protocol.vms:
                state = (VmState.RUNNING if story.running else VmState.DOWN).word
            found.append(VmReport(name, state, story.crashes, story.restarts, story.crash))
            continue
        state = None if page.state is None else page.state.word
        crash = story.crash if page.crashes else None
        found.append(VmReport(name, state, page.crashes, page.restarts, crash, page))
    return tuple(found)
