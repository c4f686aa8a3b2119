# SPDX-License-Identifier: Apache-2.0
"""The state of one CPU as a value."""

from dataclasses import dataclass

from aether_edgecloud.emulator.cpu.controls import Lines
from aether_edgecloud.emulator.cpu.engine_state import EngineState
from aether_edgecloud.emulator.cpu.exits import ExitState
from aether_edgecloud.emulator.cpu.synchronous import SyncException
from aether_edgecloud.emulator.cpu.translation import TranslationState


@dataclass(frozen=True, slots=True)
class CpuState:
    """What a `Cpu` was. `deferred` is an exception that is due first, and when it came."""

    engine: EngineState
    translation: TranslationState
    stored: dict[int, int]
    """Of the modelled system registers, by encoding."""
    timer_access: dict[tuple[str, int, bool], bool]
    pc: int
    hcr_el2: int
    lines: Lines
    ends_slice: bool
    deferred: tuple[SyncException, int] | None
    exits: ExitState
