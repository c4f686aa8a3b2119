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
    """Spans by track; one that goes on where the same ended is one with it. Events come when their
    span is over, those of a track by rising time; the first tells the track's name."""

    def __init__(self, vms: Sequence[str]) -> None:
        self._vms = vms
        self._open: dict[tuple[int, int], _Span] = {}
        self._named: set[tuple[int, int]] = set()

    def add(
        self, group: int, track: int, begin: int, end: int, name: str, gap: bool = False
    ) -> Iterator[Event]:
        """A span; with `gap` it joins one of the same name that ended before."""
        last = self._open.get((group, track))
        if last is not None and last.name == name and (gap or last.end == begin):
            last.end = end
            return
        yield from self.close(group, track)
        self._open[group, track] = _Span(begin, end, name, {})

    def close(self, group: int, track: int) -> Iterator[Event]:
        """The track's span is over."""
        span = self._open.pop((group, track), None)
        if span is not None:
            yield from self.put(group, track, span)

    def put(self, group: int, track: int, span: _Span) -> Iterator[Event]:
        """A span that is complete."""
        if span.end <= span.begin:
            return
        if (group, track) not in self._named:
            self._named.add((group, track))
            name = _vm_name(track, self._vms) if group == VMS else f"CPU {track}"
            yield _name("thread_name", group, track, {"name": name})
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
        yield event

    def close_all(self) -> Iterator[Event]:
        """The trace is over."""
        for group, track in sorted(self._open):
            yield from self.close(group, track)


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


def _exits(trace: Trace, tracks: _Tracks) -> Iterator[Event]:
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
                yield from tracks.put(EXITS, cpu, span)


def _name(what: str, group: int, track: int, arguments: dict[str, object]) -> Event:
    return {"ph": "M", "name": what, "pid": group, "tid": track, "args": arguments}


def _vm_name(vm: int, vms: Sequence[str]) -> str:
    if vm == 0:
        return "no VM"
    return vms[vm - 1] if vm <= len(vms) else f"VM {vm}"


def _events(trace: Trace) -> Iterator[Event]:
    for group, name in _GROUPS.items():
        yield _name("process_name", group, 0, {"name": name})
        yield _name("process_sort_index", group, 0, {"sort_index": group})
    vms: Sequence[str] = trace.about.get("vms", ())
    tracks = _Tracks(vms)
    for begin, end, cpu, el, vm in _states(trace):
        who = "EL2" if el == 2 else f"{_vm_name(vm, vms)} EL{el}"
        yield from tracks.add(CPUS, cpu, begin, end, who)
        if vm:
            yield from tracks.add(SLOTS, cpu, begin, end, _vm_name(vm, vms), gap=True)
            if el < 2:
                yield from tracks.add(VMS, vm, begin, end, f"CPU {cpu}")
    yield from tracks.close_all()
    yield from _exits(trace, tracks)


def lines(trace: Trace) -> Iterator[str]:
    """The whole trace as JSON, line by line."""
    about = {"time": "instructions retired by all CPUs since reset, as nanoseconds"}
    yield f'{{"displayTimeUnit":"ns","otherData":{json.dumps(about)},"traceEvents":['
    comma = ""
    for event in _events(trace):
        yield comma + json.dumps(event, separators=(",", ":"))
        comma = ","
    yield "]}"
