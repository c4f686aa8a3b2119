# SPDX-License-Identifier: Apache-2.0
"""Where the entries of translation tables are that decide an address."""

from aether_edgecloud.emulator.arch.mmu import s1_walk, s2_translate
from aether_edgecloud.emulator.arch.mmu_faults import WalkStep
from aether_edgecloud.emulator.replay.replay import Replay
from aether_edgecloud.emulator.replay.views.maps import Map


def entries(replay: Replay, cpu: int, which: Map, address: int) -> tuple[WalkStep, ...]:
    """The entries of that map which a walk of an address reads, from the root to the leaf or to
    where it faults; none where the map is not in use."""
    machine = replay.machine
    el = 2 if which is Map.STAGE1_EL2 else 1
    regime = machine.cpus[cpu].translation.registers.regime(el)
    steps: list[WalkStep] = []
    if which is Map.STAGE2:
        if regime.stage2 is not None:
            s2_translate(regime.stage2, machine.memory, address, steps)
        return tuple(steps)
    if regime.stage1.enabled:
        s1_walk(regime.stage1, regime.stage2, machine.memory, address, steps)
    return tuple(step for step in steps if step.stage == 1)
