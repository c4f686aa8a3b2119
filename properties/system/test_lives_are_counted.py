# SPDX-License-Identifier: Apache-2.0
"""Telemetry counts the lives of a VM as the console tells them."""

import pytest

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.machine.machine import Machine, StopKind
from aether_edgecloud.emulator.telemetry import layout, pages
from aether_edgecloud.emulator.telemetry.layout import VmPage
from aether_edgecloud.guest_stubs import catalogue

from ..el2.several_vms import StubVm, boot, run_until

CASES = {"hostile": "crash", "power": "reset"}
CRASH = "crash: MMIO access without a valid syndrome"


def vm(stub: str, restart: Restart) -> StubVm:
    case = catalogue.find(stub).case(CASES[stub]).number if stub in CASES else 0
    return StubVm("a", stub, case=case, restart=restart)


def counted(machine: Machine) -> dict[str, VmPage]:
    """By name of the VM."""
    el2 = binary.load(None)
    place = machine.board.place(el2.image.memory_size, 0).image
    address = symbols.load(el2.elf, place).address_of(layout.SYMBOL)
    assert address is not None
    raw = pages.read_pages(machine.read_pa, address)
    found = None if raw is None else pages.parse(raw)
    assert found is not None
    return {vm.name: vm for vm in found.vms}


@pytest.mark.parametrize(("stub", "crashes"), [("hello", 0), ("hostile", 1)])
def test_one_life(stub: str, crashes: int) -> None:
    machine = boot([vm(stub, Restart.NEVER), StubVm("b", "hello")])
    assert machine.run(until=40_000_000).kind is StopKind.SYSTEM_OFF
    found = counted(machine)
    assert (found["a"].crashes, found["a"].restarts) == (crashes, 0)
    assert (found["b"].crashes, found["b"].restarts) == (0, 0)


@pytest.mark.parametrize(
    ("stub", "told"),
    [("hello", "off; restarts"), ("power", "reset"), ("hostile", f"{CRASH}; restarts")],
)
def test_many_lives(stub: str, told: str) -> None:
    """The console tells of an end before the next life begins, and may be late."""
    machine = boot([vm(stub, Restart.ALWAYS), StubVm("b", "hello")])
    run_until(machine, f"[aether] vm a: {told}", times=3)
    found = counted(machine)
    assert found["a"].restarts >= 2
    if stub == "hostile":
        assert 0 <= found["a"].crashes - found["a"].restarts <= 1
    else:
        assert found["a"].crashes == 0
    assert (found["b"].crashes, found["b"].restarts) == (0, 0)
