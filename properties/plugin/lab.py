# SPDX-License-Identifier: Apache-2.0
"""The machines of a test run: booted once, used many times, and who used them in this test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import Machine
from aether_edgecloud.emulator.monitor.monitor import Monitor
from aether_edgecloud.emulator.recording.pieces import PieceKeeper
from aether_edgecloud.properties.plugin.booted import BootedMachine
from aether_edgecloud.properties.plugin.choice import Choice, choose
from aether_edgecloud.properties.plugin.options import (
    MACHINE_OPTIONS,
    RECORD,
    current,
    is_running,
    look_up,
)

_MOST_KEPT = 8
"""Booted machines that are kept: each has the memory of its guests."""


class Mistake(pytest.fail.Exception):  # type: ignore[name-defined,misc]
    """A test asks for a machine that cannot be: there is nothing to tell but that."""

    __module__ = "builtins"  # as pytest's own: its name alone is shown


@dataclass(slots=True)
class Use:
    """A machine that the running test has used. The instructions are those of the test, all its
    examples together."""

    machine: Machine
    el2: El2Binary
    monitor: Monitor | None
    image: range
    """Where the binary was loaded."""
    seed: int
    booted: BootedMachine | None = None
    keeper: PieceKeeper | None = None
    """What its run is recorded of, if it fails; None: it is not wanted."""
    instructions: int = 0
    counted_to: int = 0

    def count(self) -> None:
        """Adds what has retired since the last count."""
        now = self.machine.instructions
        self.instructions += now - self.counted_to
        self.counted_to = now


_machines: dict[Choice, BootedMachine] = {}
"""Booted machines, the one used last at the end."""
_FILES = tuple(option for option in MACHINE_OPTIONS if option.name in ("el2", "bundle"))
_CHOICES = pytest.StashKey[dict[object, Choice]]()
_uses: list[Use] = []


def boot(config: pytest.Config, choices: Mapping[str, Any]) -> BootedMachine:
    """The machine of these choices and of the options, as its boot left it; fails the test for a
    mistake in them."""
    __tracebackhide__ = True
    try:
        choice = _choose(config, choices)
    except UserError as error:
        raise Mistake(str(error), pytrace=False) from None
    try:
        booted = _machines.pop(choice, None)
        if booted is None:
            booted = _boot(choice)
        else:
            _count(booted)
            booted.restore()
    except UserError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    _machines[choice] = booted
    _note(booted)
    return booted


def observe(
    machine: Machine, el2: El2Binary, monitor: Monitor | None = None, *, seed: int = 0
) -> None:
    """A machine that a test has made by itself is told of in the failure report too.

    Call it at the start of each example, before and after each restore. Without pytest it does
    nothing.
    """
    if not is_running():
        return
    for use in _uses:
        if use.machine is machine:
            # Less than before: it has been restored.
            use.counted_to = min(use.counted_to, machine.instructions)
            use.count()
            return
    image = machine.board.place(el2.image.memory_size, 0).image
    keeper = _keeper(machine)
    now = machine.instructions
    _uses.append(Use(machine, el2, monitor, image, seed, keeper=keeper, counted_to=now))


def begin_test() -> None:
    """What was used so far was another test's."""
    for use in _uses:
        if use.keeper is not None:
            use.keeper.close()
    _uses.clear()


def used() -> Sequence[Use]:
    """What the running test has used, the machine used last at the end."""
    return tuple(_uses)


def close_all() -> None:
    """Forgets all machines."""
    for booted in _machines.values():
        booted.close()
    _machines.clear()
    _uses.clear()


def _choose(config: pytest.Config, choices: Mapping[str, Any]) -> Choice:
    """Made once, as long as the files named stay the same."""
    kept = config.stash.setdefault(_CHOICES, {})
    try:
        key = (*sorted(choices.items()), *_files(config, choices))
        found = kept.get(key)
    except TypeError:  # what cannot be hashed
        return choose(config, choices)
    if found is None:
        found = kept[key] = choose(config, choices)
    return found


def _files(config: pytest.Config, choices: Mapping[str, Any]) -> list[tuple[int, int]]:
    """When the files were written, and their sizes."""
    found = []
    for option in _FILES:
        given = look_up(config, option)
        value = choices.get(option.name, None if given is None else given.text)
        if isinstance(value, str | Path) and Path(value).is_file():
            status = Path(value).stat()
            found.append((status.st_mtime_ns, status.st_size))
    return found


def _boot(choice: Choice) -> BootedMachine:
    while len(_machines) >= _MOST_KEPT:
        oldest = next(iter(_machines))
        _machines.pop(oldest).close()
    booted = BootedMachine(choice)
    # From here on, so that a boot that fails is told of too.
    _note(booted)
    booted.boot()
    for use in _uses:
        if use.booted is booted and use.keeper is not None:
            use.keeper.forget()
    return booted


def _count(booted: BootedMachine) -> None:
    for use in _uses:
        if use.booted is booted:
            use.count()


def _note(booted: BootedMachine) -> None:
    """It is used now; its instructions count from here."""
    for index, use in enumerate(_uses):
        if use.booted is booted:
            use.counted_to = booted.machine.instructions
            _uses.append(_uses.pop(index))
            return
    _uses.append(
        Use(
            booted.machine,
            booted.el2,
            booted.monitor,
            booted.image,
            booted.choice.seed,
            booted,
            _keeper(booted.machine),
            counted_to=booted.machine.instructions,
        )
    )


def _keeper(machine: Machine) -> PieceKeeper | None:
    if look_up(current(), RECORD) is None or machine.setup.mmu is not MmuMode.MODEL:
        return None
    return PieceKeeper(machine)
