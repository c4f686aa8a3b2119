# SPDX-License-Identifier: Apache-2.0
"""The adversaries of a plan, put into a machine."""

from aether_edgecloud.emulator.adversary.caches import CacheAdversary
from aether_edgecloud.emulator.adversary.choices import Choices
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.adversary.tlb import TlbAdversary
from aether_edgecloud.emulator.cpu.engine import MmuMode
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.machine.machine import Machine


def attach(plan: Plan, machine: Machine) -> None:
    """Make a machine at reset as unkind as the plan says. UserError if its MMU is not the model."""
    if machine.setup.mmu is not MmuMode.MODEL:
        raise UserError(
            "an adversary needs the MMU model", where="--adversary", fix="run with --mmu model"
        )
    choices = Choices(plan.seed, plan.rate)
    if plan.tlb:
        TlbAdversary(machine, choices)
    if plan.caches:
        CacheAdversary(machine, choices, is_image_invalidated=plan.invalidated)
