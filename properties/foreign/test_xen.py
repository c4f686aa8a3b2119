# SPDX-License-Identifier: Apache-2.0
"""Debian's unmodified Xen with a Linux dom0 boots to userspace and switches the machine off."""

from dataclasses import replace

import pytest

from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch.foreign import Foreign, QemuStyle, load
from aether_edgecloud.emulator.machine import Machine, StopKind
from aether_edgecloud.properties.foreign import xen_dom0

pytestmark = pytest.mark.nightly

LIMIT = 3_000_000_000
QUANTUM = 20_000
"""Most of the time of several CPUs goes into their turns: this is about Xen, and not about how they
interleave."""


@pytest.fixture(scope="module")
def style(tmp_path_factory: pytest.TempPathFactory) -> QemuStyle:
    """Or a skip."""
    try:
        return xen_dom0.style(tmp_path_factory.mktemp("xen"))
    except UserError as error:
        pytest.skip(str(error))


def boot(foreign: Foreign, mmu: MmuMode) -> tuple[int, bytes]:
    """Instructions and console."""
    machine = Machine(
        foreign.board, foreign.image, payload=foreign.payload, mmu=mmu, quantum=QUANTUM
    )
    stop = machine.run(LIMIT)
    assert stop.kind is StopKind.SYSTEM_OFF
    console = bytes(machine.console.output)
    assert b"(XEN) Xen version 4." in console
    assert b"aether: userspace, " in console
    assert b"(XEN) Hardware Dom0 halted: halting machine" in console
    assert [cpu.own_faults.count for cpu in machine.cpus] == [0] * len(machine.cpus)
    names = symbols.load(foreign.elf, machine.loaded[0])
    assert names.at(stop.pc) is not None
    machine.close()
    return stop.instructions, console


def test_with_one_cpu_in_both_modes(style: QemuStyle) -> None:
    foreign = load(style)
    assert boot(foreign, MmuMode.MODEL) == boot(foreign, MmuMode.NATIVE)


@pytest.mark.parametrize("cpus", [2, 4])
def test_with_more_cpus(style: QemuStyle, cpus: int) -> None:
    """All of which it finds."""
    _, console = boot(load(replace(style, cpus=cpus)), MmuMode.MODEL)
    assert f"(XEN) Brought up {cpus} CPUs".encode() in console
    assert f"aether: userspace, {cpus} cpus".encode() in console
