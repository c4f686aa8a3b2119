# SPDX-License-Identifier: Apache-2.0
"""A trace for Perfetto (https://ui.perfetto.dev): JSON of the Trace Event Format.

Time is the machine's position: an instruction is a nanosecond. Tracks: what each CPU executes, by
EL and VM; what each VM executes, by CPU; whose slot each CPU is in; stays at EL2, by exception.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.cpu.exits import kind_name
from aether_edgecloud.emulator.trace.chunk import ERET, EXCEPTION, STATE
from aether_edgecloud.emulator.trace.trace import Trace

CPUS, VMS, SLOTS, EXITS = 1, 2, 3, 4
"""Process numbers of the groups of tracks."""
_GROUPS = {CPUS: "CPUs", VMS: "VMs", SLOTS: "slots", EXITS: "exits to EL2"}
_PER_US = 1000
Event = dict[str, object]


@dataclass(slots=True)
class _Span:
    """What one track shows from `begin` on, up to `end`."""

    begin: int
    end: int
    name: str
    arguments: dict[str, object]


class _Tracks:
    """Spans by track; one that goes on where the same ended is one with it."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], _Span] = {}
        self.events: list[Event] = []

    def add(
        self, group: int, track: int, begin: int, end: int, name: str, gap: bool = False
    ) -> None:
        """A span; with `gap` it joins one of the same name that ended before."""
        last = self._open.get((group, track))
        if last is not None and last.name == name and (gap or last.end == begin):
            last.end = end
            return
        self.close(group, track)
        self._open[group, track] = _Span(begin, end, name, {})

    def close(self, group: int, track: int) -> None:
        """The track's span is over."""
        span = self._open.pop((group, track), None)
        if span is not None:
            self.put(group, track, span)

    def put(self, group: int, track: int, span: _Span) -> None:
        """A span that is complete."""
        if span.end > span.begin:
            event: Event = {
                "ph": "X",
                "name": span.name,
                "cat": _GROUPS[group],
                "pid": group,
                "tid": track,
                "ts": span.begin / _PER_US,
                "dur": (span.end - span.begin) / _PER_US,
            }
            if span.arguments:
                event["args"] = span.arguments
            self.events.append(event)

    def close_all(self) -> None:
        """The trace is over."""
        for group, track in list(self._open):
            self.close(group, track)


def _states(trace: Trace) -> Iterator[tuple[int, int, int, int, int]]:
    """(begin, end, CPU, EL, VMID) of each stretch of instructions."""
    for number in range(trace.chunk_count):
        c = trace.columns(number)
        rows = [(0, c.position, c.cpu, c.el, c.vm)]
        rows += [
            (int(e["index"]), int(e["position"]), int(e["cpu"]), int(e["el"]), int(e["vm"]))
            for e in c.events[c.events["kind"] == STATE]
        ]
        ends = [row[0] for row in rows[1:]] + [c.instructions]
        for (index, position, cpu, el, vm), end in zip(rows, ends, strict=True):
            if end > index:
                yield position, position + end - index, cpu, el, vm


def _put_exits(trace: Trace, tracks: _Tracks) -> None:
    since: dict[int, _Span] = {}
    for number in range(trace.chunk_count):
        events = trace.columns(number).events
        for event in events[(events["kind"] == EXCEPTION) | (events["kind"] == ERET)]:
            cpu, position, a = int(event["cpu"]), int(event["position"]), int(event["a"])
            if event["kind"] == EXCEPTION:
                if a >> 8 & 15 < 2 and a >> 12 & 15 == 2:
                    arguments: dict[str, object] = {
                        "ESR_EL2": f"{int(event['b']):#x}",
                        "FAR_EL2": f"{int(event['c']):#x}",
                        "ELR_EL2": f"{int(event['d']):#x}",
                        "VMID": int(event["vm"]),
                    }
                    since[cpu] = _Span(position, position, kind_name(a & 0xFF), arguments)
            elif a & 15 == 2 and a >> 4 & 15 < 2 and cpu in since:
                span = since.pop(cpu)
                span.end = position
                span.arguments["instructions"] = position - span.begin
                tracks.put(EXITS, cpu, span)


def _names(used: set[tuple[int, int]], vms: Sequence[str]) -> Iterator[Event]:
    for group, name in _GROUPS.items():
        yield {"ph": "M", "name": "process_name", "pid": group, "tid": 0, "args": {"name": name}}
        yield {
            "ph": "M",
            "name": "process_sort_index",
            "pid": group,
            "tid": 0,
            "args": {"sort_index": group},
        }
    for group, track in sorted(used):
        name = _vm_name(track, vms) if group == VMS else f"CPU {track}"
        arguments: dict[str, object] = {"name": name}
        yield {"ph": "M", "name": "thread_name", "pid": group, "tid": track, "args": arguments}


def _vm_name(vm: int, vms: Sequence[str]) -> str:
    if vm == 0:
        return "no VM"
    return vms[vm - 1] if vm <= len(vms) else f"VM {vm}"


def render(trace: Trace) -> str:
    """The whole trace as JSON."""
    tracks = _Tracks()
    vms: Sequence[str] = trace.about.get("vms", ())
    for begin, end, cpu, el, vm in _states(trace):
        who = "EL2" if el == 2 else f"{_vm_name(vm, vms)} EL{el}"
        tracks.add(CPUS, cpu, begin, end, who)
        if vm:
            tracks.add(SLOTS, cpu, begin, end, _vm_name(vm, vms), gap=True)
            if el < 2:
                tracks.add(VMS, vm, begin, end, f"CPU {cpu}")
    tracks.close_all()
    _put_exits(trace, tracks)
    events = sorted(tracks.events, key=_order)
    used = {(int(str(e["pid"])), int(str(e["tid"]))) for e in events}
    document = {
        "traceEvents": [*_names(used, vms), *events],
        "displayTimeUnit": "ns",
        "otherData": {"time": "instructions retired by all CPUs since reset, as nanoseconds"},
    }
    return json.dumps(document, separators=(",", ":"))


def _order(event: Event) -> tuple[int, int, float]:
    return int(str(event["pid"])), int(str(event["tid"])), float(str(event["ts"]))
