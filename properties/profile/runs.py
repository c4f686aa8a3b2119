# SPDX-License-Identifier: Apache-2.0
"""Machines that are profiled."""

from aether_edgecloud.emulator import toolchain
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.cpu.engine import HookProvider, MmuMode
from aether_edgecloud.emulator.elf import symbols
from aether_edgecloud.emulator.launch import target
from aether_edgecloud.emulator.launch.binary import El2Binary
from aether_edgecloud.emulator.machine import BootImage, Machine, StopKind
from aether_edgecloud.emulator.profile import Profile, Profiler

LIMIT = 5_000_000


def known(
    el2: El2Binary, mmu: MmuMode = MmuMode.MODEL, hooks: HookProvider | None = None
) -> Machine:
    """The program of `known_el2.S`."""
    return Machine(virt(64 << 20), el2.image, mmu=mmu, hooks=hooks)


def hypervisor(
    guest: str, mmu: MmuMode = MmuMode.MODEL, hooks: HookProvider | None = None, cpus: int = 1
) -> Machine:
    """The hypervisor with a stub."""
    image = BootImage.from_file(toolchain.artefact("el2").flat)
    bundle = target.resolve(guest).bundle
    return Machine(virt(cpus=cpus), image, bundle, mmu=mmu, hooks=hooks, quantum=17)


def profiled(machine: Machine, el2: El2Binary) -> Profile:
    """The whole run of a machine that switches itself off."""
    profiler = Profiler(machine)
    assert machine.run(LIMIT).kind is StopKind.SYSTEM_OFF
    return profiler.finish(symbols.load(el2.elf, machine.loaded[0]))
