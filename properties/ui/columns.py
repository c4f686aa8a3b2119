# SPDX-License-Identifier: Apache-2.0
"""Events for tests: columns with what a test says of them."""

from collections.abc import Sequence

import numpy as np

from aether_edgecloud.emulator.recording.events import EventKind, Events


def events(happened: Sequence[tuple[int, EventKind, int]], *, cpu: int = 0) -> Events:
    """Of (position, kind, VMID)."""
    rising = sorted(happened)
    count = len(rising)
    zeros = np.zeros(count, np.uint64)
    return Events(
        np.array([position for position, _, _ in rising], np.uint64),
        np.full(count, cpu, np.uint8),
        np.array([kind for _, kind, _ in rising], np.uint8),
        np.array([vm for _, _, vm in rising], np.uint8),
        zeros,
        zeros,
        zeros,
    )
