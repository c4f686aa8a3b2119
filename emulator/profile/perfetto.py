# SPDX-License-Identifier: Apache-2.0
"""The stays at EL2 for Perfetto (https://ui.perfetto.dev): JSON of the Trace Event Format.

Time is the machine's position: an instruction of any CPU is a nanosecond. One track for each CPU;
exceptions taken at EL2 lie inside the stay that they interrupt.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.profile.buffers import STAY, Rows
from aether_edgecloud.emulator.profile.exit_class import Begin, begins_of, class_name, detail

_PROCESS = 1
_PER_US = 1000
Event = dict[str, object]


def lines(stays: Sequence[Rows], board: Board) -> Iterator[str]:
    """The stays (`buffers.STAY`) of a machine on this board as JSON, line by line."""
    about = {"time": "instructions retired by all CPUs since reset, as nanoseconds"}
    yield f'{{"displayTimeUnit":"ns","otherData":{json.dumps(about)},"traceEvents":['
    comma = ""
    for event in _events(stays, board):
        yield comma + json.dumps(event, separators=(",", ":"))
        comma = ","
    yield "]}"


def _events(stays: Sequence[Rows], board: Board) -> Iterator[Event]:
    yield _name("process_name", 0, "EL2")
    rows = np.concatenate([np.empty(0, STAY), *stays])
    for cpu in range(board.cpus):
        own = rows[rows["cpu"] == cpu]
        if not len(own):
            continue
        yield _name("thread_name", cpu, f"CPU {cpu}")
        # What lies inside comes behind what it lies in.
        own = own[np.lexsort((own["depth"], own["begin"]))]
        for row, begin in zip(own, begins_of(own), strict=True):
            yield _stay(row, begin, board)


def _stay(row: np.void, begin: Begin, board: Board) -> Event:
    found = detail(begin, board)
    at, end = int(row["begin"]), int(row["end"])
    arguments: dict[str, object] = {
        "instructions": int(row["instructions"]),
        "inside": int(row["inside"]),
        "VMID": int(row["vm"]),
        "VMID after": int(row["vm_after"]),
        "ELR_EL2": f"{int(row['elr']):#x}",
        "ESR_EL2": f"{begin.esr:#x}",
    }
    if found.group:
        arguments["about"] = f"{found.group} {found.item}".strip()
    if not row["is_over"]:
        arguments["returned"] = False
    return {
        "ph": "X",
        "name": class_name(begin.tag, is_inside=begin.is_inside),
        "cat": "EL2",
        "pid": _PROCESS,
        "tid": int(row["cpu"]),
        "ts": at / _PER_US,
        "dur": (end - at) / _PER_US,
        "args": arguments,
    }


def _name(what: str, track: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": track, "args": {"name": name}}
