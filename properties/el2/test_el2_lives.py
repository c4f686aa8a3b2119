# SPDX-License-Identifier: Apache-2.0
"""What becomes of a VM that ends, by its restart policy and by how it ended."""

import pytest

from aether_edgecloud.emulator.bundle.manifest import Restart
from aether_edgecloud.guest_stubs import catalogue

from .several_vms import StubVm, boot, run_until

CRASH = "[aether] vm bad: crash: MMIO access without a valid syndrome"
WATCHER = StubVm("good", "hello")
BAD = catalogue.find("hostile").case("crash").number


def bad(restart: Restart) -> StubVm:
    return StubVm("bad", "hostile", case=BAD, restart=restart)


def test_a_crash_ends_one_vm_and_then_the_machine() -> None:
    shown = run_until(boot([bad(Restart.NEVER), WATCHER]), "[aether] end: guest-crash")
    start = shown.index(CRASH)
    record = [line for line in shown[start:] if line.startswith("[aether] ")]
    assert record[1].startswith("[aether]   pc 0x000000004020")
    assert record[2] == "[aether]   esr 0x0000000092000046 (data abort, lower EL)"
    assert "x30 0x" in record[11]
    assert "[good] hello: bye" in shown


@pytest.mark.parametrize("restart", [Restart.CRASH, Restart.ALWAYS])
def test_a_crashed_vm_lives_again(restart: Restart) -> None:
    shown = run_until(boot([bad(restart), WATCHER]), f"{CRASH}; restarts", times=3)
    assert "[good] hello: bye" in shown
    assert not any("end:" in line for line in shown)


@pytest.mark.parametrize(
    ("restart", "again"), [(Restart.NEVER, False), (Restart.CRASH, False), (Restart.ALWAYS, True)]
)
def test_power_off(restart: Restart, again: bool) -> None:
    vms = [StubVm("a", "hello", restart=restart), StubVm("b", "hello")]
    machine = boot(vms)
    if again:
        shown = run_until(machine, "[a] hello: bye", times=3)
        assert shown.count("[b] hello: bye") == 1
    else:
        shown = run_until(machine, "[aether] end: guest-off")
        assert shown.count("[a] hello: bye") == 1


def test_memory_is_fresh_after_a_reset() -> None:
    shown = run_until(
        boot([StubVm("a", "power", case=3), WATCHER]), "[a] power: case 3, memory fresh", times=3
    )
    assert not any("memory kept" in line for line in shown)
