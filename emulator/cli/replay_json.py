# SPDX-License-Identifier: Apache-2.0
"""A place in a recorded run as JSON. Addresses and register values are hexadecimal text, positions
and counts are numbers.

format, version      "aether-replay", 1
file, end, stop      the recording: its path, its last position, why the run ended or null
failed               where a test failed in it, or null: {"position", "words"}
position, attempt    where the cursor is
cpu, el, vmid, vm, pc, symbol, source    whose instruction is next: {"file", "line", "text"}
hits                 with --find: [{"position", "attempt", "cpu", "words"}]
more_hits            with --find: whether --all has left some out, those farthest from the position
registers            {NAME: {"value", "before" if the last step changed it, "fields", "note"}}
code                 [{"va", "pa", "word", "text", "symbol", "source", "target", "current"}]
stage1, stage2       [{"map", "root", "none", "regions": [{"start", "end", "pa", "rights",
                     "memory", "owner", "here"}], "malformed"}]
backtrace            [{"el", "pc", "fp", "kind", "symbol", "source"}]
stack                [{"va", "value", "symbol"}]
memory               [{"space", "start", "data": [byte or null], "changed": [offset]}]
console              the output up to here
events               {"before": [...], "after": [{"index", "position", "attempt", "cpu", "vm",
                     "kind", "words"}]}
"""

import json
from collections.abc import Sequence

from aether_edgecloud.emulator.cli.replay_request import Hits, View, Wanted
from aether_edgecloud.emulator.replay import parse
from aether_edgecloud.emulator.replay.difference import Difference
from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.backtrace import Frame, backtrace, stack
from aether_edgecloud.emulator.replay.views.code import Instruction, disassembly
from aether_edgecloud.emulator.replay.views.maps import Map, MapView, stage1_of, translation_map
from aether_edgecloud.emulator.replay.views.memory import memory
from aether_edgecloud.emulator.replay.views.registers import RegisterView, registers
from aether_edgecloud.emulator.replay.views.surroundings import (
    EventView,
    console_at,
    events_around,
)

_WHOLE_CONSOLE = 1 << 30
Json = dict[str, object]


def render(replay: Replay, found: Hits | None, wanted: Sequence[Wanted], cpu: int | None) -> str:
    """The JSON text."""
    values = _recording(replay)
    values |= _place(replay, cpu)
    if found is not None:
        values["hits"] = [
            {"position": h.position, "attempt": h.attempt, "cpu": h.cpu, "words": h.words}
            for h in found.hits
        ]
        values["more_hits"] = found.is_more
    for view in wanted:
        _add(values, replay, view, cpu)
    return json.dumps(values, indent=2)


def render_difference(a: Replay, b: Replay, found: Difference | None) -> str:
    """Where two runs part: {"a", "b": as above, "difference": null or {...}}."""
    difference: Json | None = None
    if found is not None:
        difference = {
            "position": found.position,
            "ended": found.ended or None,
            "registers": [
                {"cpu": r.cpu, "name": r.name, "a": _hex(r.a), "b": _hex(r.b)}
                for r in found.registers
            ],
            "memory_compared": found.has_memory,
            "pages": [f"{pa:#x}" for pa in found.pages],
        }
    sides = {name: _recording(r) | _place(r, None) for name, r in (("a", a), ("b", b))}
    return json.dumps({**sides, "difference": difference}, indent=2)


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"


def _recording(replay: Replay) -> Json:
    failure = replay.failure
    return {
        "format": "aether-replay",
        "version": 1,
        "file": replay.title,
        "end": replay.end,
        "stop": None if replay.stop is None else replay.stop.name.lower(),
        "failed": failure and {"position": failure.position, "words": failure.text},
    }


def _place(replay: Replay, cpu: int | None) -> Json:
    view = registers(replay, cpu=cpu, system=(), changes=False)
    return {
        "position": replay.position,
        "attempt": replay.attempt,
        "cpu": view.cpu,
        "el": view.el,
        "vmid": view.vmid,
        "vm": view.vm,
        "pc": f"{view.pc:#x}",
        "symbol": view.symbol,
        "source": _source(replay.source_line(view.pc) if view.el == 2 else None),
    }


def _source(line: SourceLine | None) -> Json | None:
    if line is None:
        return None
    return {"file": line.file, "line": line.number, "text": line.text}


def _add(values: Json, replay: Replay, wanted: Wanted, cpu: int | None) -> None:
    match wanted.view:
        case View.REGISTERS:
            view = registers(replay, cpu=cpu)
            values["registers"] = {r.name: _register(r) for r in (*view.general, *view.system)}
        case View.CODE:
            values["code"] = [_instruction(i) for i in disassembly(replay, cpu=cpu)]
        case View.STAGE1:
            values["stage1"] = [_map(found) for found in stage1_of(replay, cpu=cpu)]
        case View.STAGE2:
            values["stage2"] = [_map(translation_map(replay, Map.STAGE2, cpu=cpu))]
        case View.BACKTRACE:
            values["backtrace"] = [_frame(frame) for frame in backtrace(replay, cpu=cpu)]
        case View.STACK:
            values["stack"] = [
                {"va": f"{word.va:#x}", "value": _hex(word.value), "symbol": word.symbol}
                for word in stack(replay, cpu=cpu)
            ]
        case View.MEMORY:
            found = values.setdefault("memory", [])
            assert isinstance(found, list)
            found.append(_memory(replay, wanted, cpu))
        case View.CONSOLE:
            values["console"] = console_at(replay, _WHOLE_CONSOLE).decode("utf-8", "replace")
        case View.EVENTS:
            early, late = events_around(replay)
            values["events"] = {
                "before": [_event(event) for event in early],
                "after": [_event(event) for event in late],
            }


def _register(register: RegisterView) -> Json:
    values: Json = {"value": f"{register.value:#x}"}
    if register.before is not None:
        values["before"] = f"{register.before:#x}"
    if register.fields:
        values["fields"] = {field.name: f"{field.value:#x}" for field in register.fields}
    if register.note:
        values["note"] = register.note
    return values


def _instruction(instruction: Instruction) -> Json:
    return {
        "va": f"{instruction.va:#x}",
        "pa": _hex(instruction.pa),
        "word": None if instruction.word is None else f"{instruction.word:08x}",
        "text": instruction.text,
        "symbol": instruction.symbol,
        "source": _source(instruction.source),
        "target": _hex(instruction.target),
        "current": instruction.is_current,
    }


def _map(view: MapView) -> Json:
    return {
        "map": view.which.value,
        "root": _hex(view.root),
        "none": view.none,
        "regions": [
            {
                "start": f"{region.start:#x}",
                "end": f"{region.end - 1:#x}",
                "pa": f"{region.pa:#x}",
                "rights": region.rights,
                "memory": region.memory,
                "owner": region.owner,
                "here": region.has_cursor,
            }
            for region in view.regions
        ],
        "malformed": list(view.malformed),
    }


def _frame(frame: Frame) -> Json:
    return {
        "el": frame.el,
        "pc": f"{frame.pc:#x}",
        "fp": f"{frame.fp:#x}",
        "kind": frame.kind,
        "symbol": frame.symbol,
        "source": _source(frame.source),
    }


def _memory(replay: Replay, wanted: Wanted, cpu: int | None) -> Json:
    space, start, size = parse.range_of(replay, wanted.text, wanted.size)
    view = memory(replay, start, size, space, cpu=cpu, changes=True)
    return {
        "space": space.value,
        "start": f"{start:#x}",
        "data": list(view.data),
        "changed": sorted(view.changed),
    }


def _event(event: EventView) -> Json:
    return {
        "index": event.index,
        "position": event.position,
        "attempt": event.attempt,
        "cpu": event.cpu,
        "vm": event.vm,
        "kind": event.kind.name.lower(),
        "words": event.words,
    }
