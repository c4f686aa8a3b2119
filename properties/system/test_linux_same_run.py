# SPDX-License-Identifier: Apache-2.0
"""Linux from reset to poweroff is the same run again, whoever translates."""

import hashlib
from dataclasses import dataclass

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.machine.state import state_sha256

pytestmark = pytest.mark.usefixtures("kind_machine")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must not differ."""

    instructions: int
    console: str
    state: str
    timelines: tuple[dict[int, tuple[int, int]], ...]


def boot(cpus: int, mmu: MmuMode) -> Outcome:
    try:
        bundle = target.resolve("linux", target.GuestChoice(cpus=cpus)).bundle
    except UserError as e:
        pytest.skip(str(e))
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    machine = Machine(virt(512 << 20, cpus), image, bundle, mmu=mmu)
    stop = machine.run()
    console = bytes(machine.console.output)
    assert stop.kind is StopKind.SYSTEM_OFF
    assert f"aether: userspace, {cpus} cpus".encode() in console
    assert b"[aether] end: guest-off" in console
    found = Outcome(
        stop.instructions,
        hashlib.sha256(console).hexdigest(),
        state_sha256(machine),
        tuple(cpu.timelines for cpu in machine.cpus),
    )
    machine.close()
    return found


def test_one_cpu() -> None:
    native = boot(1, MmuMode.NATIVE)
    assert boot(1, MmuMode.MODEL) == native


@pytest.mark.nightly
@pytest.mark.parametrize("cpus", [1, 4])
def test_again_and_in_both_modes(cpus: int) -> None:
    native = boot(cpus, MmuMode.NATIVE)
    assert boot(cpus, MmuMode.NATIVE) == native
    assert boot(cpus, MmuMode.MODEL) == native
