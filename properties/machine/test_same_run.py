# SPDX-License-Identifier: Apache-2.0
"""A run is a function of binary, bundle, board and input: whoever translates, whenever it is run,
however it is sliced, and whether the hot paths are in C or in Python."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import HookProvider, MmuMode
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.console import Bytes
from aether_edgecloud.emulator.machine.state import state_sha256
from aether_edgecloud.guest_stubs import catalogue
from aether_edgecloud.properties.machine.hooks_twin import PythonHooks

pytestmark = pytest.mark.usefixtures("kind_machine")

LIMIT = 60_000_000
COMMANDS = b"version\rprintenv\rbdinfo\rpoweroff\r"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must not differ between two runs."""

    kind: StopKind
    instructions: int
    by_el: tuple[int, int, int]
    console: str
    state: str
    exits: tuple[tuple[str, tuple[int, ...]], ...]


def boot(
    bundle: bytes, mmu: MmuMode, data: bytes = b"", hooks: HookProvider | None = None
) -> Machine:
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    return Machine(virt(), image, bundle, mmu=mmu, source=Bytes(data), hooks=hooks)


def outcome(machine: Machine, limit: int = LIMIT) -> Outcome:
    stop = machine.run(limit)
    exits = machine.cpu.exits
    return Outcome(
        stop.kind,
        stop.instructions,
        machine.cpu.instructions_by_el(),
        hashlib.sha256(machine.console.output).hexdigest(),
        state_sha256(machine),
        tuple((kind, tuple(exits.lengths_of(kind))) for kind in sorted(exits.counts)),
    )


_LONG = {
    *("hostile:sleep", "keeper:time", "spin:wfi", "witness:lives-on"),
    *("intruder:broadcasts", "intruder:registers", "intruder:smc", "intruder:traps"),
}
"""Half of the time of all stubs. Their shorter neighbours take the same ways."""


def _guests() -> list[object]:
    """Every stub in each of its cases."""
    names = []
    for stub in catalogue.STUBS:
        names += [f"{stub.name}:{case.name}" for case in stub.cases] or [stub.name]
    return [
        pytest.param(name, marks=[pytest.mark.nightly] if name in _LONG else []) for name in names
    ]


_LIMITS = {
    # Exceptions without end retire nothing: only EL2's windows count, some 600 instructions a slot.
    "spin:vector-storm": 920_000,
    # Its code goes with each of its lives, and those are short.
    "witness:lives-on": 2_500_000,
}


@pytest.mark.parametrize("name", _guests())
def test_model_and_native_give_the_same_run(name: str) -> None:
    bundle = target.resolve(name).bundle
    limit = _LIMITS.get(name, 6_000_000)
    model = outcome(boot(bundle, MmuMode.MODEL), limit)
    assert model.instructions > 100_000
    assert model == outcome(boot(bundle, MmuMode.NATIVE), limit)


def test_u_boot_runs_the_same_in_both_modes_and_again(u_boot: Path) -> None:
    bundle = target.resolve("u-boot").bundle
    first = boot(bundle, MmuMode.MODEL, COMMANDS)
    model = outcome(first)
    assert model.kind is StopKind.SYSTEM_OFF
    assert b"[aether] end: guest-off" in first.console.output
    for words in (b"=> version\r\nU-Boot 2", b"=> printenv", b"=> bdinfo", b"=> poweroff"):
        assert words in first.console.output
    assert model == outcome(boot(bundle, MmuMode.NATIVE, COMMANDS))
    assert model == outcome(boot(bundle, MmuMode.MODEL, COMMANDS))


def test_python_hooks_give_the_same_run_as_those_in_c() -> None:
    bundle = target.resolve("traps").bundle
    limit = 3_200_000
    in_c = boot(bundle, MmuMode.MODEL)
    in_python = boot(bundle, MmuMode.MODEL, hooks=PythonHooks())
    assert outcome(in_c, limit) == outcome(in_python, limit)
    for counter in ("blocks", "sysreg_hooks", "code_flushes"):
        assert getattr(in_c.cpu.state, counter) == getattr(in_python.cpu.state, counter)


@settings(max_examples=8)
@given(st.lists(st.integers(1, 3_000_000), min_size=1, max_size=8))
def test_slicing_does_not_show(cuts: list[int]) -> None:
    """Stopping at any instruction count and going on changes nothing."""
    bundle = target.resolve("hello").bundle
    whole = outcome(boot(bundle, MmuMode.MODEL))
    sliced = boot(bundle, MmuMode.MODEL)
    for cut in sorted(cuts):
        stop = sliced.run(cut)
        assert stop.kind is StopKind.SYSTEM_OFF or stop.instructions >= cut
        if stop.kind is StopKind.SYSTEM_OFF:
            return
    assert outcome(sliced) == whole
