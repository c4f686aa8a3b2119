# SPDX-License-Identifier: Apache-2.0
"""A machine's snapshot as plain values and sections of bytes, and back. RAM is kept elsewhere; of
the console only how much of the recorded output and input belongs to it."""

import itertools
from typing import Any

from aether_edgecloud.emulator.arch.mmu import KeptLeaves, Leaf
from aether_edgecloud.emulator.arch.mmu_regime import MmuRegisters
from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.cpu_state import CpuState
from aether_edgecloud.emulator.cpu.engine_state import EngineState
from aether_edgecloud.emulator.cpu.exits import ExitState
from aether_edgecloud.emulator.cpu.synchronous import SyncException
from aether_edgecloud.emulator.cpu.translation import (
    REGISTERS,
    RegisterSet,
    TranslationState,
    mmu_registers,
)
from aether_edgecloud.emulator.machine.console import ConsoleState
from aether_edgecloud.emulator.machine.core import Activity, CoreState
from aether_edgecloud.emulator.machine.ram_copies import Pages
from aether_edgecloud.emulator.machine.schedule import Schedule
from aether_edgecloud.emulator.machine.snapshot import ScheduleState, Snapshot
from aether_edgecloud.emulator.recording.columns import pack_rows, unpack_rows
from aether_edgecloud.emulator.recording.document import Sections, Values

_LEAF_WIDTH = 6
_SET_WIDTH = len(REGISTERS) + 5
_KEY_TAGS = ("el2", "low", "high", "high with ASID", "stage 2")
_KEY_NUMBERS = 10
_KEY_WIDTH = _KEY_NUMBERS + 3
_SCHEDULE = (
    "round", "running", "limit", "is_alone", "retired", "others_retired", "last",
)  # fmt: skip


class StateEncoder:
    """Encodes snapshots of one machine, one after the other in the order of its run.

    A dictionary of leaves only grows until it is emptied, and then it gets leaves of its own. So
    one that begins with the same leaf as the last time has all the others too.
    """

    def __init__(self) -> None:
        self._leaves: dict[str, tuple[Leaf, int, bytes]] = {}

    def encode(self, snapshot: Snapshot) -> tuple[Values, Sections]:
        """All but RAM."""
        sections: Sections = {}
        turns = snapshot.schedule
        console = snapshot.console
        values: Values = {
            "instructions": snapshot.instructions,
            "cores": [
                self._core(core, f"cpu{n}.", sections) for n, core in enumerate(snapshot.cores)
            ],
            "turns": list(turns.turns),
            "quantum": _quantum(turns.schedule),
            "schedule": {name: getattr(turns, name) for name in _SCHEDULE},
            "devices": snapshot.devices,
            "console": {
                "given": len(console.given),
                "asked": console.asked,
                "ended_at": console.ended_at,
                "row_start": list(console.row_start),
                "empty_polls": console.empty_polls,
                "input_ended": console.input_ended,
                "output": len(console.output),
            },
        }
        return values, sections

    def _core(self, core: CoreState, prefix: str, sections: Sections) -> Values:
        cpu = core.cpu
        engine = cpu.engine
        sections[f"{prefix}context"] = engine.context
        for number, data in enumerate(engine.hooks):
            sections[f"{prefix}hooks{number}"] = data
        sections[f"{prefix}tlb"] = engine.tlb_entries
        sections[f"{prefix}large"] = engine.tlb_large
        for number, data in enumerate(engine.tables):
            sections[f"{prefix}table{number}"] = data
        deferred = cpu.deferred
        lines = cpu.lines
        return {
            "ticks_skipped": core.ticks_skipped,
            "skipped": core.skipped,
            "retired_before": core.retired_before,
            "activity": core.activity.name,
            "event": core.event,
            "start_at": list(core.start_at),
            "hooks": len(engine.hooks),
            "tables": len(engine.tables),
            "translation": self._translation(cpu.translation, prefix, sections),
            "stored": list(cpu.stored.items()),
            "timer_access": [[*place, allowed] for place, allowed in cpu.timer_access.items()],
            "pc": cpu.pc,
            "hcr_el2": cpu.hcr_el2,
            "lines": [lines.irq, lines.fiq, lines.serror, lines.virq, lines.vfiq],
            "ends_slice": cpu.ends_slice,
            "deferred": None if deferred is None else [_exception(deferred[0]), deferred[1]],
            "exits": {
                "counts": cpu.exits.counts,
                "lengths": [[k, list(h.items())] for k, h in cpu.exits.lengths.items()],
                "open": cpu.exits.open,
            },
        }

    def _translation(self, state: TranslationState, prefix: str, sections: Sections) -> Values:
        sections[f"{prefix}known"] = pack_rows(
            ((*key, *known.sets, known.stage2) for key, known in state.known.items()), _SET_WIDTH
        )
        sections[f"{prefix}numbers"] = pack_rows(
            (_key_row(key, number) for key, number in state.numbers.items()), _KEY_WIDTH
        )
        for number, kept in state.stage2.items():
            name = f"{prefix}leaves{number}"
            sections[name] = self._pack_leaves(name, kept)
        return {
            "registers": [getattr(state.registers, name) for name in _REGISTER_NAMES],
            "asid": state.asid,
            "stage2": list(state.stage2),
            "current": state.current,
            "walks": state.walks,
        }

    def _pack_leaves(self, name: str, kept: KeptLeaves) -> bytes:
        first = next(iter(kept.values()), None)
        if first is None:
            return b""
        before, count, data = self._leaves.get(name, (None, 0, b""))
        if before is not first:
            count, data = 0, b""
        new = itertools.islice(kept.items(), count, None)
        data += pack_rows(((page, *leaf) for page, leaf in new), _LEAF_WIDTH)
        self._leaves[name] = first, len(kept), data
        return data


_REGISTER_NAMES = tuple(MmuRegisters.__dataclass_fields__)[: len(REGISTERS)]


def decode(
    values: Values,
    sections: Sections,
    *,
    machine: str,
    ram: Pages,
    output: bytes,
    given: tuple[tuple[int, int], ...],
) -> Snapshot:
    """The snapshot that was encoded; `output` and `given` are those of the whole recording.

    KeyError, TypeError or ValueError if the values are not those of a snapshot.
    """
    turns, console = values["schedule"], values["console"]
    if console["output"] > len(output) or console["given"] > len(given):
        raise ValueError("the console's output or input is not all there")
    return Snapshot(
        machine,
        values["instructions"],
        ram,
        tuple(_decode_core(core, f"cpu{n}.", sections) for n, core in enumerate(values["cores"])),
        ScheduleState(
            turns=tuple(values["turns"]),
            schedule=Schedule(**values["quantum"]),
            **{name: turns[name] for name in _SCHEDULE},
        ),
        values["devices"],
        ConsoleState(
            given[: console["given"]],
            console["asked"],
            console["ended_at"],
            _pair(console["row_start"]),
            console["empty_polls"],
            console["input_ended"],
            output[: console["output"]],
        ),
        (),
    )


def _decode_core(values: Values, prefix: str, sections: Sections) -> CoreState:
    engine = EngineState(
        sections[f"{prefix}context"],
        tuple(sections[f"{prefix}hooks{n}"] for n in range(values["hooks"])),
        sections[f"{prefix}tlb"],
        sections[f"{prefix}large"],
        tuple(sections[f"{prefix}table{n}"] for n in range(values["tables"])),
    )
    deferred = values["deferred"]
    exits = values["exits"]
    cpu = CpuState(
        engine,
        _decode_translation(values["translation"], prefix, sections),
        {key: value for key, value in values["stored"]},
        {(name, el, is_read): allowed for name, el, is_read, allowed in values["timer_access"]},
        values["pc"],
        values["hcr_el2"],
        Lines(*values["lines"]),
        values["ends_slice"],
        None if deferred is None else (SyncException(*deferred[0]), deferred[1]),
        ExitState(
            dict(exits["counts"]),
            {kind: {length: n for length, n in h} for kind, h in exits["lengths"]},
            exits["open"],
        ),
    )
    return CoreState(
        cpu,
        values["ticks_skipped"],
        values["skipped"],
        values["retired_before"],
        Activity[values["activity"]],
        values["event"],
        _pair(values["start_at"]),
    )


def _decode_translation(values: Values, prefix: str, sections: Sections) -> TranslationState:
    registers = len(REGISTERS)
    known: dict[tuple[int, ...], RegisterSet] = {}
    for row in unpack_rows(sections[f"{prefix}known"], _SET_WIDTH):
        low, high, asid, stage2 = row[registers + 1 :]
        known[tuple(row[:registers])] = RegisterSet(
            mmu_registers(*row[:registers]), (row[registers], low, high, asid), stage2
        )
    numbers: dict[tuple[object, ...], int] = {}
    for tag, count, number, *key in unpack_rows(sections[f"{prefix}numbers"], _KEY_WIDTH):
        numbers[(_KEY_TAGS[tag], *key[:count])] = number
    return TranslationState(
        mmu_registers(*values["registers"]),
        values["asid"],
        known,
        numbers,
        {n: _leaves(sections[f"{prefix}leaves{n}"]) for n in values["stage2"]},
        values["current"],
        values["walks"],
    )


def _leaves(data: bytes) -> KeptLeaves:
    return {row[0]: Leaf(*row[1:]) for row in unpack_rows(data, _LEAF_WIDTH)}


def _key_row(key: tuple[Any, ...], number: int) -> tuple[int, ...]:
    tag, *numbers = key
    padding = [0] * (_KEY_NUMBERS - len(numbers))
    return (_KEY_TAGS.index(tag), len(numbers), number, *numbers, *padding)


def _exception(exception: SyncException) -> list[int | None]:
    return [exception.target_el, exception.esr, exception.elr, exception.far, exception.hpfar]


def _quantum(schedule: Schedule) -> Values:
    return {"quantum": schedule.quantum, "seed": schedule.seed, "cpus": schedule.cpus}


def _pair(values: list[int]) -> tuple[int, int]:
    first, second = values
    return first, second
