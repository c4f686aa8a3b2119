# SPDX-License-Identifier: Apache-2.0
"""Whether what a file says of a board's devices is a state of theirs."""

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.devices.device import State

_MOST_BITS = 1 << 13
"""Of a number: the widest has the targets of all interrupts."""


class DeviceStates:
    """The states that the devices of one board can become."""

    def __init__(self, board: Board) -> None:
        self._devices = build_devices(board)  # nobody else's: they become whatever is looked at
        self._shape = self._devices.save()

    def check(self, state: State) -> None:
        """ValueError, KeyError, TypeError, IndexError or OverflowError for anything else."""
        if not _is_like(state, self._shape):
            raise ValueError("the devices of another board")
        self._devices.restore(state)
        if self._devices.save() != state:
            raise ValueError("devices as they never are")


def _is_like(value: object, shape: object) -> bool:
    """Whether all its parts are of the same kinds; what is empty in the shape may have any length:
    numbers in lists, bytes in texts."""
    if isinstance(shape, dict):
        return (
            isinstance(value, dict)
            and value.keys() == shape.keys()
            and all(_is_like(value[name], part) for name, part in shape.items())
        )
    if isinstance(shape, list):
        return isinstance(value, list) and (
            all(_is_like(part, 0) for part in value)
            if not shape
            else len(value) == len(shape) and all(map(_is_like, value, shape))
        )
    if isinstance(shape, str):
        return isinstance(value, str) and (not shape or len(value) == len(shape))
    return type(value) is type(shape) and not (
        isinstance(value, int) and (value < 0 or value.bit_length() > _MOST_BITS)
    )
