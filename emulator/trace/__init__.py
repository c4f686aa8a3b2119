# SPDX-License-Identifier: Apache-2.0
"""Full traces: every retired instruction with the registers it wrote and its memory accesses."""

from aether_edgecloud.emulator.trace.chunk import Accesses, Chunk, Writes, register_name
from aether_edgecloud.emulator.trace.recorder import Selection, TraceRecorder
from aether_edgecloud.emulator.trace.trace import Trace

__all__ = [
    "Accesses",
    "Chunk",
    "Selection",
    "Trace",
    "TraceRecorder",
    "Writes",
    "register_name",
]
