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
from aether_edgecloud.emulator.recording import attached as attached_states
from aether_edgecloud.emulator.recording.columns import pack_rows, unpack_rows
from aether_edgecloud.emulator.recording.device_states import DeviceStates
from aether_edgecloud.emulator.recording.document import (
    Malformed,
    Sections,
    Values,
    listed,
    natural,
)
from aether_edgecloud.emulator.recording.identity import Identity
from aether_edgecloud.emulator.recording.typed import checked

_LEAF_WIDTH = 6
_SET_WIDTH = len(REGISTERS) + 5
_KEY_TAGS = ("el2", "low", "high", "high with ASID", "stage 2")
_KEY_NUMBERS = 10
_KEY_WIDTH = _KEY_NUMBERS + 3
_SCHEDULE = (
    "round", "running", "limit", "is_alone", "retired", "others_retired", "last",
)  # fmt: skip


class StateEncoder:
    """Encodes snapshots of one machine, one after the other in the order of its run. Of their
    attachments the first `built_in` go with them.

    A dictionary of leaves only grows until it is emptied, and then it gets leaves of its own. So
    one that begins with the same leaf as the last time has all the others too.
    """

    def __init__(self, built_in: int = 0) -> None:
        self._built_in = built_in
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
        for number, state in enumerate(snapshot.attachments[: self._built_in]):
            attached = attached_states.encode(state, f"attached{number}.", sections)
            values.setdefault("attached", []).append(attached)
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


class StateDecoder:
    """Decodes snapshots of the machine of a recording."""

    def __init__(self, identity: Identity) -> None:
        self._machine = identity.machine
        self._schedule = Schedule(identity.quantum, identity.seed, identity.board.cpus)
        self._devices = DeviceStates(identity.board)

    def decode(
        self,
        values: Values,
        sections: Sections,
        *,
        ram: Pages,
        output: bytes,
        given: tuple[tuple[int, int], ...],
    ) -> Snapshot:
        """The snapshot that was encoded; `output` and `given` are those of the whole recording.

        Malformed if the values are not those of a snapshot which the machine can become.
        """
        try:
            found = _decode(values, sections, self._machine, ram, output, given)
            self._check(found)
        except _NOT_ENCODED as e:
            raise Malformed(f"no state of a machine: {type(e).__name__}: {e}") from e
        return found

    def _check(self, found: Snapshot) -> None:
        turns, cpus = found.schedule, range(self._schedule.cpus)
        if turns.schedule != self._schedule or len(found.cores) != len(cpus):
            raise ValueError("the schedule of another machine")
        running = () if turns.running is None else (turns.running,)
        if any(number not in cpus for number in (*turns.turns, *running, turns.last)):
            raise ValueError("the turn of a CPU that is not there")
        if sum(core.cpu.engine.field("retired") for core in found.cores) != found.instructions:
            raise ValueError("CPUs that are elsewhere")
        self._devices.check(found.devices)


_NOT_ENCODED = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError)
"""What the functions below raise for values that `StateEncoder` does not make."""


def _decode(
    values: Values,
    sections: Sections,
    machine: str,
    ram: Pages,
    output: bytes,
    given: tuple[tuple[int, int], ...],
) -> Snapshot:
    turns, console = values["schedule"], values["console"]
    if natural(console["output"]) > len(output) or natural(console["given"]) > len(given):
        raise ValueError("the console's output or input is not all there")
    schedule = ScheduleState(
        turns=tuple(listed(values["turns"])),
        schedule=Schedule(**values["quantum"]),
        **{name: turns[name] for name in _SCHEDULE},
    )
    shown = ConsoleState(
        given[: console["given"]],
        console["asked"],
        console["ended_at"],
        _pair(console["row_start"]),
        console["empty_polls"],
        console["input_ended"],
        output[: console["output"]],
    )
    cores = listed(values["cores"])
    return Snapshot(
        machine,
        natural(values["instructions"]),
        ram,
        tuple(_decode_core(core, f"cpu{n}.", sections) for n, core in enumerate(cores)),
        checked(schedule, ScheduleState),
        checked(values["devices"], dict[str, object]),
        checked(shown, ConsoleState),
        _attached(values, sections),
    )


def _attached(values: Values, sections: Sections) -> tuple[object, ...]:
    if "attached" not in values:
        return ()
    from aether_edgecloud.emulator.adversary.states import STATES  # seldom needed

    decoder = attached_states.Decoder(STATES)
    return tuple(decoder.decode(state, sections) for state in listed(values["attached"]))


def _decode_core(values: Values, prefix: str, sections: Sections) -> CoreState:
    engine = EngineState(
        sections[f"{prefix}context"],
        tuple(sections[f"{prefix}hooks{n}"] for n in range(natural(values["hooks"]))),
        sections[f"{prefix}tlb"],
        sections[f"{prefix}large"],
        tuple(sections[f"{prefix}table{n}"] for n in range(natural(values["tables"]))),
    )
    engine.check()
    late = values["deferred"]
    deferred = None if late is None else (SyncException(*listed(late[0])), late[1])
    exits = values["exits"]
    lengths = {kind: {length: n for length, n in h} for kind, h in listed(exits["lengths"])}
    timers = {(name, el, is_read): allowed for name, el, is_read, allowed in values["timer_access"]}
    cpu = CpuState(
        engine,
        _decode_translation(values["translation"], prefix, sections),
        checked({key: value for key, value in listed(values["stored"])}, dict[int, int]),
        checked(timers, dict[tuple[str, int, bool], bool]),
        natural(values["pc"]),
        natural(values["hcr_el2"]),
        checked(Lines(*listed(values["lines"])), Lines),
        checked(values["ends_slice"], bool),
        checked(deferred, tuple[SyncException, int] | None),
        checked(ExitState(dict(exits["counts"]), lengths, exits["open"]), ExitState),
    )
    return CoreState(
        cpu,
        checked(values["ticks_skipped"], int),
        checked(values["skipped"], int),
        checked(values["retired_before"], int),
        Activity[values["activity"]],
        checked(values["event"], int),
        checked(_pair(values["start_at"]), tuple[int, int]),
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
    trees = {natural(n): _leaves(sections[f"{prefix}leaves{n}"]) for n in listed(values["stage2"])}
    current = checked(values["current"], int | None)
    if current not in (None, *trees):
        raise ValueError("a stage 2 of which nothing is known")
    return TranslationState(
        mmu_registers(*checked(values["registers"], list[int])),
        natural(values["asid"]),
        known,
        numbers,
        trees,
        current,
        natural(values["walks"]),
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


def _pair(values: object) -> tuple[int, int]:
    first, second = listed(values)
    return first, second
