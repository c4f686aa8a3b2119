# SPDX-License-Identifier: Apache-2.0
"""What it costs to record Linux from reset to poweroff."""

import resource
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.recording.recording import Recording
from aether_edgecloud.emulator.report.figure import Figure, LeftOut
from aether_edgecloud.properties.bench.runs import child_report

_NAME = "recording of a Linux boot"


def recording(rounds: int) -> Iterator[Figure | LeftOut | str]:
    """Recorded and not, in turn; the ratio of the medians."""
    walls: dict[bool, list[float]] = {False: [], True: []}
    cpus: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="aether-bench-") as folder:
        file = Path(folder, "boot.aet")
        for number in range(rounds):
            for is_recorded in (False, True):
                way = "recorded" if is_recorded else "not recorded"
                yield f"{_NAME}: {way}, {number + 1} of {rounds}"
                options = ("--record", str(file)) if is_recorded else ()
                before = _children_s()
                try:
                    report = child_report("linux", *options)
                except UserError as e:
                    yield LeftOut(_NAME, str(e))
                    return
                cpus[is_recorded].append(_children_s() - before)
                walls[is_recorded].append(report["wall_s"])
        size = file.stat().st_size
        opened = Recording.open(file)
        checkpoints, events = len(opened.checkpoints.positions), len(opened.events)
        opened.close()
    yield Figure("Linux boot, not recorded", statistics.median(walls[False]), "s")
    yield Figure("Linux boot, recorded", statistics.median(walls[True]), "s")
    yield Figure(_NAME, _more(walls), "% more time", 15.0)
    yield Figure(_NAME, _more(cpus), "% more time of all processors")
    yield Figure(f"{_NAME}, file", size / (1 << 20), "MiB", 50.0)
    yield Figure(f"{_NAME}, checkpoints", checkpoints, "")
    yield Figure(f"{_NAME}, events", events, "")


def _more(seconds: dict[bool, list[float]]) -> float:
    return 100 * (statistics.median(seconds[True]) / statistics.median(seconds[False]) - 1)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
