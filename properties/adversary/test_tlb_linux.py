# SPDX-License-Identifier: Apache-2.0
"""Linux under the hypervisor with TLBs that forget nothing: the same run, and a guest whose
maintenance is lost does not get far."""

import hashlib

import pytest

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.adversary.tlb_stage1 import Stage1Tlb
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.monitor.events import Tlbi

RAM_SIZE = 512 << 20
EARLY = 400_000_000
"""Instructions, by which Linux has long said something."""


def machine(cpus: int = 1) -> Machine:
    try:
        bundle = target.resolve("linux", target.GuestChoice(cpus=cpus)).bundle
    except UserError as e:
        pytest.skip(str(e))
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    return Machine(virt(RAM_SIZE, cpus), image, bundle)


def boot(made: Machine) -> tuple[int, str, tuple[dict[int, tuple[int, int]], ...]]:
    """Instructions, console and timelines of a whole run."""
    stop = made.run()
    console = bytes(made.console.output)
    assert stop.kind is StopKind.SYSTEM_OFF
    assert b"[aether] end: guest-off" in console
    timelines = tuple(cpu.timelines for cpu in made.cpus)
    made.close()
    return stop.instructions, hashlib.sha256(console).hexdigest(), timelines


@pytest.mark.nightly
@pytest.mark.parametrize("cpus", [1, 4])
def test_the_same_run(cpus: int) -> None:
    plain = boot(machine(cpus))
    for seed, rate in ((1, 128), (2, 256)):
        made = machine(cpus)
        adversary = TlbAdversary(made, Choices(seed, rate))
        assert boot(made) == plain
        assert adversary.conflicts == []


@pytest.mark.nightly
def test_one_tlbi_in_ten_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the model of the TLB, that is; where it is kind nothing shows."""
    invalidate = Stage1Tlb.invalidate
    count = 0

    def forgetful(self: Stage1Tlb, issuer: int, tlbi: Tlbi, value: int, vmid: int) -> None:
        nonlocal count
        count += 1
        if count % 10:
            invalidate(self, issuer, tlbi, value, vmid)

    def speaks(rate: int) -> bool:
        made = machine()
        TlbAdversary(made, Choices(1, rate))
        made.run(EARLY)
        console = bytes(made.console.output)
        made.close()
        return b"Linux version" in console

    assert speaks(256)
    monkeypatch.setattr(Stage1Tlb, "invalidate", forgetful)
    assert speaks(0)
    assert not speaks(256)
