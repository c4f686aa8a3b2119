# SPDX-License-Identifier: Apache-2.0
"""Boards, by the name a user gives."""

from collections.abc import Callable

from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.boards.virt import DEFAULT_RAM, virt, virt_spin_table
from aether_edgecloud.emulator.errors import UserError

_BOARDS: dict[str, Callable[[int, int], Board]] = {
    "virt": virt,
    "virt-spin-table": virt_spin_table,
}


def names() -> tuple[str, ...]:
    """The boards there are."""
    return tuple(_BOARDS)


def by_name(name: str, *, ram_size: int | None = None, cpus: int = 1) -> Board:
    """The board of that name, with `ram_size` bytes of RAM (None: its usual size).

    UserError for a name that is none, or for a size or number of CPUs it cannot have.
    """
    if name not in _BOARDS:
        raise UserError(
            f"no board {name!r}", where="option --board", fix=f"use one of: {', '.join(_BOARDS)}"
        )
    return _BOARDS[name](DEFAULT_RAM if ram_size is None else ram_size, cpus)
