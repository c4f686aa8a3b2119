# SPDX-License-Identifier: Apache-2.0
"""A run that can be gone through in both directions: exact positions, searches, and what the
machine is at each of them."""

from aether_edgecloud.emulator.replay.conditions import (
    Access,
    AnyOf,
    Condition,
    Direction,
    EventOf,
    Execute,
    Hit,
    Read,
    RegisterWrite,
    StepOut,
    StepOver,
    TableEntryWrite,
    Write,
)
from aether_edgecloud.emulator.replay.progress import Cancelled, Progress
from aether_edgecloud.emulator.replay.replay import Replay

__all__ = [
    "Access",
    "AnyOf",
    "Cancelled",
    "Condition",
    "Direction",
    "EventOf",
    "Execute",
    "Hit",
    "Progress",
    "Read",
    "RegisterWrite",
    "Replay",
    "StepOut",
    "StepOver",
    "TableEntryWrite",
    "Write",
]
