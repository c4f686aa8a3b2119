# SPDX-License-Identifier: Apache-2.0
"""The physical interrupts of a VM: on while its vCPU 0 is loaded, and only then. No others are on,
whatever firmware left."""

import pytest

from aether_edgecloud.emulator.machine import StopKind

from .several_vms import StubVm, boot
from .vgic_library import PhysicalWrite, VgicLibrary, build

GICD_ISENABLER, GICD_ICENABLER = 0x100, 0x180
SPIS = (33, 40, 64, 95)
WORDS = {1: 1 << 1 | 1 << 8, 2: 1 << 0 | 1 << 31}
"""The same, as bits of words."""


@pytest.fixture(scope="module")
def vgic(tmp_path_factory: pytest.TempPathFactory) -> VgicLibrary:
    return build(tmp_path_factory.mktemp("vgic"))


def switched(writes: list[PhysicalWrite], offset: int) -> dict[int, int]:
    """By word: the bits written to a register of enables."""
    return {write.index: write.bits for write in writes if write.offset == offset}


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_vms_interrupts_are_on_while_it_is_loaded(vgic: VgicLibrary, vcpus: int) -> None:
    vgic.start(vcpus, 4, SPIS)
    for _ in range(2):
        vgic.load(0)
        writes = vgic.take_writes()
        assert switched(writes, GICD_ISENABLER) == WORDS
        assert switched(writes, GICD_ICENABLER) == {}
        vgic.save(0)
        writes = vgic.take_writes()
        assert switched(writes, GICD_ISENABLER) == {}
        assert switched(writes, GICD_ICENABLER) == WORDS, "left on while another VM runs"


def test_another_vcpu_switches_none(vgic: VgicLibrary) -> None:
    vgic.start(2, 4, SPIS)
    vgic.load(1)
    vgic.save(1)
    writes = vgic.take_writes()
    assert not switched(writes, GICD_ISENABLER) and not switched(writes, GICD_ICENABLER)


EL2_OWN = 1 << 1 | 1 << 25 | 1 << 26 | 1 << 27
"""An SGI, the maintenance interrupt, EL2's timer and the virtual timer."""


def test_what_firmware_left_enabled_is_off() -> None:
    machine = boot([StubVm("test", "hello")])
    distributor = machine.devices.gic.distributor
    for word in range(3):
        distributor.write(GICD_ISENABLER + 4 * word, 4, 0xFFFF_FFFF)
    assert machine.run(until=5_000_000).kind is StopKind.SYSTEM_OFF
    enabled = [distributor.read(GICD_ISENABLER + 4 * word, 4) for word in range(3)]
    assert [enabled[0] & 0xFFFF_0000, *enabled[1:]] == [EL2_OWN & 0xFFFF_0000, 0, 0]
