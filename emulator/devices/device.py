# SPDX-License-Identifier: Apache-2.0
"""What every memory-mapped device model offers, and how its state is written down."""

from collections.abc import Mapping
from typing import Protocol, cast

State = dict[str, object]
"""A saved state: only int, bool, str, list and dict, so that it goes through JSON unchanged."""


class Device(Protocol):
    """A window of registers, addressed by offset from its base.

    An access the specification does not allow there (a size, an unaligned or reserved offset)
    reads as zero and is ignored when written; no model raises for anything a guest does.
    """

    def read(self, offset: int, size: int) -> int:
        """The `size` (1, 2, 4 or 8) bytes at `offset`, little-endian; may change the device."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """Write the low `size` bytes of `value` at `offset`."""
        ...

    def save(self) -> State:
        """The whole state. `restore` of it on a device built alike is an identity."""
        ...

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        ...


def saved_int(state: Mapping[str, object], key: str) -> int:
    """The integer saved under `key`."""
    return cast(int, state[key])


def saved_ints(state: Mapping[str, object], key: str) -> list[int]:
    """A copy of the integers saved under `key`."""
    return list(cast("list[int]", state[key]))


def saved_bytes(state: Mapping[str, object], key: str) -> bytes:
    """The bytes saved under `key` as hexadecimal text."""
    return bytes.fromhex(cast(str, state[key]))


def saved_part(state: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The state of a part, saved under `key`."""
    return cast("Mapping[str, object]", state[key])


def saved_parts(state: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """The states of several parts, saved under `key`."""
    return cast("list[Mapping[str, object]]", state[key])
