# SPDX-License-Identifier: Apache-2.0
"""The benchmarks by name. Each gives figures, and between them the words for what it is at.

The argument is how often what takes time is repeated; two programs are compared in one call only,
turn by turn.
"""

from collections.abc import Callable, Iterator

from aether_edgecloud.emulator.report.figure import Comparison, Figure, LeftOut
from aether_edgecloud.properties.bench import (
    el2_costs,
    linux,
    peers,
    recording,
    replay,
    reverse,
    small,
    snapshots,
    traces,
)

Benchmark = Callable[[int], Iterator[Figure | LeftOut | Comparison | str]]

BENCHMARKS: dict[str, Benchmark] = {
    "exits": el2_costs.costs,
    "first-entry": small.first_entry,
    "stub": small.stub,
    "u-boot": small.u_boot,
    "linux": linux.boot,
    "linux-smp": linux.boot_smp,
    "overhead": linux.overhead,
    "memory": linux.memory,
    "restore": snapshots.restore,
    "hypercalls": snapshots.hypercalls,
    "trace": traces.trace,
    "recording": recording.recording,
    "replay": replay.replay,
    "gdb": reverse.gdb,
    "peers": peers.beside,
}
