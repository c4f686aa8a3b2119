# SPDX-License-Identifier: Apache-2.0
"""Between two slots EL2 sleeps until the next one's first tick: its own timer can end that sleep,
and no interrupt of a guest, which would make a slot begin at another instruction."""

import pytest

from aether_edgecloud.emulator.machine.core import Core
from aether_edgecloud.emulator.machine.machine import Machine, StopKind

from .several_vms import StubVm, boot

GUESTS = 0x80
"""The priority of a guest's interrupts and of kicks; the end of a slot has 0."""


class Sleeps:
    """What the CPU interface lets through whenever EL2 waits."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.masks: list[tuple[int, int]] = []
        wait = machine._wait

        def watched(core: Core) -> None:
            if core.cpu.current_el == 2:
                interface = machine.devices.gic.cpu_interface(core.number)
                self.masks.append((core.number, interface.pmr))
            wait(core)

        monkeypatch.setattr(machine, "_wait", watched)


@pytest.mark.parametrize("cpus", [1, 2])
def test_what_can_end_the_sleep_before_a_slot(cpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guests never wait, so that EL2 sleeps nowhere else."""
    places = tuple(range(cpus))
    spin = [
        StubVm(name, "spin", case=2, cpus=(place,))
        for place in places
        for name in (f"a{place}", f"b{place}")
    ]
    machine = boot(spin, cpus=cpus)
    sleeps = Sleeps(machine, monkeypatch)
    assert machine.run(until=6_000_000).kind is StopKind.LIMIT
    for cpu in places:
        masks = [mask for number, mask in sleeps.masks if number == cpu]
        assert len(masks) > 5
        # GICC_PMR masks its own value and all that are larger.
        assert all(0 < mask <= GUESTS for mask in masks), masks
