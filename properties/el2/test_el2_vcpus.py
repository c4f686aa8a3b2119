# SPDX-License-Identifier: Apache-2.0
"""Several vCPUs: PSCI as each VM sees it, and what is kept across switches."""

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode

from .several_vms import StubVm, boot, run_until, said

OFF = "[aether] end: guest-off"

BRING_UP = """smp: vCPUs 0: 3
smp: CPU_ON of itself 0: -4
smp: CPU_ON of nobody 3: -2
smp: CPU_ON of another cluster 0: -2
smp: CPU_ON by SMC32 of nobody 3: -2
smp: CPU_ON to nowhere 1: -9
smp: CPU_ON to an odd address 1: -9
smp: still off 1: 1
smp: AFFINITY_INFO of level 1 0: -2
smp: CPU_ON 1: 0
smp: CPU_ON 2: 0
smp: off 1: 257
smp: off 2: 258
smp: CPU_ON 1: 0
smp: CPU_ON 2: 0
smp: off 1: 513
smp: off 2: 514"""


@pytest.mark.parametrize("mmu", list(MmuMode))
@pytest.mark.parametrize("cpus", [(0, 1, 2), (0, 0, 0), (1, 0, 1)], ids=str)
def test_vcpus_go_on_and_off(cpus: tuple[int, ...], mmu: MmuMode) -> None:
    machine = boot([StubVm("smp", "smp", cpus=cpus)], cpus=3, mmu=mmu)
    shown = run_until(machine, OFF)
    assert "\n".join(line for line in shown if line.startswith("smp: ")) == BRING_UP


def test_system_off_stops_the_other_vcpus() -> None:
    machine = boot([StubVm("smp", "smp", case=2, parameter=1, cpus=(0, 1, 1))], cpus=2)
    assert run_until(machine, OFF)[-2:] == [OFF, ""]


def test_registers_are_kept_across_switches() -> None:
    """Two VMs with two vCPUs each, three of the four on one pCPU."""
    vms = [StubVm(name, "smp", case=1, parameter=60, cpus=(0, i)) for i, name in enumerate("ab")]
    shown = run_until(boot(vms, cpus=2), OFF)
    for vm in "ab":
        assert said(shown, vm)[1:] == [f"smp: registers lost by {i}: 0" for i in range(2)]


def test_a_vcpu_starts_with_nothing_of_a_former_one() -> None:
    """The reset state, also of FP registers, is that of the first start."""
    vms = [StubVm("state", "start-state"), StubVm("smp", "smp", case=1, parameter=30)]
    shown = run_until(boot(vms), OFF)
    assert "[aether] vm smp: off" in shown
    alone = run_until(boot([StubVm("state", "start-state")]), OFF)
    assert said(shown, "state") == [
        line for line in alone if line and not line.startswith("[aether]")
    ]
