# SPDX-License-Identifier: Apache-2.0
"""A whole machine: a board's CPU, memory, devices and firmware, run on instruction time."""

from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.machine import Machine, Stop, StopKind

__all__ = ["BootImage", "Machine", "Stop", "StopKind"]
