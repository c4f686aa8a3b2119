# SPDX-License-Identifier: Apache-2.0
"""Which machine a test boots: the words of the user made into a binary, a bundle and a board."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.adversary import plan
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.bundle import build, size
from aether_edgecloud.emulator.bundle.description import Description, VmDescription
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue
from aether_edgecloud.emulator.launch import binary, host, target
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine.machine import QUANTUM
from aether_edgecloud.emulator.monitor.monitor import Record
from aether_edgecloud.properties.plugin.options import MACHINE_OPTIONS, Given, Option, look_up

GUEST = "guest"
RESET = "reset"
_MODES = {"model": MmuMode.MODEL, "native": MmuMode.NATIVE}
_OPTIONS = {option.name: option for option in MACHINE_OPTIONS}
_SWITCHES = {"on": True, "off": False, True: True, False: False}
_EVENTS: dict[str | bool, Record] = {
    "off": Record.NOTHING,
    "on": Record.EVENTS,
    "caches": Record.CACHES_TOO,
    False: Record.NOTHING,
    True: Record.EVENTS,
}
_MOST = 1 << 63
"""Numbers are below this."""
_COPY = "copy"
_RAM = "256MiB"
"""Of the board of a binary that is given no bundle."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A machine to boot. Two that are equal are the same machine. `until` is "guest" or a number
    of instructions; `initrd` is empty where the binary is given none."""

    el2: El2Binary
    initrd: bytes
    board: Board
    mmu: MmuMode
    quantum: int
    seed: int
    adversary: Plan | None
    until: str | int
    monitor: bool
    events: Record
    copy: int


def choose(config: pytest.Config, choices: Mapping[str, Any]) -> Choice:
    """The machine of `choices`, and of the options for what they leave open. Raises UserError."""
    unknown = choices.keys() - _OPTIONS.keys() - {_COPY}
    if unknown:
        known = ", ".join((*_OPTIONS, _COPY))
        raise UserError(f"no such choice: {', '.join(sorted(unknown))}", fix=f"there are: {known}")
    words = _Words(config, choices)
    el2, _ = words.get("el2", None)
    loaded = binary.load(None if el2 is None else Path(el2))
    initrd, where = _bundle(*words.get("bundle", catalogue.DEFAULT if loaded.own else None))
    mmu, mmu_place = words.get("mmu", "model")
    if mmu not in _MODES:
        raise UserError(f"no MMU {mmu!r}", where=mmu_place, fix="choose model or native")
    # Where Unicorn translates by itself, nobody can see what the monitor has to.
    monitor, monitor_place = words.get("monitor", mmu == "model")
    if monitor not in _SWITCHES:
        raise UserError(f"{monitor!r} is neither on nor off", where=monitor_place)
    if _SWITCHES[monitor] and _MODES[mmu] is not MmuMode.MODEL:
        raise UserError(
            "the monitor needs the MMU model",
            where=monitor_place,
            fix=f"leave it out, or {mmu_place}",
        )
    events, events_place = words.get("events", "off")
    if events not in _EVENTS:
        raise UserError(
            f"{events!r} is no choice of events", where=events_place, fix="choose off, on or caches"
        )
    copy = choices.get(_COPY, 0)
    if not isinstance(copy, int):
        raise UserError(f"{copy!r} is not a whole number", where=_COPY)
    return Choice(
        el2=loaded,
        initrd=initrd,
        board=_board(words, loaded, initrd, where),
        mmu=_MODES[mmu],
        quantum=words.number("quantum", QUANTUM),
        seed=words.number("seed", 0),
        adversary=_adversary(*words.get("adversary", None), mmu),
        until=_until(*words.get("until", GUEST if initrd else RESET)),
        monitor=_SWITCHES[monitor],
        events=_EVENTS[events],
        copy=copy,
    )


def check(config: pytest.Config) -> None:
    """UserError for options whose machine cannot be."""
    choose(config, {})


class _Words:
    """What was said of a machine, the nearest word first."""

    def __init__(self, config: pytest.Config, choices: Mapping[str, Any]) -> None:
        self._config = config
        self._choices = choices

    def get(self, name: str, default: Any) -> tuple[Any, str]:
        """The value and the place that gave it."""
        said = self._choices.get(name)
        if said is not None:
            return said, name
        found: Given | None = look_up(self._config, _OPTIONS[name])
        return (default, name) if found is None else (found.text, found.where)

    def number(self, name: str, default: int | None) -> Any:
        """A whole number that the option allows."""
        value, where = self.get(name, default)
        return value if value is default else _number(value, where, _OPTIONS[name])


def _number(value: object, where: str, option: Option) -> int:
    least = option.at_least or 0
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number < _MOST:
        raise UserError(f"{value!r} is not a whole number from {least} on", where=where)
    return number


def _adversary(value: object, where: str, mmu: str) -> Plan | None:
    if value is None or isinstance(value, Plan):
        found = value
    elif isinstance(value, str):
        found = plan.parse(value, where)
    else:
        raise UserError(f"a {type(value).__name__} is no adversary", where=where)
    if found is not None and _MODES[mmu] is not MmuMode.MODEL:
        raise UserError("an adversary needs the MMU model", where=where, fix="leave mmu out")
    return found


def _until(value: object, where: str) -> str | int:
    if value == GUEST:
        return GUEST
    if value == RESET:
        return 0
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _MOST:
        fix = "choose guest, reset or a number of instructions"
        raise UserError(f"{value!r} is no point of a run", where=where, fix=fix)
    return number


def _bundle(value: object, where: str) -> tuple[bytes, str]:
    """The bytes, and what they are called."""
    match value:
        case None:
            return b"", where
        case bytes():
            return value, where
        case str() | Path():
            return target.resolve(str(value)).bundle, str(value)
        case VmDescription():
            return build.build((value,), where=where), where
        case Description():
            return build.build(value, where=where), where
        case Sequence() if value and all(isinstance(vm, VmDescription) for vm in value):
            return build.build(list(value), where=where), where
    fix = "give a guest's name, FILE.toml, FILE.bundle, bytes or descriptions of VMs"
    raise UserError(f"a {type(value).__name__} is no bundle", where=where, fix=fix)


def _board(words: _Words, el2: El2Binary, initrd: bytes, where: str) -> Board:
    """The board, with everything on it where firmware would put it."""
    name, place = words.get("board", "virt")
    if name not in boards.names():
        fix = f"use one of: {', '.join(boards.names())}"
        raise UserError(f"no board {name!r}", where=place, fix=fix)
    text, place = words.get("ram", None if initrd else _RAM)
    ram = None if text is None else size.parse(str(text), where=place)
    cpus = words.number("cpus", None)
    if not initrd:
        found = host.sized_board(name, ram or 0, 1 if cpus is None else cpus)
        found.place(el2.image.memory_size, 0)
        return found
    choice = host.BoardChoice(name, None if ram is None else str(ram), cpus)
    manifest, _ = build.open_bundle(initrd, where=where)
    found = host.board(choice, manifest, len(initrd))
    layout = host.layout(found, el2.image.memory_size, len(initrd))
    build.open_bundle(initrd, where=where, host=layout)
    return found
